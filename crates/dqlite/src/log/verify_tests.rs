//! Whole directories, made up: what the engine would load of them, and what it would lose.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::PathBuf,
};

use lz4_flex::frame::{FrameDecoder, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::{
    Damage, DamageKind, Error, Files, FoundFile, Lost, Remnant, Report, SnapshotId,
    crc::crc32,
    fixture::{batch, segment},
    verify,
};
use crate::wire::NodeId;

#[derive(Clone, Default)]
pub(super) struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Memory {
    fn with(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(name.into(), bytes.into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name).unwrap();
        self
    }

    fn report(&self) -> Report {
        verify(self).unwrap()
    }

    fn damage(&self) -> Damage {
        match verify(self) {
            Err(Error::Damaged(damage)) => *damage,
            other => panic!("{other:?}"),
        }
    }
}

impl Files for Memory {
    fn list(&self) -> Result<Vec<FoundFile>, Error> {
        let found = |(name, bytes): (&String, &Vec<u8>)| FoundFile {
            name: name.clone(),
            len_bytes: bytes.len() as u64,
            is_file: true,
        };
        Ok(self.0.iter().map(found).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(&self.0[name][..]))
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// One node, a voter.
fn nodes() -> Vec<u8> {
    let mut bytes = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(b"a:1\0\x01");
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// So many entries of a term, each a batch of its own.
fn rows(term: u64, count: usize) -> Vec<Vec<u8>> {
    vec![batch(&[(term, 1, &[7; 64])]); count]
}

fn first_segment() -> Vec<u8> {
    segment(&[batch(&[(1, 3, &nodes())])], 0)
}

fn closed(first: u64, last: u64) -> String {
    format!("{first:016}-{last:016}")
}

/// Entries 1 to 10, the last five in an open segment, and the term 4.
pub(super) fn directory() -> Memory {
    Memory::default()
        .with("metadata1", numbers(&[1, 5, 4, 0]))
        .with("metadata2", numbers(&[1, 4, 3, 9]))
        .with(closed(1, 1), first_segment())
        .with(closed(2, 5), segment(&rows(2, 4), 0))
        .with("open-3", segment(&rows(3, 5), 8192))
        .with("open-4", vec![0; 8192])
        .with("info.yaml", "ID: 9")
}

const SNAPSHOT: SnapshotId = SnapshotId {
    term: 2,
    index: 4,
    timestamp_ms: 77,
};

fn content() -> Vec<u8> {
    let mut content = numbers(&[1, 2]);
    for (name, pages) in [(&b"k8s\0\0\0\0\0"[..], 3), (b"longer-name\0\0\0\0\0", 0)] {
        content.extend(name);
        content.extend(numbers(&[pages * 4096, 0]));
        content.extend((0..pages * 4096).map(|at| (at % 233) as u8));
    }
    content
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let info = FrameInfo::new()
        .content_checksum(true)
        .content_size(Some(content.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn decompressed(frame: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    FrameDecoder::new(frame).read_to_end(&mut content).unwrap();
    content
}

fn meta(configuration_index: u64) -> Vec<u8> {
    let mut summed = numbers(&[configuration_index, nodes().len() as u64]);
    summed.extend(nodes());
    let mut meta = numbers(&[1, u64::from(crc32(&summed, 0))]);
    meta.extend(summed);
    meta
}

fn with_snapshot(files: Memory, id: SnapshotId) -> Memory {
    files
        .with(id.data_name(), compressed(&content()))
        .with(id.meta_name(), meta(1))
}

/// The same with a snapshot of entries 1 to 4, and without the first.
pub(super) fn behind_snapshot() -> Memory {
    with_snapshot(directory(), SNAPSHOT).without(&closed(1, 1))
}

#[test]
fn open_segments_follow_closed_ones() {
    let report = directory().report();
    assert_eq!((report.term, report.voted_for), (4, NodeId::UNKNOWN));
    let last = (report.first_index, report.last_index, report.last_term);
    assert_eq!(last, (1, 10, 3));
    assert_eq!(report.open[0].entries, Some((6, 10)));
    assert_eq!(report.remnants, [Remnant::Unused("open-4".into())]);
    let configuration = report.configuration.unwrap();
    assert_eq!(
        (configuration.index, configuration.servers[0].id),
        (1, NodeId::new(9))
    );
    assert!(report.bytes_read > 8192);
}

#[test]
fn a_snapshot_takes_the_place_of_entries() {
    let files = with_snapshot(directory(), SNAPSHOT);
    let report = files.report();
    let snapshot = report.snapshot.unwrap();
    assert_eq!(snapshot.id, SNAPSHOT);
    let pages: Vec<_> = snapshot.databases.iter().map(|found| found.pages).collect();
    assert_eq!(pages, [3, 0]);
    assert_eq!((report.first_index, report.last_index), (1, 10));
    let report = files.without(&closed(1, 1)).report();
    assert_eq!((report.first_index, report.last_index), (2, 10));
    assert_eq!(report.configuration.unwrap().index, 1);
}

#[test]
fn a_snapshot_is_checked_to_its_last_byte() {
    let files = with_snapshot(directory(), SNAPSHOT);
    for name in [SNAPSHOT.data_name(), SNAPSHOT.meta_name()] {
        let whole = files.0[&name].clone();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            match verify(&files.clone().with(&name, &flipped[..])) {
                Err(Error::Damaged(damage)) => {
                    let found = (&damage.file, &damage.lost);
                    assert_eq!(found, (&name, &Lost::Snapshot(4)), "{at}");
                }
                // LZ4 can say the same in another way.
                other => assert_eq!(decompressed(&flipped), content(), "{at}: {other:?}"),
            }
            if at > 0 {
                let damage = files.clone().with(&name, &whole[..at]).damage();
                assert_eq!(damage.file, name, "{at}");
            }
        }
        let longer = [&whole[..], &[0; 8]].concat();
        assert_eq!(files.clone().with(&name, longer).damage().file, name);
    }
    let plain = files.with(SNAPSHOT.data_name(), content());
    assert!(!plain.report().snapshot.unwrap().has_checksum);
    for len in 1..content().len() {
        // The second database is empty, so nothing of it is left to miss.
        let cut = plain.clone().with(SNAPSHOT.data_name(), &content()[..len]);
        assert_eq!(cut.damage().file, SNAPSHOT.data_name(), "{len}");
    }
}

#[test]
fn terms_only_grow() {
    let stale = directory()
        .with("open-3", segment(&rows(1, 5), 8192))
        .damage();
    assert_eq!(
        stale.kind,
        DamageKind::TermDecreases {
            before: 2,
            found: 1
        }
    );
    assert_eq!((stale.offset, stale.lost), (Some(8), Lost::From(6)));
    let foreign = directory()
        .with("open-3", segment(&rows(5, 5), 8192))
        .damage();
    assert_eq!(foreign.kind, DamageKind::TermUnknown { known: 4, found: 5 });
    let id = SnapshotId {
        term: 3,
        ..SNAPSHOT
    };
    let other = with_snapshot(directory(), id).damage();
    assert_eq!(
        other.kind,
        DamageKind::TermOfSnapshot {
            expected: 3,
            found: 2
        }
    );
}

/// Recovery after the loss of a majority writes an entry of term 1.
#[test]
fn recovered_nodes_may_be_of_term_1() {
    let report = directory()
        .with(closed(6, 6), segment(&[batch(&[(1, 3, &nodes())])], 0))
        .report();
    assert_eq!((report.last_index, report.last_term), (11, 3));
    assert_eq!(report.configuration.unwrap().index, 6);
}

#[test]
fn the_last_used_open_segment_alone_may_end_early() {
    let torn = [rows(3, 4), vec![batch(&[(3, 1, &[1; 4096])])]].concat();
    let mut torn = segment(&torn, 8192);
    torn[1024..1536].fill(0);
    let files = directory().with("open-3", torn);
    let report = files.report();
    assert_eq!(report.last_index, 9);
    let text = report.remnants[0].to_string();
    assert!(
        text.contains("the entries from 10 on had not been stored"),
        "{text}"
    );
    let damage = files.with("open-4", segment(&rows(3, 1), 8192)).damage();
    assert!(
        matches!(damage.kind, DamageKind::EndsEarly { .. }),
        "{damage}"
    );

    let unused = directory().with("open-2", vec![0; 8192]).damage();
    assert_eq!(unused.file, "open-2");
    let gap = directory()
        .with("open-5", segment(&rows(3, 1), 8192))
        .without("open-4");
    assert_eq!(gap.damage().kind, DamageKind::OpenGap { after: 3 });
    // What is prepared may have holes: the engine deletes it one by one when it stops.
    assert_eq!(directory().with("open-9", []).report().last_index, 10);
}

#[test]
fn missing_segments_are_noticed_where_names_tell() {
    let gap = directory()
        .with(closed(8, 8), segment(&rows(3, 1), 0))
        .damage();
    assert_eq!(gap.lost, Lost::Entries(6..=7));
    let behind = with_snapshot(
        directory(),
        SnapshotId {
            term: 2,
            index: 7,
            ..SNAPSHOT
        },
    );
    assert_eq!(behind.damage().lost, Lost::Entries(6..=7));
    let unused = behind.with("open-3", []);
    let report = unused.report();
    assert_eq!((report.last_index, report.first_start_fails), (7, true));
    let first = directory()
        .without(&closed(1, 1))
        .without(&closed(2, 5))
        .damage();
    assert_eq!(first.kind, DamageKind::NoConfiguration);
}

#[test]
fn half_a_snapshot_may_be_all_that_is_left() {
    let id = SnapshotId {
        term: 3,
        index: 20,
        ..SNAPSHOT
    };
    let half = directory().with(id.data_name(), compressed(&content()));
    assert_eq!(half.damage().lost, Lost::Entries(11..=20));
    // A snapshot that is just being received.
    let meta = directory().with(id.meta_name(), meta(1)).report();
    assert!(
        meta.remnants
            .contains(&Remnant::HalfSnapshot(id.meta_name()))
    );
}

#[test]
fn damage_is_told_in_words() {
    let mut flipped = directory();
    flipped.0.get_mut(&closed(2, 5)).unwrap()[190] ^= 1;
    for (files, expected) in [
        (
            flipped,
            "0000000000000002-0000000000000005, at byte 104: the checksum of the batch's data is wrong; the entries from 3 on would be lost or wrong",
        ),
        (
            directory().without("metadata2"),
            "metadata2 is missing, although the directory has data; without it this node could vote twice in a term",
        ),
        (
            directory()
                .without("open-3")
                .without("open-4")
                .with(closed(2, 5), segment(&rows(2, 3), 0)),
            "0000000000000002-0000000000000005 has 3 entries, but by its name it should have 4; without it the entry 5 is lost",
        ),
        (
            directory().with("open-03", ""),
            "open-03 has a name that the engine never gives to a file, but would load",
        ),
    ] {
        assert_eq!(files.damage().to_string(), expected);
    }
}

fn any_name() -> impl Strategy<Value = String> {
    let index = 0..40u64;
    prop_oneof![
        Just("metadata1".to_owned()),
        Just("metadata2".to_owned()),
        (index.clone(), index.clone()).prop_map(|(first, last)| closed(first, last)),
        (0..6u64).prop_map(|counter| format!("open-{counter}")),
        index
            .clone()
            .prop_map(|index| format!("snapshot-1-{index}-1")),
        index.prop_map(|index| format!("snapshot-1-{index}-1.meta")),
        Just("9999999999999999-9999999999999999".to_owned()),
        Just(format!("snapshot-1-{}-1", u64::MAX)),
        Just(format!("open-{}", u64::MAX)),
    ]
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(0..4u64, 0..20).prop_map(|words| numbers(&words)),
        (1..4u64, 0..6usize, 0..900usize)
            .prop_map(|(term, count, len)| segment(&rows(term, count), len)),
        Just(first_segment()),
        Just(compressed(&content())),
        Just(content()),
        Just(meta(1)),
    ]
}

proptest! {
    #[test]
    fn any_directory_is_judged(
        files in prop::collection::btree_map(any_name(), any_content(), 0..8),
        is_based in any::<bool>(),
    ) {
        let mut memory = if is_based { directory() } else { Memory::default() };
        memory.0.extend(files);
        if let Ok(report) = verify(&memory) {
            prop_assert!(report.first_index <= report.last_index + 1);
            prop_assert!(report.last_term <= report.term);
        }
    }
}
