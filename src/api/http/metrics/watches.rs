//! The metrics of watches and of their progress.

use std::sync::atomic::Ordering;

use telemetry::metrics::Page;

use super::Sources;
use crate::watch::WatchHub;

impl Sources {
    pub(super) fn write_watches(&self, hub: &WatchHub, page: &mut Page) {
        let metrics = hub.metrics();
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
        let lag = self.store.revision().since(hub.position());
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
