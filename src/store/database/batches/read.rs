//! Reading batches back.

use change_batch::{ChangeRef, Reader, unpack_row_ids};
use dqlite::{
    client::{Connection, Error},
    wire::{Param, Row, Value},
};
use etcd_state::mvcc::RowId;
use tokio::task::JoinHandle;

use super::damaged;
use crate::store::{
    database::{OpenError, StoredChange},
    schema,
};

/// Batches of one read while loading: a bound of the rows in flight, not of the rows read. Few in tests, which see several reads
/// like this.
const LOAD_BATCHES: i64 = if cfg!(test) { 8 } else { 20_000 };

/// Bytes of batches that are unpacked at a time, on a thread of their own: two such pieces are in memory while loading.
const PIECE_BYTES: usize = 1024 * 1024;

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
pub struct RawBatch {
    pub id: RowId,
    content: bytes::Bytes,
    dead: Vec<RowId>,
}

impl RawBatch {
    pub fn from_row(row: &Row) -> Result<Self, Error> {
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
    pub fn read(
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

    pub fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    pub fn is_dead(&self, row: RowId) -> bool {
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
