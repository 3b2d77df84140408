//! Segments that were cut, torn and changed.

use proptest::prelude::*;

use super::{
    batch::BatchFault,
    damage::DamageKind,
    fixture::{batch, segment},
    segment::{Tail, read_closed, read_open},
};

const SECTOR: usize = 512;

/// Larger than all batches here together.
const OPEN_BYTES: usize = 16 * 1024;

/// Entries without a sector of zeros, of one page each.
fn page(fill: u8) -> Vec<u8> {
    (0..4096u32).map(|at| (at % 251) as u8 ^ fill | 1).collect()
}

fn batches() -> Vec<Vec<u8>> {
    vec![
        batch(&[(2, 2, &[1; 8])]),
        batch(&[(2, 1, &page(2)), (2, 1, &page(4))]),
        batch(&[(3, 1, &page(6))]),
    ]
}

/// Returns the offset at which each batch begins, and the end of the last one.
fn offsets(batches: &[Vec<u8>]) -> Vec<usize> {
    let mut offsets = vec![8];
    offsets.extend(batches.iter().scan(8, |at, batch| {
        *at += batch.len();
        Some(*at)
    }));
    offsets
}

#[test]
fn a_closed_segment_has_what_its_name_says() {
    let whole = segment(&batches(), 0);
    let entries = read_closed(&whole, 4).unwrap();
    let runs: Vec<_> = entries
        .runs
        .iter()
        .map(|run| (run.entry, run.term))
        .collect();
    assert_eq!(runs, [(0, 2), (3, 3)]);
    for expected in [3, 5] {
        let fault = read_closed(&whole, expected).unwrap_err();
        assert_eq!(fault.kind, DamageKind::Count { found: 4, expected });
    }
    for len in 0..whole.len() {
        assert!(read_closed(&whole[..len], 4).is_err(), "{len} bytes");
    }
    assert!(read_closed(&segment(&batches(), whole.len() + 8), 4).is_err());
}

#[test]
fn an_open_segment_ends_with_zeros_or_with_its_last_batch() {
    let batches = batches();
    for at in 1..=batches.len() {
        for len in [0, OPEN_BYTES] {
            let found = read_open(&segment(&batches[..at], len), 3).unwrap();
            assert_eq!(found.tail, Tail::Clean);
            assert_eq!(found.entries.count, [1, 3, 4][at - 1]);
        }
    }
    for unused in [&[][..], &[0; 8], &[0; OPEN_BYTES]] {
        assert_eq!(read_open(unused, 3).unwrap().tail, Tail::Unused);
    }
}

#[test]
fn a_cut_open_segment_is_damaged_unless_a_batch_ends_there() {
    let batches = batches();
    let whole = segment(&batches, 0);
    for len in 1..whole.len() {
        let found = read_open(&whole[..len], 3);
        assert_eq!(
            found.is_ok(),
            offsets(&batches)[1..].contains(&len),
            "{len} bytes"
        );
    }
}

#[test]
fn an_emptied_open_segment_is_damaged() {
    let fault = read_open(&segment(&[], OPEN_BYTES), 3).unwrap_err();
    assert_eq!(fault.kind, DamageKind::Emptied);
    let mut bytes = segment(&batches(), OPEN_BYTES);
    bytes[..8].fill(0);
    let fault = read_open(&bytes, 3).unwrap_err();
    assert_eq!(fault.kind, DamageKind::Format(0));
}

/// Any sectors of the last write may be missing, if there is no whole batch behind.
#[test]
fn the_last_batch_may_be_torn() {
    let batches = batches();
    let at = offsets(&batches)[2];
    let end = offsets(&batches)[3];
    let whole = segment(&batches, OPEN_BYTES);
    let sectors = at / SECTOR..end.div_ceil(SECTOR);
    for first in sectors.clone() {
        for last in first..sectors.end {
            let mut bytes = whole.clone();
            let hole = (first * SECTOR).max(at)..((last + 1) * SECTOR).min(end);
            bytes[hole].fill(0);
            let found = read_open(&bytes, 3).unwrap();
            assert_eq!(found.entries.count, 3, "sectors {first} to {last}");
            let is_all = first == sectors.start && last + 1 == sectors.end;
            match found.tail {
                Tail::Clean => assert!(is_all),
                Tail::Torn { offset, .. } => assert_eq!(offset, at as u64),
                Tail::Unused => panic!("it is used"),
            }
        }
    }
}

