//! Changes as one row for each commit batch: the layout of schema 3.
//!
//! Invariants: a batch is appended only behind the one that this writer believes to be the last, and the last one is
//! never deleted, so two writers cannot both succeed. Batches without their dead rows are what one row for each change
//! would be; whether a dead row still lies in its batch makes no difference to a reader. At least half of each batch
//! lives, by bytes of keys and values, but for the last one.

use change_batch::{ChangeRef, Packed, Reader, Writer, pack_row_ids, unpack_row_ids};
use dqlite::{
    client::{Connection, Error, Statement},
    wire::{Param, Row, Value},
};
use etcd_state::mvcc::{ChangeKind, KeyValue, Revision, RowId};
use tokio::task::JoinHandle;

use super::{OpenError, StoredChange};
use crate::store::{
    batch::{MAX_BYTES, MAX_ROWS},
    purge::{Done, MAX_STEP_ROWS, SweepStep},
    schema,
};

/// Batches of one read while loading: a bound of the rows in flight, not of the rows read.
const LOAD_BATCHES: i64 = 20_000;

/// Bytes of batches that are unpacked at a time, on a thread of their own: two such pieces are in memory while loading.
const PIECE_BYTES: usize = 1024 * 1024;

/// Rows of one step of the purge at the most: to find their batches takes a millisecond.
const STEP_ROWS: usize = 256;

/// Bytes of the batches, as they are stored, from which on a step of the purge takes no more of them.
const STEP_BYTES: i64 = 512 * 1024;

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

    /// Purges changes: batches without living ones are deleted, those that are mostly dead written again without the dead
    /// ones, and of the others it is noted which of their changes are dead. Rows that are purged already do no harm.
    pub async fn purge(&self, connection: &mut Connection, rows: &[RowId]) -> Result<Done, Error> {
        // Of several compactions.
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        let later = rows.split_off(rows.len().min(STEP_ROWS));
        let (batches, mut rest) = find(connection, &mut rows).await?;
        rest.extend(later);
        let mut purge = BatchPurge::default();
        let params: Vec<_> = numbers(&batches).collect();
        let found = connection
            .query_sql(&schema::read_batches(batches.len()), &params)
            .await?;
        for row in found.collect(batches.len()).await? {
            purge.add(&RawBatch::from_row(&row)?, &rows, self.last)?;
        }
        purge.write(connection).await?;
        Ok(Done {
            deleted: rows.len() as u64,
            rest,
        })
    }

    /// Purges the rows that earlier leaders should have purged.
    pub async fn sweep(
        &self,
        connection: &mut Connection,
        step: &SweepStep,
    ) -> Result<Done, Error> {
        let bounds = [step.after, step.upto];
        let limit = [Param::Integer(MAX_STEP_ROWS as i64)];
        let params: Vec<_> = numbers(&bounds)
            .chain(numbers(&step.kept))
            .chain(limit)
            .collect();
        let sql = schema::find_superfluous(step.kept.len());
        let found = connection.query_sql(&sql, &params).await?;
        let found = found.collect(MAX_STEP_ROWS).await?;
        let rows = found.iter().map(|row| match row[..] {
            [Value::Integer(id)] => Ok(RowId::from_number(id)),
            _ => Err(damaged(format!("table change has the row {row:?}"))),
        });
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Ok(Done::default());
        }
        self.purge(connection, &rows).await
    }
}

/// Finds the batches that rows lie in, or would, and splits off the rows of those that are too much for one step. The rows
/// are in ascending order.
async fn find(
    connection: &mut Connection,
    rows: &mut Vec<RowId>,
) -> Result<(Vec<RowId>, Vec<RowId>), Error> {
    let params: Vec<_> = numbers(rows).collect();
    let found = connection
        .query_sql(&schema::find_batches(rows.len()), &params)
        .await?;
    let mut batches = Vec::new();
    let mut bytes = 0;
    for row in found.collect(rows.len()).await? {
        let [Value::Integer(id), Value::Integer(content_bytes)] = row[..] else {
            return Err(damaged(format!("table batch has the row {row:?}")));
        };
        let id = RowId::from_number(id);
        if bytes >= STEP_BYTES
            && let Some(last) = batches.last()
        {
            let rest = rows.split_off(rows.partition_point(|row| row <= last));
            return Ok((batches, rest));
        }
        bytes += content_bytes;
        batches.push(id);
    }
    Ok((batches, Vec::new()))
}

