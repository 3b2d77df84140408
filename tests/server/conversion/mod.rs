//! The data of a Go k8s-dqlite, converted in place.

mod backup;
mod interrupted;
mod large;
mod leases;
mod model;
mod nodes;
mod packing;
mod random;
mod table;

use etcd_proto::etcdserverpb::HashKvRequest;
use rand::{SeedableRng, rngs::StdRng};

use self::table::GoTable;
use crate::harness::*;

/// Random histories of each schema; TAKE_OVER_HISTORIES overrides it.
const HISTORIES: u64 = 2;

/// Operations of one.
const OPERATIONS: usize = 120;

/// The schema versions of the Go k8s-dqlite.
const USER_VERSIONS: [i64; 3] = [0, 1, 1 << 16];

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect(name))
}

/// Returns the seed of a random test.
fn seed() -> u64 {
    let seed = from_environment("TAKE_OVER_SEED").unwrap_or_else(rand::random);
    println!("TAKE_OVER_SEED={seed} repeats it");
    seed
}

/// A server that has stopped, with the data of a Go k8s-dqlite in its directory.
async fn with_data_of(table: &GoTable, options: Options) -> Server {
    let mut server = Server::start_with(Kind::K8sDqlite, options).await;
    table.plant(server.node_port()).await;
    server.kill9();
    server
}

async fn hash(api: &Api) -> (u32, i64) {
    let answer = api.ask(HashKvRequest { revision: 0 }).await;
    (answer.hash, answer.compact_revision)
}

#[tokio::test]
async fn every_revision_answers_as_the_rows_say() {
    let seed = seed();
    let histories = from_environment("TAKE_OVER_HISTORIES").unwrap_or(HISTORIES);
    for number in 0..histories * USER_VERSIONS.len() as u64 {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
        let user_version = USER_VERSIONS[number as usize % USER_VERSIONS.len()];
        let table = random::table(&mut random, user_version, OPERATIONS);
        let mut server = with_data_of(&table, Options::default()).await;
        server.restart().await;
        let api = server.api().await;
        model::compare(&api, &table).await;
        let before = hash(&api).await;
        // Once more, from the tables that it made.
        server.kill9();
        server.restart().await;
        let api = server.api().await;
        assert_eq!(hash(&api).await, before);
        model::compare(&api, &table).await;
        assert_eq!(api.put("after", "1").await, table.revision() + 1);
    }
}

#[tokio::test]
async fn an_empty_table_becomes_an_empty_store() {
    let table = GoTable {
        user_version: 1 << 16,
        rows: Default::default(),
        sequence: 0,
    };
    let mut server = with_data_of(&table, Options::default()).await;
    server.restart().await;
    let api = server.api().await;
    assert_eq!(api.revision().await, 1);
    assert_eq!(api.put("first", "1").await, 2);
}

#[tokio::test]
async fn revisions_go_on_above_ids_that_no_row_has_any_more() {
    let mut table = GoTable::new(1 << 16);
    table.put(b"/registry/a", Some(b"1".to_vec()), 0);
    table.skip(7_000_000_000);
    let last = table.sequence;
    let mut server = with_data_of(&table, Options::default()).await;
    server.restart().await;
    for _ in 0..2 {
        let api = server.api().await;
        assert_eq!(api.revision().await, last);
        assert_eq!(model::watched(&api, last - 5).await, []);
        assert_eq!(api.ask(model::everything(last - 1)).await.count, 2);
        server.kill9();
        server.restart().await;
    }
    let api = server.api().await;
    let watched_from = last - 1_000_000;
    assert_eq!(api.put("new", "1").await, last + 1);
    assert_eq!(model::watched(&api, watched_from).await.len(), 1);
    api.ask(compact(last)).await;
    assert_eq!(api.ask(model::everything(last)).await.count, 2);
    assert!(server.terminate().await.success());
    server.restart().await;
    assert_eq!(server.api().await.revision().await, last + 1);
}

#[tokio::test]
async fn tables_of_somebody_else_are_left_alone() {
    let mut server = with_data_of(
        &GoTable {
            user_version: 5,
            ..GoTable::new(0)
        },
        Options::default(),
    )
    .await;
    server.launch();
    let status = server.process().wait().await;
    assert_eq!(status.code(), Some(6), "{}", server.output());
    assert!(
        server.output().contains("schema 0.5"),
        "{}",
        server.output()
    );
    server.forget_process();
}
