//! Deltas are read as they were written, and nothing else is a delta.

use bytes::Bytes;
use change_batch::Writer;
use etcd_state::{
    lease::LeaseCopy,
    mvcc::{ChangeKind, KeyValue, LeaseId, Revision},
    settings::{SettingChange, Space},
};
use proptest::prelude::*;

use super::*;
use crate::DeltaName;

fn put(revision: i64, value: Vec<u8>) -> KeyValue {
    KeyValue {
        key: Bytes::from_static(b"key"),
        value: value.into(),
        create_revision: Revision::new(revision),
        mod_revision: Revision::new(revision),
        version: 1,
        lease: LeaseId::NONE,
        position: 0,
    }
}

fn batch(revisions: std::ops::Range<i64>, value: &[u8]) -> Bytes {
    let mut writer = Writer::default();
    for revision in revisions {
        let kv = put(revision, value.to_vec());
        writer.push(ChangeKind::Put, &kv, Revision::NONE);
    }
    writer.finish().unwrap().blob.into()
}

fn record() -> impl Strategy<Value = RecordChange> {
    let lease = any::<(i64, i64, i64)>().prop_map(|(id, granted_ttl_s, remaining_s)| {
        RecordChange::Lease(LeaseCopy {
            id: LeaseId::new(id),
            granted_ttl_s,
            remaining_s,
        })
    });
    let removed = any::<i64>().prop_map(|id| RecordChange::LeaseRemoved(LeaseId::new(id)));
    let setting = (
        0..Space::ALL.len(),
        any::<Vec<u8>>(),
        any::<Option<Vec<u8>>>(),
    );
    let setting = setting.prop_map(|(space, name, value)| {
        RecordChange::Setting(SettingChange {
            space: Space::ALL[space],
            name: name.into(),
            value: value.map(Bytes::from),
        })
    });
    prop_oneof![lease, removed, setting]
}

fn changes() -> impl Strategy<Value = Delta> {
    (
        1..1_000_000_i64,
        proptest::collection::vec((1..9_i64, any::<Vec<u8>>()), 0..5),
        proptest::collection::vec((0..9_i64, record()), 0..9),
        any::<(u64, u64, u64, u32, bool, [u8; 32])>(),
    )
        .prop_map(|(first, sizes, changes, rest)| {
            let mut next = first;
            let mut batches = Vec::new();
            for (size, value) in sizes {
                batches.push(batch(next..next + size, &value));
                next += size;
            }
            let last = Revision::new(next - 1);
            let mut records: Vec<_> = changes
                .into_iter()
                .map(|(before, change)| Record {
                    revision: Revision::new(next - 1 - before),
                    change,
                })
                .collect();
            records.sort_by_key(|record| record.revision);
            let (cluster_id, node_id, ended_ms, number, has_all_records, previous) = rest;
            let header = Header {
                kind: Kind::Changes { has_all_records },
                name: DeltaName {
                    first: Revision::new(first),
                    number,
                },
                cluster_id,
                node_id,
                last,
                compact_revision: Revision::new(-1),
                ended_ms,
                previous: Digest(previous),
            };
            Delta {
                header,
                batches,
                records,
            }
        })
}

fn announcement(is_gap: bool, first: i64, last: i64) -> Delta {
    let info = BaseInfo {
        nonce: 7,
        bytes: 8,
        digest: Digest([9; 32]),
    };
    let kind = match is_gap {
        true => Kind::BaseAfterGap(info),
        false => Kind::Base(info),
    };
    let header = Header {
        kind,
        name: DeltaName {
            first: Revision::new(first),
            number: 0,
        },
        cluster_id: 1,
        node_id: 2,
        last: Revision::new(last),
        compact_revision: Revision::NONE,
        ended_ms: 3,
        previous: Digest::NONE,
    };
    Delta {
        header,
        batches: Vec::new(),
        records: Vec::new(),
    }
}

fn parse(bytes: Vec<u8>) -> Result<Delta, DeltaError> {
    Delta::parse(&bytes.into()).map(|(delta, _)| delta)
}

proptest! {
    #[test]
    fn a_delta_is_read_as_it_was_written(delta in changes()) {
        let (bytes, digest) = delta.encode();
        prop_assert_eq!(Header::parse(&bytes[..HEADER_BYTES]).unwrap(), delta.header.clone());
        prop_assert_eq!(&bytes[bytes.len() - Digest::BYTES..], &digest.0);
        let read = Delta::parse(&bytes.into()).unwrap();
        prop_assert_eq!(&read, &(delta, digest));
        let (first, last) = (read.0.header.first(), read.0.header.last);
        prop_assert_eq!(read.0.check_changes().unwrap(), (last.since(first) + 1) as u64);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed(delta in changes(), at: proptest::sample::Index, bit in 0..8_u32) {
        let (bytes, _) = delta.encode();
        let at = at.index(bytes.len());
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        prop_assert!(parse(flipped).is_err());
        prop_assert!(parse(bytes[..at].to_vec()).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let mut begun = changes_magic();
        begun.extend(bytes);
        let _ = parse(begun);
    }
}

fn changes_magic() -> Vec<u8> {
    announcement(true, 1, 1).encode().0[..10].to_vec()
}

#[test]
fn an_announcement_names_its_base() {
    for delta in [announcement(true, 1, 5), announcement(false, 6, 5)] {
        let (bytes, _) = delta.encode();
        let read = parse(bytes).unwrap();
        let (name, info) = read.header.base().unwrap();
        assert_eq!((name.revision, name.nonce), (Revision::new(5), 7));
        assert_eq!(info.digest, Digest([9; 32]));
        let next = read.header.next_name().unwrap();
        assert_eq!(next.first, Revision::new(6));
    }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let refused = |delta: &Delta| parse(delta.encode().0).unwrap_err();
    // A base of the revision before has no revisions of its own; nothing ends before it begins.
    assert_eq!(refused(&announcement(false, 5, 5)), DeltaError::Header);
    assert_eq!(refused(&announcement(true, 5, 3)), DeltaError::Header);
    assert_eq!(refused(&announcement(true, 0, 3)), DeltaError::Header);
    let mut delta = announcement(true, 1, 3);
    delta.header.compact_revision = Revision::new(4);
    assert_eq!(refused(&delta), DeltaError::Header);
    let mut delta = announcement(true, 1, 3);
    delta.batches.push(batch(1..3, b""));
    assert_eq!(refused(&delta), DeltaError::Header);
}

#[test]
fn changes_outside_of_the_revisions_are_refused() {
    let mut delta = announcement(true, 4, 6);
    delta.header.kind = Kind::Changes {
        has_all_records: false,
    };
    for wrong in [&[(3, 5)][..], &[(5, 8)], &[(4, 6), (5, 7)]] {
        let wrong = wrong.iter().map(|(from, to)| batch(*from..*to, b"value"));
        delta.batches = wrong.collect();
        let read = parse(delta.encode().0).unwrap();
        assert!(matches!(read.check_changes(), Err(DeltaError::Revision(_))));
    }
}

#[test]
fn a_newer_format_is_told_from_what_is_none() {
    let (mut bytes, _) = announcement(true, 1, 1).encode();
    bytes[9] = 2;
    assert_eq!(parse(bytes.clone()), Err(DeltaError::Newer(2)));
    bytes[0] = 0;
    assert_eq!(parse(bytes), Err(DeltaError::Foreign));
    assert_eq!(parse(Vec::new()), Err(DeltaError::Foreign));
}
