//! The reasons why a request was refused or has no known outcome.

use crate::{auth::AuthError, mvcc::HistoryError};

/// Named by what the caller can do about it; `api::status` gives each etcd's code and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("key is not provided")]
    EmptyKey,
    #[error("key not found")]
    KeyNotFound,
    #[error("value is provided")]
    ValueProvided,
    #[error("lease is provided")]
    LeaseProvided,
    #[error("too many operations in txn request")]
    TooManyOperations,
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    #[error("invalid sort option")]
    InvalidSortOption,
    #[error("RangeStream does not support custom sort orders")]
    StreamOrder,
    #[error("RangeStream does not support revision filters")]
    StreamFilters,
    #[error("required revision has been compacted")]
    Compacted,
    #[error("required revision is a future revision")]
    FutureRevision,
    #[error("requested lease not found")]
    LeaseNotFound,
    #[error("lease already exists")]
    LeaseExists,
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    #[error("request is too large")]
    TooLarge,
    #[error("too many requests")]
    TooManyRequests,
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The quota is used up, or the disk; nothing was written.
    #[error("database space exceeded")]
    NoSpace,
    /// Rewriting the database would hold up writes for too long.
    #[error("the database is too large to be defragmented")]
    TooLargeToDefragment,
    /// The alarm CORRUPT is raised; nothing was written.
    #[error("corrupt cluster")]
    Corrupt,
    /// The request was not written, or it was written but the answer was lost: the outcome is
    /// unknown.
    #[error("request timed out")]
    TimedOut,
    /// The leader was lost while it had the request: the outcome is unknown.
    #[error("request timed out, possibly due to previous leader failure")]
    LeaderLost,
    /// Another node leads now; nothing was written or read.
    #[error("leader changed")]
    LeaderChanged,
    /// The server is stopping; nothing was written.
    #[error("server stopped")]
    Stopped,
}

impl From<HistoryError> for RequestError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Compacted { .. } => RequestError::Compacted,
            HistoryError::Future { .. } => RequestError::FutureRevision,
        }
    }
}
