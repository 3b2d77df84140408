//! The bytes of a delta, format 1. Numbers are big-endian.
//!
//! | Bytes | Header |
//! |---|---|
//! | 8 | `k8sdelta` |
//! | 2 | format, 1 |
//! | 1 | kind: 0 changes, 1 a base of the revision before, 2 a base after a gap |
//! | 1 | 1 if the records are all leases and settings that there are, 0 if they are changes of them |
//! | 4 | number: deltas before it with the same first revision |
//! | 8 | id of the cluster, which is that of its history |
//! | 8 | id of the node that wrote it |
//! | 8 | first revision: the one after the last of the delta before |
//! | 8 | last revision; the one before the first if it holds none |
//! | 8 | compaction revision of the store at its end, -1 if it was never compacted |
//! | 8 | time of its end, milliseconds since 1970, never before that of the delta before |
//! | 32 | SHA-256 of the delta before, which is that one's last 32 bytes; zeros in the first |
//! | 8 | nonce in the name of the base, whose revision is the last one; 0 unless there is a base, as in the next two |
//! | 8 | bytes of the base |
//! | 32 | SHA-256 of the base, all of it |
//! | 4 | number of batches |
//! | 4 | number of records |
//!
//! Then the batches in the order of revisions, each with 4 bytes of length: what the package `change-batch` describes, as
//! the database has it. Then the records, each:
//!
//! | Bytes | A record |
//! |---|---|
//! | 8 | the revision of the store when it took effect; it takes effect in every later one |
//! | 1 | 1 a lease was granted or is left with a time, 2 a lease is gone, 3 a setting, 4 a setting is gone |
//! | 8 | of a lease: its id |
//! | 8, 8 | of kind 1: TTL as granted, what is left of it, in seconds |
//! | 1 | of a setting: its space |
//! | 4 | and the length of its name |
//! | | the name |
//! | 4 | of kind 3: the length of its value |
//! | | the value |
//!
//! At the end, 32 bytes: SHA-256 of all before.
//!
//! The revisions of batches lie between the first and the last one. Not each of those revisions need have a change: a store that
//! was converted from another has gaps.
//!
//! A delta of kind 1 or 2 has neither batches nor records: all is in its base. One of kind 1 continues the revisions, so its
//! base is equal to what is before it; with one of kind 2 the revisions from its first to the one before its last are not
//! in the archive, except as far as the base has them.

mod delta;
mod fields;
mod header;
mod records;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::{
    delta::{Delta, DeltaError},
    header::{BaseInfo, HEADER_BYTES, Header, Kind},
    records::{Record, RecordChange},
};

/// Bytes of the largest delta that is read: of 4 MiB, and one transaction of the largest size that can be configured, twice
/// for its overhead.
pub const MAX_DELTA_BYTES: usize = 4 * 1024 * 1024 + 256 * 1024 * 1024;

/// A SHA-256.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; Digest::BYTES]);

impl Digest {
    pub const BYTES: usize = 32;

    /// Stands for the delta before the first.
    pub const NONE: Self = Self([0; Self::BYTES]);

    pub fn of(bytes: &[u8]) -> Self {
        Self(openssl::sha::sha256(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
