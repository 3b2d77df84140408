//! The metrics of storage: the database, the engine's files and their disk, the index in memory.

use std::{sync::atomic::Ordering, time::Duration};

use etcd_state::{auth, mvcc::Revision};
use telemetry::metrics::{Kind, Page};
use tokio::time::timeout;

use super::Sources;

/// The longest wait for the writer to say how large the database is, before a scrape goes on
/// without: shorter than any `scrape_timeout`.
const PAGES_TIMEOUT: Duration = Duration::from_secs(1);

impl Sources {
    pub(super) async fn write_database(&self, page: &mut Page) {
        let help = "Current backend storage quota size in bytes.";
        let quota = self.store.quota();
        // As etcd tells it: no quota is the flag's negative number.
        let quota_bytes = quota.limit_bytes().map_or(quota.0, u64::cast_signed);
        page.gauge("etcd_server_quota_backend_bytes", help, quota_bytes);
        // Without the engine there is no size to tell.
        let Ok(Ok(pages)) = timeout(PAGES_TIMEOUT, self.store.recent_pages()).await else {
            return;
        };
        let help = "Total size of the underlying database physically allocated in bytes.";
        let total_bytes = pages.total_bytes();
        page.gauge("etcd_mvcc_db_total_size_in_bytes", help, total_bytes);
        let help = "Total size of the underlying database logically in use in bytes.";
        let used_bytes = pages.used_bytes();
        page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", help, used_bytes);
    }

    /// Writes the sizes of the files, which are some seconds old.
    pub(super) fn write_files(&self, page: &mut Page) {
        let file_stats = self.observed.file_stats();
        let help = "Log of the engine, on the disk.";
        page.gauge("k8s_dqlite_log_bytes", help, file_stats.log_bytes);
        let help = "Snapshots of the engine, on the disk.";
        page.gauge("k8s_dqlite_snapshot_bytes", help, file_stats.snapshot_bytes);
        if let Some(bytes) = file_stats.disk_free_bytes {
            let help = "What this process may still write to the disk of the storage directory.";
            page.gauge("k8s_dqlite_disk_free_bytes", help, bytes);
        }
        if let Some(bytes) = file_stats.disk_bytes {
            let help = "The disk of the storage directory.";
            page.gauge("k8s_dqlite_disk_bytes", help, bytes);
        }
        if let Some(bytes) = self.disk_low_bytes {
            let help = "Less free space than this counts as low.";
            page.gauge("k8s_dqlite_disk_low_threshold_bytes", help, bytes);
        }
        let help = "Whether the disk is low, so that writes that need more are refused where this node leads.";
        let is_low = u8::from(self.store.is_disk_low());
        page.gauge("k8s_dqlite_disk_low", help, is_low);
        let name = "k8s_dqlite_certificate_expiry_timestamp_seconds";
        let help = "When the certificate ends that other nodes or clients are shown, since unix epoch in seconds.";
        page.begin(name, Kind::Gauge, help);
        for (shown_to, expires_s) in [
            ("nodes", file_stats.node_certificate_expires_s),
            ("clients", file_stats.client_certificate_expires_s),
        ] {
            if let Some(expires_s) = expires_s {
                page.labelled(name, &[("shown_to", shown_to)], expires_s);
            }
        }
    }

    pub(super) fn write_index(&self, page: &mut Page) {
        let history = self.store.history();
        let size = history.size();
        let help = "Total number of keys.";
        page.gauge("etcd_debugging_mvcc_keys_total", help, size.keys);
        let help = "The current revision of store.";
        let revision = self.store.revision();
        page.gauge("etcd_debugging_mvcc_current_revision", help, revision);
        let help = "The revision of the last compaction in store.";
        let compacted = history.compact_revision();
        page.gauge("etcd_debugging_mvcc_compact_revision", help, compacted);
        let help = "Revisions that the index in memory holds.";
        page.gauge("k8s_dqlite_index_revisions", help, size.commits);
        let help = "Changes that the index in memory holds.";
        page.gauge("k8s_dqlite_index_changes", help, size.changes);
        let help = "Keys and values of the current revision in memory.";
        page.gauge("k8s_dqlite_index_live_bytes", help, size.live_bytes);
        let help = "Keys and values of older revisions in memory, which a compaction frees.";
        page.gauge(
            "k8s_dqlite_index_superseded_bytes",
            help,
            size.superseded_bytes,
        );
        let help = "Past states that are kept for reads.";
        page.gauge("k8s_dqlite_index_checkpoints", help, size.checkpoints);
    }

    pub(super) fn write_compaction(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let compacted = self.store.history().compact_revision().max(Revision::NONE);
        let help = "Revisions since the last compaction, which are kept.";
        let lag = self.store.revision().since(compacted).max(0);
        page.gauge("k8s_dqlite_compaction_lag_revisions", help, lag);
        let help = "The unix time of the last db compaction. Resets to 0 on start.";
        let at_s = self.observed.compacted_s().unwrap_or_default();
        page.gauge("etcd_debugging_mvcc_db_compaction_last", help, at_s);
        let help = "Total number of db keys compacted.";
        let purged = metrics.purged_rows.get();
        page.counter("etcd_debugging_mvcc_db_compaction_keys_total", help, purged);
        let help = "Rows that compactions made superfluous, and that wait to be deleted.";
        let waiting = metrics.purge_rows.load(Ordering::Relaxed);
        page.gauge("k8s_dqlite_purge_pending_rows", help, waiting);
        let help = "The current revision of auth store.";
        let revision = auth::revision(&self.store.settings());
        page.gauge("etcd_debugging_auth_revision", help, revision);
    }
}
