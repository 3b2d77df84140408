//! The file: two slots of 4 KiB, written in turns, so that one is whole at any time.
//!
//! | bytes of a slot | |
//! |---|---|
//! | 8 | `k8sdqhwm` |
//! | 4 | version: 1 |
//! | 4 | CRC-32 of all that follows |
//! | 8 | sequence: the slot with the higher one counts |
//! | 8 | id of the node |
//! | 8 | index of the last entry that is on disk |
//! | 8 | 1 after a clean stop, else 0 |
//! | 8 | number of open segments, and for each, in 24 bytes: |
//! | | its counter, its entries, and the checksums of its first batch (0: it has none) |
//! | 8 | number of closed segments, and for each, in 24 bytes: |
//! | | its first and its last entry, and the digest of its batches |
//! | 48 | the newest snapshot: its term, index and time, its length in bytes, its last 8 bytes, and the CRC-32 of its other file, `.meta`; zeros if there is none |
//!
//! All numbers are little endian; the rest is zeros, and so it all is that an earlier version did not write.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    path::Path,
};

use crate::{
    files::replace,
    log::{SnapshotId, crc32},
    wire::NodeId,
};

pub const FILE_NAME: &str = "high-water-mark";

pub const SLOT_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"k8sdqhwm";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 56;
const SEGMENT_BYTES: usize = 24;

/// The engine has four at most: one written to, two prepared, one being closed.
pub const SEGMENTS_MAX: usize = 16;

/// Those that the engine keeps behind a snapshot are few; of more, the last ones are remembered.
pub const CLOSED_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub sequence: u64,
    pub node_id: NodeId,
    /// The index that the log, or its snapshot, reaches at least.
    pub last_index: u64,
    pub is_clean: bool,
    pub open: Vec<OpenSegment>,
    pub closed: Vec<ClosedSegment>,
    pub snapshot: Option<SnapshotEnd>,
}

/// A closed segment and its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedSegment {
    pub first: u64,
    pub last: u64,
    pub digest: u64,
}

/// Tells a snapshot from others of the same name. A frame of LZ4 ends with the checksum of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotEnd {
    pub id: SnapshotId,
    pub len_bytes: u64,
    pub last_bytes: u64,
    /// The checksum of the file with the nodes of the cluster.
    pub meta: u64,
}

