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
//!
//! All numbers are little endian; the rest is zeros.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::log::crc32;

pub const FILE_NAME: &str = "high-water-mark";

pub const SLOT_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"k8sdqhwm";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 56;
const SEGMENT_BYTES: usize = 24;

/// The engine has four at most: one written to, two prepared, one being closed.
pub const SEGMENTS_MAX: usize = (SLOT_BYTES - HEADER_BYTES) / SEGMENT_BYTES;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub sequence: u64,
    pub node_id: u64,
    /// The index that the log, or its snapshot, reaches at least.
    pub last_index: u64,
    pub is_clean: bool,
    pub open: Vec<OpenSegment>,
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
        content.node_id,
        content.last_index,
        u64::from(content.is_clean),
        open.len() as u64,
    ];
    for segment in open {
        let first_batch = segment.first_batch.unwrap_or(0);
        words.extend([segment.counter, segment.entries, first_batch]);
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
    Some(Content {
        sequence: word(16)?,
        node_id: word(24)?,
        last_index: word(32)?,
        is_clean: word(40)? == 1,
        open: (0..count).map(segment).collect::<Option<_>>()?,
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
            "no part of it is whole",
        )),
    }
}

/// Replaces the file in one step by one with this content, and returns it.
pub fn create(dir: &Path, content: &Content) -> io::Result<File> {
    let temporary = dir.join(format!("tmp-{FILE_NAME}"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let mut slots = [[0; SLOT_BYTES]; 2];
    encode(content, &mut slots[usize::from(content.sequence % 2 == 1)]);
    file.write_all(slots.as_flattened())?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE_NAME))?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn content(sequence: u64) -> Content {
        Content {
            sequence,
            node_id: 7,
            last_index: 100 + sequence,
            is_clean: false,
            open: vec![OpenSegment {
                counter: 3,
                entries: 12,
                first_batch: Some(u64::MAX - 1),
            }],
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
        let many = Content {
            open: (0..1000).map(segment).collect(),
            ..content(1)
        };
        let mut slot = [0; SLOT_BYTES];
        encode(&many, &mut slot);
        let found = decode(&slot).unwrap();
        assert_eq!(found.open.len(), SEGMENTS_MAX);
        assert_eq!(found.open.last().unwrap().counter, 999);
    }
}
