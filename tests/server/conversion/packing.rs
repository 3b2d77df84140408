//! A database with a row for each change, of schema 2.1, that becomes one with a row for each batch, killed on the way. For
//! docs/performance.md at the size of real ones, on a release build: `scripts/test conversion --rows 1024 --kills 50`.

use std::time::Duration;

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint},
    wire::Param,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use super::{
    from_environment, hash,
    interrupted::{KILLS, copy},
    large::{memory_mib, wait_for},
    seed,
};
use crate::harness::*;

/// Size of the rows; TAKE_OVER_ROWS_MIB overrides it.
const MIB: u64 = 8;

const VALUE_BYTES: usize = 2000;
const VERSIONS: i64 = 3;

/// Rows of one statement, and of one transaction.
const INSERT_ROWS: usize = 200;
const TRANSACTION_ROWS: usize = 2000;

/// The share of a whole packing for which an attempt that is killed has time: many fit into one.
const SHARE: std::ops::Range<f64> = 0.0..0.2;

/// The share of the kills that come at any time of a start, and not while rows are packed.
const ANYWHERE: f64 = 0.2;

/// The text that a server logs at its start if some rows are packed already.
const GOES_ON: &str = "the packing goes on";

const REPLACE_TABLES: &str = "BEGIN; DROP VIEW kine; DROP TABLE batch; DROP TABLE dead; \
    CREATE TABLE change (id INTEGER PRIMARY KEY, key BLOB NOT NULL, kind INTEGER NOT NULL, \
    create_revision INTEGER NOT NULL, prev_revision INTEGER NOT NULL, version INTEGER NOT NULL, \
    lease INTEGER NOT NULL, value BLOB); \
    CREATE VIEW kine AS SELECT id >> 20 AS id, CAST(key AS TEXT) AS name, value FROM change; \
    PRAGMA user_version = 131073; COMMIT";

/// Values half of which are like those of others.
struct Values {
    random: StdRng,
    digits: Vec<u8>,
}

impl Values {
    fn new(mut random: StdRng) -> Self {
        let digits = (0..1 << 20)
            .map(|_| b"0123456789abcdef"[random.random_range(0..16)])
            .collect();
        Self { random, digits }
    }

    fn next(&mut self) -> Vec<u8> {
        let from = self.random.random_range(0..self.digits.len() - VALUE_BYTES);
        let mut value = b"\"metadata.labels\":\"".repeat(VALUE_BYTES / 2 / 19);
        value.extend_from_slice(&self.digits[from..from + VALUE_BYTES - value.len()]);
        value
    }
}

/// Puts rows of schema 2.1 in the place of the tables of a server. Returns the last revision.
async fn plant(node_port: u16, rows: i64, values: &mut Values) -> i64 {
    let endpoint = Endpoint::Tcp(format!("127.0.0.1:{node_port}"));
    let mut connection = Connection::connect(&endpoint, ConnectOptions::default())
        .await
        .expect("dqlite's port");
    connection.open("k8s").await.unwrap();
    connection.exec_sql(REPLACE_TABLES, &[]).await.unwrap();
    let keys = rows / VERSIONS;
    let all: Vec<_> = (0..keys * VERSIONS).collect();
    for transaction in all.chunks(TRANSACTION_ROWS) {
        connection.exec_sql("BEGIN", &[]).await.unwrap();
        for part in transaction.chunks(INSERT_ROWS) {
            insert(&mut connection, part, keys, values).await;
        }
        connection.exec_sql("COMMIT", &[]).await.unwrap();
    }
    keys * VERSIONS + 1
}

