//! The records of the index: key-values, the changes that made them, and commits of changes.

use std::sync::Arc;

use bytes::Bytes;

use super::{LeaseId, Revision, RowId};

/// One version of a key. A tombstone has only `key`, `mod_revision` and `position`.
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
    pub position: u32,
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

impl KeyValue {
    pub fn row_id(&self) -> RowId {
        RowId::new(self.mod_revision, self.position)
    }

    /// Returns the tombstone that the deletion of `key` at this place in the order leaves.
    pub fn tombstone(key: Bytes, mod_revision: Revision, position: u32) -> Self {
        KeyValue {
            key,
            value: Bytes::new(),
            create_revision: Revision::NONE,
            mod_revision,
            version: 0,
            lease: LeaseId::NONE,
            position,
        }
    }
}

impl Change {
    /// The previous version as a watcher may see it: etcd reads it at the revision before the
    /// change, so it is gone once that one is compacted.
    pub fn visible_prev(&self, compact_revision: Revision) -> Option<&Arc<KeyValue>> {
        self.prev
            .as_ref()
            .filter(|_| self.kv.mod_revision > compact_revision)
    }
}
