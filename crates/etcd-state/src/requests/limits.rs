//! The limits on the size of a request, with etcd's flags and defaults.

/// The most that `--max-request-bytes` may be: a request is one Raft entry, and in memory several
/// times while it is written. etcd warns from 10 MiB on.
pub const LARGEST_REQUEST_BYTES: usize = 128 * 1024 * 1024;

/// The bytes that a message may have on top of the request that it carries.
const RECEIVE_OVERHEAD_BYTES: usize = 512 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The entry of a write, see [`super::entry_bytes`].
    pub max_request_bytes: usize,
    /// Operations in one list of a transaction, nested lists included.
    pub max_txn_operations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 1536 * 1024,
            max_txn_operations: 128,
        }
    }
}

impl Limits {
    /// Returns the size of the largest message that etcd receives.
    pub fn max_received_bytes(self) -> usize {
        self.max_request_bytes + RECEIVE_OVERHEAD_BYTES
    }
}
