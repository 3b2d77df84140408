//! Compression of the content, and the envelope around it.

use std::borrow::Cow;

use crate::{FORMAT, HEADER_BYTES, ReadError, varint};

/// Contents below this are stored: an LZ4 block of them saves next to nothing, and costs its search.
const MIN_COMPRESSED_BYTES: usize = 160;

/// The most that one byte of an LZ4 block can stand for: a length byte of 255.
const MAX_RATIO: usize = 255;

/// A block of this many bytes or more may be worth its decompression only if it saves one in this many.
const MIN_SAVING: usize = 16;

/// The way in which the content of a blob is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    Stored = 0,
    Lz4 = 1,
}

/// Puts the envelope around a content, which is compressed if that makes it smaller.
pub fn seal(content: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    if content.len() < MIN_COMPRESSED_BYTES || !compress(content, &mut blob) {
        blob.clear();
        blob.reserve_exact(HEADER_BYTES + content.len());
        blob.extend([FORMAT, Codec::Stored as u8, 0, 0, 0, 0]);
        blob.extend_from_slice(content);
    }
    resum(&mut blob);
    blob
}

/// Sets the checksum.
pub fn resum(blob: &mut [u8]) {
    let sum = checksum(blob);
    blob[2..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// Returns whether the blob with a compressed content is small enough.
fn compress(content: &[u8], blob: &mut Vec<u8>) -> bool {
    let limit = content.len() - content.len() / MIN_SAVING;
    let room = lz4_flex::block::get_maximum_output_size(content.len());
    blob.reserve(HEADER_BYTES + varint::MAX_BYTES + room);
    blob.extend([FORMAT, Codec::Lz4 as u8, 0, 0, 0, 0]);
    varint::put(blob, content.len() as u64);
    let start = blob.len();
    blob.resize(start + room, 0);
    // There is room for whatever comes out.
    let Ok(compressed) = lz4_flex::block::compress_into(content, &mut blob[start..]) else {
        return false;
    };
    blob.truncate(start + compressed);
    compressed <= limit
}

/// Checks the envelope and returns the content.
pub fn open(blob: &[u8]) -> Result<Cow<'_, [u8]>, ReadError> {
    let Some((&[format, codec, ..], mut rest)) = blob.split_at_checked(HEADER_BYTES) else {
        return Err(ReadError::Short);
    };
    if format != FORMAT {
        return Err(ReadError::Format(format));
    }
    if checksum(blob).to_le_bytes() != blob[2..HEADER_BYTES] {
        return Err(ReadError::Checksum);
    }
    if codec == Codec::Stored as u8 {
        return Ok(Cow::Borrowed(rest));
    }
    if codec != Codec::Lz4 as u8 {
        return Err(ReadError::Codec(codec));
    }
    let length = varint::take(&mut rest).ok_or(ReadError::Content)?;
    let length = usize::try_from(length).map_err(|_| ReadError::Content)?;
    if length > rest.len().saturating_mul(MAX_RATIO) {
        return Err(ReadError::Content);
    }
    let mut content = vec![0; length];
    match lz4_flex::block::decompress_into(rest, &mut content) {
        Ok(found) if found == length => Ok(Cow::Owned(content)),
        _ => Err(ReadError::Content),
    }
}

/// The checksum of a blob, without the four bytes that hold it.
fn checksum(blob: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&blob[..2]), &blob[HEADER_BYTES..])
}
