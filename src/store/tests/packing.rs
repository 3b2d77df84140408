//! From one row for each change to one row for each batch.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use dqlite::wire::Value;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    batches::{ALL, Workload, number, query},
    harness::{Engine, Running, connect, contents},
};
use crate::store::{
    Layout, OpenError,
    conversion::{self, BackupTo, ConversionOptions, Halt, Others},
    metrics::Metrics,
};

/// The other nodes: none of these know the newest schema.
struct Older(Vec<String>);

impl Others for Older {
    async fn missing(&self, _: i64) -> Vec<String> {
        self.0.clone()
    }
}

async fn convert(
    engine: &Engine,
    backup: &Path,
    older: &Older,
    halt: &Halt,
) -> Result<(), OpenError> {
    let options = ConversionOptions {
        storage_dir: engine.dir.path().to_owned(),
        backup: BackupTo::File(backup.to_owned()),
    };
    let node = conversion::Node {
        member_id: 1,
        cluster_id: 1,
        is_loaded: false,
    };
    let metrics = Metrics::default();
    conversion::run(&engine.endpoint(), &options, &node, older, &metrics, halt).await
}

async fn version(engine: &Engine) -> i64 {
    number(&mut connect(engine).await, "PRAGMA user_version").await
}

/// An engine with rows, and what is to be seen of them.
async fn with_rows(seed: u64) -> (Engine, Vec<Vec<Value>>, (Vec<(String, String)>, i64)) {
    let engine = Engine::start();
    let running = Running::open_with(engine.endpoint(), Layout::Rows).await;
    let mut workload = Workload::new(seed);
    for _ in 0..3 {
        workload.round(&running).await;
    }
    let seen = contents(&running.store);
    running.stop().await;
    let rows = query(&mut connect(&engine).await, ALL).await;
    assert_eq!(version(&engine).await, 0x2_0001);
    (engine, rows, seen)
}

#[tokio::test]
async fn rows_that_are_packed_with_interruptions_are_the_same_rows() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut engine, rows, seen) = with_rows(seed).await;
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("backup.db");
    let mut attempts = 0;
    while version(&engine).await != 0x3_0000 {
        attempts += 1;
        // Later ones get more time, so that it ends.
        let limit = Duration::from_micros(random.random_range(0..2_000 * attempts));
        let halt = Halt::default();
        let older = Older(Vec::new());
        // Never dropped: the engine asserts at its stop that no connection went away within a transaction.
        let converting = convert(&engine, &backup, &older, &halt);
        let asking = async {
            tokio::time::sleep(limit).await;
            halt.ask();
        };
        tokio::join!(converting, asking).0.unwrap();
    }
    println!("{attempts} attempts");
    let mut connection = connect(&engine).await;
    assert!(query(&mut connection, ALL).await == rows);
    let tables = "SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_master \
                  WHERE type IN ('table', 'view') ORDER BY name)";
    let tables = query(&mut connection, tables).await;
    let expected = "batch dead kine lease meta setting";
    assert_eq!(tables, [[Value::Text(expected.into())]]);
    drop(connection);
    let running = Running::open(engine.endpoint()).await;
    assert_eq!(contents(&running.store), seen);
    Workload::new(seed + 1).round(&running).await;
    let seen = contents(&running.store);
    running.stop().await;
    engine.restart();
    let running = Running::open(engine.endpoint()).await;
    assert_eq!(contents(&running.store), seen);
    running.stop().await;
}

#[tokio::test]
async fn rows_stay_as_they_are_until_every_node_knows_batches_or_without_a_backup() {
    let (engine, rows, seen) = with_rows(1).await;
    let dir = tempfile::tempdir().unwrap();
    let halt = Halt::default();
    let older = Older(vec!["10.0.0.7:9000".to_owned()]);
    let backup = dir.path().join("backup.db");
    convert(&engine, &backup, &older, &halt).await.unwrap();
    assert!(!backup.exists(), "it is not needed yet");
    let nowhere = dir.path().join("missing/backup.db");
    let none = Older(Vec::new());
    convert(&engine, &nowhere, &none, &halt).await.unwrap();
    assert_eq!(version(&engine).await, 0x2_0001);
    let running = Running::open(engine.endpoint()).await;
    assert_eq!(contents(&running.store), seen);
    running.stop().await;
    assert!(query(&mut connect(&engine).await, ALL).await == rows);

    convert(&engine, &backup, &none, &halt).await.unwrap();
    assert_eq!(version(&engine).await, 0x3_0000);
    let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "secrets are in it");
    assert!(query(&mut connect(&engine).await, ALL).await == rows);
}
