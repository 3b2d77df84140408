//! Changes of a store, packed into one blob: what one row of the table `batch` holds.
//!
//! [`Writer`] packs changes in the order of their row ids, [`Reader`] gives them back one after the other. The
//! blob says everything about itself: the revisions of its changes, its format, its codec, and a checksum. So it
//! can be copied as it is, to a follower or into an archive.
//!
//! Invariants: what is read is what was written, or an error; row ids rise strictly; a reader takes no more memory
//! than the content that a blob declares, and a blob cannot declare more than its codec could make of it.
//!
//! | Bytes | Envelope |
//! |---|---|
//! | 1 | format, [`FORMAT`] |
//! | 1 | codec: 0 stored, 1 an LZ4 block |
//! | 4 | CRC-32C of all other bytes of the blob, little-endian |
//! | varint | of an LZ4 block only: the length of the content |
//! | rest | the content, by the codec |
//!
//! The content is one change after the other up to its end. A varint is LEB128: 7 bits in each byte, lowest first, the
//! highest bit set in all but the last; at most 10 bytes.
//!
//! | Bytes | A change |
//! |---|---|
//! | 1 | flags, see below |
//! | varint, varint | with `JUMP`: revision, less that of the change before (of the first: less 0); position |
//! | varint, varint | bytes that the key shares with the beginning of the key before; length of the rest |
//! | | the rest of the key |
//! | varint | unless `CREATION`: revision less the replaced one, 0 if nothing was replaced |
//! | varint, varint | of a put, unless `CREATION`: revision less the create revision; version |
//! | varint | with `LEASE`: the lease, zigzag |
//! | varint | of a put: length of the value |
//! | | the value |
//!
//! | Bit | Flag | Set |
//! |---|---|---|
//! | 0 | `DELETION` | in a tombstone; a put otherwise |
//! | 1 | `SAME_REVISION` | the revision of the change before, at the next position |
//! | 2 | `JUMP` | any later revision and position; without both flags it is the next revision, at position 0 |
//! | 3 | `CREATION` | a put with version 1 and its own revision as create revision that replaces nothing |
//! | 4 | `SAME_LEASE` | the lease of the last change that has `LEASE` |
//! | 5 | `LEASE` | a lease of its own; without both flags there is none |
//!
//! Other bits are 0. Differences are taken modulo 2^64.
#![forbid(unsafe_code)]

use etcd_state::mvcc::{Revision, RowId};

mod codec;
mod reader;
mod row_ids;
#[cfg(test)]
mod tests;
mod varint;
mod writer;

pub use self::{
    codec::Codec,
    reader::{ChangeRef, ReadError, Reader},
    row_ids::{pack_row_ids, unpack_row_ids},
    writer::{Packed, Writer},
};

/// The version of the envelope and of the content.
pub const FORMAT: u8 = 1;

/// Length of format, codec and checksum.
const HEADER_BYTES: usize = 6;

mod flag {
    pub const DELETION: u8 = 1;
    pub const SAME_REVISION: u8 = 1 << 1;
    pub const JUMP: u8 = 1 << 2;
    pub const CREATION: u8 = 1 << 3;
    pub const SAME_LEASE: u8 = 1 << 4;
    pub const LEASE: u8 = 1 << 5;
    pub const ALL: u8 = (1 << 6) - 1;
}

/// The change before the one that is packed or read, which it is told apart from.
#[derive(Debug, Default)]
struct Previous {
    revision: Revision,
    position: u32,
    key: Vec<u8>,
    lease: i64,
}

impl Previous {
    fn row_id(&self) -> RowId {
        RowId::new(self.revision, self.position)
    }

    /// Forgets the change, and keeps the memory of its key.
    fn reset(&mut self) {
        self.key.clear();
        (self.revision, self.position, self.lease) = (Revision::NONE, 0, 0);
    }
}
