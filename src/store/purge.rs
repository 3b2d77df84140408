//! The rows that compaction made superfluous, how many to delete in one step, and the merging of what is left of them.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use etcd_state::mvcc::{Revision, RowId};
use tracing::info;

use super::reply::PreparedReply;

/// Rows of one step, at first and at least: a page or two.
const MIN_STEP_ROWS: usize = 16;

/// Rows of one step at the most: parameters of one statement, pages of one Raft entry.
pub const MAX_STEP_ROWS: usize = 1024;

/// The longest that one step should hold the writer. A step that took longer is followed by a
/// smaller one.
const STEP_TARGET: Duration = Duration::from_millis(4);

/// While writes keep coming, one step runs after this many batches.
const BATCHES_PER_STEP: u32 = 4;

/// Goes through the rows up to the compaction revision, and deletes those that earlier leaders should
/// have deleted: only the table knows them.
#[derive(Debug)]
pub struct Sweep {
    /// The rows that are needed, ascending.
    kept: Vec<RowId>,
    /// The last row of the compaction revision.
    end: RowId,
    /// All rows up to this one are done, and the first `done` of `kept`.
    after: RowId,
    done: usize,
    found: u64,
}

impl Sweep {
    /// None if nothing was compacted yet.
    pub fn new(compact_revision: Revision, kept: Vec<RowId>) -> Option<Self> {
        (compact_revision > Revision::NONE).then(|| Self {
            kept,
            end: RowId::last_of(compact_revision),
            after: RowId::MIN,
            done: 0,
            found: 0,
        })
    }

    fn step(&self, rows: usize) -> SweepStep {
        let ahead = &self.kept[self.done..];
        let kept = &ahead[..rows.min(ahead.len())];
        let upto = match kept.last() {
            Some(last) if kept.len() < ahead.len() => *last,
            _ => self.end,
        };
        SweepStep {
            after: self.after,
            upto,
            kept: kept.to_vec(),
        }
    }
}

/// Deletes the rows above `after` up to `upto` but for `kept`, at most [`MAX_STEP_ROWS`] of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepStep {
    pub after: RowId,
    pub upto: RowId,
    pub kept: Vec<RowId>,
}

/// Merges small batches above `after` up to `upto`, as many as one step may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeStep {
    pub after: RowId,
    pub upto: RowId,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Delete(Vec<RowId>),
    Sweep(SweepStep),
    Merge(MergeStep),
}

/// The effect of a write beside its batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows that were deleted.
    pub deleted: u64,
    pub rest: Rest,
    /// The blobs that the changes of a batch were packed as.
    pub packed: Vec<Bytes>,
}

/// The part of a step that is left.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Rest {
    #[default]
    Nothing,
    /// These of the rows to delete, ascending.
    Rows(Vec<RowId>),
    /// The same step is to be done again: it may find more.
    Again,
    /// Everything behind this row.
    Behind(RowId),
}

#[derive(Debug)]
pub struct Purge {
    /// The sweep, which runs before any row is deleted that hides what the sweep looks for.
    sweep: Option<Sweep>,
    rows: VecDeque<RowId>,
    /// The merging, which comes last: what is deleted need not be merged, and nobody waits for it.
    merge: Option<MergeStep>,
    waiting: Vec<PreparedReply>,
    step_rows: usize,
    batches: u32,
}

impl Purge {
    pub fn new(rows: Vec<RowId>, sweep: Option<Sweep>) -> Self {
        Self {
            sweep,
            rows: rows.into(),
            merge: None,
            waiting: Vec::new(),
            step_rows: MIN_STEP_ROWS,
            batches: 0,
        }
    }

    pub fn add(&mut self, rows: impl IntoIterator<Item = RowId>) {
        self.rows.extend(rows);
    }

    /// Merges small batches up to a revision, once everything is deleted. What is newer is read and superseded too often.
    pub fn merge_up_to(&mut self, compact_revision: Revision) {
        if compact_revision > Revision::NONE {
            let after = self.merge.map_or(RowId::MIN, |merge| merge.after);
            let upto = RowId::last_of(compact_revision);
            self.merge = Some(MergeStep { after, upto });
        }
    }

    /// Answers when all rows that are known now, and any that are added before, are deleted.
    pub fn wait(&mut self, reply: PreparedReply) {
        self.waiting.push(reply);
        self.answer_if_done();
    }

