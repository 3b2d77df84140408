//! Random requests of all types, with values at their edges, through the port to a real engine.

use dqlite::node::BOOTSTRAP_ID;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};

use super::proxy::Server;
use super::raw::{Frame, Raw, text, words};

/// Another one is given by the variable of this name.
const SEED: &str = "PORT_SEED";

/// Requests in all, and of one connection.
const REQUESTS: usize = 2000;
const REQUESTS_OF_A_CONNECTION: usize = 40;

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

const NAMES: [&[u8]; 9] = [
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
const ADDRESSES: [&[u8]; 4] = [b"192.0.2.1:1", b"", b"a b", &[0xff]];

const STATEMENTS: [&str; 22] = [
    "",
    ";",
    "-- nothing",
    "SELECT 1",
    "SELECT ?, ?2",
    "SELECT * FROM t",
    "SELECT * FROM dbstat",
    "SELECT nothing FROM nowhere",
    "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v DATETIME)",
    "INSERT INTO t (v) VALUES (?)",
    "INSERT INTO t (v) VALUES (x'00') RETURNING id, v",
    "INSERT OR FAIL INTO t (id) VALUES (1), (1)",
    "DELETE FROM t RETURNING v",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "BEGIN; INSERT INTO t (v) VALUES (1); COMMIT",
    "PRAGMA user_version = 3",
    "PRAGMA journal_mode = delete",
    "VACUUM",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000) SELECT x FROM n",
];

const CONNECT: u8 = 11;

fn pick<T: Copy>(rng: &mut StdRng, among: &[T]) -> T {
    *among.choose(rng).expect("there are some")
}

/// Parameters, mostly well formed.
fn params(rng: &mut StdRng, schema: u8) -> Vec<u8> {
    let count = pick(rng, &[0usize, 0, 1, 2, 3, 9]);
    if count == 0 && rng.random() {
        return Vec::new();
    }
    let kinds: Vec<u8> = (0..count)
        .map(|_| pick(rng, &[1, 2, 3, 4, 5, 10, 11, 1, 3, 4, 9, 0, 255]))
        .collect();
    let mut out = match schema {
        0 => vec![count as u8],
        _ => (count as u32).to_le_bytes().to_vec(),
    };
    out.extend(&kinds);
    out.resize(out.len().next_multiple_of(8), 0);
    for kind in kinds {
        match kind {
            3 | 10 => out.extend(text(pick(rng, &["", "text", "2020-01-01"]))),
            4 => {
                let length = pick(rng, &[0, 8, 9, u64::MAX, u64::MAX - 6, 1 << 31]);
                out.extend(words(&[length, rng.random()]));
            }
            _ => out.extend(words(&[pick(rng, &NUMBERS)])),
        }
    }
    out
}

fn body(rng: &mut StdRng, kind: u8, schema: u8) -> Vec<u8> {
    let number = |rng: &mut StdRng| words(&[pick(rng, &NUMBERS)]);
    // Mostly the database that is open, and the first statements.
    let database = |rng: &mut StdRng| words(&[pick(rng, &[0, 0, 0, 0, 1, u64::MAX])]);
    let statement = |rng: &mut StdRng| {
        let (database, statement) = (pick(rng, &[0, 0, 0, 7]), pick(rng, &[0, 0, 1, 2, 99]));
        words(&[statement << 32 | database])
    };
    match kind {
        3 => [text(pick(rng, &NAMES)), number(rng), text("vfs")].concat(),
        4 => [database(rng), text(pick(rng, &STATEMENTS))].concat(),
        5 | 6 => [statement(rng), params(rng, schema)].concat(),
        7 => statement(rng),
        8 | 9 => [
            database(rng),
            text(pick(rng, &STATEMENTS)),
            params(rng, schema),
        ]
        .concat(),
        11 | 12 => [number(rng), text(pick(rng, &ADDRESSES))].concat(),
        // A new voter must catch up, for which the engine waits half a minute.
        13 => [number(rng), words(&[pick(rng, &[1, 2, 3, u64::MAX])])].concat(),
        15 => text(pick(rng, &NAMES)),
        _ => number(rng),
    }
}

fn request(rng: &mut StdRng) -> Frame {
    // CONNECT ends a conversation, so it is rare; OPEN begins one.
    let kind = match rng.random_range(0..100) {
        0..3 => 11,
        3..10 => 3,
        10..13 => rng.random(),
        _ => pick(
            rng,
            &[
                0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 4, 5, 6, 8, 8, 9, 9,
            ],
        ),
    };
    let schema = pick(rng, &[0, 0, 0, 0, 1, 1, 2, 255]);
    let mut body = body(rng, kind, schema);
    match rng.random_range(0..40) {
        0 => body.extend(words(&[rng.random()])),
        // An ASSIGN without a role makes a voter.
        1 if body.len() > 8 && kind != 13 => body.truncate(body.len() - 8),
        2 => rng.fill_bytes(&mut body),
        _ => {}
    }
    (kind, schema, body)
}

/// Sends random requests, and waits for the answer of each but where the next one follows at once or the connection
/// is left.
async fn converse(address: &str, rng: &mut StdRng) {
    let mut raw = Raw::connect(address).await;
    let mut outstanding = 0;
    for _ in 0..REQUESTS_OF_A_CONNECTION {
        let request = request(rng);
        let is_connect = request.0 == CONNECT;
        if raw.send(&request).await.is_err() || is_connect {
            // One that is taken makes the connection one between nodes, which answer no request.
            return;
        }
        outstanding += 1;
        if rng.random_range(0..4) == 0 {
            continue;
        }
        while outstanding > 0 {
            match raw.reply().await {
                Ok(dqlite::wire::Reply::Rows(part)) if part.more => {}
                Ok(_) => outstanding -= 1,
                Err(_) => return,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_survives_random_requests() {
    let seed = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    println!("{SEED}={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let server = Server::start(BOOTSTRAP_ID, None).await;
    for _ in 0..REQUESTS / REQUESTS_OF_A_CONNECTION {
        converse(&server.address, &mut rng).await;
    }
    // The node leads still, and writes, once the locks of the connections are gone.
    let write = async {
        loop {
            let mut last = server.connect().await;
            let written = async {
                last.open("test").await?;
                let create = "CREATE TABLE IF NOT EXISTS last (v); INSERT INTO last VALUES (1)";
                last.exec_sql(create, &[]).await
            };
            match written.await {
                Ok(_) => break,
                Err(dqlite::client::Error::Busy { .. }) => {}
                Err(error) => panic!("{SEED}={seed}: {error}"),
            }
        }
    };
    tokio::time::timeout(super::proxy::TIMEOUT, write)
        .await
        .expect("a write in time");
}
