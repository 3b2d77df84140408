//! The metrics of the store.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use etcd_state::{
    mvcc::ChangeKind,
    requests::{RequestError, evaluate::Operations},
};
use telemetry::metrics::{Counter, Histogram};

use super::batch::Write;

/// Bounds from 1 ms to 8.192 s, as etcd's, in microseconds.
const COMMIT_FIRST_US: u64 = 1000;
const COMMIT_BUCKETS: usize = 14;

/// Bounds from 125 us to 16.384 s for what etcd has no metric for: commits on a good disk take less than
/// a millisecond.
const FINE_FIRST_US: u64 = 125;
const FINE_BUCKETS: usize = 18;

/// Bounds from 1 to 1,024 requests: what may wait for one commit.
const BATCH_BUCKETS: usize = 11;

/// Bounds from 256 bytes to 8 MiB: from one small key to more than a batch takes.
const BATCH_BYTES_FIRST: u64 = 256;
const BATCH_BYTES_BUCKETS: usize = 16;

/// Bounds from 1 s to 8,388,608 s, as etcd's.
const TTL_BUCKETS: usize = 24;

/// The duration from which on etcd counts an apply as slow.
const SLOW_COMMIT: Duration = Duration::from_millis(100);

/// The duration after which etcd asks the leader again on behalf of a linearizable read.
const SLOW_READ: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Metrics {
    pub ranges: Counter,
    pub puts: Counter,
    pub deletes: Counter,
    /// Requests of several operations, of which at least one writes.
    pub txns: Counter,
    /// Keys and values that were put.
    pub put_bytes: Counter,
    pub leases_granted: Counter,
    pub leases_revoked: Counter,
    pub leases_renewed: Counter,
    pub leases_expired: Counter,
    /// Requests that wait for the writer, or for the commit that they are in.
    pub pending: AtomicI64,
    /// Requests whose client was answered that the outcome is unknown.
    pub failed: Counter,
    /// The time from sending a batch to the engine until it is durable.
    pub commit_us: Histogram<COMMIT_BUCKETS>,
    /// The same time, in finer buckets.
    pub engine_us: Histogram<FINE_BUCKETS>,
    pub slow_commits: Counter,
    /// The time from the arrival of a put, a deletion or a transaction until its answer.
    pub write_us: Histogram<FINE_BUCKETS>,
    pub batch_requests: Histogram<BATCH_BUCKETS>,
    pub batch_bytes: Histogram<BATCH_BYTES_BUCKETS>,
    /// Commits that failed, after which the table was read back.
    pub recoveries: Counter,
    /// Times that a node had revisions which this leader did not have.
    pub nodes_ahead: Counter,
    pub refused: Refused,
    pub lease_ttls_s: Histogram<TTL_BUCKETS>,
    /// Linearizable reads that waited long for their proof, and those that did not get it.
    pub slow_reads: Counter,
    pub failed_reads: Counter,
    /// Rows that compactions made superfluous, and that wait to be deleted.
    pub purge_rows: AtomicU64,
    pub rows: Counter,
    pub purged_rows: Counter,
    pub is_engine_lost: AtomicBool,
    /// Rows of a Go k8s-dqlite's table that this node converts, and below it those that are done.
    pub take_over_rows: AtomicI64,
    pub take_over_done_rows: AtomicI64,
}

/// Writes that were not taken, by the reason.
#[derive(Debug, Default)]
pub struct Refused {
    pub no_space: Counter,
    pub corrupt: Counter,
    pub queue_full: Counter,
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
            engine_us: Histogram::new(FINE_FIRST_US),
            slow_commits: Counter::new(),
            write_us: Histogram::new(FINE_FIRST_US),
            batch_requests: Histogram::new(1),
            batch_bytes: Histogram::new(BATCH_BYTES_FIRST),
            recoveries: Counter::new(),
            nodes_ahead: Counter::new(),
            refused: Refused::default(),
            lease_ttls_s: Histogram::new(1),
            slow_reads: Counter::new(),
            failed_reads: Counter::new(),
            purge_rows: AtomicU64::new(0),
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

    pub(super) fn committed(&self, write: &Write, requests: usize, deleted: u64, took: Duration) {
        let took_us = took.as_micros() as u64;
        self.commit_us.observe(took_us);
        self.engine_us.observe(took_us);
        self.slow_commits.add(u64::from(took > SLOW_COMMIT));
        self.purged_rows.add(deleted);
        if !matches!(write, Write::Purge(_)) {
            self.batch_requests.observe(requests as u64);
            self.batch_bytes.observe(write.bytes() as u64);
        }
        let mut put_bytes = 0;
        for commit in write.batch().iter().flat_map(|batch| &batch.commits) {
            self.rows.add(commit.changes.len() as u64);
            let puts = commit.changes.iter();
            let puts = puts.filter(|change| change.kind == ChangeKind::Put);
            put_bytes += puts
                .map(|change| change.kv.key.len() + change.kv.value.len())
                .sum::<usize>();
        }
        self.put_bytes.add(put_bytes as u64);
    }

    pub(super) fn refused(&self, error: &RequestError) {
        match error {
            RequestError::NoSpace => self.refused.no_space.increment(),
            RequestError::Corrupt => self.refused.corrupt.increment(),
            _ => {}
        }
    }

    pub(super) fn linearized(&self, is_proven: bool, took: Duration) {
        self.failed_reads.add(u64::from(!is_proven));
        self.slow_reads.add(u64::from(took > SLOW_READ));
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
