//! Kill -9 at any moment of a conversion.

use std::path::Path;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use super::{from_environment, hash, model, random, seed, with_data_of};
use crate::harness::*;

/// Kills; TAKE_OVER_KILLS overrides it.
pub const KILLS: u64 = 6;

/// The most kills, as a multiple, of a run in which none has met a conversion so far.
const PATIENCE: u64 = 20;

/// Rows of the table: a conversion takes a second or more.
const ROWS: usize = 12_000;

/// The time of the kill, as a part of the time that a whole conversion took.
const KILLED_AT: std::ops::Range<f64> = 0.0..1.05;

/// The share of the kills that are meant for the conversion itself, wherever the machine's load has
/// moved that, and their time, as a part of the time that the conversion took.
const AIMED: f64 = 0.7;
const AIMED_AT: std::ops::Range<f64> = 0.0..0.9;

/// The number of times that one conversion is interrupted in a row.
const IN_A_ROW: std::ops::RangeInclusive<u32> = 1..=3;

pub fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Waits until rows are converted, or all of them are.
async fn until_converting(server: &Server, from: usize) {
    let signs = [
        "the conversion begins",
        "the conversion goes on",
        "this node leads and takes writes",
    ];
    until("rows are converted", async || {
        let said = server.output();
        signs.iter().any(|sign| said[from..].contains(sign))
    })
    .await;
}

#[tokio::test]
async fn a_server_that_converts_stops_when_it_is_told() {
    let mut random = StdRng::seed_from_u64(seed());
    let table = random::large(&mut random, ROWS);
    let mut server = with_data_of(&table, Options::default()).await;
    let from = server.output().len();
    server.launch();
    until_converting(&server, from).await;
    let status = server.terminate().await;
    assert!(status.success(), "{status}: {}", &server.output()[from..]);
    let said = server.output().split_off(from);
    assert!(!said.contains("ERROR"), "{said}");
    server.restart().await;
    let api = server.api().await;
    assert_eq!(api.revision().await, table.revision());
    let found = api.ask(model::everything(0)).await.kvs;
    assert_eq!(found, model::Model::of(&table).range(table.revision()));
}

#[tokio::test]
async fn a_take_over_that_was_killed_goes_on() {
    let mut random = StdRng::seed_from_u64(seed());
    let kills = from_environment("TAKE_OVER_KILLS").unwrap_or(KILLS);
    let table = random::large(&mut random, ROWS);
    let mut server = with_data_of(&table, Options::default()).await;
    let pristine = server.path().join("pristine");
    copy(&server.storage_dir(), &pristine);

    let started = Instant::now();
    let from = server.output().len();
    server.launch();
    until_converting(&server, from).await;
    let begun = started.elapsed();
    server.ready().await;
    let whole = started.elapsed();
    let api = server.api().await;
    let (revision, expected) = (api.revision().await, hash(&api).await);
    assert_eq!(
        api.ask(model::everything(0)).await.kvs,
        model::Model::of(&table).range(revision)
    );
    server.kill9();

    let (mut killed, mut went_on) = (0, 0);
    // Where a conversion is short, every kill of a run may miss it.
    while killed < kills || (went_on == 0 && killed < kills * PATIENCE) {
        copy(&pristine, &server.storage_dir());
        let before = server.output().len();
        for _ in 0..random.random_range(IN_A_ROW) {
            let from = server.output().len();
            server.launch();
            let after = match random.random_bool(AIMED) {
                true => {
                    until_converting(&server, from).await;
                    (whole - begun).mul_f64(random.random_range(AIMED_AT))
                }
                false => whole.mul_f64(random.random_range(KILLED_AT)),
            };
            sleep(after).await;
            server.kill9();
            killed += 1;
        }
        server.restart().await;
        let api = server.api().await;
        assert_eq!(
            (api.revision().await, hash(&api).await),
            (revision, expected)
        );
        let said = server.output().split_off(before);
        went_on += u64::from(said.contains("the conversion goes on"));
        server.kill9();
        // Backups of attempts that came so far.
        let _ = std::fs::remove_dir_all(server.path().join("data.take-over"));
    }
    println!("{killed} kills, {went_on} conversions went on, a whole one took {whole:?}");
    assert!(went_on > 0, "no kill met a conversion");
}
