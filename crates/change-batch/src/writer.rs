//! Packs changes.

use etcd_state::mvcc::{Change, ChangeKind, KeyValue, MAX_POSITION, Revision, RowId};

use crate::{Previous, codec, flag, varint};

/// Packs changes that are pushed in the order of their row ids.
#[derive(Debug, Default)]
pub struct Writer {
    content: Vec<u8>,
    first: Option<RowId>,
    previous: Previous,
    changes: usize,
}

/// A blob, and the row ids of its first and its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub first: RowId,
    pub last: RowId,
    pub changes: usize,
    pub blob: Vec<u8>,
}

impl Writer {
    /// Returns the length of what is packed so far, before compression.
    pub fn content_bytes(&self) -> usize {
        self.content.len()
    }

    pub fn is_empty(&self) -> bool {
        self.changes == 0
    }

    pub fn push_change(&mut self, change: &Change) {
        let prev_revision = change
            .prev
            .as_ref()
            .map_or(Revision::NONE, |prev| prev.mod_revision);
        self.push(change.kind, &change.kv, prev_revision);
    }

    /// Packs one change. Its row id must be above that of the one before.
    pub fn push(&mut self, kind: ChangeKind, kv: &KeyValue, prev_revision: Revision) {
        let row_id = kv.row_id();
        debug_assert!(self.first.is_none() || row_id > self.previous.row_id());
        debug_assert!(kv.position <= MAX_POSITION);
        let flags = self.flags(kind, kv, prev_revision);
        let (out, previous) = (&mut self.content, &mut self.previous);
        let since = |earlier: Revision| {
            let revision = kv.mod_revision.number();
            revision.wrapping_sub(earlier.number()).cast_unsigned()
        };
        out.push(flags);
        if flags & flag::JUMP != 0 {
            varint::put(out, since(previous.revision));
            varint::put(out, u64::from(kv.position));
        }
        let shared = shared_bytes(&previous.key, &kv.key);
        varint::put(out, shared as u64);
        put_bytes(out, &kv.key[shared..]);
        if flags & flag::CREATION == 0 {
            let replaced = match prev_revision.is_none() {
                true => 0,
                false => since(prev_revision),
            };
            varint::put(out, replaced);
            if kind == ChangeKind::Put {
                varint::put(out, since(kv.create_revision));
                varint::put(out, kv.version.cast_unsigned());
            }
        }
        if flags & flag::LEASE != 0 {
            varint::put(out, varint::zigzag(kv.lease.number()));
            previous.lease = kv.lease.number();
        }
        if kind == ChangeKind::Put {
            put_bytes(out, &kv.value);
        }
        previous.revision = kv.mod_revision;
        previous.position = kv.position;
        previous.key.truncate(shared);
        previous.key.extend_from_slice(&kv.key[shared..]);
        self.first.get_or_insert(row_id);
        self.changes += 1;
    }

    fn flags(&self, kind: ChangeKind, kv: &KeyValue, prev_revision: Revision) -> u8 {
        let previous = &self.previous;
        let mut flags = 0;
        if kind == ChangeKind::Delete {
            flags |= flag::DELETION;
        }
        let is_first = self.first.is_none();
        if !is_first && kv.mod_revision == previous.revision && kv.position == previous.position + 1
        {
            flags |= flag::SAME_REVISION;
        } else if is_first || kv.mod_revision != previous.revision.next() || kv.position != 0 {
            flags |= flag::JUMP;
        }
        if kind == ChangeKind::Put
            && (kv.version, kv.create_revision) == (1, kv.mod_revision)
            && prev_revision.is_none()
        {
            flags |= flag::CREATION;
        }
        if kind == ChangeKind::Put && !kv.lease.is_none() {
            let is_same = kv.lease.number() == previous.lease;
            flags |= if is_same {
                flag::SAME_LEASE
            } else {
                flag::LEASE
            };
        }
        flags
    }

    /// Makes a blob of what was pushed, and begins anew. None if nothing was.
    pub fn finish(&mut self) -> Option<Packed> {
        let first = self.first.take()?;
        let packed = Packed {
            first,
            last: self.previous.row_id(),
            changes: self.changes,
            blob: codec::seal(&self.content),
        };
        self.content.clear();
        self.changes = 0;
        self.previous.reset();
        Some(packed)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Returns how many bytes both begin with.
fn shared_bytes(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}
