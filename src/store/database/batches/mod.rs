//! Changes as one row for each commit batch: the layout of schema 3.
//!
//! Invariants: a batch is appended only behind the one that this writer believes to be the last, and the last one is
//! never deleted, so two writers cannot both succeed. What is read to be written again is written only in the same epoch:
//! nobody else has changed it in between. Batches without their dead rows are what one row for each change
//! would be; whether a dead row still lies in its batch makes no difference to a reader. At least half of each batch
//! lives, by bytes of keys and values, but for the last one.

mod merge;
mod purge;
mod read;

use change_batch::{Packed, Writer};
use dqlite::{
    client::{Connection, Error, Statement},
    wire::{Param, Value},
};
use etcd_state::mvcc::{ChangeKind, KeyValue, Revision, RowId};

pub use self::read::read;
use super::{epoch::Epoch, write::SqlText};
use crate::store::{
    batch::{MAX_BYTES, MAX_ROWS},
    schema,
};

/// Bytes of batches, as they are stored, that are sent in one request with what belongs to them. More are sent one after the
/// other.
const REQUEST_BYTES: usize = 2 * 1024 * 1024;

/// SQLite's code of damage.
const SQLITE_CORRUPT: u64 = 11;

/// Appends batches on one connection.
#[derive(Debug, Default)]
pub struct Appender {
    /// The last batch, as this writer believes; none if there is none.
    last: Option<RowId>,
    epoch: Epoch,
    writer: Writer,
    statement: Option<Statement>,
}

impl Appender {
    /// Reads which batch is the last. Whoever goes on to read the changes knows at least that one.
    pub async fn begin(&mut self, connection: &mut Connection, epoch: Epoch) -> Result<(), Error> {
        self.epoch = epoch;
        let rows = connection.query_sql(schema::READ_LAST_BATCH, &[]).await?;
        let rows = rows.collect(1).await?;
        self.last = match rows.first().map(|row| &row[..]) {
            Some([Value::Null]) => None,
            Some([Value::Integer(id)]) => Some(RowId::from_number(*id)),
            other => return Err(damaged(format!("the last batch is {other:?}"))),
        };
        Ok(())
    }

    /// Appends the changes of a commit, and runs the statements that belong to it, as a whole or not at all. Returns what was
    /// appended.
    pub async fn write<'a>(
        &mut self,
        connection: &mut Connection,
        changes: impl IntoIterator<Item = (ChangeKind, &'a KeyValue, Revision)>,
        others: Vec<SqlText<'_>>,
    ) -> Result<Vec<Packed>, Error> {
        let packed = self.pack(changes);
        let bytes: usize = packed.iter().map(|batch| batch.blob.len()).sum();
        if others.is_empty() && packed.len() == 1 {
            self.append(connection, &packed).await?;
        } else if bytes <= REQUEST_BYTES {
            let mut statements: Vec<_> = self
                .appends(&packed)
                .map(|params| (schema::APPEND_BATCH.into(), params.to_vec()))
                .collect();
            statements.extend(others);
            in_one_transaction(connection, self.epoch, statements).await?;
        } else {
            connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
            if let Err(error) = self.append_with(connection, &packed, &others).await {
                roll_back(connection).await;
                return Err(error);
            }
            // The outcome of COMMIT is the outcome of the batch.
            connection.exec_sql("COMMIT", &[]).await?;
        }
        self.appended(&packed);
        Ok(packed)
    }