/// Inserts rows by their numbers: all keys, and then all of them again.
async fn insert(connection: &mut Connection, numbers: &[i64], keys: i64, values: &mut Values) {
    let written: Vec<_> = numbers
        .iter()
        .map(|number| {
            (
                format!("/registry/things/{:09}", number % keys),
                values.next(),
            )
        })
        .collect();
    let mut params = Vec::new();
    for (number, (key, value)) in numbers.iter().zip(&written) {
        let (revision, version) = (number + 2, number / keys);
        let replaced = if version == 0 { 0 } else { revision - keys };
        params.extend([
            Param::Integer(revision << 20),
            Param::Blob(key.as_bytes()),
            Param::Integer(0),
            Param::Integer(revision - version * keys),
            Param::Integer(replaced),
            Param::Integer(version + 1),
            Param::Integer(0),
            Param::Blob(value),
        ]);
    }
    let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?)"; numbers.len()].join(", ");
    let sql = format!(
        "INSERT INTO change (id, key, kind, create_revision, prev_revision, version, lease, value) VALUES {rows}"
    );
    connection.exec_sql(&sql, &params).await.unwrap();
}

/// Starts the server and waits until it has the rows or packs them, or is ready.
async fn until_packing(server: &mut Server) -> usize {
    let from = server.output().len();
    server.launch();
    let signs = ["rows are packed into batches", GOES_ON, "ready"];
    wait_for(server, from, &signs).await;
    from
}

#[tokio::test]
async fn rows_that_are_packed_are_the_same_however_often_that_is_killed() {
    let mut random = StdRng::seed_from_u64(seed());
    let kills = from_environment("TAKE_OVER_KILLS").unwrap_or(KILLS);
    let mib = from_environment("TAKE_OVER_ROWS_MIB").unwrap_or(MIB);
    let rows = (mib << 20) as i64 / VALUE_BYTES as i64;
    let flags = Options::flags(&["--quota-backend-bytes=-1"]);
    let mut server = Server::start_with(Kind::K8sDqlite, flags).await;
    let mut values = Values::new(StdRng::seed_from_u64(random.random()));
    let revision = plant(server.node_port(), rows, &mut values).await;
    server.kill9();
    let pristine = server.path().join("pristine");
    copy(&server.storage_dir(), &pristine);

    let started = Instant::now();
    let from = until_packing(&mut server).await;
    let begun = started.elapsed();
    wait_for(&mut server, from, &["the rows are packed"]).await;
    let packing = started.elapsed() - begun;
    let peak = memory_mib(server.process().id(), "VmHWM");
    wait_for(&mut server, from, &["ready"]).await;
    println!(
        "{rows} rows, {mib} MiB: {begun:?} until the backup was made, packing {packing:?}, at most {peak} MiB, \
         ready after {:?}, then {} MiB",
        started.elapsed(),
        memory_mib(server.process().id(), "VmRSS")
    );
    let api = server.api().await;
    assert_eq!(api.revision().await, revision);
    let expected = hash(&api).await;
    server.kill9();

    let (mut killed, mut went_on, mut whole) = (0, 0, 0);
    let mut most = Duration::ZERO;
    while killed < kills || went_on == 0 {
        assert!(killed < 20 * kills, "no kill met the packing");
        copy(&pristine, &server.storage_dir());
        let _ = std::fs::remove_dir_all(server.path().join("data.take-over"));
        loop {
            let started = Instant::now();
            let before = server.output().len();
            match random.random_bool(ANYWHERE) {
                true => {
                    server.launch();
                    sleep(begun.mul_f64(random.random())).await;
                }
                false => {
                    until_packing(&mut server).await;
                    sleep(packing.mul_f64(random.random_range(SHARE))).await;
                }
            }
            let said = server.output().split_off(before);
            went_on += u64::from(said.contains(GOES_ON));
            most = most.max(started.elapsed());
            server.kill9();
            killed += 1;
            if said.contains("the rows are packed") || said.contains("ready") || killed >= kills {
                break;
            }
        }
        let from = server.output().len();
        server.launch();
        wait_for(&mut server, from, &["ready"]).await;
        went_on += u64::from(server.output()[from..].contains(GOES_ON));
        let api = server.api().await;
        assert_eq!(api.revision().await, revision);
        assert_eq!(hash(&api).await, expected);
        server.kill9();
        whole += 1;
    }
    println!(
        "{killed} kills of {whole} packings, {went_on} starts went on with one, {most:?} at most for one of them"
    );
}
