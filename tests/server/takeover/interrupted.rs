//! Kill -9 at any moment of a take-over.

use std::{path::Path, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{from_environment, hash, model, random, seed, with_data_of};
use crate::harness::*;

/// Kills; TAKE_OVER_KILLS overrides it.
const KILLS: u64 = 6;

/// Rows of the table: a take-over takes a second or more.
const ROWS: usize = 12_000;

/// When the kill comes, at the latest, as a part of the time that a whole take-over took.
const LATEST: f64 = 1.1;

/// How often one take-over is interrupted in a row.
const IN_A_ROW: std::ops::RangeInclusive<u32> = 1..=3;

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_take_over_that_was_killed_goes_on() {
    let mut random = StdRng::seed_from_u64(seed());
    let kills = from_environment("TAKE_OVER_KILLS").unwrap_or(KILLS);
    let table = random::large(&mut random, ROWS);
    let mut server = with_data_of(&table, Options::default()).await;
    let pristine = server.path().join("pristine");
    copy(&server.storage_dir(), &pristine);

    let started = tokio::time::Instant::now();
    server.restart().await;
    let whole = started.elapsed();
    let api = server.api().await;
    let (revision, expected) = (api.revision().await, hash(&api).await);
    assert_eq!(
        api.ask(model::everything(0)).await.kvs,
        model::range(&table, revision)
    );
    server.kill9();

    let (mut killed, mut went_on) = (0, 0);
    while killed < kills {
        copy(&pristine, &server.storage_dir());
        let before = server.output().len();
        for _ in 0..random.random_range(IN_A_ROW) {
            server.launch();
            let after = whole.mul_f64(random.random_range(0.0..LATEST));
            tokio::time::sleep(after).await;
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
        let complete = said.contains("the data of the Go k8s-dqlite is converted");
        assert!(complete || said.matches("leads").count() > 0, "{said}");
        server.kill9();
        // Backups of attempts that came so far.
        let _ = std::fs::remove_dir_all(server.path().join("data.take-over"));
    }
    println!("{killed} kills, {went_on} conversions went on, a whole one took {whole:?}");
    assert!(went_on > 0 || kills < 5, "no kill met a conversion");
    assert!(whole > Duration::ZERO);
}
