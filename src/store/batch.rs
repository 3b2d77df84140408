//! The batch of one commit: the changes of many requests, and the records that go with them.

use std::sync::Arc;

use etcd_state::{
    mvcc::{Commit, LeaseId, Revision, RowId},
    settings::SettingChange,
};

use super::purge::SweepStep;

/// Rows of one batch. More does not make a row cheaper (spec'd by measurement: 6-10 us of CPU each
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

#[derive(Debug, Default)]
pub struct Batch {
    pub commits: Vec<Arc<Commit>>,
    pub records: Vec<Record>,
    /// Rows to delete, in order; never together with the others.
    pub purge: Vec<RowId>,
    /// A step of the sweep; never together with anything else.
    pub sweep: Option<SweepStep>,
    /// Give free pages back; never together with anything else.
    pub is_vacuum: bool,
    rows: usize,
    bytes: usize,
}

impl Batch {
    pub fn purge(ids: Vec<RowId>) -> Self {
        Self {
            purge: ids,
            ..Self::default()
        }
    }

    pub fn sweep(step: SweepStep) -> Self {
        Self {
            sweep: Some(step),
            ..Self::default()
        }
    }

    pub fn vacuum() -> Self {
        Self {
            is_vacuum: true,
            ..Self::default()
        }
    }

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
        self.commits.is_empty()
            && self.records.is_empty()
            && self.purge.is_empty()
            && self.sweep.is_none()
    }

    /// Returns whether the next request must wait for the next batch.
    pub fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES || self.records.len() >= MAX_ROWS
    }
}
