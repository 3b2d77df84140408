//! Reads changes back.

use std::borrow::Cow;

use bytes::Bytes;
use etcd_state::mvcc::{ChangeKind, KeyValue, LeaseId, MAX_POSITION, Revision, RowId};

use crate::{Previous, codec, flag, varint};

/// The reason why a blob cannot be read: it is damaged, or of a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("it ends inside its header")]
    Short,
    #[error("it has format {0}, which a newer version of k8s-dqlite writes")]
    Format(u8),
    #[error("its content has codec {0}, which a newer version of k8s-dqlite writes")]
    Codec(u8),
    #[error("its checksum does not match")]
    Checksum,
    #[error("its content does not decompress to the length that it names")]
    Content,
    #[error("the change at byte {0} of its content is not one")]
    Change(usize),
    #[error("the change at byte {0} of its content is not above the one before it")]
    Order(usize),
}

/// Reads the changes of a blob in their order.
#[derive(Debug)]
pub struct Reader<'a> {
    content: Cow<'a, [u8]>,
    at: usize,
    is_first: bool,
    previous: Previous,
}

/// A change, in memory of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRef<'a> {
    pub kind: ChangeKind,
    pub revision: Revision,
    pub position: u32,
    pub key: &'a [u8],
    /// Empty in a tombstone.
    pub value: &'a [u8],
    pub create_revision: Revision,
    pub prev_revision: Revision,
    pub version: i64,
    pub lease: LeaseId,
}

impl ChangeRef<'_> {
    pub fn row_id(&self) -> RowId {
        RowId::new(self.revision, self.position)
    }

    /// Copies key and value to memory of their own, so that one small value does not hold a whole batch.
    pub fn to_key_value(&self) -> KeyValue {
        KeyValue {
            key: Bytes::copy_from_slice(self.key),
            value: Bytes::copy_from_slice(self.value),
            create_revision: self.create_revision,
            mod_revision: self.revision,
            version: self.version,
            lease: self.lease,
            position: self.position,
        }
    }
}

impl<'a> Reader<'a> {
    /// Checks the envelope and decompresses the content.
    ///
    /// # Errors
    ///
    /// The blob is damaged, or of a newer version.
    pub fn open(blob: &'a [u8]) -> Result<Self, ReadError> {
        Ok(Self {
            content: codec::open(blob)?,
            at: 0,
            is_first: true,
            previous: Previous::default(),
        })
    }

    /// Returns the length of the content.
    pub fn content_bytes(&self) -> usize {
        self.content.len()
    }

    /// Reads the next change; none after the last one. After an error the reader is at no change.
    pub fn next_change(&mut self) -> Result<Option<ChangeRef<'_>>, ReadError> {
        let start = self.at;
        let Self {
            content,
            at,
            is_first,
            previous,
        } = self;
        let mut rest = &content[start..];
        if rest.is_empty() {
            return Ok(None);
        }
        let before = (previous.revision, previous.position);
        let change = take_change(&mut rest, previous).ok_or(ReadError::Change(start))?;
        if !*is_first && (change.revision, change.position) <= before {
            return Err(ReadError::Order(start));
        }
        *is_first = false;
        *at = content.len() - rest.len();
        Ok(Some(change))
    }
}

fn take_change<'a>(rest: &mut &'a [u8], previous: &'a mut Previous) -> Option<ChangeRef<'a>> {
    let [flags] = *take_bytes(rest, 1)? else {
        return None;
    };
    let has = |flag: u8| flags & flag != 0;
    let excludes = |one, other| has(one) && has(other);
    if flags & !flag::ALL != 0
        || excludes(flag::SAME_REVISION, flag::JUMP)
        || excludes(flag::SAME_LEASE, flag::LEASE)
        || excludes(
            flag::DELETION,
            flag::CREATION | flag::LEASE | flag::SAME_LEASE,
        )
    {
        return None;
    }
    if has(flag::JUMP) {
        let ahead = varint::take(rest)?.cast_signed();
        let revision = previous.revision.number().wrapping_add(ahead);
        previous.revision = Revision::new(revision);
        previous.position = u32::try_from(varint::take(rest)?).ok()?;
    } else if has(flag::SAME_REVISION) {
        previous.position += 1;
    } else {
        previous.revision = Revision::new(previous.revision.number().wrapping_add(1));
        previous.position = 0;
    }
    // Beyond, the order of row ids is not that of revisions.
    let has_row_id = (0..=RowId::MAX.revision().number()).contains(&previous.revision.number());
    if previous.position > MAX_POSITION || !has_row_id {
        return None;
    }
    let revision = previous.revision;
    let before = |distance: u64| {
        let number = revision.number().wrapping_sub(distance.cast_signed());
        Revision::new(number)
    };
    let shared = usize::try_from(varint::take(rest)?).ok()?;
    let key_rest = take_sized(rest)?;
    if shared > previous.key.len() {
        return None;
    }
    previous.key.truncate(shared);
    previous.key.extend_from_slice(key_rest);
    let is_put = !has(flag::DELETION);
    let mut change = ChangeRef {
        kind: if is_put {
            ChangeKind::Put
        } else {
            ChangeKind::Delete
        },
        revision,
        position: previous.position,
        key: &[],
        value: &[],
        create_revision: Revision::NONE,
        prev_revision: Revision::NONE,
        version: 0,
        lease: LeaseId::NONE,
    };
    if has(flag::CREATION) {
        (change.create_revision, change.version) = (revision, 1);
    } else {
        let replaced = varint::take(rest)?;
        if replaced != 0 {
            change.prev_revision = before(replaced);
        }
        if is_put {
            change.create_revision = before(varint::take(rest)?);
            change.version = varint::take(rest)?.cast_signed();
        }
    }
    if has(flag::LEASE) {
        previous.lease = varint::unzigzag(varint::take(rest)?);
    }
    if has(flag::LEASE | flag::SAME_LEASE) {
        change.lease = LeaseId::new(previous.lease);
    }
    if is_put {
        change.value = take_sized(rest)?;
    }
    change.key = &previous.key;
    Some(change)
}

fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint::take(rest)?).ok()?;
    take_bytes(rest, length)
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}
