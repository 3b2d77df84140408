use std::{
    fs::File,
    io::{Read, Write},
};

use bytes::Bytes;
use etcd_state::mvcc::Revision;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use proptest::prelude::*;

use super::{format::Header, *};

fn header() -> Header {
    Header {
        user_version: 1 << 16,
        sequence: 77,
        compact_revision: 3,
        last: 70,
    }
}

fn blobs() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn rows() -> impl Strategy<Value = Vec<StoredRow>> {
    let numbers = any::<(i64, Option<i64>, Option<i64>, i64, Option<i64>, Option<i64>)>();
    let blobs = (
        blobs(),
        proptest::option::of(blobs()),
        proptest::option::of(blobs()),
    );
    let row = (numbers, blobs).prop_map(|(numbers, (name, value, old_value))| {
        let (id, created, deleted, create_revision, prev_revision, lease) = numbers;
        StoredRow {
            id: Revision::new(id),
            name,
            created,
            deleted,
            create_revision,
            prev_revision,
            lease,
            value,
            old_value,
        }
    });
    proptest::collection::vec(row, 0..20)
}

fn write_all(path: &Path, rows: &[StoredRow]) -> String {
    let mut writer = Writer::create(path, &header()).unwrap();
    let mut piece = Piece::default();
    rows.iter().for_each(|row| piece.push(row));
    writer.write(&piece.encoded, piece.rows).unwrap();
    writer.finish().unwrap().1
}

fn read_all(path: &Path) -> Result<(Vec<StoredRow>, String), ConversionError> {
    let mut reader = Reader::open(path)?;
    assert_eq!(reader.header(), &header());
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row()? {
        rows.push(row);
    }
    let sha256 = reader.sha256().expect("all is read").to_owned();
    Ok((rows, sha256))
}

/// The bytes inside of the compression.
fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = GzDecoder::new(File::open(path).unwrap());
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn pack(path: &Path, bytes: &[u8]) {
    let mut file = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    file.write_all(bytes).unwrap();
    file.finish().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read(rows in rows()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let sha256 = write_all(&path, &rows);
        prop_assert_eq!(read_all(&path).unwrap(), (rows, sha256));
    }

    #[test]
    fn one_changed_byte_is_noticed(rows in rows(), at in any::<prop::sample::Index>(), by in 1u8..) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        write_all(&path, &rows);
        let mut bytes = unpacked(&path);
        let first_row = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0;
        let at = first_row + 1 + at.index(bytes.len() - first_row - 1);
        bytes[at] = bytes[at].wrapping_add(by);
        pack(&path, &bytes);
        prop_assert!(read_all(&path).is_err());
    }

    #[test]
    fn a_file_that_is_cut_off_is_noticed(rows in rows(), at in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        write_all(&path, &rows);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..at.index(bytes.len())]).unwrap();
        let read = Reader::open(&path).and_then(|mut reader| {
            while reader.next_row()?.is_some() {}
            Ok(())
        });
        prop_assert!(read.is_err());
    }
}

#[test]
fn a_file_with_the_name_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    fs::write(&path, "something").unwrap();
    let (_, pieces) = mpsc::channel(1);
    let refused = write_file(&path, &header(), pieces);
    assert!(matches!(refused, Err(ConversionError::Exists(_))));
    assert_eq!(fs::read(&path).unwrap(), b"something");
}

#[test]
fn a_file_whose_rows_do_not_all_come_gets_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    let (_, pieces) = mpsc::channel(1);
    assert!(write_file(&path, &header(), pieces).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
