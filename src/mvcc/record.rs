//! What the index holds: key-values, the changes that made them, and commits of changes.

use std::sync::Arc;

use bytes::Bytes;

/// The store's logical clock: one per transaction that changed something. The empty store is at 1.
pub type Revision = i64;

/// Identifies a lease; 0 means none.
pub type LeaseId = i64;

/// One version of a key. A tombstone has only `key`, `mod_revision` and `sub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    /// 1 when created, one more with each put, 0 for a tombstone.
    pub version: i64,
    pub lease: LeaseId,
    /// Position among the changes of `mod_revision`; with it, the primary key of the row.
    pub sub: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Put,
    Delete,
}

/// One changed key of a commit.
#[derive(Debug, Clone)]
pub struct Change {
    pub kind: ChangeKind,
    pub kv: Arc<KeyValue>,
    /// The version that it replaced; none for a key that did not exist.
    pub prev: Option<Arc<KeyValue>>,
}

/// All changes of one revision, in the order of their positions; never empty, each key once.
#[derive(Debug)]
pub struct Commit {
    pub revision: Revision,
    pub changes: Vec<Change>,
}
