//! Files as the engine writes them, for tests.

use super::crc::crc32;

/// A batch of entries, each a term, a type and data.
pub fn batch(entries: &[(u64, u8, &[u8])]) -> Vec<u8> {
    let mut header = (entries.len() as u64).to_le_bytes().to_vec();
    let mut data = Vec::new();
    for (term, kind, bytes) in entries {
        header.extend(term.to_le_bytes());
        header.extend([*kind, 0, 0, 0]);
        header.extend((bytes.len() as u32).to_le_bytes());
        data.extend(*bytes);
    }
    let mut batch = crc32(&header, 0).to_le_bytes().to_vec();
    batch.extend(crc32(&data, 0).to_le_bytes());
    batch.extend(header);
    batch.extend(data);
    batch
}

/// A segment of these batches, filled up with zeros to a length of at least so many bytes.
pub fn segment(batches: &[Vec<u8>], len_bytes: usize) -> Vec<u8> {
    let mut segment = 1u64.to_le_bytes().to_vec();
    segment.extend(batches.concat());
    segment.resize(segment.len().max(len_bytes), 0);
    segment
}
