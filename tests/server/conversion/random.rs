//! Random histories of such a table.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::table::GoTable;

/// Keys that are written, some of which no Kubernetes would have.
const NAMES: [&[u8]; 9] = [
    b"/registry/pods/a",
    b"/registry/pods/b",
    b"/registry/pods/c",
    b"/registry/events/x",
    b"/registry/events/y",
    b"/registry/\xff\x00binary\x00",
    b"/registry/\xc3\x28",
    b"\x01",
    "/registry/\u{e9}\u{1f980}".as_bytes(),
];

/// The TTLs of random rows: none of them expires during a test.
pub const TTLS_S: [i64; 4] = [0, 0, 3660, 7200];

/// More than an index of revisions could have.
const HUGE_HOLE: i64 = 5_000_000;

/// Bytes of a value that needs several pages.
const LARGE_BYTES: usize = 20_000;

pub fn table(random: &mut StdRng, user_version: i64, operations: usize) -> GoTable {
    let mut table = GoTable::new(user_version);
    for _ in 0..operations {
        let name = NAMES.choose(random).unwrap();
        match random.random_range(0..100) {
            0..60 => {
                let (value, ttl_s) = (value(random), *TTLS_S.choose(random).unwrap());
                table.put(name, value, ttl_s);
            }
            60..78 => table.delete(name),
            78..84 => table.skip(random.random_range(1..5)),
            84 => table.skip(HUGE_HOLE),
            85..89 => table.fill(),
            89 => table.second_compaction_row(),
            90..92 => table.delete_newest_row(),
            _ => {
                let range = table.compact_revision()..=table.sequence;
                table.compact(random.random_range(range));
            }
        }
    }
    table
}

fn value(random: &mut StdRng) -> Option<Vec<u8>> {
    let length = match random.random_range(0..10) {
        0 => return None,
        1 => 0,
        2 => LARGE_BYTES,
        _ => random.random_range(1..60),
    };
    let mut value = vec![0; length];
    random.fill(&mut value[..]);
    Some(value)
}

/// Many keys with several versions each, as quickly made as read.
pub fn large(random: &mut StdRng, rows: usize) -> GoTable {
    let mut table = GoTable::new(1 << 16);
    for number in 0..rows {
        let mut value = vec![0; random.random_range(0..1200)];
        random.fill(&mut value[..]);
        let name = format!("/registry/things/{:07}", number / 2);
        let row = if number % 2 == 0 {
            table.row_of_creation(name.as_bytes(), value)
        } else {
            table.row_of_update(name.as_bytes(), value)
        };
        table.insert(row);
    }
    let compacted = table.sequence / 3;
    table.compact(compacted);
    table
}
