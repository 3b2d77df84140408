//! Decides whether a bad batch at the end of an open segment is what a crash leaves, or damage.
//!
//! The engine has one write in flight, in all segments together (dqlite: src/raft/uv_append.c,
//! `uvAppendMaybeStart`; uv_writer.c): whole blocks from the one in which the last batch ended, into
//! a file that was all zeros. Nothing of it has been acknowledged. A crash leaves any of its sectors
//! unwritten, so a torn batch has a sector of zeros in its bad part, as etcd's log has it (etcd:
//! server/storage/wal/decoder.go, `isTornEntry`). A disk writes a sector whole or not at all.
//!
//! One state is refused although a crash could leave it: a write of several batches of which an earlier one is torn and
//! a later one whole. It takes a power failure and a disk that writes out of order. An acknowledged batch that went bad
//! looks the same.
//!
//! One damage passes as a crash: a last batch with more than one bad bit that had a sector of zeros anyway. Only a mark
//! outside the log can tell.

use std::ops::Range;

use super::{
    batch::{self, BatchFault, MAX_ENTRIES, PREAMBLE_BYTES},
    bytes::{is_zero, len_without_trailing_zeros, u32_at, u64_at},
    crc::{crc32, differs_by_one_bit},
    damage::DamageKind,
};

const SECTOR_BYTES: usize = 512;

/// The most bytes that the search for a whole batch may read. Random data need next to nothing; the limit is for a file
/// that was made to be slow.
const SEARCH_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Returns the number of bytes that the interrupted write left, from the bad batch on.
pub fn judge(
    segment: &[u8],
    offset: usize,
    fault: BatchFault,
    term_max: u64,
) -> Result<u64, DamageKind> {
    let Some(count) = batch::count_at(segment, offset) else {
        return Err(DamageKind::Cut);
    };
    let data_at = offset + PREAMBLE_BYTES + batch::header_bytes(count);
    let bad = match fault {
        // At least one entry has a header.
        BatchFault::Count(_) => offset..offset + PREAMBLE_BYTES + batch::header_bytes(1),
        BatchFault::HeaderChecksum { .. } => offset..data_at,
        BatchFault::DataChecksum { .. } => {
            let headers = segment.get(offset + PREAMBLE_BYTES..data_at);
            data_at..data_at + headers.map_or(0, data_bytes)
        }
        BatchFault::DataPastEnd => return Err(DamageKind::Cut),
        _ => return Err(DamageKind::Batch(fault)),
    };
    let is_one_bit = || match fault {
        BatchFault::DataChecksum { stored, computed } => {
            differs_by_one_bit(stored, computed, bad.len())
        }
        BatchFault::HeaderChecksum { stored, computed } => {
            differs_by_one_bit(stored, computed, bad.len() - 8)
                || is_flipped_count(segment, offset, count)
        }
        _ => is_flipped_count(segment, offset, count),
    };
    let end = offset + len_without_trailing_zeros(&segment[offset..]);
    if let Some(whole_at) = find_batch(segment, offset + 8..end, term_max) {
        let whole_at = whole_at as u64;
        return Err(DamageKind::WholeBatchBehind { fault, whole_at });
    }
    if !has_zero_sector(segment, &bad) {
        return Err(DamageKind::Batch(fault));
    }
    match is_one_bit() {
        true => Err(DamageKind::OneBit(fault)),
        false => Ok((end - offset) as u64),
    }
}

fn data_bytes(headers: &[u8]) -> usize {
    headers
        .chunks_exact(batch::header_bytes(1))
        .map(|header| batch::check_entry(header).unwrap_or(0))
        .sum()
}

/// Returns whether there is a sector without content between these offsets. Of the first and the last sector only the
/// part between them counts.
fn has_zero_sector(segment: &[u8], bytes: &Range<usize>) -> bool {
    let end = bytes.end.min(segment.len());
    let mut at = bytes.start;
    while at < end {
        let next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        if is_zero(&segment[at..next.min(end)]) {
            return true;
        }
        at = next;
    }
    false
}

/// Returns whether one flipped bit in the number of entries explains a bad header.
fn is_flipped_count(segment: &[u8], offset: usize, count: u64) -> bool {
    let Some(stored) = u32_at(segment, offset) else {
        return false;
    };
    (0..64).any(|bit| {
        let right = count ^ (1 << bit);
        let headers_at = offset + PREAMBLE_BYTES;
        let headers = segment.get(headers_at..headers_at + batch::header_bytes(right));
        (1..=MAX_ENTRIES).contains(&right)
            && headers
                .is_some_and(|headers| crc32(headers, crc32(&right.to_le_bytes(), 0)) == stored)
    })
}

/// The first of these offsets where a whole batch begins, or where the search had to be
/// given up: then nobody can say that there is none.
fn find_batch(segment: &[u8], offsets: Range<usize>, term_max: u64) -> Option<usize> {
    let mut budget_bytes = SEARCH_BYTES_MAX;
    offsets.step_by(8).find(|offset| {
        is_batch(segment, *offset, term_max, &mut budget_bytes).unwrap_or(false)
            || budget_bytes == 0
    })
}

/// Returns `Some(true)` where [`batch::Batch::read`] would succeed. Rejects other bytes quickly.
fn is_batch(
    segment: &[u8],
    offset: usize,
    term_max: u64,
    budget_bytes: &mut usize,
) -> Option<bool> {
    let count = batch::count_at(segment, offset)?;
    if !(1..=MAX_ENTRIES).contains(&count) {
        return None;
    }
    let data_at = offset + PREAMBLE_BYTES + batch::header_bytes(count);
    let headers = segment.get(offset + PREAMBLE_BYTES..data_at)?;
    let mut len_bytes = 0;
    for header in headers.chunks_exact(batch::header_bytes(1)) {
        *budget_bytes = budget_bytes.saturating_sub(header.len());
        len_bytes += batch::check_entry(header).ok()?;
        if u64_at(header, 0)? > term_max {
            return None;
        }
    }
    let data = segment.get(data_at..data_at.checked_add(len_bytes)?)?;
    *budget_bytes = budget_bytes.saturating_sub(headers.len());
    if crc32(&segment[offset + 8..data_at], 0) != u32_at(segment, offset)? {
        return None;
    }
    *budget_bytes = budget_bytes.saturating_sub(data.len());
    Some(crc32(data, 0) == u32_at(segment, offset + 4)?)
}