impl SnapshotEnd {
    /// Reads the end of the data in a directory.
    pub fn read(dir: &Path, id: SnapshotId) -> io::Result<Self> {
        let mut file = File::open(dir.join(id.data_name()))?;
        let len_bytes = file.metadata()?.len();
        let mut last = [0; 8];
        file.seek(SeekFrom::Start(len_bytes.saturating_sub(8)))?;
        let count = len_bytes.min(8) as usize;
        file.read_exact(&mut last[..count])?;
        // The engine writes it before the data.
        let meta = fs::read(dir.join(id.meta_name()))?;
        Ok(Self {
            id,
            len_bytes,
            last_bytes: u64::from_le_bytes(last),
            meta: crc32(&meta, 0).into(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSegment {
    pub counter: u64,
    /// The least number of entries in the segment.
    pub entries: u64,
    /// Both checksums of the first batch, as they are in the file.
    pub first_batch: Option<u64>,
}

/// Returns the offset of the slot for the content with this sequence number.
pub fn slot_offset(sequence: u64) -> u64 {
    (sequence % 2) * SLOT_BYTES as u64
}

pub fn encode(content: &Content, slot: &mut [u8; SLOT_BYTES]) {
    slot.fill(0);
    let skipped = content.open.len().saturating_sub(SEGMENTS_MAX);
    let open = &content.open[skipped..];
    let mut words = vec![
        content.sequence,
        content.node_id.number(),
        content.last_index,
        u64::from(content.is_clean),
        open.len() as u64,
    ];
    for segment in open {
        let first_batch = segment.first_batch.unwrap_or(0);
        words.extend([segment.counter, segment.entries, first_batch]);
    }
    let skipped = content.closed.len().saturating_sub(CLOSED_MAX);
    let closed = &content.closed[skipped..];
    words.push(closed.len() as u64);
    for segment in closed {
        words.extend([segment.first, segment.last, segment.digest]);
    }
    if let Some(snapshot) = &content.snapshot {
        let SnapshotEnd {
            id,
            len_bytes,
            last_bytes,
            meta,
        } = snapshot;
        let id = [id.term, id.index, id.timestamp_ms];
        words.extend(id.into_iter().chain([*len_bytes, *last_bytes, *meta]));
    }
    for (to, word) in slot[16..].chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let checksum = crc32(&slot[16..], 0);
    slot[..8].copy_from_slice(MAGIC);
    slot[8..12].copy_from_slice(&VERSION.to_le_bytes());
    slot[12..16].copy_from_slice(&checksum.to_le_bytes());
}

fn decode(slot: &[u8]) -> Option<Content> {
    let word = |at: usize| {
        let bytes = slot.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let half = |at: usize| {
        let bytes = slot.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let is_ours = slot.get(..8)? == MAGIC && half(8)? == VERSION;
    if !is_ours || half(12)? != crc32(slot.get(16..)?, 0) {
        return None;
    }
    let count = usize::try_from(word(48)?)
        .ok()
        .filter(|count| *count <= SEGMENTS_MAX)?;
    let segment = |index: usize| {
        let at = HEADER_BYTES + index * SEGMENT_BYTES;
        Some(OpenSegment {
            counter: word(at)?,
            entries: word(at + 8)?,
            first_batch: Some(word(at + 16)?).filter(|sum| *sum != 0),
        })
    };
    let closed_at = HEADER_BYTES + count * SEGMENT_BYTES;
    let closed_count = usize::try_from(word(closed_at)?)
        .ok()
        .filter(|count| *count <= CLOSED_MAX)?;
    let closed = |index: usize| {
        let at = closed_at + 8 + index * SEGMENT_BYTES;
        Some(ClosedSegment {
            first: word(at)?,
            last: word(at + 8)?,
            digest: word(at + 16)?,
        })
    };
    let at = closed_at + 8 + closed_count * SEGMENT_BYTES;
    let snapshot = SnapshotEnd {
        id: SnapshotId {
            term: word(at)?,
            index: word(at + 8)?,
            timestamp_ms: word(at + 16)?,
        },
        len_bytes: word(at + 24)?,
        last_bytes: word(at + 32)?,
        meta: word(at + 40)?,
    };
    Some(Content {
        sequence: word(16)?,
        node_id: NodeId::new(word(24)?),
        last_index: word(32)?,
        is_clean: word(40)? == 1,
        open: (0..count).map(segment).collect::<Option<_>>()?,
        closed: (0..closed_count).map(closed).collect::<Option<_>>()?,
        snapshot: (snapshot.id.index != 0).then_some(snapshot),
    })
}

/// The newer of both slots, or none in a directory without a mark.
///
/// # Errors
///
/// [`ErrorKind::InvalidData`] if there is a file in which no slot is whole.
pub fn read(dir: &Path) -> io::Result<Option<Content>> {
    let bytes = match fs::read(dir.join(FILE_NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let slots = bytes.chunks_exact(SLOT_BYTES).take(2).filter_map(decode);
    match slots.max_by_key(|content| content.sequence) {
        Some(content) => Ok(Some(content)),
        None => Err(io::Error::new(
            ErrorKind::InvalidData,
            "none of its copies has a valid checksum",
        )),
    }
}

/// Replaces the file in one step by one with this content, and returns it.
pub fn create(dir: &Path, content: &Content) -> io::Result<File> {
    let mut slots = [[0; SLOT_BYTES]; 2];
    encode(content, &mut slots[usize::from(content.sequence % 2 == 1)]);
    replace(&dir.join(FILE_NAME), slots.as_flattened(), 0o600)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn content(sequence: u64) -> Content {
        Content {
            sequence,
            node_id: NodeId::new(7),
            last_index: 100 + sequence,
            is_clean: false,
            open: vec![OpenSegment {
                counter: 3,
                entries: 12,
                first_batch: Some(u64::MAX - 1),
            }],
            closed: vec![ClosedSegment {
                first: 1,
                last: 99,
                digest: 5,
            }],
            snapshot: Some(SnapshotEnd {
                id: SnapshotId {
                    term: 2,
                    index: 50,
                    timestamp_ms: 1,
                },
                len_bytes: 4096,
                last_bytes: 77,
                meta: 78,
            }),
        }
    }

    fn write(file: &File, content: &Content) {
        let mut slot = [0; SLOT_BYTES];
        encode(content, &mut slot);
        file.write_all_at(&slot, slot_offset(content.sequence))
            .unwrap();
    }

    #[test]
    fn the_newer_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let file = create(dir.path(), &content(4)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(content(4)));
        write(&file, &content(5));
        assert_eq!(read(dir.path()).unwrap(), Some(content(5)));
        write(&file, &content(6));
        // A power failure in the middle of a write.
        file.write_all_at(&[9; 100], slot_offset(6) + 20).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(content(5)));
        file.write_all_at(&[9; 100], slot_offset(5) + 20).unwrap();
        let error = read(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let mut slot = [0; SLOT_BYTES];
        encode(&content(4), &mut slot);
        assert_eq!(decode(&slot), Some(content(4)));
        for bit in (0..8 * HEADER_BYTES + 100).chain([SLOT_BYTES * 8 - 1]) {
            slot[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&slot), None, "bit {bit}");
            slot[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn more_segments_than_there_is_room_for_lose_the_oldest() {
        let segment = |counter| OpenSegment {
            counter,
            entries: 1,
            first_batch: None,
        };
        let closed = |first| ClosedSegment {
            first,
            last: first,
            digest: 1,
        };
        let many = Content {
            open: (0..1000).map(segment).collect(),
            closed: (1..=1000).map(closed).collect(),
            ..content(1)
        };
        let mut slot = [0; SLOT_BYTES];
        encode(&many, &mut slot);
        let found = decode(&slot).unwrap();
        assert_eq!(found.open.len(), SEGMENTS_MAX);
        assert_eq!(found.open.last().unwrap().counter, 999);
        assert_eq!(found.closed.len(), CLOSED_MAX);
        assert_eq!(found.closed.last().unwrap().first, 1000);
        assert_eq!(found.snapshot, many.snapshot);
    }
}
