//! All versions that the store keeps up to a revision, in the order in which they were written.
//!
//! Invariant: what is collected belongs to one compaction revision and one revision, whatever is
//! committed or compacted meanwhile. It holds references to versions, never copies of them, and the
//! lock of the history for a bounded number of commits at a time.
//!
//! Versions at or below the compaction revision are not in the log any more, but for each of them
//! there is either a live key in the tree or a commit in the log that replaced it.

use std::sync::Arc;

use super::{History, HistoryError, Snapshot};
use crate::mvcc::{ChangeKind, Commit, KeyValue, Revision};

/// Changes that are collected under one lock: some 50 us of the writer's time.
const CHANGES_PER_LOCK: usize = 4096;

/// The number of attempts to collect without a compaction in between. Compactions are minutes apart, and collecting
/// takes milliseconds, so the second attempt succeeds; after the last one, all is collected under one long lock.
const MAX_ATTEMPTS: usize = 4;

/// Versions in the order of their rows. Tombstones have version 0.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    pub revision: Revision,
    pub compact_revision: Revision,
    /// The versions at or below the compaction revision.
    base: Vec<Arc<KeyValue>>,
    /// The commits above it.
    commits: Vec<Arc<Commit>>,
}

/// The parts from which the kept versions are collected.
#[derive(Debug)]
struct Collected {
    compact_revision: Revision,
    snapshot: Arc<Snapshot>,
    /// The commits from the compaction revision to that of the snapshot, both included.
    commits: Vec<Arc<Commit>>,
}

impl History {
    /// Every version that is kept for readers of revisions from the compaction revision up to
    /// `revision` (0 is the current one), and tombstones from the compaction revision on. Takes time
    /// in proportion to the number of keys and commits: not for a thread that serves requests.
    pub fn versions(&self, revision: Revision) -> Result<Versions, HistoryError> {
        Ok(self.collect(revision)?.kept())
    }

    /// The versions that etcd's HashKV covers (`mvcc/hash.go`): above the compaction revision all of
    /// them; at or below it those that are live at `revision`, or all when nothing is live then.
    /// Tombstones at the compaction revision are left out.
    pub fn hashed_versions(&self, revision: Revision) -> Result<Versions, HistoryError> {
        let collected = self.collect(revision)?;
        Ok(if collected.snapshot.tree.is_empty() {
            collected.kept().without_tombstones_below()
        } else {
            collected.live_below()
        })
    }

    fn collect(&self, revision: Revision) -> Result<Collected, HistoryError> {
        for _ in 0..MAX_ATTEMPTS {
            let compact_revision = self.compact_revision();
            // Of a past revision that is compacted meanwhile, the snapshot stays whole.
            let snapshot = self.at(revision)?;
            let commits = self.commits_between(compact_revision, snapshot.revision);
            if self.compact_revision() == compact_revision {
                return Ok(Collected {
                    compact_revision,
                    snapshot,
                    commits,
                });
            }
        }
        self.collect_at_once(revision)
    }

    /// Returns the commits from `from` to `last`, both included; a compaction in between cuts them short.
    fn commits_between(&self, from: Revision, last: Revision) -> Vec<Arc<Commit>> {
        let mut commits: Vec<Arc<Commit>> = Vec::new();
        let mut next = from;
        while next <= last {
            let Ok(step) = self.commits_from(next, CHANGES_PER_LOCK) else {
                break;
            };
            let Some(newest) = step.last() else { break };
            next = newest.revision.next();
            commits.extend(step.into_iter().take_while(|c| c.revision <= last));
        }
        commits
    }

    fn collect_at_once(&self, revision: Revision) -> Result<Collected, HistoryError> {
        let snapshot = self.at(revision)?;
        let past = self.lock();
        self.check_not_compacted(snapshot.revision)?;
        let compact_revision = self.compact_revision();
        let mut commits = past.log.commits_from(compact_revision, usize::MAX);
        drop(past);
        commits.retain(|commit| commit.revision <= snapshot.revision);
        Ok(Collected {
            compact_revision,
            snapshot,
            commits,
        })
    }
}

impl Collected {
    fn kept(self) -> Versions {
        let compact_revision = self.compact_revision;
        let is_base = |kv: &&Arc<KeyValue>| kv.mod_revision <= compact_revision;
        let changes = || self.commits.iter().flat_map(|commit| &commit.changes);
        let live = self.snapshot.tree.iter().filter(is_base);
        let replaced = changes()
            .filter(|change| change.kv.mod_revision > compact_revision)
            .filter_map(|change| change.prev.as_ref())
            .filter(is_base);
        let tombstones = changes()
            .filter(|change| change.kind == ChangeKind::Delete)
            .map(|change| &change.kv)
            .filter(is_base);
        let base = live.chain(replaced).chain(tombstones).cloned().collect();
        self.with_base(base)
    }

    fn live_below(self) -> Versions {
        let compact_revision = self.compact_revision;
        let live = self.snapshot.tree.iter();
        let base = live
            .filter(|kv| kv.mod_revision <= compact_revision)
            .cloned()
            .collect();
        self.with_base(base)
    }

    fn with_base(self, mut base: Vec<Arc<KeyValue>>) -> Versions {
        // The ids side by side: versions are all over the memory.
        base.sort_by_cached_key(|kv| kv.row_id());
        let mut commits = self.commits;
        commits.retain(|commit| commit.revision > self.compact_revision);
        Versions {
            revision: self.snapshot.revision,
            compact_revision: self.compact_revision,
            base,
            commits,
        }
    }
}

/// A position among the versions, from which the iteration goes on without a borrow.
#[derive(Debug, Clone, Copy, Default)]
pub struct VersionsCursor {
    base: usize,
    commit: usize,
    change: usize,
}

impl Versions {
    pub fn iter(&self) -> impl Iterator<Item = &Arc<KeyValue>> {
        let mut cursor = VersionsCursor::default();
        std::iter::from_fn(move || self.next(&mut cursor))
    }

    /// The version at the cursor, which moves on.
    pub fn next(&self, cursor: &mut VersionsCursor) -> Option<&Arc<KeyValue>> {
        if let Some(kv) = self.base.get(cursor.base) {
            cursor.base += 1;
            return Some(kv);
        }
        loop {
            let commit = self.commits.get(cursor.commit)?;
            if let Some(change) = commit.changes.get(cursor.change) {
                cursor.change += 1;
                return Some(&change.kv);
            }
            cursor.commit += 1;
            cursor.change = 0;
        }
    }

    fn without_tombstones_below(mut self) -> Self {
        self.base.retain(|kv| kv.version > 0);
        self
    }
}
