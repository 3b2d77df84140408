//! One moment on the time line of the status page, from two readings of counters. Pure.

use etcd_state::mvcc::Revision;
use telemetry::metrics::{Distribution, Traffic};

/// Counters since the start, and gauges, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Seconds since the process began.
    pub at_s: f64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub traffic: Traffic,
    pub write_us: Distribution,
    pub commit_us: Distribution,
    pub log_write_us: Distribution,
    pub batch_requests: Distribution,
    pub events: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub cpu_s: Option<f64>,
    pub gauges: Gauges,
}

/// The current values, in the units of their names.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    pub revision: Revision,
    pub compact_revision: Revision,
    pub keys: u64,
    pub leases: Option<u64>,
    pub watchers: i64,
    pub slow_watchers: i64,
    pub watch_lag_revisions: i64,
    pub queue_requests: u64,
    pub database_bytes: Option<u64>,
    pub database_used_bytes: Option<u64>,
    pub index_bytes: u64,
    pub log_bytes: u64,
    pub snapshot_bytes: u64,
    pub resident_bytes: Option<u64>,
    pub disk_free_bytes: Option<u64>,
}

/// A value for each of [`Point::NAMES`]; none for what is not known, such as a latency of nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub at_ms: u64,
    pub values: [Option<f64>; Self::NAMES.len()],
}

impl Point {
    /// Names of the JSON document; the page asks for them by these.
    pub const NAMES: [&'static str; 34] = [
        "reads_per_s",
        "writes_per_s",
        "others_per_s",
        "failures_per_s",
        "read_p50_ms",
        "read_p99_ms",
        "write_p50_ms",
        "write_p99_ms",
        "commits_per_s",
        "commit_p50_ms",
        "commit_p99_ms",
        "fsync_p50_ms",
        "fsync_p99_ms",
        "batch_requests",
        "events_per_s",
        "received_bytes_per_s",
        "sent_bytes_per_s",
        "cpu_cores",
        "revision",
        "compaction_lag_revisions",
        "keys",
        "leases",
        "watchers",
        "slow_watchers",
        "watch_lag_revisions",
        "queue_requests",
        "database_bytes",
        "database_used_bytes",
        "index_bytes",
        "log_bytes",
        "snapshot_bytes",
        "resident_bytes",
        "disk_free_bytes",
        "revisions_per_s",
    ];

    /// Returns the changes from `before` to `now`; none if no time has passed.
    pub fn between(before: &Totals, now: &Totals) -> Option<Self> {
        let seconds = now.at_s - before.at_s;
        if seconds <= 0.0 {
            return None;
        }
        let rate = |now: u64, before: u64| Some(now.saturating_sub(before) as f64 / seconds);
        let reads = now.traffic.read_us.since(&before.traffic.read_us);
        let writes = now.write_us.since(&before.write_us);
        let commits = now.commit_us.since(&before.commit_us);
        let fsyncs = now.log_write_us.since(&before.log_write_us);
        let batches = now.batch_requests.since(&before.batch_requests);
        let gauges = &now.gauges;
        let revisions = now.gauges.revision.since(before.gauges.revision);
        let count = |bytes: u64| Some(bytes as f64);
        let known = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
        let cpu = now.cpu_s.zip(before.cpu_s);
        let values = [
            rate(now.traffic.reads, before.traffic.reads),
            rate(now.traffic.writes, before.traffic.writes),
            rate(now.traffic.others, before.traffic.others),
            rate(now.traffic.failures, before.traffic.failures),
            milliseconds(&reads, 0.5),
            milliseconds(&reads, 0.99),
            milliseconds(&writes, 0.5),
            milliseconds(&writes, 0.99),
            Some(commits.count() as f64 / seconds),
            milliseconds(&commits, 0.5),
            milliseconds(&commits, 0.99),
            milliseconds(&fsyncs, 0.5),
            milliseconds(&fsyncs, 0.99),
            batches.mean(),
            rate(now.events, before.events),
            rate(now.received_bytes, before.received_bytes),
            rate(now.sent_bytes, before.sent_bytes),
            cpu.map(|(now, before)| (now - before).max(0.0) / seconds),
            Some(gauges.revision.number() as f64),
            Some(
                gauges
                    .revision
                    .since(gauges.compact_revision.max(Revision::NONE)) as f64,
            ),
            count(gauges.keys),
            known(gauges.leases),
            Some(gauges.watchers as f64),
            Some(gauges.slow_watchers as f64),
            Some(gauges.watch_lag_revisions as f64),
            count(gauges.queue_requests),
            known(gauges.database_bytes),
            known(gauges.database_used_bytes),
            count(gauges.index_bytes),
            count(gauges.log_bytes),
            count(gauges.snapshot_bytes),
            known(gauges.resident_bytes),
            known(gauges.disk_free_bytes),
            Some(revisions.max(0) as f64 / seconds),
        ];
        Some(Self {
            at_ms: now.at_ms,
            values,
        })
    }
}

fn milliseconds(microseconds: &Distribution, part: f64) -> Option<f64> {
    microseconds.quantile(part).map(|us| us / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry::metrics::Histogram;

    fn value(point: &Point, name: &str) -> Option<f64> {
        let at = Point::NAMES.iter().position(|found| *found == name);
        point.values[at.unwrap()]
    }

    #[test]
    fn rates_and_quantiles_are_of_the_time_between() {
        let writes = Histogram::<8>::new(1000);
        writes.observe(100_000);
        let mut before = Totals {
            at_s: 10.0,
            write_us: writes.distribution(),
            ..Totals::default()
        };
        before.traffic.writes = 50;
        writes.observe(2000);
        let mut now = Totals {
            at_s: 12.0,
            at_ms: 7,
            write_us: writes.distribution(),
            cpu_s: Some(1.0),
            ..Totals::default()
        };
        now.traffic.writes = 60;
        now.gauges.revision = Revision::new(9);
        now.gauges.compact_revision = Revision::new(-1);
        let point = Point::between(&before, &now).unwrap();
        assert_eq!(point.at_ms, 7);
        assert_eq!(value(&point, "writes_per_s"), Some(5.0));
        assert_eq!(value(&point, "write_p50_ms"), Some(1.5));
        assert_eq!(value(&point, "write_p99_ms"), Some(1.99));
        assert_eq!(value(&point, "commit_p99_ms"), None);
        assert_eq!(value(&point, "cpu_cores"), None, "not known before");
        assert_eq!(value(&point, "compaction_lag_revisions"), Some(9.0));
        assert_eq!(value(&point, "revisions_per_s"), Some(4.5));
    }

    #[test]
    fn without_time_there_is_no_point() {
        assert_eq!(Point::between(&Totals::default(), &Totals::default()), None);
    }
}
