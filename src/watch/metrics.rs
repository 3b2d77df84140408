//! Counters that the metrics page reads.

use std::sync::atomic::{AtomicI64, AtomicU64};

#[derive(Debug, Default)]
pub struct Metrics {
    /// Open streams now.
    pub streams: AtomicI64,
    /// Watchers now, synced and lagging.
    pub watchers: AtomicI64,
    /// Lagging watchers now.
    pub slow_watchers: AtomicI64,
    /// Events handed to streams since the start.
    pub events: AtomicU64,
    /// Synced watchers that became lagging since the start.
    pub fallen_behind: AtomicU64,
    /// Watchers ended by a compaction since the start.
    pub compacted: AtomicU64,
    /// Times that all streams had to be closed, because commits were compacted before the hub
    /// distributed them.
    pub lost_events: AtomicU64,
}