/// A step of the purge, as what it does to batches.
#[derive(Default)]
struct BatchPurge {
    writer: Writer,
    deleted: Vec<RowId>,
    rewritten: Vec<(RowId, Packed)>,
    dead: Vec<(RowId, Vec<u8>)>,
}

impl BatchPurge {
    /// Purges rows, which are in ascending order, of a batch.
    fn add(&mut self, batch: &RawBatch, rows: &[RowId], last: Option<RowId>) -> Result<(), Error> {
        let mut dead = Vec::new();
        let (mut dead_bytes, mut living_bytes) = (0, 0);
        let is_purged = |row| rows.binary_search(&row).is_ok();
        batch.read(None, |change, is_dead| {
            let bytes = change.key.len() + change.value.len();
            if is_dead || is_purged(change.row_id()) {
                dead.push(change.row_id());
                dead_bytes += bytes;
            } else {
                living_bytes += bytes;
            }
        })?;
        if living_bytes == 0 && Some(batch.id) != last {
            self.deleted.push(batch.id);
        } else if dead_bytes >= living_bytes && living_bytes > 0 {
            batch.read(None, |change, is_dead| {
                if !is_dead && !is_purged(change.row_id()) {
                    let kv = change.to_key_value();
                    self.writer.push(change.kind, &kv, change.prev_revision);
                }
            })?;
            let packed = self.writer.finish().expect("something in it lives");
            self.rewritten.push((batch.id, packed));
        } else if dead.iter().any(|row| !batch.is_dead(*row)) {
            self.dead.push((batch.id, pack_row_ids(&dead)));
        }
        Ok(())
    }

