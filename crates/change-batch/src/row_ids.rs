//! Sets of row ids, packed: the changes of a batch that a purge has taken.

use etcd_state::mvcc::{MAX_POSITION, Revision, RowId};

use crate::{ReadError, varint};

/// Length of the checksum.
const CHECKSUM_BYTES: usize = 4;

/// Packs row ids that rise: a CRC-32C of all that follows, little-endian, then of each id two varints: its revision, less
/// that of the one before (of the first: less 0), and its position.
pub fn pack_row_ids(ids: &[RowId]) -> Vec<u8> {
    let mut out = vec![0; CHECKSUM_BYTES];
    let mut previous: i64 = 0;
    for id in ids {
        let revision = id.revision().number();
        let ahead = revision.wrapping_sub(previous);
        varint::put(&mut out, ahead.cast_unsigned());
        varint::put(&mut out, u64::from(id.position()));
        previous = revision;
    }
    let checksum = crc32c::crc32c(&out[CHECKSUM_BYTES..]);
    out[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// Reverses [`pack_row_ids`]. Nothing at all is a set without ids.
///
/// # Errors
///
/// The bytes are damaged.
pub fn unpack_row_ids(bytes: &[u8]) -> Result<Vec<RowId>, ReadError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let (checksum, mut rest) = bytes
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or(ReadError::Short)?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*checksum) {
        return Err(ReadError::Checksum);
    }
    let mut ids: Vec<RowId> = Vec::new();
    let mut revision: i64 = 0;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let id = take_row_id(&mut rest, &mut revision).ok_or(ReadError::Change(at))?;
        if ids.last().is_some_and(|last| id <= *last) {
            return Err(ReadError::Order(at));
        }
        ids.push(id);
    }
    Ok(ids)
}

fn take_row_id(rest: &mut &[u8], revision: &mut i64) -> Option<RowId> {
    *revision = revision.wrapping_add(varint::take(rest)?.cast_signed());
    let position = u32::try_from(varint::take(rest)?).ok()?;
    (position <= MAX_POSITION).then(|| RowId::new(Revision::new(*revision), position))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = BTreeSet<RowId>> {
        let near = (1..2000_i64, 0..4_u32);
        let far = (1..i64::MAX >> 20, 0..=MAX_POSITION);
        let id = prop_oneof![near, far]
            .prop_map(|(revision, at)| RowId::new(Revision::new(revision), at));
        prop::collection::btree_set(id, 0..300)
    }

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_packed(ids in ids()) {
            let ids: Vec<_> = ids.into_iter().collect();
            prop_assert_eq!(unpack_row_ids(&pack_row_ids(&ids)), Ok(ids));
        }

        #[test]
        fn a_changed_byte_is_found(ids in ids(), at: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = pack_row_ids(&ids.into_iter().collect::<Vec<_>>());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(unpack_row_ids(&bytes).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let checksum = crc32c::crc32c(&bytes);
            let sealed = [&checksum.to_le_bytes()[..], &bytes].concat();
            let _ = unpack_row_ids(&bytes);
            let _ = unpack_row_ids(&sealed);
        }
    }

    #[test]
    fn neighbours_take_two_bytes_each() {
        let ids: Vec<_> = (1000..1256)
            .map(|revision| RowId::new(Revision::new(revision), 0))
            .collect();
        assert_eq!(pack_row_ids(&ids).len(), CHECKSUM_BYTES + 3 + 255 * 2);
        assert_eq!(unpack_row_ids(&[]), Ok(Vec::new()));
    }
}
