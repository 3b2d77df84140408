//! Warns of certificates that end soon: when the server starts, and once a day.

use tracing::{error, warn};

use super::FileStats;
use crate::cluster::status::{CERTIFICATE_WARNING_DAYS, DAY_S};

/// The files of the pair between nodes are read at the start only.
const NODE_REMEDY: &str = "put a new cluster.crt and cluster.key into the storage directories of all nodes, and restart \
                           them; see docs/operations.md, Certificates";

/// Those of the pair for clients are read again when they change.
const CLIENT_REMEDY: &str = "put new files in their place, which need no restart; see docs/operations.md, TLS of the \
                             etcd endpoint";

/// The time of the last warnings.
#[derive(Debug, Default)]
pub struct Reminder {
    /// The times of those about the pair between nodes and about the one for clients, in seconds since 1970.
    last_s: [Option<i64>; 2],
}

impl Reminder {
    /// Warns of what is due. `now_s` is in seconds since 1970.
    pub fn look(&mut self, stats: &FileStats, now_s: i64) {
        let ends = [
            (
                "between the nodes",
                stats.node_certificate_expires_s,
                NODE_REMEDY,
            ),
            (
                "for clients",
                stats.client_certificate_expires_s,
                CLIENT_REMEDY,
            ),
        ];
        for ((whose, expires_s, remedy), last_s) in ends.into_iter().zip(&mut self.last_s) {
            let Some(days) = expires_s.and_then(|end_s| due(end_s, *last_s, now_s)) else {
                continue;
            };
            *last_s = Some(now_s);
            match days {
                ..0 => error!("the certificate {whose} has expired: {remedy}"),
                days => warn!(days, "the certificate {whose} expires soon: {remedy}"),
            }
        }
    }
}

/// Returns the days that are left, if a warning is due.
fn due(expires_s: i64, last_s: Option<i64>, now_s: i64) -> Option<i64> {
    let days = (expires_s - now_s).div_euclid(DAY_S);
    let is_time = last_s.is_none_or(|last_s| now_s - last_s >= DAY_S);
    (days < CERTIFICATE_WARNING_DAYS && is_time).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_at_the_start_and_daily_from_thirty_days_on() {
        let now_s = 1_700_000_000;
        assert_eq!(due(now_s + 30 * DAY_S, None, now_s), None);
        assert_eq!(due(now_s + 30 * DAY_S - 1, None, now_s), Some(29));
        assert_eq!(due(now_s + DAY_S, Some(now_s - DAY_S + 1), now_s), None);
        assert_eq!(due(now_s + DAY_S, Some(now_s - DAY_S), now_s), Some(1));
        assert_eq!(due(now_s - 1, None, now_s), Some(-1));
        let mut reminder = Reminder::default();
        let stats = FileStats {
            node_certificate_expires_s: Some(now_s),
            ..FileStats::default()
        };
        reminder.look(&stats, now_s);
        assert_eq!(reminder.last_s, [Some(now_s), None]);
    }
}
