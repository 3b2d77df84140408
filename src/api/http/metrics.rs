//! `/metrics`, for Prometheus. Names, types and meanings are etcd's as far as its dashboards use them
//! (docs/compat.md says where the meaning had to differ); ours begin with `k8s_dqlite_`.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::any,
};

use crate::{
    api::{ETCD_VERSION, Identity},
    metrics::{CALLS, HEALTH_CHECKS, Page, ProcessUse},
    store::Store,
    watch::WatchHub,
};

const MICROSECONDS: u32 = 1_000_000;

/// What the page is made from.
#[derive(Clone)]
pub struct Sources {
    pub store: Store,
    pub hub: Arc<WatchHub>,
    pub identity: Arc<Identity>,
}

/// `/metrics` alone.
pub fn routes(sources: Sources) -> Router {
    Router::new()
        .route("/metrics", any(serve))
        .with_state(sources)
}

async fn serve(State(sources): State<Sources>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let page = sources.write().await;
    ([(header::CONTENT_TYPE, kind)], page.into_text()).into_response()
}

impl Sources {
    async fn write(&self) -> Page {
        let mut page = Page::default();
        self.write_server(&mut page);
        self.write_commits(&mut page);
        self.write_operations(&mut page);
        self.write_database(&mut page).await;
        self.write_index(&mut page);
        self.write_watches(&mut page);
        CALLS.write(&mut page);
        ProcessUse::read().write(&mut page);
        page
    }

    fn write_server(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let is_usable = !metrics.is_engine_lost.load(Ordering::Relaxed);
        let has_leader = u8::from(is_usable && self.store.has_leader());
        let is_leader = u8::from(is_usable && self.store.leads());
        let help = "Whether or not a leader exists. 1 is existence, 0 is not.";
        page.gauge("etcd_server_has_leader", help, has_leader);
        let help = "Whether or not this member is a leader. 1 if is, 0 otherwise.";
        page.gauge("etcd_server_is_leader", help, is_leader);
        let help = "Whether or not this member is a learner. 1 if is, 0 otherwise.";
        page.gauge("etcd_server_is_learner", help, 0);
        let help = "The number of leader changes seen.";
        page.counter(
            "etcd_server_leader_changes_seen_total",
            help,
            self.store.leader_changes(),
        );
        let id = format!("{:x}", self.identity.member_id);
        let help =
            "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.";
        page.fact("etcd_server_id", help, ("server_id", &id));
        let help = "Which version is running. 1 for 'server_version' label with current version.";
        page.fact(
            "etcd_server_version",
            help,
            ("server_version", ETCD_VERSION),
        );
        let help =
            "Which version is running. 1 for 'cluster_version' label with current cluster version";
        page.fact("etcd_cluster_version", help, ("cluster_version", "3.6"));
        let help = "Which k8s-dqlite is running.";
        let version = ("version", env!("CARGO_PKG_VERSION"));
        page.fact("k8s_dqlite_version", help, version);
        let help = "Rows of a Go k8s-dqlite's table that this node has converted since it started.";
        let done = metrics.take_over_done_rows.load(Ordering::Relaxed);
        page.gauge("k8s_dqlite_take_over_done_rows", help, done);
        let help = "Rows that such a table had when this node began or went on to convert it.";
        let rows = metrics.take_over_rows.load(Ordering::Relaxed);
        page.gauge("k8s_dqlite_take_over_rows", help, rows);
        let help = "The total number of successful health checks";
        let healthy = HEALTH_CHECKS.succeeded.get();
        page.counter("etcd_server_health_success", help, healthy);
        let help = "The total number of failed health checks";
        page.counter(
            "etcd_server_health_failures",
            help,
            HEALTH_CHECKS.failed.get(),
        );
    }

    fn write_commits(&self, page: &mut Page) {
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
        for (name, help) in [
            (
                "etcd_disk_wal_fsync_duration_seconds",
                "The latency distributions of a commit: the engine writes its log to the disk, and applies it.",
            ),
            (
                "etcd_disk_backend_commit_duration_seconds",
                "The latency distributions of a commit: the engine writes its log to the disk, and applies it.",
            ),
        ] {
            page.histogram(name, help, &metrics.commit_us, MICROSECONDS);
        }
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
        let (requests, bytes) = self.store.queued();
        let help = "Requests that wait for the writer to take them.";
        page.gauge("k8s_dqlite_writer_queue_requests", help, requests);
        let help = "What the requests that wait for the writer hold.";
        page.gauge("k8s_dqlite_writer_queue_bytes", help, bytes);
    }

    fn write_operations(&self, page: &mut Page) {
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
    }

    async fn write_database(&self, page: &mut Page) {
        let help = "Current backend storage quota size in bytes.";
        let quota = self.store.quota();
        // As etcd tells it: no quota is the flag's negative number.
        let quota_bytes = quota.limit_bytes().map_or(quota.0, u64::cast_signed);
        page.gauge("etcd_server_quota_backend_bytes", help, quota_bytes);
        // Without the engine there is no size to tell.
        let Ok(pages) = self.store.recent_pages().await else {
            return;
        };
        let help = "Total size of the underlying database physically allocated in bytes.";
        let total_bytes = pages.total_bytes();
        page.gauge("etcd_mvcc_db_total_size_in_bytes", help, total_bytes);
        let help = "Total size of the underlying database logically in use in bytes.";
        let used_bytes = pages.used_bytes();
        page.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", help, used_bytes);
    }

    fn write_index(&self, page: &mut Page) {
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

    fn write_watches(&self, page: &mut Page) {
        let metrics = self.hub.metrics();
        let help = "Total number of watch streams.";
        let streams = metrics.streams.load(Ordering::Relaxed);
        page.gauge("etcd_debugging_mvcc_watch_stream_total", help, streams);
        let help = "Total number of watchers.";
        let watchers = metrics.watchers.load(Ordering::Relaxed);
        page.gauge("etcd_debugging_mvcc_watcher_total", help, watchers);
        let help = "Total number of unsynced slow watchers.";
        let slow = metrics.slow_watchers.load(Ordering::Relaxed);
        page.gauge("etcd_debugging_mvcc_slow_watcher_total", help, slow);
        let help = "Total number of events sent by this member.";
        let events = metrics.events.load(Ordering::Relaxed);
        page.counter("etcd_debugging_mvcc_events_total", help, events);
        let help = "Total number of pending events to be sent.";
        let lag = self.store.revision() - self.hub.position();
        let lag = lag.max(0);
        page.gauge("etcd_debugging_mvcc_pending_events_total", help, lag);
        let help = "Revisions that are committed, and not handed to watch streams yet.";
        page.gauge("k8s_dqlite_watch_lag_revisions", help, lag);
        for (name, help, count) in [
            (
                "k8s_dqlite_watchers_fallen_behind_total",
                "Watchers that could not keep up, and read the history since.",
                &metrics.fallen_behind,
            ),
            (
                "k8s_dqlite_watchers_compacted_total",
                "Watchers that a compaction ended.",
                &metrics.compacted,
            ),
            (
                "k8s_dqlite_watch_lost_events_total",
                "Times that all watch streams were closed, because events were compacted first.",
                &metrics.lost_events,
            ),
        ] {
            page.counter(name, help, count.load(Ordering::Relaxed));
        }
    }
}
