//! The rows that compaction made superfluous, and how many to delete in one step.

use std::{collections::VecDeque, time::Duration};

use super::command::{Reply, ReplySender};
use crate::mvcc::RowId;

/// Rows of one step, at first and at least: a page or two.
const MIN_STEP_ROWS: usize = 16;

/// Rows of one step at the most: parameters of one statement, pages of one Raft entry.
const MAX_STEP_ROWS: usize = 1024;

/// How long one step may hold the writer. A step that took longer is followed by a smaller one.
const STEP_TARGET: Duration = Duration::from_millis(4);

/// While writes keep coming, one step goes after this many batches.
const BATCHES_PER_STEP: u32 = 4;

#[derive(Debug)]
pub struct Purge {
    rows: VecDeque<RowId>,
    waiting: Vec<ReplySender>,
    step_rows: usize,
    batches: u32,
}

impl Purge {
    pub fn new(rows: Vec<RowId>) -> Self {
        Self {
            rows: rows.into(),
            waiting: Vec::new(),
            step_rows: MIN_STEP_ROWS,
            batches: 0,
        }
    }

    pub fn add(&mut self, rows: impl IntoIterator<Item = RowId>) {
        self.rows.extend(rows);
    }

    /// Answers when all rows that are known now, and any that are added before, are deleted.
    pub fn wait(&mut self, reply: ReplySender) {
        self.waiting.push(reply);
        self.answer_if_done();
    }

    /// Counts a batch of writes; whether a step is due although more writes wait.
    pub fn is_due(&mut self) -> bool {
        self.batches += 1;
        if self.rows.is_empty() || self.batches < BATCHES_PER_STEP {
            return false;
        }
        self.batches = 0;
        true
    }

    /// The rows of the next step, or none.
    pub fn next_step(&mut self) -> Option<Vec<RowId>> {
        let count = self.rows.len().min(self.step_rows);
        (count > 0).then(|| self.rows.drain(..count).collect())
    }

    pub fn finished(&mut self, took: Duration) {
        self.step_rows = if took > STEP_TARGET {
            (self.step_rows / 2).max(MIN_STEP_ROWS)
        } else if took < STEP_TARGET / 2 {
            (self.step_rows * 2).min(MAX_STEP_ROWS)
        } else {
            self.step_rows
        };
        self.answer_if_done();
    }

    /// Takes rows back whose deletion failed.
    pub fn failed(&mut self, rows: Vec<RowId>) {
        for row in rows.into_iter().rev() {
            self.rows.push_front(row);
        }
        self.step_rows = MIN_STEP_ROWS;
    }

    fn answer_if_done(&mut self) {
        if self.rows.is_empty() {
            for reply in self.waiting.drain(..) {
                // The client may have gone.
                let _ = reply.send(Ok(Reply::Compacted));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn steps_grow_while_they_are_fast_and_shrink_when_slow() {
        let mut purge = Purge::new((0..10_000).collect());
        assert_eq!(purge.next_step().unwrap().len(), MIN_STEP_ROWS);
        purge.finished(Duration::from_micros(100));
        assert_eq!(purge.next_step().unwrap().len(), 2 * MIN_STEP_ROWS);
        for _ in 0..20 {
            purge.finished(Duration::from_micros(100));
        }
        assert_eq!(purge.next_step().unwrap().len(), MAX_STEP_ROWS);
        purge.finished(Duration::from_millis(50));
        assert_eq!(purge.next_step().unwrap().len(), MAX_STEP_ROWS / 2);
    }

    #[test]
    fn rows_of_a_failed_step_come_again_in_order() {
        let mut purge = Purge::new((0..40).collect());
        let first = purge.next_step().unwrap();
        purge.failed(first.clone());
        assert_eq!(purge.next_step().unwrap(), first);
    }

    #[test]
    fn whoever_waits_is_answered_after_the_last_step() {
        let mut purge = Purge::new(vec![1]);
        let (sender, mut receiver) = oneshot::channel();
        purge.next_step().unwrap();
        purge.add([2]);
        purge.wait(sender);
        assert!(receiver.try_recv().is_err());
        purge.next_step().unwrap();
        purge.finished(Duration::ZERO);
        assert!(matches!(receiver.try_recv(), Ok(Ok(Reply::Compacted))));
    }
}
