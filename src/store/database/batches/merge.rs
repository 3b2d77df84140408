//! Merging small batches that lie next to each other. What single requests wrote would stay in a batch for each change
//! otherwise, which takes more bytes than one for many, and more time to read back.

use std::ops::Range;

use change_batch::Packed;
use dqlite::{
    client::{Connection, Error},
    wire::{Param, Row, Value},
};
use etcd_state::mvcc::RowId;

use super::{Appender, damaged, in_one_transaction, read::RawBatch, rewrite};
use crate::store::{
    batch::MAX_BYTES,
    database::write::SqlText,
    purge::{Done, MergeStep, Rest},
    schema,
};

/// Batches that one step looks at: their sizes are read in a millisecond.
const LOOK_BATCHES: usize = 1024;

/// Bytes of a batch, as it is stored, from which on it is left as it is.
const SMALL_BYTES: u64 = 16 * 1024;

/// Bytes of the batches, as they are stored, that become one: more would hardly make it smaller, and what is purged later
/// reads and writes all of them.
const RUN_BYTES: u64 = 64 * 1024;

/// Changes of the batches that become one. Fewer than the batches of one look, so that no run fills a look.
const RUN_CHANGES: u64 = 512;

/// Bytes of the runs of one step, from which on it takes no more of them.
const STEP_BYTES: u64 = 128 * 1024;

/// Runs of one step, from which on it takes no more of them: each is read by a statement, and written by three.
const STEP_RUNS: usize = 16;

impl Appender {
    /// Merges batches within the bounds of the step. The last one stays as it is: what is appended next follows it.
    pub async fn merge(
        &mut self,
        connection: &mut Connection,
        step: &MergeStep,
    ) -> Result<Done, Error> {
        let params = [
            Param::Integer(step.after.number()),
            Param::Integer(step.upto.number()),
            Param::Integer(LOOK_BATCHES as i64),
        ];
        let rows = connection
            .query_sql(schema::READ_BATCH_SIZES, &params)
            .await?;
        let rows = rows.collect(LOOK_BATCHES).await?;
        let mut sizes = rows
            .iter()
            .map(BatchSize::from_row)
            .collect::<Result<Vec<_>, _>>()?;
        sizes.retain(|size| Some(size.id) != self.last);
        let is_end = sizes.len() < LOOK_BATCHES;
        let (runs, looked_at) = choose(&sizes, is_end);
        let mut statements = Vec::new();
        let mut merged = Vec::new();
        for run in runs {
            merged.push(self.merge_run(connection, &sizes[run]).await?);
        }
        for run in &merged {
            run.write(&mut statements);
        }
        in_one_transaction(connection, self.epoch, statements).await?;
        let rest = if is_end && looked_at == sizes.len() {
            Rest::Nothing
        } else {
            Rest::Behind(sizes[looked_at - 1].id)
        };
        Ok(Done {
            rest,
            ..Done::default()
        })
    }

    /// Packs the living changes of a run again.
    async fn merge_run(
        &mut self,
        connection: &mut Connection,
        run: &[BatchSize],
    ) -> Result<MergedRun, Error> {
        let (first, last) = (run[0].id, run[run.len() - 1].id);
        let bounds = [
            Param::Integer(first.number()),
            Param::Integer(last.number()),
        ];
        let rows = connection
            .query_sql(schema::READ_BATCHES_BETWEEN, &bounds)
            .await?;
        let mut merged = MergedRun {
            first,
            last,
            is_too_large: false,
            has_dead: false,
            packed: None,
        };
        let mut previous = None;
        for row in rows.collect(run.len()).await? {
            let batch = RawBatch::from_row(&row)?;
            merged.has_dead |= batch.has_dead();
            batch.read(previous, |change, is_dead| {
                // It compresses well, and is larger in memory than a batch should be.
                merged.is_too_large |= self.writer.content_bytes() >= MAX_BYTES;
                if !is_dead && !merged.is_too_large {
                    let kv = change.to_key_value();
                    self.writer.push(change.kind, &kv, change.prev_revision);
                }
            })?;
            previous = Some(batch.id);
        }
        merged.packed = self.writer.finish();
        Ok(merged)
    }
}

