//! The commits since the compaction revision, oldest first.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mvcc::{Change, ChangeKind, Commit, KeyValue, Revision, RowId, Tree};

/// The bytes of a version beside its key and value: itself with its reference counts, and a share
/// of a tree node.
const VERSION_BYTES: u64 = size_of::<KeyValue>() as u64 + 16 + 24;

pub struct Log {
    entries: VecDeque<Entry>,
    /// Totals at the start of the first entry.
    start: Totals,
    live_bytes: u64,
}

struct Entry {
    commit: Arc<Commit>,
    end: Totals,
}

/// Running sums since the log began, so that any part of it is a subtraction.
#[derive(Clone, Copy, Default)]
struct Totals {
    changes: u64,
    /// Bytes of the versions that only the log keeps: previous ones and tombstones.
    superseded_bytes: u64,
}

/// Commits that fell out of the log, and the one at the compaction revision, which stays.
pub struct Dropped {
    entries: VecDeque<Entry>,
    at_compaction: Option<Arc<Commit>>,
}

impl Log {
    pub fn new() -> Self {
        Log {
            entries: VecDeque::new(),
            start: Totals::default(),
            live_bytes: 0,
        }
    }

    pub fn push(&mut self, commit: Arc<Commit>) {
        assert!(
            self.last_revision()
                .is_none_or(|last| last < commit.revision)
        );
        let mut end = self.end();
        end.changes += commit.changes.len() as u64;
        for change in &commit.changes {
            end.superseded_bytes += superseded_bytes(change);
            // Wraps while a log is restored; `count_live` then sets it right.
            self.live_bytes = self
                .live_bytes
                .wrapping_add(live_bytes(change))
                .wrapping_sub(change.prev.as_deref().map_or(0, version_bytes));
        }
        self.entries.push_back(Entry { commit, end });
    }

    /// Measures the head's versions after a restore; from there on `push` keeps count.
    pub fn count_live(&mut self, tree: &Tree) {
        self.live_bytes = tree.iter().map(|kv| version_bytes(kv)).sum();
    }

    pub fn last_revision(&self) -> Option<Revision> {
        self.entries.back().map(|entry| entry.commit.revision)
    }

    pub fn commits(&self) -> usize {
        self.entries.len()
    }

    pub fn changes(&self) -> usize {
        (self.end().changes - self.start.changes) as usize
    }

    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub fn superseded_bytes(&self) -> u64 {
        self.end().superseded_bytes - self.start.superseded_bytes
    }

    /// The number of changes ever logged up to the newest.
    pub fn end_position(&self) -> u64 {
        self.end().changes
    }

    /// The number of changes ever logged up to those of `revision`.
    pub fn position_of(&self, revision: Revision) -> u64 {
        self.end_before(self.index_after(revision)).changes
    }

    /// The commits above `above` and not above `last`.
    pub fn between(&self, above: Revision, last: Revision) -> Vec<Arc<Commit>> {
        let range = self.index_after(above)..self.index_after(last);
        self.entries
            .range(range)
            .map(|entry| Arc::clone(&entry.commit))
            .collect()
    }

    pub fn commits_from(&self, from: Revision, max_changes: usize) -> Vec<Arc<Commit>> {
        let first = self.index_from(from);
        let limit = self
            .end_before(first)
            .changes
            .saturating_add(max_changes as u64);
        let entries = self.entries.range(first..);
        let within = entries
            .enumerate()
            .take_while(|(at, e)| *at == 0 || e.end.changes <= limit);
        within.map(|(_, entry)| Arc::clone(&entry.commit)).collect()
    }

    /// Takes out the commits below `revision`.
    pub fn compact(&mut self, revision: Revision) -> Dropped {
        let count = self.index_from(revision);
        self.start = self.end_before(count);
        // The lock is held meanwhile: move whichever part is shorter.
        let entries = if count < self.entries.len() / 2 {
            self.entries.drain(..count).collect()
        } else {
            let kept = self.entries.split_off(count);
            std::mem::replace(&mut self.entries, kept)
        };
        let at_compaction = self
            .entries
            .front()
            .filter(|e| e.commit.revision == revision);
        Dropped {
            entries,
            at_compaction: at_compaction.map(|entry| Arc::clone(&entry.commit)),
        }
    }

    fn end(&self) -> Totals {
        self.end_before(self.entries.len())
    }

    fn end_before(&self, index: usize) -> Totals {
        index
            .checked_sub(1)
            .map_or(self.start, |last| self.entries[last].end)
    }

    fn index_from(&self, revision: Revision) -> usize {
        self.entries
            .partition_point(|entry| entry.commit.revision < revision)
    }

    fn index_after(&self, revision: Revision) -> usize {
        self.entries
            .partition_point(|entry| entry.commit.revision <= revision)
    }
}

impl Dropped {
    /// The rows that became garbage when the compaction revision went from `previous` to `current`,
    /// ascending: versions with a newer one not above `current`, and tombstones below `current`.
    pub fn garbage(&self, previous: Revision, current: Revision) -> Vec<RowId> {
        let dropped = self.entries.iter().map(|entry| &entry.commit);
        let mut rows = Vec::new();
        for commit in dropped.chain(&self.at_compaction) {
            for change in &commit.changes {
                // What the commit at the previous compaction superseded was garbage then; only its
                // tombstones had to stay for those who read and watch from there.
                if commit.revision > previous {
                    rows.extend(change.prev.as_ref().map(|prev| prev.row_id()));
                }
                if change.kind == ChangeKind::Delete && commit.revision < current {
                    rows.push(change.kv.row_id());
                }
            }
        }
        rows.sort_unstable();
        rows
    }
}

fn version_bytes(kv: &KeyValue) -> u64 {
    kv.key.len() as u64 + kv.value.len() as u64 + VERSION_BYTES
}

fn live_bytes(change: &Change) -> u64 {
    match change.kind {
        ChangeKind::Put => version_bytes(&change.kv),
        ChangeKind::Delete => 0,
    }
}

fn superseded_bytes(change: &Change) -> u64 {
    let tombstone = match change.kind {
        ChangeKind::Put => 0,
        ChangeKind::Delete => version_bytes(&change.kv),
    };
    tombstone + change.prev.as_deref().map_or(0, version_bytes)
}
