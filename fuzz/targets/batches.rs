//! Packed changes and sets of row ids, as a damaged database could hold them.
#![no_main]

use change_batch::{Reader, Writer, pack_row_ids, unpack_row_ids};
use libfuzzer_sys::fuzz_target;

/// Length of format, codec and checksum, and where the checksum lies.
const HEADER_BYTES: usize = 6;
const CHECKSUM: std::ops::Range<usize> = 2..HEADER_BYTES;

/// Gives the bytes the checksum that they should have: otherwise nothing behind it would be reached.
fn sealed(data: &[u8]) -> Vec<u8> {
    let mut blob = data.to_vec();
    if blob.len() >= HEADER_BYTES {
        let checksum = crc32c::crc32c_append(
            crc32c::crc32c(&blob[..CHECKSUM.start]),
            &blob[HEADER_BYTES..],
        );
        blob[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }
    blob
}

fuzz_target!(|data: &[u8]| {
    if let Ok(ids) = unpack_row_ids(data) {
        assert_eq!(unpack_row_ids(&pack_row_ids(&ids)), Ok(ids));
    }
    let blob = sealed(data);
    let Ok(mut reader) = Reader::open(&blob) else {
        return;
    };
    let mut changes = Vec::new();
    while let Ok(Some(change)) = reader.next_change() {
        changes.push((change.kind, change.to_key_value(), change.prev_revision));
    }
    // What was read can be written, and read again.
    let mut writer = Writer::default();
    for (kind, kv, prev_revision) in &changes {
        writer.push(*kind, kv, *prev_revision);
    }
    let Some(packed) = writer.finish() else {
        return;
    };
    let mut reader = Reader::open(&packed.blob).expect("it was just packed");
    for (kind, kv, _) in &changes {
        let change = reader.next_change().expect("a change").expect("one more");
        assert_eq!((change.kind, change.to_key_value()), (*kind, kv.clone()));
    }
    assert_eq!(reader.next_change(), Ok(None));
});
