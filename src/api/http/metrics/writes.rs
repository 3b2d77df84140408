//! The metrics of writes: queue, batches, engine, and results.

use std::sync::atomic::Ordering;

use telemetry::metrics::{Kind, Page};

use super::{MICROSECONDS, Sources};
use crate::monitoring::LOG_WRITES;

impl Sources {
    pub(super) fn write_proposals(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let revision = self.store.revision();
        let help = "The total number of consensus proposals committed.";
        page.gauge("etcd_server_proposals_committed_total", help, revision);
        let help = "The total number of consensus proposals applied.";
        page.gauge("etcd_server_proposals_applied_total", help, revision);
        let help = "The current number of pending proposals to commit.";
        let pending = metrics.pending.load(Ordering::Relaxed);
        page.gauge("etcd_server_proposals_pending", help, pending);
        let help = "The total number of failed proposals seen.";
        page.counter(
            "etcd_server_proposals_failed_total",
            help,
            metrics.failed.get(),
        );
        for (name, help, count) in [
            (
                "etcd_server_slow_apply_total",
                "The total number of slow apply requests (likely overloaded from slow disk).",
                &metrics.slow_commits,
            ),
            (
                "etcd_server_slow_read_indexes_total",
                "The total number of pending read indexes not in sync with leader's or timed out read index requests.",
                &metrics.slow_reads,
            ),
            (
                "etcd_server_read_indexes_failed_total",
                "The total number of failed read indexes seen.",
                &metrics.failed_reads,
            ),
        ] {
            page.counter(name, help, count.get());
        }
    }

    pub(super) fn write_commits(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let name = "etcd_disk_wal_fsync_duration_seconds";
        let help = "The latency distributions of a write to the engine's log, which is durable at its end.";
        // Where the engine does not write asynchronously there is none, from the first commit on.
        let writes = &LOG_WRITES.etcd_us;
        if writes.distribution().count() > 0 {
            page.histogram(name, help, writes, MICROSECONDS);
        } else {
            page.histogram(name, help, &metrics.commit_us, MICROSECONDS);
        }
        let help = "Total number of bytes written in wal.";
        page.gauge(
            "etcd_disk_wal_write_bytes_total",
            help,
            LOG_WRITES.bytes.get(),
        );
        let name = "etcd_disk_backend_commit_duration_seconds";
        let help = "The latency distributions of a commit: the engine replicates and writes its log, and applies it.";
        page.histogram(name, help, &metrics.commit_us, MICROSECONDS);
        let name = "k8s_dqlite_log_write_duration_seconds";
        let help = "How long writes to the engine's log took until they were durable.";
        page.histogram(name, help, &LOG_WRITES.took_us, MICROSECONDS);
        let name = "k8s_dqlite_commit_duration_seconds";
        let help = "How long the engine took for a commit.";
        page.histogram(name, help, &metrics.engine_us, MICROSECONDS);
        let name = "k8s_dqlite_write_duration_seconds";
        let help =
            "How long puts, deletions and transactions took from their arrival to their answer.";
        page.histogram(name, help, &metrics.write_us, MICROSECONDS);
        let help = "Commits that failed, after which the table was read back.";
        let recoveries = metrics.recoveries.get();
        page.counter("k8s_dqlite_commit_recoveries_total", help, recoveries);
    }

    pub(super) fn write_writer(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let help = "Requests that one commit carried.";
        page.histogram(
            "k8s_dqlite_batch_requests",
            help,
            &metrics.batch_requests,
            1,
        );
        let help = "Rows that commits inserted.";
        page.counter("k8s_dqlite_rows_total", help, metrics.rows.get());
        let help = "Rows that were deleted after compactions.";
        page.counter(
            "k8s_dqlite_purged_rows_total",
            help,
            metrics.purged_rows.get(),
        );
        let help = "Keys and values that one commit carried.";
        page.histogram("k8s_dqlite_batch_bytes", help, &metrics.batch_bytes, 1);
        let (requests, bytes) = self.store.queued();
        let help = "Requests that wait for the writer to take them.";
        page.gauge("k8s_dqlite_writer_queue_requests", help, requests);
        let help = "What the requests that wait for the writer hold.";
        page.gauge("k8s_dqlite_writer_queue_bytes", help, bytes);
        let name = "k8s_dqlite_writes_refused_total";
        let help = "Requests that were not taken, by the reason.";
        page.begin(name, Kind::Counter, help);
        for (reason, count) in [
            ("no_space", &metrics.refused.no_space),
            ("corrupt", &metrics.refused.corrupt),
            ("queue_full", &metrics.refused.queue_full),
        ] {
            page.labelled(name, &[("reason", reason)], count.get());
        }
    }

    pub(super) fn write_operations(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let (ranges, puts) = (metrics.ranges.get(), metrics.puts.get());
        let help = "Total number of ranges seen by this member.";
        page.counter("etcd_mvcc_range_total", help, ranges);
        let help = "Total number of puts seen by this member.";
        page.counter("etcd_mvcc_put_total", help, puts);
        let help = "Total number of deletes seen by this member.";
        page.counter("etcd_mvcc_delete_total", help, metrics.deletes.get());
        let help = "Total number of txns seen by this member.";
        page.counter("etcd_mvcc_txn_total", help, metrics.txns.get());
        let help = "The total size of put kv pairs seen by this member.";
        let put_bytes = metrics.put_bytes.get();
        page.gauge(
            "etcd_debugging_mvcc_total_put_size_in_bytes",
            help,
            put_bytes,
        );
    }

    pub(super) fn write_leases(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let help = "The total number of granted leases.";
        let granted = metrics.leases_granted.get();
        page.counter("etcd_debugging_lease_granted_total", help, granted);
        let help = "The total number of revoked leases.";
        let revoked = metrics.leases_revoked.get();
        page.counter("etcd_debugging_lease_revoked_total", help, revoked);
        let help = "The number of renewed leases seen by the leader.";
        let renewed = metrics.leases_renewed.get();
        page.counter("etcd_debugging_lease_renewed_total", help, renewed);
        let help = "The total number of expired leases.";
        let expired = metrics.leases_expired.get();
        page.counter("etcd_debugging_server_lease_expired_total", help, expired);
        let help = "Bucketed histogram of lease TTLs.";
        let ttls_s = &metrics.lease_ttls_s;
        page.histogram("etcd_debugging_lease_ttl_total", help, ttls_s, 1);
        // Followers do not know.
        if let Some(count) = self.store.lease_count() {
            page.gauge("k8s_dqlite_leases", "Leases that are alive.", count);
        }
    }
}
