//! How etcd stores a version: one row of the bucket `key` in its database file
//! (`mvcc/revision.go`, `mvcc/kvstore_txn.go`).

use prost::Message;

use crate::{
    mvcc::{KeyValue, Revision},
    store::range::to_proto,
};

const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// The key of a row: revision and position in the order of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    pub revision: Revision,
    pub sub: i64,
    pub is_tombstone: bool,
}

impl RowKey {
    pub fn of(kv: &KeyValue) -> Self {
        Self {
            revision: kv.mod_revision,
            sub: i64::from(kv.sub),
            is_tombstone: kv.version == 0,
        }
    }

    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.revision.to_be_bytes());
        out.push(SEPARATOR);
        out.extend_from_slice(&self.sub.to_be_bytes());
        if self.is_tombstone {
            out.push(TOMBSTONE);
        }
    }
}

pub fn append_value(kv: &KeyValue, out: &mut Vec<u8>) {
    // A Vec grows as needed.
    stored(kv).encode_raw(out);
}

fn stored(kv: &KeyValue) -> etcd_proto::mvccpb::KeyValue {
    if kv.version > 0 {
        return to_proto(kv);
    }
    etcd_proto::mvccpb::KeyValue {
        key: kv.key.clone(),
        ..Default::default()
    }
}
