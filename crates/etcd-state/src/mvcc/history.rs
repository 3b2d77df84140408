//! The committed state of the store: the newest revision, and every one since the compaction.
//!
//! Invariants: the head is the result of the log's last commit; every revision from the compaction
//! revision to the head can be read, watched and compacted; nothing below it can, from the moment
//! that `compact` returned. A snapshot stays valid for as long as somebody holds it.
//!
//! Only the head's tree and the log are needed to read any revision, by undoing commits from the
//! head; checkpoints in between only shorten the way. Readers of the head take no lock.

mod checkpoints;
mod log;
mod versions;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::{Commit, Revision, RowId, Tree};
use checkpoints::{Checkpoints, Discarded};
use log::Log;
pub use versions::{Versions, VersionsCursor};

/// The compaction revision of a store that never was compacted. As in etcd (`kvstore.go`) it is
/// below 0, so that a first compaction at revision 0 succeeds.
pub const NEVER_COMPACTED: Revision = Revision::new(-1);

/// All live keys at one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub revision: Revision,
    pub tree: Tree,
}

/// The reason why a revision cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("revision is below the compaction revision {compact_revision}")]
    Compacted { compact_revision: Revision },
    #[error("revision is above the current revision {current_revision}")]
    Future { current_revision: Revision },
}

/// The size of the history, for metrics. Bytes are keys, values and their bookkeeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistorySize {
    pub keys: usize,
    pub commits: usize,
    pub changes: usize,
    pub live_bytes: u64,
    /// Superseded versions and tombstones.
    pub superseded_bytes: u64,
    /// Trees of past revisions, including those kept for readers.
    pub checkpoints: usize,
}

pub struct History {
    /// Set under the lock of `past`, read without it.
    head: ArcSwap<Snapshot>,
    compact_revision: AtomicI64,
    past: Mutex<Past>,
}

/// The parts of the history that change together with the head.
pub(super) struct Past {
    pub log: Log,
    pub checkpoints: Checkpoints,
}

impl Past {
    pub fn new() -> Self {
        Past {
            log: Log::new(),
            checkpoints: Checkpoints::new(),
        }
    }

    /// Adds the commit that led to `tree`.
    pub fn push(&mut self, commit: Arc<Commit>, tree: &Tree) {
        let revision = commit.revision;
        self.log.push(commit);
        self.keep_checkpoint(revision, tree);
    }

    fn keep_checkpoint(&mut self, revision: Revision, tree: &Tree) -> Option<Discarded> {
        let position = self.log.end_position();
        self.checkpoints.is_due(position).then(|| {
            let snapshot = Arc::new(Snapshot {
                revision,
                tree: tree.clone(),
            });
            self.checkpoints.push(position, snapshot)
        })
    }
}

impl Default for History {
    fn default() -> Self {
        History::new()
    }
}

impl History {
    /// An empty store.
    pub fn new() -> Self {
        History::restore(Tree::new(), Revision::FIRST, NEVER_COMPACTED, Vec::new())
    }

    /// The store as it was: `tree` at `revision`, and the commits from `compact_revision` on.
    pub fn restore(
        tree: Tree,
        revision: Revision,
        compact_revision: Revision,
        commits: Vec<Arc<Commit>>,
    ) -> Self {
        let mut past = Past::new();
        for commit in commits {
            assert!(
                commit.revision >= compact_revision,
                "log reaches below the compaction"
            );
            past.log.push(commit);
        }
        History::assemble(Snapshot { revision, tree }, compact_revision, past)
    }

    pub(super) fn assemble(head: Snapshot, compact_revision: Revision, mut past: Past) -> Self {
        let last = past.log.last_revision().unwrap_or(compact_revision);
        assert!(last <= head.revision, "log reaches above the head");
        past.log.count_live(&head.tree);
        History {
            head: ArcSwap::from_pointee(head),
            compact_revision: AtomicI64::new(compact_revision.number()),
            past: Mutex::new(past),
        }
    }

    /// The newest committed state.
    pub fn head(&self) -> Arc<Snapshot> {
        self.head.load_full()
    }

    pub fn compact_revision(&self) -> Revision {
        Revision::new(self.compact_revision.load(Ordering::Acquire))
    }

    /// The state at `revision`; 0 and below mean now. An old revision costs time in proportion to
    /// the changes between it and the next checkpoint, unless it was read recently.
    pub fn at(&self, revision: Revision) -> Result<Arc<Snapshot>, HistoryError> {
        let head = self.head();
        if revision <= Revision::NONE || revision == head.revision {
            return Ok(head);
        }
        drop(head);
        let (materialised, evicted) = {
            let mut past = self.lock();
            self.check_readable(revision)?;
            let Past { log, checkpoints } = &mut *past;
            checkpoints.materialise(revision, log, || self.head())
        };
        drop(evicted);
        // The replay runs outside of the lock; who asks for the same revision waits for it.
        Ok(Arc::clone(LazyLock::force(&materialised)))
    }