#[test]
fn a_torn_batch_before_a_whole_one_is_damaged() {
    let batches = batches();
    let at = offsets(&batches);
    let mut bytes = segment(&batches, OPEN_BYTES);
    bytes[at[1] + 1024..at[1] + 2048].fill(0);
    let fault = read_open(&bytes, 3).unwrap_err();
    assert_eq!(fault.entries_before, 1);
    assert!(
        matches!(fault.kind, DamageKind::WholeBatchBehind { whole_at, .. } if whole_at == at[2] as u64),
        "{fault:?}"
    );
    // Behind a hole that looks like the end.
    bytes[at[1]..at[2]].fill(0);
    assert!(read_open(&bytes, 3).is_err());
}

#[test]
fn a_flipped_bit_is_not_a_torn_write() {
    let batches = batches();
    let offsets = offsets(&batches);
    let whole = segment(&batches, OPEN_BYTES);
    for bit in 0..offsets[3] * 8 {
        // All bits of what is not data, and some of the data.
        if offsets.iter().all(|at| bit / 8 > at + 64) && bit % 509 != 0 {
            continue;
        }
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read_open(&bytes, 3).is_err(), "bit {bit}");
        bytes.truncate(offsets[3]);
        assert!(read_closed(&bytes, 4).is_err(), "bit {bit}");
    }
}

/// A page of SQLite is often empty in its middle.
#[test]
fn a_flipped_bit_is_recognised_beside_sectors_of_zeros() {
    let mut page = page(2);
    page[512..3584].fill(0);
    let batches = [batch(&[(2, 2, &[1; 8])]), batch(&[(2, 1, &page)])];
    let at = 8 + batches[0].len();
    let whole = segment(&batches, OPEN_BYTES);
    let end = at + batches[1].len();
    for bit in (at * 8..end * 8).step_by(61).chain(at * 8..(at + 32) * 8) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read_open(&bytes, 3).is_err(), "bit {bit}");
    }
}

#[test]
fn garbage_in_the_last_batch_is_damage() {
    let batches = batches();
    let at = offsets(&batches)[2];
    let mut bytes = segment(&batches, OPEN_BYTES);
    bytes[at + 100..at + 104].fill(0xff);
    let fault = read_open(&bytes, 3).unwrap_err();
    let is_data = |kind: &_| matches!(kind, DamageKind::Batch(BatchFault::DataChecksum { .. }));
    assert!(is_data(&fault.kind), "{fault:?}");
    assert_eq!((fault.offset, fault.entries_before), (Some(at as u64), 3));
}

#[test]
fn a_file_that_was_made_to_be_slow_is_given_up() {
    // Every eighth byte may begin a batch of as many entries as there may be.
    let mut bytes = batch(&[(2, 2, &[1; 8])]);
    let entry = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let counts = [200_000u64.to_le_bytes(), 200_000u64.to_le_bytes()].concat();
    bytes.resize(8192 - 8, 1);
    for _ in 0..64 {
        bytes.extend(&counts);
    }
    for _ in 0..200_000 {
        bytes.extend(entry);
    }
    let _ = read_open(&segment(&[bytes], 0), u64::MAX);
}

proptest! {
    #[test]
    fn any_bytes_are_judged(
        bytes in prop::collection::vec(any::<u8>(), 0..4096),
        has_format in any::<bool>(),
        zeros in 0..2048usize,
    ) {
        let mut segment = if has_format { 1u64.to_le_bytes().to_vec() } else { Vec::new() };
        segment.extend(bytes);
        segment.extend(vec![0; zeros]);
        let _ = read_closed(&segment, 7);
        let _ = read_open(&segment, 7);
    }

    /// Words that could be counts, terms, types and lengths.
    #[test]
    fn plausible_words_are_judged(
        words in prop::collection::vec(prop_oneof![0..5u64, any::<u64>(), Just(1 << 35)], 0..512),
    ) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut segment = 1u64.to_le_bytes().to_vec();
        segment.extend(bytes);
        let _ = read_closed(&segment, 7);
        let _ = read_open(&segment, 7);
    }

    /// A changed segment is damaged, or its entries are a beginning of what there was; and that only
    /// if what was changed is the last batch, in a way that a crash could explain.
    #[test]
    fn changed_bytes_never_change_entries(
        at in 0..16_384usize,
        change in prop::collection::vec(any::<u8>(), 1..1200),
    ) {
        let batches = batches();
        let offsets = offsets(&batches);
        let whole = segment(&batches, OPEN_BYTES);
        let mut bytes = whole.clone();
        let end = (at + change.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&change[..end - at]);
        if bytes != whole && let Ok(found) = read_open(&bytes, 3) {
            prop_assert!(at >= offsets[2], "{found:?}");
            prop_assert!(found.entries.count >= 3);
        }
    }
}
