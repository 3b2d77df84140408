//! The inbox in which the writer leaves commits for the hub.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use etcd_state::mvcc::Commit;
use tokio::sync::Notify;

/// Commits that wait for the hub. Further ones are left in the history, and read from there: the
/// writer never waits for watches, and this much is never more than some megabytes of references.
const LIMIT_COMMITS: usize = 16 * 1024;

/// A mailbox that exists before the hub, because the writer does.
#[derive(Debug, Default)]
pub struct Inbox {
    arrived: Mutex<Arrived>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Arrived {
    commits: VecDeque<Arc<Commit>>,
    /// Later ones are only in the history.
    has_overflowed: bool,
}

impl Inbox {
    /// Takes commits, in revision order, that the history can already give. Never waits.
    pub fn publish(&self, commits: &[Arc<Commit>]) {
        let mut arrived = self.lock();
        if arrived.has_overflowed || arrived.commits.len() + commits.len() > LIMIT_COMMITS {
            arrived.has_overflowed = true;
        } else {
            arrived.commits.extend(commits.iter().cloned());
        }
        drop(arrived);
        self.notify();
    }

    /// Takes the commits to distribute next, of about `max_changes` changes. Also returns whether
    /// the history has more.
    pub(super) fn take_round(&self, max_changes: usize) -> (Vec<Arc<Commit>>, bool) {
        let mut arrived = self.lock();
        let mut changes = 0;
        let fits = |commit: &&Arc<Commit>| {
            changes += commit.changes.len();
            changes <= max_changes
        };
        let count = arrived.commits.iter().take_while(fits).count().max(1);
        let count = count.min(arrived.commits.len());
        let round = arrived.commits.drain(..count).collect();
        let is_last = arrived.commits.is_empty();
        (
            round,
            is_last && std::mem::take(&mut arrived.has_overflowed),
        )
    }

    /// Resolves after `publish` or `notify`. Cancel safe.
    pub(super) async fn arrived(&self) {
        self.notify.notified().await;
    }

    pub(super) fn notify(&self) {
        self.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        // Nothing under the lock can panic half way.
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::Revision;

    use super::*;

    fn commit(revision: i64) -> Arc<Commit> {
        Arc::new(Commit {
            revision: Revision::new(revision),
            changes: Vec::new(),
        })
    }

    #[test]
    fn what_does_not_fit_is_said_to_be_in_the_history() {
        let inbox = Inbox::default();
        let commits: Vec<_> = (0..LIMIT_COMMITS as i64).map(commit).collect();
        inbox.publish(&commits);
        inbox.publish(&[commit(-1)]);
        let (round, has_more) = inbox.take_round(usize::MAX);
        assert_eq!((round.len(), has_more), (LIMIT_COMMITS, true));
        inbox.publish(&[commit(-2)]);
        let (round, has_more) = inbox.take_round(usize::MAX);
        assert_eq!((round[0].revision.number(), has_more), (-2, false));
    }
}