    /// Adds what the writer committed, and makes `tree`, the result, the head.
    pub fn append(&self, commits: &[Arc<Commit>], tree: Tree) {
        let Some(last) = commits.last() else { return };
        let revision = last.revision;
        let mut past = self.lock();
        let mut newest = self.head.load().revision;
        let is_complete = commits.iter().all(|commit| {
            let is_next = commit.revision == newest.next();
            newest = commit.revision;
            is_next
        });
        assert!(is_complete, "a commit is missing");
        commits
            .iter()
            .for_each(|commit| past.log.push(Arc::clone(commit)));
        let thinned = past.keep_checkpoint(revision, &tree);
        let former = self.head.swap(Arc::new(Snapshot { revision, tree }));
        drop(past);
        // The last references free the nodes that no other revision shares: not under the lock.
        drop((thinned, former));
    }

    /// Becomes `other`, which must continue what was here: for a node that was away so long that the
    /// commits it misses are compacted.
    pub fn replace(&self, other: History) {
        let head = other.head.into_inner();
        let other_past = other
            .past
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut past = self.lock();
        self.compact_revision
            .store(other.compact_revision.into_inner(), Ordering::Release);
        let former_past = std::mem::replace(&mut *past, other_past);
        let former = self.head.swap(head);
        drop(past);
        drop((former_past, former));
    }

    /// The commits from `from` on, in order: as many as have `max_changes` changes together, but at
    /// least one; none when `from` is above the head. Events of the first one have no visible
    /// previous version if it is at the compaction revision: see `Change::visible_prev`.
    pub fn commits_from(
        &self,
        from: Revision,
        max_changes: usize,
    ) -> Result<Vec<Arc<Commit>>, HistoryError> {
        let past = self.lock();
        self.check_not_compacted(from)?;
        Ok(past.log.commits_from(from, max_changes))
    }

    /// Makes `revision` the oldest one that can be read and watched. Returns the rows that no
    /// reader needs any more, ascending. They are to be purged in this order: a tombstone must not
    /// go before the versions that it hides.
    ///
    /// Frees what it drops, some 0.5 ms per 1,000 commits: not for a thread that serves requests.
    /// The writer and the readers go on meanwhile.
    pub fn compact(&self, revision: Revision) -> Result<Vec<RowId>, HistoryError> {
        let mut past = self.lock();
        let previous = self.compact_revision();
        if revision <= previous {
            return Err(HistoryError::Compacted {
                compact_revision: previous,
            });
        }
        self.check_not_future(revision)?;
        self.compact_revision
            .store(revision.number(), Ordering::Release);
        let dropped = past.log.compact(revision);
        let remaining_changes = past.log.changes();
        let discarded = past.checkpoints.compact(revision, remaining_changes);
        drop(past);
        drop(discarded);
        Ok(dropped.garbage(previous, revision))
    }

    /// All rows up to the compaction revision that readers need, ascending, and that revision. Takes some
    /// 0.1 ms per 1,000 keys and commits: not for a thread that serves requests.
    pub fn rows_to_compaction(&self) -> (Revision, Vec<RowId>) {
        let (compact_revision, head, commits) = {
            let past = self.lock();
            let commits = past.log.commits_from(Revision::MIN, usize::MAX);
            (self.compact_revision(), self.head(), commits)
        };
        let (at, later): (Vec<_>, Vec<_>) = commits
            .iter()
            .flat_map(|commit| &commit.changes)
            .partition(|change| change.kv.mod_revision <= compact_revision);
        // A version that lived then lives still, or is what its next change replaced.
        let replaced = later.iter().filter_map(|change| change.prev.as_ref());
        let living = head.tree.iter().chain(replaced);
        let mut rows: Vec<_> = living
            .chain(at.iter().map(|change| &change.kv))
            .filter(|kv| kv.mod_revision <= compact_revision)
            .map(|kv| kv.row_id())
            .collect();
        rows.sort_unstable();
        rows.dedup();
        (compact_revision, rows)
    }

    pub fn size(&self) -> HistorySize {
        let past = self.lock();
        HistorySize {
            keys: self.head.load().tree.len(),
            commits: past.log.commits(),
            changes: past.log.changes(),
            live_bytes: past.log.live_bytes(),
            superseded_bytes: past.log.superseded_bytes(),
            checkpoints: past.checkpoints.len(),
        }
    }

    fn check_readable(&self, revision: Revision) -> Result<(), HistoryError> {
        self.check_not_future(revision)?;
        self.check_not_compacted(revision)
    }

    fn check_not_compacted(&self, revision: Revision) -> Result<(), HistoryError> {
        let compact_revision = self.compact_revision();
        if revision < compact_revision {
            return Err(HistoryError::Compacted { compact_revision });
        }
        Ok(())
    }

    fn check_not_future(&self, revision: Revision) -> Result<(), HistoryError> {
        let current_revision = self.head.load().revision;
        if revision > current_revision {
            return Err(HistoryError::Future { current_revision });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Past> {
        // Nothing can panic under the lock but assertions that come before any change.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
