//! One batch of a segment: entries that were appended together (dqlite: src/raft/uv_encoding.c,
//! `uvDecodeBatchHeader`; uv_segment.c, `uvLoadEntriesBatch`).
//!
//! | bytes | |
//! |---|---|
//! | 4 | checksum of the header |
//! | 4 | checksum of the data |
//! | 8 | header: number of entries, from 1 on |
//! | 16 each | header: term in 8, type in 1, 3 unused of any value, length of the data in 4 |
//! | rest | data of all entries, each a multiple of 8 bytes |
//!
//! All numbers are little endian. The entry's index is not in it: that follows from the name of a
//! closed segment, and for an open one from everything before.

use super::{
    bytes::{u32_at, u64_at},
    crc::crc32,
};

/// The engine takes no more in a batch (dqlite: src/raft/uv_segment.c, from 8 MiB and 32 bytes).
pub const MAX_ENTRIES: u64 = 8 * 1024 * 1024 / 32;

/// The checksums and the number of entries.
pub const PREAMBLE_BYTES: usize = 16;

const ENTRY_HEADER_BYTES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Command,
    Barrier,
    /// The nodes of the cluster, from here on.
    Change,
}

#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub term: u64,
    pub kind: EntryKind,
    pub data: &'a [u8],
}

/// A reason for which bytes are not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    #[error("no room for a batch")]
    NoRoom,
    #[error("impossible number of entries {0}")]
    Count(u64),
    #[error("the batch extends past the end of the file")]
    HeaderPastEnd,
    #[error("the checksum of the batch's header is wrong")]
    HeaderChecksum { stored: u32, computed: u32 },
    #[error("unknown type of entry {0}")]
    Kind(u8),
    #[error("an entry of {0} bytes, which is not a multiple of 8")]
    Length(u32),
    #[error("an entry of term 0")]
    NoTerm,
    #[error("the data of the batch extend past the end of the file")]
    DataPastEnd,
    #[error("the checksum of the batch's data is wrong")]
    DataChecksum { stored: u32, computed: u32 },
}

/// A batch whose checksums are right.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The headers of the entries, without their number.
    headers: &'a [u8],
    data: &'a [u8],
    /// Both checksums, as they are in the file.
    pub checksums: u64,
    /// The offset behind it.
    pub end: usize,
}

impl<'a> Batch<'a> {
    pub fn read(segment: &'a [u8], offset: usize) -> Result<Self, BatchFault> {
        let count = count_at(segment, offset).ok_or(BatchFault::NoRoom)?;
        if !(1..=MAX_ENTRIES).contains(&count) {
            return Err(BatchFault::Count(count));
        }
        let headers_at = offset + PREAMBLE_BYTES;
        let data_at = headers_at + header_bytes(count);
        let headers = segment
            .get(headers_at..data_at)
            .ok_or(BatchFault::HeaderPastEnd)?;
        let stored = u32_at(segment, offset).ok_or(BatchFault::NoRoom)?;
        let computed = crc32(&segment[offset + 8..data_at], 0);
        if stored != computed {
            return Err(BatchFault::HeaderChecksum { stored, computed });
        }
        let mut end = data_at;
        for header in headers.chunks_exact(ENTRY_HEADER_BYTES) {
            end = end
                .checked_add(check_entry(header)?)
                .ok_or(BatchFault::DataPastEnd)?;
        }
        let data = segment.get(data_at..end).ok_or(BatchFault::DataPastEnd)?;
        let stored = u32_at(segment, offset + 4).ok_or(BatchFault::NoRoom)?;
        let computed = crc32(data, 0);
        if stored != computed {
            return Err(BatchFault::DataChecksum { stored, computed });
        }
        Ok(Self {
            headers,
            data,
            checksums: u64_at(segment, offset).ok_or(BatchFault::NoRoom)?,
            end,
        })
    }

    /// Returns the bytes of the batch with other data in some of its entries, each of a multiple of 8 bytes; `None` where
    /// `replace` replaces none.
    pub fn with_data(self, replace: impl Fn(Entry<'a>) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let count = self.headers.len() / ENTRY_HEADER_BYTES;
        let mut headers = (count as u64).to_le_bytes().to_vec();
        let (mut data, mut is_replaced) = (Vec::new(), false);
        for (entry, header) in self
            .entries()
            .zip(self.headers.chunks_exact(ENTRY_HEADER_BYTES))
        {
            let replaced = replace(entry);
            is_replaced |= replaced.is_some();
            let own = replaced.as_deref().unwrap_or(entry.data);
            headers.extend(&header[..12]);
            headers.extend((own.len() as u32).to_le_bytes());
            data.extend(own);
        }
        let sums = [crc32(&headers, 0), crc32(&data, 0)].map(u32::to_le_bytes);
        is_replaced.then(|| [&sums.concat()[..], &headers, &data].concat())
    }

    pub fn entries(self) -> impl Iterator<Item = Entry<'a>> {
        let mut data = self.data;
        self.headers
            .chunks_exact(ENTRY_HEADER_BYTES)
            .filter_map(move |header| {
                let (own, rest) = data.split_at_checked(u32_at(header, 12)? as usize)?;
                data = rest;
                Some(Entry {
                    term: u64_at(header, 0)?,
                    kind: kind(header[8])?,
                    data: own,
                })
            })
    }
}

