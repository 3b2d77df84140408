//! What the metrics page reads of the store.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use super::{batch::Batch, evaluate::Operations};
use crate::{
    metrics::{Counter, Histogram},
    mvcc::ChangeKind,
};

/// Bounds from 1 ms to 8.192 s, as etcd's, in microseconds.
const COMMIT_FIRST_US: u64 = 1000;
const COMMIT_BUCKETS: usize = 14;

/// Bounds from 1 to 1,024 requests: what may wait for one commit.
const BATCH_BUCKETS: usize = 11;

#[derive(Debug)]
pub struct Metrics {
    pub ranges: Counter,
    pub puts: Counter,
    pub deletes: Counter,
    /// Requests of several operations, of which one at least writes.
    pub txns: Counter,
    /// Keys and values that were put.
    pub put_bytes: Counter,
    pub leases_granted: Counter,
    pub leases_revoked: Counter,
    pub leases_renewed: Counter,
    pub leases_expired: Counter,
    /// Requests that wait for the writer, or for the commit that they are in.
    pub pending: AtomicI64,
    /// Requests whose client was told that they may be lost.
    pub failed: Counter,
    /// From sending a batch to the engine until it is durable.
    pub commit_us: Histogram<COMMIT_BUCKETS>,
    pub batch_requests: Histogram<BATCH_BUCKETS>,
    pub rows: Counter,
    pub purged_rows: Counter,
    pub is_engine_lost: AtomicBool,
    /// Of a Go k8s-dqlite's table that this node converts, and of those the ones that are done.
    pub take_over_rows: AtomicI64,
    pub take_over_done_rows: AtomicI64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            ranges: Counter::new(),
            puts: Counter::new(),
            deletes: Counter::new(),
            txns: Counter::new(),
            put_bytes: Counter::new(),
            leases_granted: Counter::new(),
            leases_revoked: Counter::new(),
            leases_renewed: Counter::new(),
            leases_expired: Counter::new(),
            pending: AtomicI64::new(0),
            failed: Counter::new(),
            commit_us: Histogram::new(COMMIT_FIRST_US),
            batch_requests: Histogram::new(1),
            rows: Counter::new(),
            purged_rows: Counter::new(),
            is_engine_lost: AtomicBool::new(false),
            take_over_rows: AtomicI64::new(0),
            take_over_done_rows: AtomicI64::new(0),
        }
    }
}

impl Metrics {
    /// Counts what one request did, as etcd does (`server/storage/mvcc/metrics_txn.go`).
    pub(super) fn evaluated(&self, operations: Operations) {
        let Operations {
            ranges,
            puts,
            deletes,
        } = operations;
        self.ranges.add(ranges);
        self.puts.add(puts);
        self.deletes.add(deletes);
        if ranges + puts + deletes > 1 {
            self.txns.increment();
        }
    }

    pub(super) fn committed(&self, batch: &Batch, requests: usize, swept: u64, took: Duration) {
        self.commit_us.observe(took.as_micros() as u64);
        self.purged_rows.add(batch.purge.len() as u64 + swept);
        if batch.purge.is_empty() && batch.sweep.is_none() {
            self.batch_requests.observe(requests as u64);
        }
        let mut put_bytes = 0;
        for commit in &batch.commits {
            self.rows.add(commit.changes.len() as u64);
            let puts = commit.changes.iter();
            let puts = puts.filter(|change| change.kind == ChangeKind::Put);
            put_bytes += puts
                .map(|change| change.kv.key.len() + change.kv.value.len())
                .sum::<usize>();
        }
        self.put_bytes.add(put_bytes as u64);
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn wait(&self) -> Pending<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Pending(self)
    }
}

pub(super) struct Pending<'a>(&'a Metrics);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
