//! When the next backup is due, and which ones may go. Pure.

use std::{path::PathBuf, time::Duration};

use super::names::{Name, Time};

/// After a failure, how long until the next attempt; each failure in a row doubles it, up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LAST_RETRY: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSettings {
    pub dir: PathBuf,
    pub interval: Duration,
    /// At least 1.
    pub keep: usize,
    /// What a backup leaves free on its disk.
    pub reserve_bytes: u64,
}

/// Until the next one, `newest` being the last that is there. A clock that was set back delays it by one
/// interval at most.
pub fn due_in(newest: Option<Time>, now: Time, interval: Duration) -> Duration {
    let Some(newest) = newest else {
        return Duration::ZERO;
    };
    let passed = now.unix_s().saturating_sub(newest.unix_s());
    interval.saturating_sub(Duration::from_secs(passed))
}

/// Until the next attempt after so many failures in a row.
pub fn retry_in(failures: u32, interval: Duration) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LAST_RETRY).min(interval)
}

/// The newest one that this node made.
pub fn newest(names: &[Name], node_id: u64) -> Option<Time> {
    let own = names.iter().filter(|name| name.node_id == node_id);
    own.map(|name| name.time).max()
}

/// Those that this node made, but for the newest `keep`.
pub fn expired(names: &[Name], node_id: u64, keep: usize) -> Vec<Name> {
    let own = names.iter().filter(|name| name.node_id == node_id);
    let mut own: Vec<Name> = own.copied().collect();
    own.sort();
    own.truncate(own.len().saturating_sub(keep));
    own
}

#[cfg(test)]
mod tests {
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
        fn only_the_oldest_of_this_node_go(
            found in proptest::collection::vec((0..50_u64, 1..9_i64, 0..3_u64), 0..40),
            keep in 1..8_usize
        ) {
            let mut names: Vec<Name> = found.into_iter().map(|(time, revision, node_id)| Name {
                time: Time::from_unix(time), revision, node_id
            }).collect();
            names.sort();
            names.dedup();
            let gone = expired(&names, 1, keep);
            let own = names.iter().filter(|name| name.node_id == 1).count();
            prop_assert_eq!(gone.len(), own.saturating_sub(keep));
            prop_assert!(gone.iter().all(|name| name.node_id == 1));
            let stays = |name: &&Name| name.node_id == 1 && !gone.contains(name);
            prop_assert!(names.iter().filter(stays).all(|kept| gone.iter().all(|old| old < kept)));
        }
    }
}
