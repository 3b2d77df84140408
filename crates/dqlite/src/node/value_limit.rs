//! A limit of the bytes of a value, where users write statements: one can make a value of 1 GB, and copies of it.

use std::{ffi::c_int, sync::OnceLock};

use super::{reuse::Connection, statements::real};

/// SQLite's number of the limit of texts, blobs and rows, in bytes.
const LIMIT_LENGTH: c_int = 0;

static MAX_VALUE_BYTES: OnceLock<c_int> = OnceLock::new();

/// Limits texts, blobs and rows of all nodes of this process, from the next connection to an engine on. Only the
/// first call counts.
pub fn limit_values(max_bytes: u32) {
    MAX_VALUE_BYTES.get_or_init(|| c_int::try_from(max_bytes).unwrap_or(c_int::MAX));
}

/// # Safety
///
/// An open connection.
pub(super) unsafe fn apply(connection: Connection) {
    if let Some(max_bytes) = MAX_VALUE_BYTES.get() {
        // SAFETY: the caller's promise.
        unsafe { real::sqlite3_limit(connection, LIMIT_LENGTH, *max_bytes) };
    }
}