/// A run of batches, as the one that takes the place of its last one.
struct MergedRun {
    first: RowId,
    last: RowId,
    /// The run stays as it is.
    is_too_large: bool,
    has_dead: bool,
    /// None if nothing in it lives.
    packed: Option<Packed>,
}

impl MergedRun {
    fn write<'a>(&'a self, statements: &mut Vec<SqlText<'a>>) {
        if self.is_too_large {
            return;
        }
        let bounds = [self.first, self.last].map(|row| Param::Integer(row.number()));
        let deletion = match self.packed {
            Some(_) => schema::DELETE_BATCHES_BEFORE,
            None => schema::DELETE_BATCHES_UP_TO,
        };
        statements.push((deletion.into(), bounds.to_vec()));
        if let Some(packed) = &self.packed {
            statements.push(rewrite(self.last, packed));
        }
        if self.has_dead {
            statements.push((schema::FORGET_DEAD_BETWEEN.into(), bounds.to_vec()));
        }
    }
}

/// The size of a batch, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BatchSize {
    id: RowId,
    changes: u64,
    bytes: u64,
}

impl BatchSize {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let [
            Value::Integer(id),
            Value::Integer(changes),
            Value::Integer(bytes),
        ] = row[..]
        else {
            return Err(damaged(format!("table batch has the row {row:?}")));
        };
        Ok(Self {
            id: RowId::from_number(id),
            // At least 1, so that a run never fills a look, whatever the table says.
            changes: changes.max(1).cast_unsigned(),
            bytes: bytes.max(0).cast_unsigned(),
        })
    }
}

/// Chooses which batches become one, as ranges of places in ascending order, and returns how many of the batches were looked
/// at. If there may be more behind them, a run that reaches to the end waits for these.
fn choose(sizes: &[BatchSize], is_end: bool) -> (Vec<Range<usize>>, usize) {
    let mut runs = Vec::new();
    let (mut start, mut bytes, mut changes) = (0, 0, 0);
    for (place, size) in sizes.iter().enumerate() {
        let is_small = size.bytes < SMALL_BYTES;
        let fits = bytes + size.bytes <= RUN_BYTES && changes + size.changes <= RUN_CHANGES;
        if !is_small || !fits {
            split(sizes, start..place, &mut runs);
            if total(sizes, &runs) >= STEP_BYTES || runs.len() >= STEP_RUNS {
                return (runs, place);
            }
            (start, bytes, changes) = (place, 0, 0);
        }
        if is_small {
            bytes += size.bytes;
            changes += size.changes;
        } else {
            start = place + 1;
        }
    }
    if !is_end {
        return (runs, start);
    }
    split(sizes, start..sizes.len(), &mut runs);
    (runs, sizes.len())
}

fn total(sizes: &[BatchSize], runs: &[Range<usize>]) -> u64 {
    let bytes = |run: &Range<usize>| -> u64 { sizes[run.clone()].iter().map(|s| s.bytes).sum() };
    runs.iter().map(bytes).sum()
}

/// Adds the parts of a run that are worth merging: those at least twice as large as the largest batch in them, in bytes and in
/// changes, so that each change is written again only when its batch becomes twice as large. Bytes alone would not do: similar
/// values hardly add to what is stored.
fn split(sizes: &[BatchSize], run: Range<usize>, runs: &mut Vec<Range<usize>>) {
    if run.len() < 2 {
        return;
    }
    let largest = dominant(sizes, run.clone(), |size| size.bytes)
        .or_else(|| dominant(sizes, run.clone(), |size| size.changes));
    match largest {
        None => runs.push(run),
        Some(largest) => {
            split(sizes, run.start..largest, runs);
            split(sizes, largest + 1..run.end, runs);
        }
    }
}