    async fn append_with(
        &mut self,
        connection: &mut Connection,
        packed: &[Packed],
        others: &[SqlText<'_>],
    ) -> Result<(), Error> {
        self.append(connection, packed).await?;
        for (sql, params) in others {
            connection.exec_sql(sql, params).await?;
        }
        Ok(())
    }

    /// Packs changes, each with the revision that it replaced, in as many batches as they need.
    pub fn pack<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (ChangeKind, &'a KeyValue, Revision)>,
    ) -> Vec<Packed> {
        let mut batches = Vec::new();
        let mut rows = 0;
        for (kind, kv, prev_revision) in changes {
            self.writer.push(kind, kv, prev_revision);
            rows += 1;
            if rows >= MAX_ROWS || self.writer.content_bytes() >= MAX_BYTES {
                rows = 0;
                batches.extend(self.writer.finish());
            }
        }
        batches.extend(self.writer.finish());
        batches
    }

    /// Appends batches. What they follow is noted by [`appended`](Self::appended) only.
    ///
    /// # Errors
    ///
    /// `Constraint` if another writer has appended one meanwhile, or has begun to write.
    pub async fn append(
        &mut self,
        connection: &mut Connection,
        batches: &[Packed],
    ) -> Result<(), Error> {
        let appends: Vec<_> = self.appends(batches).collect();
        for params in appends {
            let statement = match &mut self.statement {
                Some(statement) => statement,
                slot => {
                    // One row at the end of a table, and two look-ups.
                    dqlite::node::in_place::allow(schema::APPEND_BATCH);
                    slot.insert(connection.prepare(schema::APPEND_BATCH).await?)
                }
            };
            connection.exec(statement, &params).await?;
        }
        Ok(())
    }

    /// Returns the parameters by which each batch is appended behind the one before it.
    fn appends<'a>(&self, batches: &'a [Packed]) -> impl Iterator<Item = [Param<'a>; 6]> {
        let mut last = self.last;
        batches.iter().map(move |batch| {
            let behind = last.replace(batch.last);
            [
                Param::Integer(batch.last.number()),
                Param::Integer(batch.first.number()),
                Param::Integer(batch.changes as i64),
                Param::Blob(&batch.blob),
                behind.map_or(Param::Null, |row| Param::Integer(row.number())),
                self.epoch.param(),
            ]
        })
    }

    /// Notes that the batches are committed.
    pub fn appended(&mut self, batches: &[Packed]) {
        self.last = batches.last().map(|batch| batch.last).or(self.last);
    }
}

/// Runs statements in one request, which takes fewer turns of the engine, and leaves the transaction open for no longer than it
/// takes: a connection that goes away within one may keep the engine from stopping.
///
/// # Errors
///
/// `Constraint` if another writer has begun to write; then nothing is written.
pub async fn in_one_transaction(
    connection: &mut Connection,
    epoch: Epoch,
    mut statements: Vec<SqlText<'_>>,
) -> Result<(), Error> {
    if statements.is_empty() {
        return Ok(());
    }
    statements.insert(0, epoch.guard());
    let statements_sql: Vec<_> = statements.iter().map(|(sql, _)| &**sql).collect();
    let sql = format!("BEGIN IMMEDIATE; {}; COMMIT", statements_sql.join("; "));
    let params: Vec<_> = statements
        .iter()
        .flat_map(|(_, params)| params.iter().copied())
        .collect();
    let done = connection.exec_sql(&sql, &params).await;
    if done.is_err() {
        roll_back(connection).await;
    }
    done.map(drop)
}

/// Ends a transaction that failed. If this fails too, the connection is replaced, which also rolls back.
pub async fn roll_back(connection: &mut Connection) {
    let _ = connection.exec_sql("ROLLBACK", &[]).await;
}

/// Returns the statement that writes a batch again, which keeps its id.
fn rewrite(id: RowId, packed: &Packed) -> SqlText<'_> {
    let params = vec![
        Param::Integer(packed.first.number()),
        Param::Integer(packed.changes as i64),
        Param::Blob(&packed.blob),
        Param::Integer(id.number()),
    ];
    (schema::REWRITE_BATCH.into(), params)
}

fn numbers(rows: &[RowId]) -> impl Iterator<Item = Param<'static>> {
    rows.iter().map(|row| Param::Integer(row.number()))
}

fn damaged(message: String) -> Error {
    Error::Corrupt {
        code: SQLITE_CORRUPT,
        message,
    }
}
