//! Exit codes: the table of all three programs.

use std::process::ExitCode;

/// 128 and the number of the signal is added when a second signal cut the stop short; 134 is a panic or an
/// abort of the engine (128 + SIGABRT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Stopped by a signal, or because the disk was nearly full and `--low-available-storage-action=terminate`.
    Stopped = 0,
    /// Anything else.
    Failure = 1,
    /// A flag is unknown or its value wrong.
    Usage = 2,
    /// A file of the node is missing, wrong, or not for this version; or a file, a socket or a server is not for this
    /// user.
    Config = 3,
    /// The address of `--listen`, of `--metrics-listen`, of `--profiling-listen` or of the node cannot be listened on.
    Listen = 4,
    /// Another process works on the storage directory.
    Held = 5,
    /// The data is damaged, of a newer version, or was written by another program.
    Data = 6,
    /// dqlite failed, or was without a leader for too long.
    Engine = 7,
    /// No space left on the disk.
    DiskFull = 8,
    /// dqlite did not stop in time.
    StopTimeout = 9,
    /// `status`: the cluster works, but not all is as it should be.
    Degraded = 10,
    /// No node that was reached leads.
    NoLeader = 11,
    /// The program, a server or a member refuses as things are. Nothing was changed.
    Refused = 12,
    /// The server, the daemon or the cluster cannot be reached.
    Unreachable = 13,
    /// There was no answer in time: what was asked for may have been done.
    TimedOut = 14,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
