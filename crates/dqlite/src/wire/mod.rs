//! The dqlite wire protocol, version 1: pure encoding and decoding, no I/O.
//!
//! Owns the byte layout of every request and reply (dqlite `src/request.h`, `src/response.h`,
//! `src/tuple.c`): little-endian, in words of 8 bytes.
//!
//! Invariants: an encoder leaves the caller's buffer as it was when it fails; a decoder is total, it
//! neither panics on hostile bytes nor allocates more than [`DECODE_EXPANSION`] times the message.
//!
//! Requests are encoded straight into the connection's buffer, because one insert carries hundreds
//! of rows; blobs of replies are slices of the received message, for the same reason.

mod bytes;
mod date;
mod frame;
mod node_id;
mod params;
mod reply;
mod request;
mod rows;
mod value;

pub(crate) use bytes::Reader;
pub use date::UtcTime;
pub use frame::{Header, PROTOCOL_VERSION, PROTOCOL_VERSION_LEGACY};
pub use node_id::NodeId;
pub use params::Params;
pub(crate) use reply::STATEMENT as STATEMENT_KIND;
pub use reply::{Failure, File, Reply, Role, Server};
pub use request::{Request, RequestKind};
pub(crate) use rows::MORE as ROWS_PART_MARK;
pub use rows::{Row, RowsPart};
pub use value::{Param, Value};

/// The largest message body that is sent or accepted, in bytes. The C server misbehaves from 2 GiB on
/// (32-bit arithmetic), and a batch or a part of a result is far below this.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// Parameters of one request: what Debian's SQLite accepts (SQLITE_LIMIT_VARIABLE_NUMBER).
pub const MAX_PARAMS: usize = 250_000;

/// Columns of one result: SQLite's hard limit.
pub const MAX_COLUMNS: usize = 32_767;

/// The most bytes that a decoder may allocate for each byte of a message. The worst case is a row of one NULL, 16 bytes
/// on the wire, in vectors that double.
pub const DECODE_EXPANSION: usize = 10;

/// The reason why bytes are not a message, or why a message cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the message ends inside {0}")]
    Truncated(&'static str),
    #[error("the message has {0} bytes too many")]
    Trailing(usize),
    #[error("{what} is over the limit of {limit}")]
    TooLarge { what: &'static str, limit: usize },
    #[error("the message has no body")]
    EmptyBody,
    #[error("text contains a NUL byte, which would cut it short")]
    NulInText,
    #[error("a text of a reply or request is not UTF-8")]
    NotUtf8,
    #[error("unknown {what} {code}")]
    Unknown { what: &'static str, code: u64 },
    #[error("a part of the result has no rows: the column names are too long for the server")]
    EmptyRowsPart,
    #[error("a part of the result has {got} columns, but the first part had {expected}")]
    ColumnCount { got: usize, expected: usize },
}
