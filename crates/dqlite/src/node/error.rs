//! The errors of a node, by what an operator can do about them.

use std::{
    ffi::{CStr, c_char, c_int},
    io,
    path::{Path, PathBuf},
};

use super::poison::{FileFailure, advice};
use crate::wire::NodeId;

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

    #[error("cannot use the directory {}: {source}{}", dir.display(), remedy(source))]
    Directory { dir: PathBuf, source: io::Error },

    /// Says nothing about the data.
    #[error("cannot read {}: {source}; {}", path.display(), advice(source.raw_os_error().unwrap_or(libc::EIO)))]
    Unreadable { path: PathBuf, source: io::Error },

    /// The engine did not start because of it. Says nothing about the data.
    #[error(transparent)]
    FileCall(FileFailure),

    /// Starting would create a second, empty cluster, where one was expected to exist.
    #[error(
        "the directory {} has no data of dqlite, and node {id:x} would begin a new, empty cluster \
         on it: restore its content, or start with a fresh directory on purpose",
        dir.display()
    )]
    WouldBootstrap { dir: PathBuf, id: NodeId },

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

/// The engine's messages about files that it cannot load (dqlite: src/raft/uv.c, uv_segment.c and uv_snapshot.c).
const DAMAGE: [&str; 7] = [
    "load closed segment",
    "load open segment",
    "unexpected closed segment",
    "past last snapshot",
    "behind last snapshot",
    "checksum mismatch",
    "unexpected format version",
];

/// The engine's texts for errors of the system, which are libuv's. This program does not see those calls.
const SYSTEM: [(&str, c_int); 5] = [
    ("i/o error", libc::EIO),
    ("too many open files", libc::EMFILE),
    ("file table overflow", libc::ENFILE),
    ("not enough memory", libc::ENOMEM),
    ("interrupted system call", libc::EINTR),
];

impl NodeError {
    /// Returns whether the machine lacked something for a moment, so that starting again can help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Directory { source, .. } | Self::Unreadable { source, .. } => {
                source.raw_os_error().is_some_and(passes)
            }
            _ => false,
        }
    }

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
        let of_system = SYSTEM.iter().find(|(words, _)| lower.contains(words));
        if let Some((_, errno)) = of_system {
            return Self::Engine {
                operation,
                code,
                message: format!("{message}; {}", advice(*errno)),
            };
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

fn passes(errno: c_int) -> bool {
    matches!(
        errno,
        libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR | libc::EAGAIN
    )
}

/// Returns the advice for an error that is not the fault of the directory.
fn remedy(source: &io::Error) -> String {
    match source.raw_os_error() {
        Some(errno) if passes(errno) || errno == libc::EIO => format!("; {}", advice(errno)),
        _ => String::new(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_read_is_not_damaged() {
        let said = |message: &str| {
            NodeError::engine("start", 1, message.to_owned(), Path::new("/data")).to_string()
        };
        let unread = said("io: load open segment open-1: read header: read: i/o error");
        assert!(unread.contains("dmesg"), "{unread}");
        let unopened = said("io: load closed segment 1-2: open: too many open files");
        assert!(unopened.contains("LimitNOFILE"), "{unopened}");
        let damaged = said("io: load closed segment 1-2: entries batch 1: data checksum mismatch");
        assert!(damaged.contains("is damaged"), "{damaged}");
    }

    #[test]
    fn only_what_passes_is_worth_another_start() {
        for (errno, is_passing, expected) in [
            (libc::EMFILE, true, "LimitNOFILE"),
            (libc::ENOMEM, true, "memory"),
            (libc::EIO, false, "if it has to be replaced"),
            (libc::EACCES, false, "give this user"),
        ] {
            let error = NodeError::Unreadable {
                path: "/data/open-1".into(),
                source: io::Error::from_raw_os_error(errno),
            };
            assert_eq!(error.is_passing(), is_passing, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
            let error = NodeError::Directory {
                dir: "/data".into(),
                source: io::Error::from_raw_os_error(errno),
            };
            assert_eq!(error.is_passing(), is_passing, "{error}");
            let has_remedy = error.to_string().contains(expected);
            assert_eq!(has_remedy, errno != libc::EACCES, "{error}");
        }
    }
}
