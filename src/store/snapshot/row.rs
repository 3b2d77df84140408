//! A version as etcd stores it: one row of the bucket `key` in its database file
//! (`mvcc/revision.go`, `mvcc/kvstore_txn.go`).

use etcd_state::{
    mvcc::{KeyValue, Revision},
    requests::to_proto,
};
use prost::Message;

/// Bytes of a put's key: revision, `_`, position. A tombstone's has one more.
pub const KEY_BYTES: usize = 8 + 1 + 8;

const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// The key of a row: revision and position in the order of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    pub revision: Revision,
    pub position: i64,
    pub is_tombstone: bool,
}

impl RowKey {
    pub fn of(kv: &KeyValue) -> Self {
        Self {
            revision: kv.mod_revision,
            position: i64::from(kv.position),
            is_tombstone: kv.version == 0,
        }
    }

    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.revision.number().to_be_bytes());
        out.push(SEPARATOR);
        out.extend_from_slice(&self.position.to_be_bytes());
        if self.is_tombstone {
            out.push(TOMBSTONE);
        }
    }

    /// None if these bytes are no such key.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (revision, rest) = bytes.split_first_chunk::<8>()?;
        let (separator, rest) = rest.split_first()?;
        let (position, mark) = rest.split_first_chunk::<8>()?;
        let is_tombstone = match mark {
            [] => false,
            [TOMBSTONE] => true,
            _ => return None,
        };
        (*separator == SEPARATOR).then_some(Self {
            revision: Revision::new(i64::from_be_bytes(*revision)),
            position: i64::from_be_bytes(*position),
            is_tombstone,
        })
    }
}

/// Bytes of the row's key.
pub fn key_bytes(kv: &KeyValue) -> usize {
    KEY_BYTES + usize::from(kv.version == 0)
}

/// Bytes of the row's value.
pub fn value_bytes(kv: &KeyValue) -> usize {
    stored(kv).encoded_len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_nothing_else_is_a_key() {
        for is_tombstone in [false, true] {
            let key = RowKey {
                revision: Revision::new(7),
                position: 300,
                is_tombstone,
            };
            let mut bytes = Vec::new();
            key.append_to(&mut bytes);
            assert_eq!(bytes.len(), KEY_BYTES + usize::from(is_tombstone));
            assert_eq!(RowKey::parse(&bytes), Some(key));
            bytes.push(b't');
            let still = (!is_tombstone).then_some(RowKey {
                is_tombstone: true,
                ..key
            });
            assert_eq!(RowKey::parse(&bytes), still);
        }
        assert_eq!(RowKey::parse(b"short"), None);
        assert_eq!(RowKey::parse(&[0; KEY_BYTES]), None);
    }
}
