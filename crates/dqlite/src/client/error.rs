//! The errors of a request, by what the caller can do about them.

use std::io;
use std::time::Duration;

use crate::wire::{Failure, WireError};

/// The way in which the reply to a request was lost.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    #[error("leadership was lost while the request was running")]
    LeadershipLost,
    #[error("the server closed the connection")]
    Closed,
    #[error("no reply within {0:?}")]
    TimedOut(Duration),
    #[error(transparent)]
    Io(io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request did not reach the server whole, so it was not executed. Connect anew and send it
    /// again.
    #[error("dqlite is not reachable: {0}")]
    Unreachable(#[source] io::Error),
    /// Another node leads. Nothing was executed: find the leader, open the database there.
    #[error("not the dqlite leader")]
    NotLeader,
    /// No node of the cluster says that it leads. Nothing was sent. Try again later.
    #[error("no dqlite leader found among {addresses}{}", because(last_error.as_deref()))]
    NoLeader {
        addresses: String,
        last_error: Option<Box<Error>>,
    },
    /// The request may have been executed, now or later. Read the database before sending it again.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(#[source] Loss),
    /// The reply to a request that changes nothing was lost. Connect anew and send it again.
    #[error("the connection was lost: {0}")]
    Disconnected(#[source] Loss),
    /// An earlier request on this connection was abandoned before its reply was read. Nothing was
    /// sent. Connect anew.
    #[error("the connection is not usable: an earlier request on it was abandoned")]
    Poisoned,
    /// Another writer is active, or the snapshot is too old (517). Back off, repeat the whole
    /// transaction.
    #[error("busy: {message} ({code})")]
    Busy { code: u64, message: String },
    /// The statement violates a constraint; it had no effect.
    #[error("constraint: {message} ({code})")]
    Constraint { code: u64, message: String },
    /// The database or the statement is not open on this connection: leadership came and went, or the
    /// database to dump does not exist. Open and prepare again.
    #[error("no such database or statement: {message}")]
    NoDatabase { message: String },
    /// The engine failed: a full or broken disk, Raft refused the entry. On a cluster the write may
    /// still come through, so treat it as unknown.
    #[error("the engine failed: {message} ({code})")]
    DiskOrEngine { code: u64, message: String },
    /// SQLite found that the file is no database, or is damaged. Repeating the request makes it worse: end the
    /// process, whose next start reads all that is on disk.
    #[error("the database is damaged: {message} ({code})")]
    Corrupt { code: u64, message: String },
    /// The statement or the membership change is wrong, or not allowed.
    #[error("{message} ({code})")]
    Sql { code: u64, message: String },
    /// The request or the result is over a limit. A request was not sent.
    #[error("{what} is over the limit of {limit}")]
    TooLarge { what: &'static str, limit: usize },
    /// The call makes no sense, nothing was sent.
    #[error("{0}")]
    Invalid(&'static str),
    /// The server sent something that the protocol does not allow. The connection is not usable any more.
    #[error("protocol error: {0}")]
    Protocol(#[source] WireError),
}

fn because(error: Option<&Error>) -> String {
    error.map(|error| format!(": {error}")).unwrap_or_default()
}

// Codes of libdqlite beside SQLite's own: IOERR with a subtype, and the subtypes of old servers.
const NOT_LEADER: u64 = 10_250;
const NOT_LEADER_LEGACY: u64 = 8_202;
const LEADERSHIP_LOST: u64 = 10_506;
const LEADERSHIP_LOST_LEGACY: u64 = 8_458;
const NO_SUCH_DATABASE: u64 = 1_002;

// The primary result codes of SQLite, which are the low byte of an extended one.
const SQLITE_BUSY: u64 = 5;
const SQLITE_IOERR: u64 = 10;
const SQLITE_CORRUPT: u64 = 11;
const SQLITE_NOTFOUND: u64 = 12;
const SQLITE_FULL: u64 = 13;
const SQLITE_CONSTRAINT: u64 = 19;
const SQLITE_NOTADB: u64 = 26;

impl Error {
    pub(super) fn from_failure(failure: Failure) -> Error {
        let Failure { code, message } = failure;
        match code {
            NOT_LEADER | NOT_LEADER_LEGACY => Error::NotLeader,
            LEADERSHIP_LOST | LEADERSHIP_LOST_LEGACY => Error::OutcomeUnknown(Loss::LeadershipLost),
            SQLITE_NOTFOUND | NO_SUCH_DATABASE => Error::NoDatabase { message },
            // dqlite's own codes from 1000 to 1005 have nothing to do with SQLite's extended ones.
            1_000..=1_005 => Error::Sql { code, message },
            code => match code & 0xff {
                SQLITE_BUSY => Error::Busy { code, message },
                SQLITE_CONSTRAINT => Error::Constraint { code, message },
                SQLITE_CORRUPT | SQLITE_NOTADB => Error::Corrupt { code, message },
                SQLITE_IOERR | SQLITE_FULL => Error::DiskOrEngine { code, message },
                _ => Error::Sql { code, message },
            },
        }
    }

    /// An error of encoding a request.
    pub(super) fn from_encoding(error: WireError) -> Error {
        match error {
            WireError::TooLarge { what, limit } => Error::TooLarge { what, limit },
            WireError::NulInText => Error::Invalid("text contains a NUL byte"),
            other => Error::Protocol(other),
        }
    }

    /// Returns whether the request was certainly not executed.
    pub fn had_no_effect(&self) -> bool {
        !matches!(
            self,
            Error::OutcomeUnknown(_)
                | Error::Disconnected(_)
                | Error::DiskOrEngine { .. }
                | Error::Corrupt { .. }
                | Error::Protocol(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(code: u64) -> Error {
        Error::from_failure(Failure {
            code,
            message: "why".into(),
        })
    }

    #[test]
    fn codes_map_to_what_the_caller_can_do() {
        assert!(matches!(map(10_250), Error::NotLeader));
        assert!(matches!(map(8_202), Error::NotLeader));
        assert!(matches!(
            map(10_506),
            Error::OutcomeUnknown(Loss::LeadershipLost)
        ));
        assert!(matches!(map(5), Error::Busy { code: 5, .. }));
        assert!(matches!(map(517), Error::Busy { code: 517, .. }));
        assert!(matches!(map(1_555), Error::Constraint { code: 1_555, .. }));
        assert!(matches!(map(2_067), Error::Constraint { .. }));
        assert!(matches!(map(12), Error::NoDatabase { .. }));
        assert!(matches!(map(1_002), Error::NoDatabase { .. }));
        assert!(matches!(map(10), Error::DiskOrEngine { code: 10, .. }));
        assert!(matches!(map(13), Error::DiskOrEngine { .. }));
        assert!(matches!(map(11), Error::Corrupt { .. }));
        assert!(matches!(map(523), Error::Corrupt { code: 523, .. }));
        assert!(matches!(map(26), Error::Corrupt { .. }));
        assert!(matches!(map(1), Error::Sql { code: 1, .. }));
        assert!(matches!(map(0), Error::Sql { code: 0, .. }));
        assert!(matches!(map(1_005), Error::Sql { code: 1_005, .. }));
        assert!(matches!(map(1_001), Error::Sql { code: 1_001, .. }));
    }

    #[test]
    fn unknown_outcomes_do_not_count_as_without_effect() {
        assert!(!map(10_506).had_no_effect());
        assert!(!map(10).had_no_effect());
        assert!(map(10_250).had_no_effect());
        assert!(map(1_555).had_no_effect());
    }
}
