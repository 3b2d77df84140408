//! The purge of batches: dead changes are noted, and go with their batch, or when most of it is dead.

use change_batch::{Packed, Writer, pack_row_ids};
use dqlite::{
    client::{Connection, Error},
    wire::{Param, Value},
};
use etcd_state::mvcc::RowId;

use super::{Appender, damaged, in_one_transaction, numbers, read::RawBatch, rewrite};
use crate::store::{
    batch::MAX_ROWS,
    database::write::SqlText,
    purge::{Done, Rest, SweepStep},
    schema,
};

/// Rows of one step at the most: to find their batches takes a millisecond.
const STEP_ROWS: usize = 256;

/// Bytes of the batches, as they are stored, from which on a step takes no more of them.
const STEP_BYTES: i64 = 512 * 1024;

impl Appender {
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
        in_one_transaction(connection, self.epoch, purge.statements()).await?;
        Ok(Done {
            deleted: rows.len() as u64,
            rest: if rest.is_empty() {
                Rest::Nothing
            } else {
                Rest::Rows(rest)
            },
            ..Done::default()
        })
    }

    /// Purges the rows that earlier leaders should have purged.
    pub async fn sweep(
        &self,
        connection: &mut Connection,
        step: &SweepStep,
    ) -> Result<Done, Error> {
        let bounds = [step.after, step.upto];
        let limit = [Param::Integer(STEP_ROWS as i64)];
        let params: Vec<_> = numbers(&bounds)
            .chain(numbers(&step.kept))
            .chain(limit)
            .collect();
        let sql = schema::find_superfluous(step.kept.len());
        let found = connection.query_sql(&sql, &params).await?;
        let found = found.collect(STEP_ROWS).await?;
        let rows = found.iter().map(|row| match row[..] {
            [Value::Integer(id)] => Ok(RowId::from_number(id)),
            _ => Err(damaged(format!("table change has the row {row:?}"))),
        });
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Ok(Done::default());
        }
        let is_end = rows.len() < STEP_ROWS;
        let done = self.purge(connection, &rows).await?;
        let rest = match done.rest {
            Rest::Nothing if is_end => Rest::Nothing,
            _ => Rest::Again,
        };
        Ok(Done { rest, ..done })
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

    fn statements(&self) -> Vec<SqlText<'_>> {
        let mut statements = Vec::new();
        let mut forgotten = self.deleted.clone();
        for (id, packed) in &self.rewritten {
            statements.push(rewrite(*id, packed));
            forgotten.push(*id);
        }
        if !self.deleted.is_empty() {
            let sql = schema::delete_batches(self.deleted.len());
            statements.push((sql.into(), numbers(&self.deleted).collect()));
        }
        if !forgotten.is_empty() {
            let sql = schema::forget_dead(forgotten.len());
            statements.push((sql.into(), numbers(&forgotten).collect()));
        }
        for chunk in self.dead.chunks(MAX_ROWS) {
            let params = chunk
                .iter()
                .flat_map(|(id, dead)| [Param::Integer(id.number()), Param::Blob(dead)]);
            statements.push((schema::set_dead(chunk.len()).into(), params.collect()));
        }
        statements
    }
}