/// The end and the content of a batch, told from its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub entries: u64,
    /// The term of its last entry.
    pub last_term: u64,
    /// Both checksums, as they are in the file.
    pub checksums: u64,
    pub end: usize,
}

/// Returns the digest of a segment with one more batch, whose checksums these are. It tells segments apart that nobody
/// has made on purpose; an empty one has 0.
pub fn add_to_digest(digest: u64, checksums: u64) -> u64 {
    (digest ^ checksums)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(23)
}

/// The batch that begins at this place, judged by its headers alone, if one does.
pub fn extent(bytes: &[u8], offset: usize) -> Option<Extent> {
    let entries = count_at(bytes, offset).filter(|count| (1..=MAX_ENTRIES).contains(count))?;
    let headers_at = offset.checked_add(PREAMBLE_BYTES)?;
    let data_at = headers_at.checked_add(header_bytes(entries))?;
    let headers = bytes.get(headers_at..data_at)?;
    let mut end = data_at;
    for header in headers.chunks_exact(ENTRY_HEADER_BYTES) {
        end = end.checked_add(check_entry(header).ok()?)?;
    }
    (end <= bytes.len()).then_some(Extent {
        entries,
        last_term: u64_at(headers, headers.len() - ENTRY_HEADER_BYTES)?,
        checksums: u64_at(bytes, offset)?,
        end,
    })
}

/// The number of entries that a batch at this place would have.
pub fn count_at(segment: &[u8], offset: usize) -> Option<u64> {
    u64_at(segment, offset.checked_add(8)?)
}

/// The headers of so many entries; at most 4 MiB.
pub fn header_bytes(count: u64) -> usize {
    count.min(MAX_ENTRIES) as usize * ENTRY_HEADER_BYTES
}

fn kind(code: u8) -> Option<EntryKind> {
    match code {
        1 => Some(EntryKind::Command),
        2 => Some(EntryKind::Barrier),
        3 => Some(EntryKind::Change),
        _ => None,
    }
}

/// The length of the entry's data.
pub fn check_entry(header: &[u8]) -> Result<usize, BatchFault> {
    let term = u64_at(header, 0).ok_or(BatchFault::NoRoom)?;
    let len = u32_at(header, 12).ok_or(BatchFault::NoRoom)?;
    match (kind(header[8]), term) {
        (None, _) => Err(BatchFault::Kind(header[8])),
        (_, 0) => Err(BatchFault::NoTerm),
        _ if len % 8 != 0 => Err(BatchFault::Length(len)),
        _ => Ok(len as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixture;

    #[test]
    fn entries_come_back_as_they_were_written() {
        let bytes = fixture::batch(&[(3, 1, &[7; 16]), (3, 2, &[0; 8]), (4, 3, &[])]);
        let batch = Batch::read(&bytes, 0).unwrap();
        assert_eq!(batch.end, bytes.len());
        let entries: Vec<_> = batch.entries().collect();
        let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
        assert_eq!(
            kinds,
            [EntryKind::Command, EntryKind::Barrier, EntryKind::Change]
        );
        assert_eq!(entries[0].data, [7; 16]);
        assert_eq!(entries[2].term, 4);
    }

    #[test]
    fn the_extent_of_a_batch_is_that_of_its_entries() {
        let mut bytes = fixture::batch(&[(3, 1, &[7; 16]), (3, 2, &[0; 8])]);
        bytes.extend([0; 64]);
        let found = extent(&bytes, 0).unwrap();
        let batch = Batch::read(&bytes, 0).unwrap();
        assert_eq!((found.entries, found.end), (2, batch.end));
        assert_eq!(found.checksums, batch.checksums);
        assert_eq!(extent(&bytes, found.end), None);
        assert_eq!(extent(&bytes[..found.end - 1], 0), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = fixture::batch(&[(3, 1, &[7; 16]), (3, 2, &[0; 8])]);
        // The unused bytes of the entries are part of the sum as well.
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Batch::read(&bytes, 0).is_err(), "bit {bit}");
        }
        for len in 0..whole.len() {
            assert!(Batch::read(&whole[..len], 0).is_err(), "{len} bytes");
        }
    }
}
