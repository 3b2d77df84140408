//! Counts the bytes between nodes, and between a node and remote clients of dqlite.

use std::sync::atomic::{AtomicU64, Ordering};

/// The traffic of the process, which has one port: bytes inside TLS. Without TLS the engine itself holds the links that
/// it dials, and what it sends through them is not counted.
pub static TRAFFIC: Traffic = Traffic {
    received_bytes: AtomicU64::new(0),
    sent_bytes: AtomicU64::new(0),
};

#[derive(Debug)]
pub struct Traffic {
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
