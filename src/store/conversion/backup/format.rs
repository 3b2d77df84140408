//! The bytes of a backup, before they are compressed. Pure.
//!
//! A line that says what the file is, a line of JSON, then the rows; after the last one a zero byte, the number of
//! rows, and the SHA-256 of everything before it. Numbers are little-endian.

use std::io::{self, Read};

use bytes::Bytes;
use etcd_state::mvcc::Revision;
use serde::{Deserialize, Serialize};

use crate::store::conversion::table::StoredRow;

pub const FIRST_LINE: &[u8] = b"k8s-dqlite: the tables of a Go k8s-dqlite, 1\n";

/// Longest line of JSON, in bytes.
pub const MAX_HEADER_BYTES: usize = 4096;

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// The most that SQLite has in a value, in bytes.
const MAX_VALUE_BYTES: u32 = 1_000_000_000;

const ROW: u8 = 1;
pub const END: u8 = 0;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub user_version: i64,
    /// The sequence number of AUTOINCREMENT.
    pub sequence: i64,
    pub compact_revision: i64,
    pub last: i64,
}

pub fn encode(row: &StoredRow, out: &mut Vec<u8>) {
    let numbers = [row.created, row.deleted, row.prev_revision, row.lease];
    let blobs = [&row.value, &row.old_value];
    let present = numbers
        .iter()
        .map(Option::is_some)
        .chain(blobs.iter().map(|blob| blob.is_some()));
    let mask = present
        .enumerate()
        .fold(0, |mask, (at, is)| mask | u8::from(is) << at);
    out.extend([ROW, mask]);
    out.extend(row.id.number().to_le_bytes());
    out.extend(row.create_revision.to_le_bytes());
    for number in numbers.into_iter().flatten() {
        out.extend(number.to_le_bytes());
    }
    for blob in std::iter::once(&row.name).chain(blobs.into_iter().flatten()) {
        out.extend((blob.len() as u32).to_le_bytes());
        out.extend(&blob[..]);
    }
}

/// The next row; none at the end of them, where the number of rows follows.
pub fn decode(from: &mut impl Read) -> io::Result<Option<StoredRow>> {
    match byte(from)? {
        END => return Ok(None),
        ROW => {}
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    let mask = byte(from)?;
    let has = |at: u8| mask & (1 << at) != 0;
    let (id, create_revision) = (number(from)?, number(from)?);
    let mut numbers = [None; 4];
    for (at, slot) in (0..).zip(&mut numbers) {
        if has(at) {
            *slot = Some(number(from)?);
        }
    }
    let [created, deleted, prev_revision, lease] = numbers;
    let name = blob(from)?;
    let value = has(4).then(|| blob(from)).transpose()?;
    let old_value = has(5).then(|| blob(from)).transpose()?;
    Ok(Some(StoredRow {
        id: Revision::new(id),
        name,
        created,
        deleted,
        create_revision,
        prev_revision,
        lease,
        value,
        old_value,
    }))
}

fn byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

pub fn number(from: &mut impl Read) -> io::Result<i64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(i64::from_le_bytes(bytes))
}

fn blob(from: &mut impl Read) -> io::Result<Bytes> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_VALUE_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Grows with what is there, not with what a damaged length promises.
    let mut bytes = Vec::new();
    let read = from.by_ref().take(length.into()).read_to_end(&mut bytes)?;
    if read != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into())
}
