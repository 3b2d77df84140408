//! Changes as one row for each commit batch: the layout of schema 3.
//!
//! Invariants: a batch is appended only behind the one that this writer believes to be the last, and the last one is
//! never deleted, so two writers cannot both succeed. Batches without their dead rows are what one row for each change
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
use crate::store::{
    batch::{MAX_BYTES, MAX_ROWS},
    schema,
};

/// SQLite's code of a constraint that does not hold.
const SQLITE_CONSTRAINT: u64 = 19;

/// SQLite's code of damage.
const SQLITE_CORRUPT: u64 = 11;

/// Appends batches on one connection.
#[derive(Debug, Default)]
pub struct Appender {
    /// The last batch, as this writer believes; none if there is none.
    last: Option<RowId>,
    writer: Writer,
    statement: Option<Statement>,
}

impl Appender {
    /// Reads which batch is the last. Whoever goes on to read the changes knows at least that one.
    pub async fn read_last(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let rows = connection.query_sql(schema::READ_LAST_BATCH, &[]).await?;
        let rows = rows.collect(1).await?;
        self.last = match rows.first().map(|row| &row[..]) {
            Some([Value::Null]) => None,
            Some([Value::Integer(id)]) => Some(RowId::from_number(*id)),
            other => return Err(damaged(format!("the last batch is {other:?}"))),
        };
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
    /// `Constraint` if another writer has appended one meanwhile.
    pub async fn append(
        &mut self,
        connection: &mut Connection,
        batches: &[Packed],
    ) -> Result<(), Error> {
        let mut last = self.last;
        for batch in batches {
            let statement = match &mut self.statement {
                Some(statement) => statement,
                slot => slot.insert(connection.prepare(schema::APPEND_BATCH).await?),
            };
            let params = [
                Param::Integer(batch.last.number()),
                Param::Integer(batch.first.number()),
                Param::Integer(batch.changes as i64),
                Param::Blob(&batch.blob),
                last.map_or(Param::Null, |last| Param::Integer(last.number())),
            ];
            if connection.exec(statement, &params).await?.rows_affected != 1 {
                return Err(Error::Constraint {
                    code: SQLITE_CONSTRAINT,
                    message: format!(
                        "somebody else has appended to table batch, before {}",
                        batch.first
                    ),
                });
            }
            last = Some(batch.last);
        }
        Ok(())
    }

    /// Notes that the batches are committed.
    pub fn appended(&mut self, batches: &[Packed]) {
        self.last = batches.last().map(|batch| batch.last).or(self.last);
    }
}

/// Runs statements in one request, which takes fewer turns of the engine, and leaves the transaction open for no longer than it
/// takes: a connection that goes away within one may keep the engine from stopping.
async fn in_one_transaction(
    connection: &mut Connection,
    statements: &[(String, Vec<Param<'_>>)],
) -> Result<(), Error> {
    match statements {
        [] => return Ok(()),
        [(sql, params)] => return connection.exec_sql(sql, params).await.map(drop),
        _ => {}
    }
    let statements_sql: Vec<_> = statements.iter().map(|(sql, _)| sql.as_str()).collect();
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

fn numbers(rows: &[RowId]) -> impl Iterator<Item = Param<'static>> {
    rows.iter().map(|row| Param::Integer(row.number()))
}

fn damaged(message: String) -> Error {
    Error::Corrupt {
        code: SQLITE_CORRUPT,
        message,
    }
}