    async fn write(&self, connection: &mut Connection) -> Result<(), Error> {
        let mut statements = Vec::new();
        let mut forgotten = self.deleted.clone();
        for (id, packed) in &self.rewritten {
            let params = vec![
                Param::Integer(packed.first.number()),
                Param::Integer(packed.changes as i64),
                Param::Blob(&packed.blob),
                Param::Integer(id.number()),
            ];
            statements.push((schema::REWRITE_BATCH.to_owned(), params));
            forgotten.push(*id);
        }
        if !self.deleted.is_empty() {
            let sql = schema::delete_batches(self.deleted.len());
            statements.push((sql, numbers(&self.deleted).collect()));
        }
        if !forgotten.is_empty() {
            let sql = schema::forget_dead(forgotten.len());
            statements.push((sql, numbers(&forgotten).collect()));
        }
        for chunk in self.dead.chunks(MAX_ROWS) {
            let params = chunk
                .iter()
                .flat_map(|(id, dead)| [Param::Integer(id.number()), Param::Blob(dead)]);
            statements.push((schema::set_dead(chunk.len()), params.collect()));
        }
        in_one_transaction(connection, &statements).await
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

/// Gives `each` the changes after row `after` in order, and returns how many there were.
pub async fn read(
    connection: &mut Connection,
    after: RowId,
    mut each: impl FnMut(StoredChange) -> Result<(), OpenError>,
) -> Result<u64, OpenError> {
    let mut count = 0;
    let mut last = after;
    let mut piece = Piece::new(after, None);
    let mut unpacking: Option<Unpacking> = None;
    let statement = connection.prepare(schema::READ_BATCHES).await?;
    loop {
        let params = [Param::Integer(last.number()), Param::Integer(LOAD_BATCHES)];
        let mut rows = connection.query(&statement, &params).await?;
        let mut read = 0;
        while let Some(part) = rows.next_part().await? {
            for row in part {
                let batch = RawBatch::from_row(&row)?;
                last = batch.id;
                read += 1;
                piece.push(batch);
            }
            if piece.bytes >= PIECE_BYTES {
                let next = std::mem::replace(&mut piece, Piece::new(after, Some(last))).unpack();
                count += take(unpacking.replace(next), &mut each).await?;
            }
        }
        if read < LOAD_BATCHES {
            break;
        }
    }
    connection.finalize(statement).await?;
    count += take(unpacking, &mut each).await?;
    count += take(Some(piece.unpack()), &mut each).await?;
    Ok(count)
}

type Unpacking = JoinHandle<Result<Vec<StoredChange>, Error>>;

async fn take(
    unpacking: Option<Unpacking>,
    each: &mut impl FnMut(StoredChange) -> Result<(), OpenError>,
) -> Result<u64, OpenError> {
    let Some(unpacking) = unpacking else {
        return Ok(0);
    };
    let changes = unpacking.await.expect("unpacking does not panic")?;
    let count = changes.len() as u64;
    changes.into_iter().try_for_each(each)?;
    Ok(count)
}

/// Some batches that are read, to be unpacked.
struct Piece {
    /// Rows up to this one are left out.
    after: RowId,
    /// The batch before those here, if it was read.
    previous: Option<RowId>,
    batches: Vec<RawBatch>,
    bytes: usize,
}

impl Piece {
    fn new(after: RowId, previous: Option<RowId>) -> Self {
        Self {
            after,
            previous,
            batches: Vec::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, batch: RawBatch) {
        self.bytes += batch.content.len();
        self.batches.push(batch);
    }

    fn unpack(self) -> Unpacking {
        tokio::task::spawn_blocking(move || {
            let mut changes = Vec::new();
            let mut previous = self.previous;
            for batch in &self.batches {
                batch.read(previous, |change, is_dead| {
                    if !is_dead && change.row_id() > self.after {
                        changes.push(StoredChange::from(change));
                    }
                })?;
                previous = Some(batch.id);
            }
            Ok(changes)
        })
    }
}

/// A batch as it is stored.
struct RawBatch {
    id: RowId,
    content: bytes::Bytes,
    dead: Vec<RowId>,
}

impl RawBatch {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let [Value::Integer(id), Value::Blob(content), dead] = &row[..] else {
            return Err(damaged(format!(
                "table batch has the row {:?}",
                row.first()
            )));
        };
        Ok(Self {
            id: RowId::from_number(*id),
            content: content.clone(),
            dead: dead_rows(*id, dead)?,
        })
    }

    /// Gives `each` the changes, and whether they are dead. All of them must be above `previous`, the batch before, if that
    /// is known.
    fn read(
        &self,
        previous: Option<RowId>,
        mut each: impl FnMut(ChangeRef<'_>, bool),
    ) -> Result<(), Error> {
        let unreadable = |error| damaged(format!("batch {}: {error}", self.id));
        let mut reader = Reader::open(&self.content).map_err(unreadable)?;
        while let Some(change) = reader.next_change().map_err(unreadable)? {
            let row = change.row_id();
            if row > self.id || previous.is_some_and(|previous| row <= previous) {
                return Err(damaged(format!("batch {} has the row {row}", self.id)));
            }
            each(change, self.is_dead(row));
        }
        Ok(())
    }

    fn is_dead(&self, row: RowId) -> bool {
        self.dead.binary_search(&row).is_ok()
    }
}

fn dead_rows(id: i64, dead: &Value) -> Result<Vec<RowId>, Error> {
    let unreadable = |error| damaged(format!("the dead rows of batch {id}: {error}"));
    match dead {
        Value::Null => Ok(Vec::new()),
        Value::Blob(packed) => unpack_row_ids(packed).map_err(unreadable),
        other => Err(damaged(format!(
            "the dead rows of batch {id} are {other:?}"
        ))),
    }
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
