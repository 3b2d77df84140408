//! What can go wrong with a node, by what an operator can do about it.

use std::{
    ffi::{CStr, c_char, c_int},
    io,
    path::{Path, PathBuf},
};

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("libdqlite {found} is too old, 1.18.5 or newer is needed: run scripts/libdqlite")]
    LibraryTooOld { found: String },

    #[error("invalid {option} of the dqlite node: {reason}")]
    InvalidOption {
        option: &'static str,
        reason: String,
    },

    /// Another process, or another node in this one, works on the directory.
    #[error("the directory {} is in use by {holder}; stop that first", dir.display())]
    DirectoryHeld { dir: PathBuf, holder: String },

    #[error("cannot use the directory {}: {source}", dir.display())]
    Directory { dir: PathBuf, source: io::Error },

    /// Says nothing about the data.
    #[error(
        "cannot read {}: {source}; give this user the files of the directory, or look for the disk's errors (dmesg)",
        path.display()
    )]
    Unreadable { path: PathBuf, source: io::Error },

    /// Starting would create a second, empty cluster, where one was expected to exist.
    #[error(
        "the directory {} has no data of dqlite, and node {id:x} would begin a new, empty cluster \
         on it: restore its content, or start with a fresh directory on purpose",
        dir.display()
    )]
    WouldBootstrap { dir: PathBuf, id: u64 },

    #[error(
        "the directory {0} is damaged: {reason}; where other nodes have the data, run \
         `k8s-dqlite recover --reseed --storage-dir {0}`, and this one gets it from them at its next \
         start; otherwise restore a backup. Without either, `k8s-dqlite recover --cut {0}` shows what is left", dir.display()
    )]
    Damaged { dir: PathBuf, reason: String },

    #[error("cannot listen on the unix socket {address}: {source}")]
    Bind { address: String, source: io::Error },

    #[error("no space left on the disk of {}: {message}", dir.display())]
    DiskFull { dir: PathBuf, message: String },

    #[error("dqlite could not {operation} the node (code {code}): {message}")]
    Engine {
        operation: &'static str,
        code: c_int,
        message: String,
    },

    /// The engine did not end in time. It may still write to its directory, which stays locked
    /// until the process ends: end the process.
    #[error("the dqlite engine did not stop within {seconds} s")]
    StopTimeout { seconds: u64 },
}

/// What the engine says about files that it cannot take (dqlite: src/raft/uv.c, uv_segment.c and
/// uv_snapshot.c).
const DAMAGE: [&str; 7] = [
    "load closed segment",
    "load open segment",
    "unexpected closed segment",
    "past last snapshot",
    "behind last snapshot",
    "checksum mismatch",
    "unexpected format version",
];

impl NodeError {
    /// The error for a failed call, with the engine's own words.
    pub(super) fn engine(
        operation: &'static str,
        code: c_int,
        message: String,
        dir: &Path,
    ) -> Self {
        let dir = dir.to_owned();
        let lower = message.to_lowercase();
        if lower.contains("couldn't lock the raft directory") {
            return Self::DirectoryHeld {
                dir,
                holder: "another process".to_owned(),
            };
        }
        if lower.contains("no space left on device") || lower.contains("not enough space") {
            return Self::DiskFull { dir, message };
        }
        if DAMAGE.iter().any(|words| lower.contains(words)) {
            return Self::Damaged {
                dir,
                reason: message,
            };
        }
        let message = if message.is_empty() {
            "no reason given; run with LIBDQLITE_TRACE=1 to see the engine's trace".to_owned()
        } else {
            message
        };
        Self::Engine {
            operation,
            code,
            message,
        }
    }
}

/// Copy a string that libdqlite owns.
///
/// # Safety
///
/// `text` is null or a NUL-terminated string that nobody changes meanwhile.
pub(super) unsafe fn copy(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller promises the rest.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
