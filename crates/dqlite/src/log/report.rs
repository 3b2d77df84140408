//! The report on what the engine will load from a directory that is not damaged.

use std::fmt;

use crate::wire::{NodeId, Server};

use super::{name::SnapshotId, snapshot_content::Database};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// 0 in a directory that no engine has started in.
    pub term: u64,
    /// The id of a node, or 0.
    pub voted_for: NodeId,
    pub snapshot: Option<SnapshotReport>,
    /// The index of the first entry that is loaded. It is the one after `last_index` where there is
    /// none.
    pub first_index: u64,
    /// The index of the last entry, in the log or else in the snapshot; 0 in an empty directory. The
    /// engine will say the same (`node::describe_last_entry`).
    pub last_index: u64,
    /// The term of that entry.
    pub last_term: u64,
    /// The nodes that the engine will begin with.
    pub configuration: Option<Configuration>,
    /// Closed segments that are loaded, in order.
    pub closed: Vec<ClosedReport>,
    /// All open segments, in order.
    pub open: Vec<OpenReport>,
    /// All other remains, which will not be loaded, or will be cut off or deleted. Each is a line for a log.
    pub remnants: Vec<Remnant>,
    /// The engine's first start fails on prepared segments beside a snapshot that was just received,
    /// having deleted the segments; the next one succeeds.
    pub first_start_fails: bool,
    pub bytes_read: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Its term and index are those of the last entry in it.
    pub id: SnapshotId,
    pub databases: Vec<Database>,
    /// False where compression was switched off: then only the form of the content was checked.
    pub has_checksum: bool,
}

/// The nodes of the cluster, and the index of the entry that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    pub index: u64,
    pub servers: Vec<Server>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedReport {
    pub name: String,
    pub first: u64,
    pub last: u64,
    /// The digest of its batches, which tells it from another segment of the same name.
    pub digest: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    pub name: String,
    pub counter: u64,
    /// The first and the last entry, if there are any. The indexes follow from the segments before
    /// it: the file itself does not have them.
    pub entries: Option<(u64, u64)>,
    /// The digest of its batches.
    pub digest: u64,
    /// Both checksums of its first batch, which tell it from another segment of the same number.
    pub first_batch: Option<u64>,
}

/// A remnant of a crash, or of the engine's own cleaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remnant {
    /// The write of the entries from `index` on was interrupted, before anybody was told that they
    /// are stored.
    TornWrite {
        file: String,
        offset: u64,
        len_bytes: u64,
        index: u64,
    },
    /// An open segment without entries.
    Unused(String),
    Temporary(String),
    /// A file of a snapshot that was being written or deleted.
    HalfSnapshot(String),
    OlderSnapshot(String),
    /// A closed segment whose entries are all in the snapshot.
    BehindSnapshot(String),
    /// A file of the metadata that was being created.
    ShortMetadata(String),
}

impl fmt::Display for Remnant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornWrite {
                file,
                offset,
                len_bytes,
                index,
            } => write!(
                f,
                "{file} ends with an interrupted write of {len_bytes} bytes at byte {offset}: the \
                 entries from {index} on had not been stored"
            ),
            Self::Unused(file) => write!(f, "{file} was prepared but never used"),
            Self::Temporary(file) => write!(f, "{file} was never finished"),
            Self::HalfSnapshot(file) => write!(
                f,
                "{file} belongs to an incomplete snapshot that is not needed"
            ),
            Self::OlderSnapshot(file) => write!(f, "{file} is an older snapshot"),
            Self::BehindSnapshot(file) => write!(f, "all entries of {file} are in the snapshot"),
            Self::ShortMetadata(file) => {
                write!(f, "{file} was being created when the node stopped")
            }
        }
    }
}
