//! The state of the archive, for metrics and status.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use etcd_state::mvcc::Revision;
use telemetry::metrics::{Counter, Page};

#[derive(Debug)]
pub struct ArchiveMetrics {
    is_on: AtomicBool,
    /// This node writes the archive.
    writes: AtomicBool,
    deltas: Counter,
    bases: Counter,
    gaps: Counter,
    bytes: Counter,
    failures: Counter,
    last_revision: AtomicI64,
    last_ms: AtomicU64,
    /// Since when something is not in it; 0 if all is.
    behind_since_ms: AtomicU64,
    behind_bytes: AtomicU64,
    /// Since when every attempt fails; 0 if the last one did not.
    failing_since_ms: AtomicU64,
    reason: Mutex<Option<String>>,
}

/// The metrics of this process.
pub static ARCHIVE: ArchiveMetrics = ArchiveMetrics {
    is_on: AtomicBool::new(false),
    writes: AtomicBool::new(false),
    deltas: Counter::new(),
    bases: Counter::new(),
    gaps: Counter::new(),
    bytes: Counter::new(),
    failures: Counter::new(),
    last_revision: AtomicI64::new(0),
    last_ms: AtomicU64::new(0),
    behind_since_ms: AtomicU64::new(0),
    behind_bytes: AtomicU64::new(0),
    failing_since_ms: AtomicU64::new(0),
    reason: Mutex::new(None),
};

/// The archive as this node writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveState {
    pub last_revision: Revision,
    /// Seconds since 1970; 0 is never.
    pub last_s: u64,
    /// The age of the oldest change that is not in it.
    pub behind_s: u64,
    pub behind_bytes: u64,
    /// Since when it fails, in seconds since 1970, and why.
    pub failing: Option<(u64, String)>,
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl ArchiveMetrics {
    pub(super) fn turn_on(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_writes(&self, writes: bool) {
        self.writes.store(writes, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, is_base: bool, bytes: u64) {
        match is_base {
            true => self.bases.increment(),
            false => self.deltas.increment(),
        }
        self.bytes.add(bytes);
    }

    pub(super) fn left_gap(&self) {
        self.gaps.increment();
    }

    /// Notes how far the archive is.
    pub(super) fn reached(&self, last: Revision, ended_ms: u64) {
        self.last_revision.store(last.number(), Ordering::Relaxed);
        self.last_ms.store(ended_ms, Ordering::Relaxed);
    }

    /// Notes that something is not in it yet.
    pub(super) fn fell_behind(&self, bytes: usize) {
        self.behind_bytes.store(bytes as u64, Ordering::Relaxed);
        let since = &self.behind_since_ms;
        let _ = since.compare_exchange(0, now_ms(), Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn caught_up(&self) {
        self.behind_bytes.store(0, Ordering::Relaxed);
        self.behind_since_ms.store(0, Ordering::Relaxed);
        self.failing_since_ms.store(0, Ordering::Relaxed);
        *self.reason.lock().expect("no panic while it is held") = None;
    }

    pub(super) fn failed(&self, reason: String) {
        self.failures.increment();
        let since = &self.failing_since_ms;
        let _ = since.compare_exchange(0, now_ms(), Ordering::Relaxed, Ordering::Relaxed);
        *self.reason.lock().expect("no panic while it is held") = Some(reason);
    }

    /// Returns the state; none where there is no archive, or another node writes it.
    pub fn state(&self) -> Option<ArchiveState> {
        let is_on = self.is_on.load(Ordering::Relaxed) && self.writes.load(Ordering::Relaxed);
        let reason = self.reason.lock().expect("no panic while it is held");
        let age_s = |since_ms: u64| match since_ms {
            0 => 0,
            since_ms => now_ms().saturating_sub(since_ms) / 1000,
        };
        let failing_s = self.failing_since_ms.load(Ordering::Relaxed) / 1000;
        is_on.then(|| ArchiveState {
            last_revision: Revision::new(self.last_revision.load(Ordering::Relaxed)),
            last_s: self.last_ms.load(Ordering::Relaxed) / 1000,
            behind_s: age_s(self.behind_since_ms.load(Ordering::Relaxed)),
            behind_bytes: self.behind_bytes.load(Ordering::Relaxed),
            failing: reason.clone().map(|reason| (failing_s, reason)),
        })
    }

    /// Writes the metrics, those of how far it is only where this node writes the archive: `head` is the revision of the store.
    pub fn write(&self, page: &mut Page, head: Revision) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let counters = [
            (
                "deltas",
                "Deltas that were written to the archive.",
                &self.deltas,
            ),
            (
                "bases",
                "Bases that were written to the archive.",
                &self.bases,
            ),
            (
                "gaps",
                "Bases that take the place of revisions which are not in the archive.",
                &self.gaps,
            ),
            (
                "bytes",
                "Bytes that were written to the archive.",
                &self.bytes,
            ),
            (
                "failures",
                "Attempts to write the archive that failed.",
                &self.failures,
            ),
        ];
        for (name, help, counter) in counters {
            page.counter(
                &format!("k8s_dqlite_archive_{name}_total"),
                help,
                counter.get(),
            );
        }
        let Some(state) = self.state() else {
            return;
        };
        let help = "Revision up to which the archive has all changes.";
        page.gauge(
            "k8s_dqlite_archive_last_revision",
            help,
            state.last_revision.number(),
        );
        let help = "When the last delta was written, in seconds since 1970; 0 is never.";
        page.gauge(
            "k8s_dqlite_archive_last_timestamp_seconds",
            help,
            state.last_s,
        );
        let help = "Age of the oldest change that the archive lacks; 0 if it has all.";
        page.gauge("k8s_dqlite_archive_behind_seconds", help, state.behind_s);
        let help = "Revisions that the archive lacks.";
        let behind = head.since(state.last_revision).max(0);
        page.gauge("k8s_dqlite_archive_behind_revisions", help, behind);
        let help = "About how many bytes the archive lacks.";
        page.gauge("k8s_dqlite_archive_behind_bytes", help, state.behind_bytes);
        let help = "Since when every attempt to write the archive fails, in seconds since 1970; 0 if the last one succeeded.";
        let failing_s = state.failing.map_or(0, |(since_s, _)| since_s);
        page.gauge("k8s_dqlite_archive_failing_since_seconds", help, failing_s);
    }
}