    /// Counts a batch of writes; whether a step is due although more writes wait.
    pub fn is_due(&mut self) -> bool {
        self.batches += 1;
        if (self.is_done() && self.merge.is_none()) || self.batches < BATCHES_PER_STEP {
            return false;
        }
        self.batches = 0;
        true
    }

    pub fn next_step(&mut self) -> Option<Step> {
        if let Some(sweep) = &self.sweep {
            return Some(Step::Sweep(sweep.step(self.step_rows)));
        }
        let count = self.rows.len().min(self.step_rows);
        if count > 0 {
            return Some(Step::Delete(self.rows.drain(..count).collect()));
        }
        self.merge.map(Step::Merge)
    }

    /// Notes that the step was done.
    pub fn done(&mut self, step: &Step, done: Done, took: Duration) {
        match step {
            Step::Delete(_) => {
                if let Rest::Rows(rows) = done.rest {
                    self.put_back(rows);
                }
                self.finished(took);
            }
            Step::Sweep(step) => {
                self.swept(step, &done);
                self.finished(took);
            }
            Step::Merge(_) => match (done.rest, &mut self.merge) {
                (Rest::Behind(row), Some(merge)) if row < merge.upto => merge.after = row,
                _ => self.merge = None,
            },
        }
    }

    fn put_back(&mut self, rows: Vec<RowId>) {
        for row in rows.into_iter().rev() {
            self.rows.push_front(row);
        }
    }

    fn swept(&mut self, step: &SweepStep, done: &Done) {
        let Some(sweep) = &mut self.sweep else {
            return;
        };
        sweep.found += done.deleted;
        if done.rest == Rest::Nothing {
            sweep.after = step.upto;
            sweep.done += step.kept.len();
        }
        if sweep.after == sweep.end {
            if sweep.found > 0 {
                info!(
                    rows = sweep.found,
                    "deleted superfluous rows of earlier leaders"
                );
            }
            self.sweep = None;
        }
    }

    fn finished(&mut self, took: Duration) {
        self.step_rows = if took > STEP_TARGET {
            (self.step_rows / 2).max(MIN_STEP_ROWS)
        } else if took < STEP_TARGET / 2 {
            (self.step_rows * 2).min(MAX_STEP_ROWS)
        } else {
            self.step_rows
        };
        self.answer_if_done();
    }

    /// Takes back a step that failed.
    pub fn failed(&mut self, step: Step) {
        if let Step::Delete(rows) = step {
            self.put_back(rows);
        }
        self.step_rows = MIN_STEP_ROWS;
    }

    /// Rows that are known to wait; those of a sweep are not.
    pub fn pending_rows(&self) -> u64 {
        self.rows.len() as u64
    }

    fn is_done(&self) -> bool {
        self.sweep.is_none() && self.rows.is_empty()
    }

