//! The work of one write to the database: a batch of many requests, or a task beside them.

use std::sync::Arc;

use etcd_state::{
    mvcc::{Commit, LeaseId, Revision},
    settings::SettingChange,
};

use super::purge::Step;

/// Rows of one batch. More rows do not make each one cheaper (measured: 6-10 us of CPU each
/// from 64 rows on), it only makes the first request of a batch wait longer. A request that changes
/// more than this is still one batch.
pub const MAX_ROWS: usize = 256;

/// Keys and values of one batch in bytes, for the same reason.
pub const MAX_BYTES: usize = 1024 * 1024;

/// A change beside the change table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    LeaseGranted { id: LeaseId, granted_ttl_s: i64 },
    LeaseRemoved { id: LeaseId },
    LeaseCheckpoint { id: LeaseId, remaining_s: i64 },
    Compacted { revision: Revision },
    Setting(SettingChange),
}

/// One write to the database, which takes effect as a whole or not at all.
#[derive(Debug)]
pub enum Write {
    Batch(Batch),
    /// Deletes rows that compaction made superfluous.
    Purge(Step),
    /// Gives free pages back.
    Vacuum,
}

impl Write {
    pub fn rows(&self) -> usize {
        self.batch().map_or(0, Batch::rows)
    }

    pub fn bytes(&self) -> usize {
        self.batch().map_or(0, Batch::bytes)
    }

    pub fn batch(&self) -> Option<&Batch> {
        match self {
            Self::Batch(batch) => Some(batch),
            Self::Purge(_) | Self::Vacuum => None,
        }
    }
}

/// The changes of many requests, and the records that go with them.
#[derive(Debug, Default)]
pub struct Batch {
    pub commits: Vec<Arc<Commit>>,
    pub records: Vec<Record>,
    rows: usize,
    bytes: usize,
}

impl Batch {
    pub fn of_records(records: Vec<Record>) -> Self {
        Self {
            records,
            ..Self::default()
        }
    }

    pub fn push(&mut self, commit: Arc<Commit>) {
        self.rows += commit.changes.len();
        for change in &commit.changes {
            self.bytes += change.kv.key.len() + change.kv.value.len();
        }
        self.commits.push(commit);
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.records.is_empty()
    }

    /// Returns whether the next request must wait for the next batch.
    pub fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES || self.records.len() >= MAX_ROWS
    }
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::RowId;

    use super::*;

    #[test]
    fn a_batch_is_empty_until_it_has_a_commit_or_a_record() {
        assert!(Batch::default().is_empty());
        let record = Record::LeaseRemoved {
            id: LeaseId::new(1),
        };
        assert!(!Batch::of_records(vec![record]).is_empty());
        let mut batch = Batch::default();
        batch.push(Arc::new(Commit {
            revision: Revision::new(2),
            changes: Vec::new(),
        }));
        assert!(!batch.is_empty());
    }

    #[test]
    fn only_a_batch_has_rows_of_requests() {
        let purge = Write::Purge(Step::Delete(vec![
            RowId::new(Revision::new(2), 0),
            RowId::new(Revision::new(3), 0),
        ]));
        for write in [purge, Write::Vacuum, Write::Batch(Batch::default())] {
            assert_eq!((write.rows(), write.bytes()), (0, 0), "{write:?}");
            assert_eq!(write.batch().is_some(), matches!(write, Write::Batch(_)));
        }
    }
}
