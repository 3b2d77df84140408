//! The records of the index: key-values, the changes that made them, and commits of changes.

use std::sync::Arc;

use bytes::Bytes;

/// The store's logical clock: one per transaction that changed something. The empty store is at 1.
pub type Revision = i64;

/// Identifies a lease; 0 means none.
pub type LeaseId = i64;

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

/// The primary key of a change's row: revision in the high bits, position in the low ones, so that
/// the order of the table is the order of changes.
pub type RowId = i64;

const POSITION_BITS: u32 = 20;

/// The highest position in a revision: one transaction changes at most 1,048,575 keys, and 43 bits
/// are left for revisions, enough for 270 years at 1,000 per second.
pub const MAX_POSITION: u32 = (1 << POSITION_BITS) - 1;

/// The row of a change. `position` must not be above [`MAX_POSITION`].
pub const fn row_id(revision: Revision, position: u32) -> RowId {
    debug_assert!(position <= MAX_POSITION);
    (revision << POSITION_BITS) | position as RowId
}

pub const fn revision_of(row_id: RowId) -> Revision {
    row_id >> POSITION_BITS
}

pub const fn position_of(row_id: RowId) -> u32 {
    (row_id & MAX_POSITION as RowId) as u32
}

impl KeyValue {
    pub fn row_id(&self) -> RowId {
        row_id(self.mod_revision, self.position)
    }

    /// Returns the tombstone that the deletion of `key` at this place in the order leaves.
    pub fn tombstone(key: Bytes, mod_revision: Revision, position: u32) -> Self {
        KeyValue {
            key,
            value: Bytes::new(),
            create_revision: 0,
            mod_revision,
            version: 0,
            lease: 0,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_ids_sort_by_revision_then_position() {
        assert!(row_id(7, MAX_POSITION) < row_id(8, 0));
        let id = row_id(Revision::MAX >> POSITION_BITS, MAX_POSITION);
        assert_eq!(
            (revision_of(id), position_of(id)),
            (Revision::MAX >> POSITION_BITS, MAX_POSITION)
        );
    }
}
