//! Trees of past revisions: checkpoints at intervals, and those that clients read.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use super::Snapshot;
use super::log::Log;
use crate::mvcc::{Commit, Revision};

/// Changes between checkpoints while the log is short: the undoing of half as many takes well under
/// a millisecond.
const MIN_INTERVAL_CHANGES: u64 = 512;

/// A checkpoint keeps the nodes that changed since, at most all of the tree's: 4 MiB for 200,000
/// keys. With this many, a read in the middle of 100,000 changes costs 1 ms.
const MAX_CHECKPOINTS: usize = 8;

/// Revisions kept because a client read them: a paginated list asks for the same one again with
/// each page, and there are few of those at a time. Each costs as much as a checkpoint.
const MAX_MATERIALISED: usize = 8;

/// Built on first use, outside of the lock under which it was planned.
pub type Materialised = LazyLock<Arc<Snapshot>, Box<dyn FnOnce() -> Arc<Snapshot> + Send>>;

pub struct Checkpoints {
    /// The checkpoints in ascending order of revisions.
    checkpoints: VecDeque<Checkpoint>,
    interval_changes: u64,
    /// The log position of the newest checkpoint.
    last_position: u64,
    /// The most recently used last.
    materialised: Vec<(Revision, Arc<Materialised>)>,
}

struct Checkpoint {
    position: u64,
    snapshot: Arc<Snapshot>,
}

/// Trees that are no longer needed. Dropping them may free a large part of a tree, so do it outside
/// of the lock.
#[derive(Default)]
pub struct Discarded {
    checkpoints: VecDeque<Checkpoint>,
    materialised: Vec<(Revision, Arc<Materialised>)>,
}

impl Checkpoints {
    pub fn new() -> Self {
        Checkpoints {
            checkpoints: VecDeque::new(),
            interval_changes: MIN_INTERVAL_CHANGES,
            last_position: 0,
            materialised: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.checkpoints.len() + self.materialised.len()
    }

    pub fn is_due(&self, position: u64) -> bool {
        position - self.last_position >= self.interval_changes
    }

    /// Keeps one more; gives up every other one when they are too many.
    pub fn push(&mut self, position: u64, snapshot: Arc<Snapshot>) -> Discarded {
        self.last_position = position;
        self.checkpoints
            .push_back(Checkpoint { position, snapshot });
        let mut discarded = Discarded::default();
        if self.checkpoints.len() > MAX_CHECKPOINTS {
            self.interval_changes *= 2;
            for (at, checkpoint) in std::mem::take(&mut self.checkpoints)
                .into_iter()
                .enumerate()
            {
                let kept = if at % 2 == 0 {
                    &mut self.checkpoints
                } else {
                    &mut discarded.checkpoints
                };
                kept.push_back(checkpoint);
            }
        }
        discarded
    }

    /// Plans the tree of `revision`, a past one that the log still reaches, unless there is one.
    pub fn materialise(
        &mut self,
        revision: Revision,
        log: &Log,
        head: impl FnOnce() -> Arc<Snapshot>,
    ) -> (Arc<Materialised>, Discarded) {
        if let Some(at) = self.materialised.iter().position(|(r, _)| *r == revision) {
            let found = self.materialised.remove(at);
            let materialised = Arc::clone(&found.1);
            self.materialised.push(found);
            return (materialised, Discarded::default());
        }
        let nearest = self.nearest(revision, log, head);
        let commits = if nearest.revision < revision {
            log.between(nearest.revision, revision)
        } else {
            log.between(revision, nearest.revision)
        };
        let build = move || Arc::new(travel(&nearest, revision, &commits));
        let materialised: Arc<Materialised> = Arc::new(LazyLock::new(Box::new(build)));
        let mut discarded = Discarded::default();
        if self.materialised.len() == MAX_MATERIALISED {
            discarded.materialised.push(self.materialised.remove(0));
        }
        self.materialised
            .push((revision, Arc::clone(&materialised)));
        (materialised, discarded)
    }

    /// The known tree with the fewest changes between it and `revision`.
    fn nearest(
        &self,
        revision: Revision,
        log: &Log,
        head: impl FnOnce() -> Arc<Snapshot>,
    ) -> Arc<Snapshot> {
        let wanted = log.position_of(revision);
        let above = self
            .checkpoints
            .partition_point(|c| c.snapshot.revision <= revision);
        let newer = self.checkpoints.get(above);
        let newer_position = newer.map_or(log.end_position(), |newer| newer.position);
        match above.checked_sub(1).map(|at| &self.checkpoints[at]) {
            Some(older) if wanted - older.position <= newer_position - wanted => {
                Arc::clone(&older.snapshot)
            }
            _ => newer.map_or_else(head, |newer| Arc::clone(&newer.snapshot)),
        }
    }

    /// Gives up what is below `revision`, as far as nobody reads it.
    pub fn compact(&mut self, revision: Revision, remaining_changes: usize) -> Discarded {
        let count = self
            .checkpoints
            .partition_point(|c| c.snapshot.revision < revision);
        let kept = self.checkpoints.split_off(count);
        let (old, current): (Vec<_>, Vec<_>) = self
            .materialised
            .drain(..)
            .partition(|(r, _)| *r < revision);
        self.materialised = current;
        let spread = (remaining_changes / MAX_CHECKPOINTS) as u64;
        self.interval_changes = spread.next_power_of_two().max(MIN_INTERVAL_CHANGES);
        Discarded {
            checkpoints: std::mem::replace(&mut self.checkpoints, kept),
            materialised: old,
        }
    }
}

/// The tree at `revision`, from another one and the commits between both.
fn travel(from: &Snapshot, revision: Revision, commits: &[Arc<Commit>]) -> Snapshot {
    let mut tree = from.tree.clone();
    if from.revision < revision {
        commits.iter().for_each(|commit| tree.apply(commit));
    } else {
        commits.iter().rev().for_each(|commit| tree.revert(commit));
    }
    Snapshot { revision, tree }
}
