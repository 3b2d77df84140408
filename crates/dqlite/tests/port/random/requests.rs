//! Random requests of all types, with values at their edges.

use dqlite::node::BOOTSTRAP_ID;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};

use super::pick;
use super::statements::{create, statements};
use crate::raw::{Frame, text, words};

const NUMBERS: [u64; 9] = [
    0,
    1,
    2,
    7,
    9,
    255,
    BOOTSTRAP_ID.number(),
    u32::MAX as u64,
    u64::MAX,
];

const NAMES: [&[u8]; 10] = [
    b"test",
    b"test",
    b"test",
    b"other",
    b"",
    b":memory:",
    b"file:x?mode=memory",
    b"test-wal",
    b"../test",
    &[0xff, 0xfe],
];

/// An address that nobody dials, and those that are none.
const ADDRESSES: [&[u8]; 5] = [b"192.0.2.1:1", b"127.0.0.1:1", b"", b"a b", &[0xff]];

pub const OPEN: u8 = 3;
pub const PREPARE: u8 = 4;
pub const CONNECT: u8 = 11;

/// Parameters, mostly well formed.
fn params(rng: &mut StdRng, schema: u8) -> Vec<u8> {
    let count = pick(rng, &[0usize, 0, 0, 0, 0, 1, 1, 2, 3, 9, 255]);
    if count == 0 && rng.random() {
        return Vec::new();
    }
    let known = [1, 2, 3, 4, 5, 10, 11, 1, 3, 4];
    let kinds: Vec<u8> = (0..count)
        .map(|_| match rng.random_range(0..60) {
            0 => rng.random(),
            1 => 9,
            _ => pick(rng, &known),
        })
        .collect();
    let mut out = match schema {
        0 => vec![count as u8],
        _ => (count as u32).to_le_bytes().to_vec(),
    };
    out.extend(&kinds);
    out.resize(out.len().next_multiple_of(8), 0);
    for kind in kinds {
        match kind {
            3 | 10 => out.extend(text(pick(rng, &["", "text", "2020-01-01", "\u{fffd}"]))),
            4 if rng.random_range(0..20) == 0 => {
                let length = pick(rng, &[9, u64::MAX, u64::MAX - 6, 1 << 31]);
                out.extend(words(&[length, rng.random()]));
            }
            4 => {
                let length = pick(rng, &[0_usize, 1, 8, 5000]);
                out.extend(words(&[length as u64]));
                out.resize(out.len() + length.next_multiple_of(8), 0x5a);
            }
            _ => out.extend(words(&[pick(rng, &NUMBERS)])),
        }
    }
    out
}

fn body(rng: &mut StdRng, kind: u8, schema: u8, prepared: u64) -> Vec<u8> {
    let number = |rng: &mut StdRng| words(&[pick(rng, &NUMBERS)]);
    // Mostly the database that is open, and a statement that there is.
    let database = |rng: &mut StdRng| words(&[pick(rng, &[0, 0, 0, 0, 0, 0, 1, u64::MAX])]);
    let statement = |rng: &mut StdRng| {
        let database = pick(rng, &[0, 0, 0, 0, 0, 7]);
        let statement = match rng.random_range(0..8) {
            0 => pick(rng, &[0, 1, 2, 99, u64::from(u32::MAX)]),
            _ => rng.random_range(0..=prepared),
        };
        words(&[statement << 32 | database])
    };
    match kind {
        OPEN => [text(pick(rng, &NAMES)), number(rng), text("vfs")].concat(),
        PREPARE => [database(rng), text(statements(rng))].concat(),
        5 | 6 => [statement(rng), params(rng, schema)].concat(),
        7 => statement(rng),
        8 | 9 => [database(rng), text(statements(rng)), params(rng, schema)].concat(),
        CONNECT | 12 => [number(rng), text(pick(rng, &ADDRESSES))].concat(),
        // A new voter must catch up, for which the engine waits half a minute: mostly another role.
        13 => {
            let role = pick(rng, &[1, 2, 1, 2, 1, 2, 0, 3, u64::MAX]);
            [number(rng), words(&[role])].concat()
        }
        15 => text(pick(rng, &NAMES)),
        _ => number(rng),
    }
}

/// Returns a request of a connection that has prepared so many statements.
pub fn request(rng: &mut StdRng, prepared: u64) -> Frame {
    // CONNECT ends a conversation, so it is rare.
    let kind = match rng.random_range(0..100) {
        0 => CONNECT,
        1..4 => OPEN,
        4..6 => rng.random(),
        6..30 => pick(rng, &[0, 1, 2, 10, 12, 13, 14, 15, 16, 17, 18, 19]),
        _ => pick(rng, &[PREPARE, 5, 6, 7, 8, 9, PREPARE, 5, 6, 8, 9, 8, 9]),
    };
    let schema = match rng.random_range(0..30) {
        0 => rng.random(),
        1..10 if (PREPARE..=9).contains(&kind) => 1,
        _ => 0,
    };
    let mut body = body(rng, kind, schema, prepared);
    match rng.random_range(0..80) {
        0 => body.extend(words(&[rng.random()])),
        1 if body.len() > 8 => body.truncate(body.len() - 8),
        2 => rng.fill_bytes(&mut body),
        3 => {
            let at = rng.random_range(0..body.len());
            body[at] ^= 1 << rng.random_range(0..8);
        }
        4 => body.clear(),
        _ => {}
    }
    (kind, schema, body)
}

/// Returns a request that opens the usual database.
pub fn open() -> Frame {
    (OPEN, 0, [text("test"), words(&[0]), text("")].concat())
}

/// Returns a request that makes the tables that most statements are about.
pub fn tables(rng: &mut StdRng) -> Frame {
    let create = ["t", "u", "w"].map(|table| create(rng, table));
    (8, 0, [words(&[0]), text(create.join(";"))].concat())
}

const RAFT_HEADERS: [(u64, usize); 9] = [
    (1, 40),
    (2, 24),
    (2, 32),
    (3, 32),
    (3, 40),
    (4, 16),
    (4, 24),
    (6, 24),
    (5, 48),
];

/// Returns what a node might send over a link, of a term that is over, or as a leader of the term in which this node leads:
/// what a member of the cluster can do to the log by another lie is not the port's to judge.
pub fn raft_message(rng: &mut StdRng) -> Vec<u8> {
    let (kind, header_bytes) = match rng.random_range(0..8) {
        0 => (rng.random_range(0..9), rng.random_range(0..10) * 8),
        _ => pick(rng, &RAFT_HEADERS),
    };
    let mut message = words(&[kind, header_bytes as u64]);
    // The first word is the term of the sender.
    let term = match kind {
        1 | 5 => pick(rng, &[0, 1]),
        _ => 0,
    };
    message.extend(words(&[term]));
    while message.len() < 16 + header_bytes {
        message.extend(words(&[pick(
            rng,
            &[0, 0, 1, 2, 3, 8, 1 << 32 | 8, u64::MAX],
        )]));
    }
    message.truncate(16 + header_bytes);
    message
}