    fn answer_if_done(&mut self) {
        if self.is_done() {
            for reply in self.waiting.drain(..) {
                reply.send();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, ops::Bound};

    use super::*;
    use crate::store::reply::ReplySender;

    fn rows(step: Option<Step>) -> Vec<RowId> {
        match step {
            Some(Step::Delete(rows)) => rows,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn steps_grow_while_they_are_fast_and_shrink_when_slow() {
        let mut purge = Purge::new((0..10_000).map(RowId::from_number).collect(), None);
        assert_eq!(rows(purge.next_step()).len(), MIN_STEP_ROWS);
        purge.finished(Duration::from_micros(100));
        assert_eq!(rows(purge.next_step()).len(), 2 * MIN_STEP_ROWS);
        for _ in 0..20 {
            purge.finished(Duration::from_micros(100));
        }
        assert_eq!(rows(purge.next_step()).len(), MAX_STEP_ROWS);
        purge.finished(Duration::from_millis(50));
        assert_eq!(rows(purge.next_step()).len(), MAX_STEP_ROWS / 2);
    }

    #[test]
    fn rows_of_a_failed_step_come_again_in_order() {
        let mut purge = Purge::new((0..40).map(RowId::from_number).collect(), None);
        let first = rows(purge.next_step());
        purge.failed(Step::Delete(first.clone()));
        assert_eq!(rows(purge.next_step()), first);
    }

    #[test]
    fn rows_that_a_step_had_no_time_for_come_next() {
        let mut purge = Purge::new((0..40).map(RowId::from_number).collect(), None);
        let first = rows(purge.next_step());
        let done = Done {
            deleted: 6,
            rest: Rest::Rows(first[6..].to_vec()),
            ..Done::default()
        };
        purge.done(&Step::Delete(first.clone()), done, Duration::ZERO);
        assert_eq!(rows(purge.next_step())[..10], first[6..]);
    }

    #[test]
    fn whoever_waits_is_answered_after_the_last_step() {
        let mut purge = Purge::new(vec![RowId::new(Revision::new(1), 0)], None);
        let (reply, mut receiver) = ReplySender::<()>::new(None);
        purge.next_step().unwrap();
        purge.add([RowId::new(Revision::new(2), 0)]);
        purge.wait(PreparedReply::new(reply, Ok(())));
        assert!(receiver.try_recv().is_err());
        purge.next_step().unwrap();
        purge.finished(Duration::ZERO);
        assert!(matches!(receiver.try_recv(), Ok(Ok(()))));
    }

    #[test]
    fn a_sweep_deletes_what_is_not_kept_and_comes_before_the_rows() {
        let kept: Vec<_> = (0..2000).map(|n| RowId::from_number(n * 3)).collect();
        let (first, end, next) = (
            RowId::new(Revision::NONE, 0),
            RowId::last_of(Revision::new(1)),
            RowId::new(Revision::new(2), 0),
        );
        let mut table: BTreeSet<_> = (0..6000).map(RowId::from_number).collect();
        table.extend([end, next]);
        let mut purge = Purge::new(vec![first], Sweep::new(Revision::new(1), kept.clone()));
        let (reply, mut receiver) = ReplySender::<()>::new(None);
        purge.wait(PreparedReply::new(reply, Ok(())));
        loop {
            let step = match purge.next_step().unwrap() {
                Step::Sweep(step) => step,
                other => break assert_eq!(other, Step::Delete(vec![first])),
            };
            let bounds = (Bound::Excluded(step.after), Bound::Included(step.upto));
            let within = table.range(bounds).copied();
            let gone: Vec<_> = within
                .filter(|row| !step.kept.contains(row))
                .take(MAX_STEP_ROWS)
                .collect();
            for row in &gone {
                table.remove(row);
            }
            let done = Done {
                deleted: gone.len() as u64,
                rest: if gone.len() < MAX_STEP_ROWS {
                    Rest::Nothing
                } else {
                    Rest::Again
                },
                ..Done::default()
            };
            purge.done(&Step::Sweep(step), done, Duration::ZERO);
            assert!(receiver.try_recv().is_err());
        }
        let expected: BTreeSet<_> = kept.into_iter().chain([next]).collect();
        assert_eq!(table, expected);
    }

    #[test]
    fn batches_are_merged_when_everything_is_deleted() {
        let mut purge = Purge::new(vec![RowId::new(Revision::new(1), 0)], None);
        purge.merge_up_to(Revision::new(9));
        let delete = purge.next_step().unwrap();
        assert!(matches!(delete, Step::Delete(_)), "{delete:?}");
        purge.done(&delete, Done::default(), Duration::ZERO);
        let upto = RowId::last_of(Revision::new(9));
        let first = purge.next_step().unwrap();
        let after = RowId::MIN;
        assert_eq!(first, Step::Merge(MergeStep { after, upto }));
        let rest = Rest::Behind(RowId::new(Revision::new(4), 0));
        let done = Done {
            rest,
            ..Done::default()
        };
        purge.done(&first, done, Duration::ZERO);
        // A later compaction goes on where this one is.
        purge.merge_up_to(Revision::new(12));
        let next = purge.next_step().unwrap();
        let (after, upto) = (
            RowId::new(Revision::new(4), 0),
            RowId::last_of(Revision::new(12)),
        );
        assert_eq!(next, Step::Merge(MergeStep { after, upto }));
        // Nobody waits for it.
        let (reply, mut receiver) = ReplySender::<()>::new(None);
        purge.wait(PreparedReply::new(reply, Ok(())));
        assert!(matches!(receiver.try_recv(), Ok(Ok(()))));
        purge.done(&next, Done::default(), Duration::ZERO);
        assert_eq!(purge.next_step(), None);
    }

    #[test]
    fn nothing_is_swept_before_the_first_compaction() {
        assert!(Sweep::new(Revision::new(-1), Vec::new()).is_none());
        assert!(Sweep::new(Revision::NONE, Vec::new()).is_none());
    }
}