/// Returns the place of the batch that has more than half of the run, if there is one.
fn dominant(sizes: &[BatchSize], run: Range<usize>, of: fn(&BatchSize) -> u64) -> Option<usize> {
    let total: u64 = sizes[run.clone()].iter().map(of).sum();
    run.into_iter().find(|place| 2 * of(&sizes[*place]) > total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(of: &[(u64, u64)]) -> Vec<BatchSize> {
        let size = |(place, &(changes, bytes)): (usize, &(u64, u64))| BatchSize {
            id: RowId::from_number(place as i64),
            changes,
            bytes,
        };
        of.iter().enumerate().map(size).collect()
    }

    /// The runs as pairs of their first place and the one behind them, and the places looked at.
    fn chosen(sizes: &[BatchSize], is_end: bool) -> (Vec<(usize, usize)>, usize) {
        let (runs, looked_at) = choose(sizes, is_end);
        let runs = runs.into_iter().map(|run| (run.start, run.end));
        (runs.collect(), looked_at)
    }

    #[test]
    fn small_neighbours_become_one() {
        let few = sizes(&[(1, 300); 5]);
        assert_eq!(chosen(&few, true), (vec![(0, 5)], 5));
        // More may follow.
        assert_eq!(chosen(&few, false), (vec![], 0));
    }

    #[test]
    fn a_large_batch_stays_and_ends_a_run() {
        let mixed = sizes(&[(1, 300), (1, 300), (40, 20_000), (1, 300), (1, 300)]);
        assert_eq!(chosen(&mixed, true), (vec![(0, 2), (3, 5)], 5));
        assert_eq!(chosen(&mixed, false), (vec![(0, 2)], 3));
    }

    #[test]
    fn a_batch_is_written_again_only_when_it_becomes_twice_as_large() {
        let grown = sizes(&[(30, 9_000), (1, 300), (1, 300)]);
        assert_eq!(chosen(&grown, true), (vec![(1, 3)], 3));
        let similar = sizes(&[(30, 900), (2, 600), (1, 300)]);
        assert_eq!(chosen(&similar, true), (vec![], 3));
        let doubled = sizes(&[(3, 900), (2, 600), (1, 300)]);
        assert_eq!(chosen(&doubled, true), (vec![(0, 3)], 3));
    }

    #[test]
    fn a_step_has_a_bound() {
        let many = sizes(&[(8, 15_000); 100]);
        let runs = vec![(0, 4), (4, 8), (8, 12)];
        assert_eq!(chosen(&many, true), (runs, 12));
    }

    /// Merges until nothing changes, and returns how many bytes were written.
    fn merge_all(batches: &mut Vec<BatchSize>) -> u64 {
        let mut written = 0;
        let mut after = 0;
        loop {
            let look = (after + LOOK_BATCHES).min(batches.len());
            let (runs, looked_at) = choose(&batches[after..look], look == batches.len());
            assert!(looked_at > 0 || after == batches.len(), "no progress");
            let mut behind = after + looked_at;
            let is_end = behind == batches.len();
            for run in runs.into_iter().rev() {
                let run = run.start + after..run.end + after;
                let merged = BatchSize {
                    id: batches[run.end - 1].id,
                    changes: batches[run.clone()].iter().map(|size| size.changes).sum(),
                    bytes: batches[run.clone()].iter().map(|size| size.bytes).sum(),
                };
                written += merged.bytes;
                behind -= run.len() - 1;
                batches.splice(run, [merged]);
            }
            if is_end {
                return written;
            }
            after = behind;
        }
    }

    proptest! {
        /// Batches keep coming, and all are merged from time to time.
        #[test]
        fn there_are_few_batches_and_each_byte_is_written_a_few_times(
            rounds in prop::collection::vec(prop::collection::vec((1..4u64, 50..4_000u64), 1..300), 1..30)
        ) {
            let mut batches = Vec::new();
            let (mut bytes, mut written, mut changes) = (0, 0, 0);
            for round in rounds {
                for (count, size) in round {
                    bytes += size;
                    changes += count;
                    let id = RowId::from_number(changes as i64);
                    batches.push(BatchSize { id, changes: count, bytes: size });
                }
                written += merge_all(&mut batches);
                prop_assert_eq!(batches.iter().map(|size| size.bytes).sum::<u64>(), bytes);
                prop_assert!(batches.is_sorted_by(|a, b| a.id < b.id));
            }
            // From 50 bytes to 64 KiB are eleven doublings.
            prop_assert!(written <= 11 * bytes, "{} of {}", written, bytes);
            let bound = 16 + bytes / (SMALL_BYTES / 4) + 4 * changes / RUN_CHANGES;
            prop_assert!(batches.len() as u64 <= bound, "{} of {}", batches.len(), bound);
        }
    }
}
