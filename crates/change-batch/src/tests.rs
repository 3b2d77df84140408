//! A batch is read as it was written, and nothing else is accepted.

use bytes::Bytes;
use etcd_state::mvcc::{ChangeKind, KeyValue, LeaseId, MAX_POSITION, Revision, RowId};
use proptest::{collection::vec, prelude::*};

use crate::{FORMAT, HEADER_BYTES, ReadError, Reader, Writer, codec};

type Row = (ChangeKind, KeyValue, Revision);

/// Changes as a store makes them, and numbers that none does: they are kept all the same.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let number = || prop_oneof![Just(0), 1i64..100, any::<i64>()];
    let parts = (
        prop_oneof![
            Just((0u64, 1u32)),
            (1u64..4, Just(0u32)),
            (0u64..5000, 0u32..50)
        ],
        prop_oneof![
            vec(prop_oneof![Just(b'/'), Just(b'a')], 1..20),
            vec(any::<u8>(), 0..40)
        ],
        vec(any::<u8>(), 0..60),
        (0u8..4, number(), number(), number(), number()),
    );
    (0i64..(1 << 42), vec(parts, 0..40)).prop_map(|(start, rows)| {
        let (mut revision, mut position) = (start, 0);
        let mut made = Vec::new();
        for ((ahead, sub), key, value, (form, create, prev, version, lease)) in rows {
            if ahead > 0 {
                (revision, position) = (revision + ahead as i64, sub);
            } else {
                position += sub + 1;
            }
            made.push(row(
                Revision::new(revision),
                position,
                key,
                value,
                form,
                [create, prev, version, lease],
            ));
        }
        made
    })
}

fn row(
    revision: Revision,
    position: u32,
    key: Vec<u8>,
    value: Vec<u8>,
    form: u8,
    [create, prev, version, lease]: [i64; 4],
) -> Row {
    let key = Bytes::from(key);
    // The replaced revision is another one.
    let prev = if prev == revision.number() { 0 } else { prev };
    if form == 0 {
        let tombstone = KeyValue::tombstone(key, revision, position);
        return (ChangeKind::Delete, tombstone, Revision::new(prev));
    }
    let is_creation = form == 1;
    let kv = KeyValue {
        key,
        value: Bytes::from(value),
        create_revision: if is_creation {
            revision
        } else {
            Revision::new(create)
        },
        mod_revision: revision,
        version: if is_creation { 1 } else { version },
        lease: LeaseId::new(lease),
        position,
    };
    (
        ChangeKind::Put,
        kv,
        if is_creation {
            Revision::NONE
        } else {
            Revision::new(prev)
        },
    )
}

fn write(rows: &[Row]) -> Option<crate::Packed> {
    let mut writer = Writer::default();
    for (kind, kv, prev_revision) in rows {
        writer.push(*kind, kv, *prev_revision);
    }
    writer.finish()
}

