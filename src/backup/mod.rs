//! Backups: a snapshot in etcd's format in a compressed file with a checksum, which is complete or not there.
//!
//! Invariants: what has the final name is complete and was synced; a file is read to its last byte before
//! anything is made of it; neither side holds more than a bounded part of it in memory.

mod format;
mod names;
mod order;
mod partial;
mod reader;
mod schedule;
mod scratch;
mod server;
mod write;
mod writer;

use std::{fmt, io, path::PathBuf};

use etcd_state::requests::RequestError;

pub use self::{
    format::{HEAD_BYTES, Head, KnownHash, SnapshotInfo, TRAILER_BYTES, Trailer},
    names::{Time, backup_time_s},
    partial::PartialFile,
    reader::{Backup, is_compressed},
    schedule::BackupSettings,
    scratch::Scratch,
    server::{BACKUPS, BackupMetrics, Maker, run as run_scheduled},
    write::{Piece, write},
    writer::BackupWriter,
};
use crate::remote::{EndpointUrl, RemoteError};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists already: choose another name, or use --force", .0.display())]
    Exists(PathBuf),
    #[error("{} is not an unfinished backup: move it away", .0.display())]
    ForeignPartial(PathBuf),
    #[error("another process is writing {}", .0.display())]
    Held(PathBuf),
    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no backup: {reason}", path.display())]
    NoBackup { path: PathBuf, reason: &'static str },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the snapshot from the server does not match its checksum: try again")]
    WrongStream,
    #[error(
        "the disk of {} would have fewer than {reserve} bytes left: make room", path.display()
    )]
    DiskLow { path: PathBuf, reserve: u64 },
    #[error("the server: {0}")]
    Store(#[from] RequestError),
    #[error("{0} sent no snapshot")]
    NoStream(EndpointUrl),
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// The backup that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub path: PathBuf,
    pub trailer: Trailer,
    /// The size of the compressed file.
    pub bytes: u64,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.trailer.info;
        if let Some(revision) = info.revision {
            write!(f, "revision {revision}, ")?;
        }
        if let Some(known) = info.hash {
            write!(f, "hash {}, ", known.hash)?;
        }
        let unpacked = self.trailer.snapshot_bytes;
        write!(f, "{} bytes, {unpacked} unpacked, ", self.bytes)?;
        write!(f, "in {}", self.path.display())
    }
}
