//! Takes snapshots as rarely as their size warrants.
//!
//! The engine writes a snapshot of the whole database each time its log has grown by a number of entries, its threshold,
//! which its API takes before the start only. But entries have from 8 KiB to some hundred, and a database anything: where
//! small changes are made to a large one, snapshots write many times what the log does. So the threshold follows the
//! sizes of both while the node runs. The engine keeps it in a word of the node's memory (dqlite: src/raft.h, `struct
//! raft`, `snapshot.threshold`), reads it on its loop after each entry that it applies, and never writes it once it runs.
//!
//! Invariants: the word is one that took two values which the API was given, and the only one that did; where there is no
//! such word, the threshold stays as it was configured; nobody writes to it after the engine has begun to end.

use std::{
    ffi::c_void,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{SnapshotOptions, library::functions};

/// Bytes of log that are written for each byte of snapshots, where the number of entries allows for it: snapshots add at
/// most a quarter.
const LOG_PER_SNAPSHOT: u64 = 4;

/// Thresholds that are set to find where the engine keeps them. No other word of a node that was just made has such a
/// value.
const PROBES: [u32; 2] = [0x4b65_7631, 0x2d39_c3f7];

functions! {
    fn sqlite3_msize = "sqlite3_msize" (block: *mut c_void) -> u64;
}

/// The word in which the engine of a node keeps its threshold.
pub(super) struct ThresholdWord(NonNull<AtomicU32>);

// SAFETY: an atomic number, of whatever thread; that it is still there is promised to `find`.
unsafe impl Send for ThresholdWord {}

impl ThresholdWord {
    /// Returns the word of the node at this address, if it is found. `set` gives a threshold to the API and returns
    /// whether that took it; the last one that it got has to be replaced by the caller.
    ///
    /// # Safety
    ///
    /// The node was made by libdqlite and does not run; it lives as long as what is returned.
    pub(super) unsafe fn find(node: *mut c_void, set: impl Fn(u32) -> bool) -> Option<Self> {
        let first = node.cast::<AtomicU32>();
        // SAFETY: libdqlite has it from SQLite (dqlite: src/server.c, `dqlite_node_create`), which aligns it.
        let count = unsafe { real::sqlite3_msize(node) } as usize / size_of::<AtomicU32>();
        let words = || (0..count).map(|index| first.wrapping_add(index));
        // SAFETY: within the block that the node is, which libdqlite has filled with zeros first; nothing else uses it.
        let has = |word: *mut AtomicU32, value| unsafe { ptr::read_volatile(word.cast::<u32>()) } == value;
        let mut found: Vec<_> = words().collect();
        for probe in PROBES {
            if !set(probe) {
                return None;
            }
            found.retain(|word| has(*word, probe));
        }
        match found[..] {
            [word] => NonNull::new(word).map(Self),
            _ => None,
        }
    }

    fn set(&self, threshold: u32) {
        // SAFETY: promised to `find`. The engine reads a whole word.
        unsafe { self.0.as_ref() }.store(threshold, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.0.as_ref() }.load(Ordering::Relaxed)
    }
}

/// The threshold of a node that runs.
pub(super) struct Pace {
    word: ThresholdWord,
    options: SnapshotOptions,
    /// Since the last snapshot.
    log_bytes: u64,
    snapshot_bytes: u64,
    /// The last entry of the log when the last snapshot was whole.
    last_index: u64,
}

impl Pace {
    /// Takes over a threshold that is set as in the options, of a node whose log ends at this index.
    pub(super) fn new(word: ThresholdWord, options: SnapshotOptions, last_index: u64) -> Self {
        Self {
            word,
            options,
            log_bytes: 0,
            snapshot_bytes: 0,
            last_index,
        }
    }

    /// So many bytes were written to the log.
    pub(super) fn logged(&mut self, bytes: usize) {
        self.log_bytes += bytes as u64;
        // Entries may have become larger: the log in memory must not.
        let is_due = self.log_bytes >= self.snapshot_bytes.saturating_mul(LOG_PER_SNAPSHOT);
        if is_due && self.word.get() != self.options.threshold {
            self.word.set(self.options.threshold);
        }
    }

    /// A snapshot of this size is on the disk; the log ends at `last_index`.
    pub(super) fn snapshot(&mut self, bytes: u64, last_index: u64) {
        let entries = last_index.saturating_sub(self.last_index);
        let threshold = threshold(&self.options, bytes, self.log_bytes, entries);
        if threshold != self.word.get() {
            tracing::debug!(
                bytes,
                entries,
                log_bytes = self.log_bytes,
                threshold,
                "snapshots are taken at another pace"
            );
            self.word.set(threshold);
        }
        (self.log_bytes, self.snapshot_bytes, self.last_index) = (0, bytes, last_index);
    }
}

/// Returns the entries until the next snapshot, if that has as many bytes as the last one, and entries as many as those
/// between the two.
fn threshold(options: &SnapshotOptions, snapshot_bytes: u64, log_bytes: u64, entries: u64) -> u32 {
    let wanted = u128::from(snapshot_bytes) * u128::from(entries);
    let wanted = wanted.saturating_mul(LOG_PER_SNAPSHOT.into());
    let wanted = wanted.checked_div(log_bytes.into()).unwrap_or(0);
    let within = wanted.clamp(options.threshold.into(), options.most_entries().into());
    within as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_entries_end_the_wait() {
        let mut place = AtomicU32::new(1024);
        let word = ThresholdWord(NonNull::from(&mut place));
        let mut pace = Pace::new(word, SnapshotOptions::default(), 0);
        pace.logged(1024 * 8192);
        pace.snapshot(8 << 20, 1024);
        assert_eq!(pace.word.get(), 4096);
        pace.logged((32 << 20) - 1);
        assert_eq!(pace.word.get(), 4096);
        pace.logged(1);
        assert_eq!(pace.word.get(), 1024);
    }

    #[test]
    fn a_snapshot_waits_for_four_times_its_bytes_of_log() {
        const KIB: u64 = 1024;
        let options = SnapshotOptions {
            threshold_max: 4096,
            ..SnapshotOptions::default()
        };
        let after = |snapshot, log, entries| threshold(&options, snapshot, log, entries);
        // 8 KiB for an entry.
        assert_eq!(after(KIB * KIB, 1024 * 8 * KIB, 1024), 1024);
        assert_eq!(after(4 * KIB * KIB, 1024 * 8 * KIB, 1024), 2048);
        assert_eq!(after(4 * KIB * KIB, 2048 * 8 * KIB, 2048), 2048);
        assert_eq!(after(100 * KIB * KIB, 2048 * 8 * KIB, 2048), 4096);
        // 180 KiB for an entry.
        assert_eq!(after(4 * KIB * KIB, 1024 * 180 * KIB, 1024), 1024);
        // Nothing is known, as after a snapshot from the leader.
        assert_eq!(after(u64::MAX, 0, 0), 1024);
        assert_eq!(after(u64::MAX, 1, u64::MAX), 4096);
        let fixed = SnapshotOptions {
            threshold_max: 500,
            threshold: 500,
            ..options
        };
        assert_eq!(
            threshold(&fixed, KIB * KIB * KIB, 1024 * 8 * KIB, 1024),
            500
        );
        let lowered = SnapshotOptions {
            threshold_max: 8192,
            ..options
        };
        assert_eq!(
            threshold(&lowered, KIB * KIB * KIB, 1024 * 8 * KIB, 1024),
            4096
        );
    }
}