fn read(blob: &[u8]) -> Result<Vec<Row>, ReadError> {
    let mut reader = Reader::open(blob)?;
    let mut rows = Vec::new();
    while let Some(change) = reader.next_change()? {
        rows.push((change.kind, change.to_key_value(), change.prev_revision));
    }
    Ok(rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read(rows in rows()) {
        let Some(packed) = write(&rows) else {
            prop_assert!(rows.is_empty());
            return Ok(());
        };
        prop_assert_eq!(packed.first, rows[0].1.row_id());
        prop_assert_eq!(packed.last, rows[rows.len() - 1].1.row_id());
        prop_assert_eq!(packed.changes, rows.len());
        prop_assert_eq!(read(&packed.blob), Ok(rows));
    }

    #[test]
    fn one_changed_bit_or_a_cut_is_an_error(rows in rows(), at: prop::sample::Index, bit in 0u8..8) {
        let Some(packed) = write(&rows) else { return Ok(()) };
        let mut blob = packed.blob.clone();
        let at = at.index(blob.len());
        blob[at] ^= 1 << bit;
        prop_assert!(read(&blob).is_err());
        prop_assert!(read(&packed.blob[..at]).is_err());
    }

    #[test]
    fn no_content_makes_it_panic_or_run_out_of_order(content in vec(any::<u8>(), 0..200)) {
        // A right checksum over any bytes: only they are wrong.
        let blob = codec::seal(&content);
        if let Ok(rows) = read(&blob) {
            let ids: Vec<_> = rows.iter().map(|(_, kv, _)| kv.row_id()).collect();
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn no_compressed_content_takes_more_than_it_may(
        length in any::<u64>(),
        block in vec(any::<u8>(), 0..60),
    ) {
        let mut blob = vec![FORMAT, codec::Codec::Lz4 as u8, 0, 0, 0, 0];
        crate::varint::put(&mut blob, length);
        blob.extend(block);
        codec::resum(&mut blob);
        if let Ok(reader) = Reader::open(&blob) {
            prop_assert!(reader.content_bytes() <= blob.len() * 255);
        }
    }
}

#[test]
fn a_writer_begins_anew_after_each_blob() {
    let rows = |revision| {
        let put = row(
            revision,
            0,
            b"/registry/a".to_vec(),
            b"1".to_vec(),
            2,
            [2, 3, 4, 9],
        );
        vec![put]
    };
    let mut writer = Writer::default();
    for revision in [7, 8] {
        for (kind, kv, prev) in rows(Revision::new(revision)) {
            writer.push(kind, &kv, prev);
        }
        assert!(!writer.is_empty() && writer.content_bytes() > 0);
        let packed = writer.finish().unwrap();
        assert_eq!(read(&packed.blob), Ok(rows(Revision::new(revision))));
    }
    assert!(writer.finish().is_none());
}

#[test]
fn a_single_put_costs_a_few_bytes_beside_key_and_value() {
    let key = b"/registry/leases/kube-node-lease/node-1".to_vec();
    let put = row(
        Revision::new(1_000_000),
        0,
        key.clone(),
        vec![7; 100],
        2,
        [2, 999_000, 5000, 0],
    );
    let packed = write(&[put]).unwrap();
    assert!(
        packed.blob.len() <= HEADER_BYTES + key.len() + 100 + 20,
        "{}",
        packed.blob.len()
    );
}

#[test]
fn objects_that_are_alike_share_their_bytes() {
    let value = |n: usize| {
        format!(
            "{{\"kind\":\"Pod\",\"name\":\"pod-{n}\",{}}}",
            "\"a\":\"b\",".repeat(40)
        )
    };
    let rows: Vec<_> = (0..32)
        .map(|n| {
            let key = format!("/registry/pods/default/pod-{n}").into_bytes();
            row(
                Revision::new(2 + n as i64),
                0,
                key,
                value(n).into_bytes(),
                1,
                [0; 4],
            )
        })
        .collect();
    let packed = write(&rows).unwrap();
    assert!(packed.blob.len() * 5 < 32 * value(0).len());
    assert_eq!(packed.blob[1], codec::Codec::Lz4 as u8);
    assert_eq!(read(&packed.blob), Ok(rows));
}

#[test]
fn a_large_value_and_the_last_position_are_kept() {
    let value: Vec<u8> = (0u32..2_000_000)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let rows = [
        row(
            Revision::new(5),
            MAX_POSITION - 1,
            b"a".to_vec(),
            value,
            1,
            [0; 4],
        ),
        row(
            Revision::new(5),
            MAX_POSITION,
            b"b".to_vec(),
            Vec::new(),
            1,
            [0; 4],
        ),
    ];
    let packed = write(&rows).unwrap();
    assert_eq!(read(&packed.blob), Ok(rows.to_vec()));
}

#[test]
fn what_a_newer_version_writes_is_told_from_damage() {
    let mut blob = write(&[row(
        Revision::new(2),
        0,
        b"a".to_vec(),
        Vec::new(),
        1,
        [0; 4],
    )])
    .unwrap()
    .blob;
    blob[1] = 9;
    codec::resum(&mut blob);
    assert_eq!(read(&blob), Err(ReadError::Codec(9)));
    blob[0] = FORMAT + 1;
    assert_eq!(read(&blob), Err(ReadError::Format(FORMAT + 1)));
    assert_eq!(read(&blob[..3]), Err(ReadError::Short));
}

#[test]
fn changes_out_of_order_are_refused() {
    let one = |revision| row(revision, 0, b"a".to_vec(), b"b".to_vec(), 1, [0; 4]);
    let content = |rows: &[Row]| {
        let packed = write(rows).unwrap();
        codec::open(&packed.blob).unwrap().into_owned()
    };
    let mut joined = content(&[one(Revision::new(9))]);
    // Its revision is told from 0, so the second becomes 9 + 2^64 - 1.
    let mut second = content(&[one(Revision::new(-1))]);
    let at = joined.len();
    joined.append(&mut second);
    assert_eq!(read(&codec::seal(&joined)), Err(ReadError::Order(at)));
}

#[test]
fn a_revision_that_no_row_can_have_is_refused() {
    let last = RowId::MAX.revision();
    let one = |revision| row(revision, 0, b"a".to_vec(), b"b".to_vec(), 1, [0; 4]);
    let read_back = |revision| read(&write(&[one(revision)]).unwrap().blob);
    for revision in [Revision::NONE, last] {
        assert_eq!(read_back(revision), Ok(vec![one(revision)]));
    }
    for revision in [last.next(), Revision::new(i64::MAX), Revision::new(-1)] {
        assert_eq!(read_back(revision), Err(ReadError::Change(0)), "{revision}");
    }
}
