//! Decides when the next backup is due, and which ones may be deleted. Pure.

use std::{path::PathBuf, time::Duration};

use dqlite::wire::NodeId;

use super::names::{Name, Time};

/// The pause after a failure; each failure in a row doubles it, up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LAST_RETRY: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    pub dir: PathBuf,
    pub interval: Duration,
    /// The number of backups to keep, at least 1.
    pub keep: usize,
    /// The free space that a backup leaves on its disk.
    pub reserve_bytes: u64,
}

/// Returns the time until the next backup, if `newest` is the last one. A clock that was set back
/// delays it by one interval at most.
pub fn due_in(newest: Option<Time>, now: Time, interval: Duration) -> Duration {
    let Some(newest) = newest else {
        return Duration::ZERO;
    };
    let passed = now.unix_s().saturating_sub(newest.unix_s());
    interval.saturating_sub(Duration::from_secs(passed))
}

/// Returns the time until the next attempt, after this many failures in a row.
pub fn retry_in(failures: u32, interval: Duration) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LAST_RETRY).min(interval)
}

/// Returns the time of the newest backup that this node made.
pub fn newest(names: &[Name], node_id: NodeId) -> Option<Time> {
    let own = names.iter().filter(|name| name.node_id == node_id);
    own.map(|name| name.time).max()
}

/// Returns the backups that this node made, in the order in which it made them. `order` lists the
/// later ones; those that are not in it were made before.
pub fn in_order(names: &[Name], node_id: NodeId, order: &[Name]) -> Vec<Name> {
    let own = names.iter().filter(|name| name.node_id == node_id);
    let mut own: Vec<Name> = own.copied().collect();
    own.sort_by_key(|name| (order.iter().rposition(|made| made == name), *name));
    own
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::Revision;
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_first_is_due_at_once_and_the_next_an_interval_after_the_last() {
        let at = Time::from_unix;
        assert_eq!(due_in(None, at(5000), HOUR), Duration::ZERO);
        assert_eq!(due_in(Some(at(5000)), at(5000), HOUR), HOUR);
        assert_eq!(due_in(Some(at(5000)), at(5600), HOUR), HOUR * 5 / 6);
        assert_eq!(due_in(Some(at(5000)), at(99_999), HOUR), Duration::ZERO);
        assert_eq!(due_in(Some(at(5000)), at(1), HOUR), HOUR);
    }

    #[test]
    fn attempts_become_rarer_and_never_rarer_than_backups() {
        let minutes = |failures| retry_in(failures, HOUR * 24).as_secs() / 60;
        assert_eq!([1, 2, 3, 7, 99].map(minutes), [1, 2, 4, 60, 60]);
        assert_eq!(
            retry_in(5, Duration::from_secs(10)),
            Duration::from_secs(10)
        );
    }

    proptest! {
        #[test]
        fn the_order_of_making_counts_whatever_the_clock_said(
            made in proptest::collection::vec((0..50_u64, 1..9_i64), 0..40),
            listed in 0..40_usize,
        ) {
            let mut names: Vec<Name> = Vec::new();
            for (time, revision) in made {
                let name = Name { time: Time::from_unix(time), revision: Revision::new(revision), node_id: NodeId::new(1) };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            // An earlier version made the first ones, while the clock was right.
            let first = names.len() - listed.min(names.len());
            names[..first].sort();
            let other = Name { time: Time::from_unix(9), revision: Revision::new(3), node_id: NodeId::new(2) };
            let mut found = names.clone();
            found.push(other);
            found.reverse();
            prop_assert_eq!(in_order(&found, NodeId::new(1), &names[first..]), names);
        }
    }
}
