//! Kill -9 under load, over and over: nothing that was answered is lost, nothing is half there.
//!
//! What the server said is kept in a [`Journal`]; what it did is read back as the watch history. A write
//! that was answered must be in the history, at the revision of the answer; one that was not may be
//! there or not, but as a whole; and nothing else may be there.

mod history;
mod journal;
mod load;
mod operation;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::*;
use history::History;
use journal::Journal;
use load::{Resuming, Writers};

parity! {
    acknowledged_writes_survive_kill_9,
}

/// Kills; CRASH_ROUNDS overrides it.
const ROUNDS: u32 = 10;

/// On etcd, which is here to test the test.
const ROUNDS_ON_ETCD: u32 = 3;

/// No further round begins after this; it counts only while CRASH_ROUNDS is not set.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How long the load lasts before the kill: long enough to write thousands, short enough to hit the
/// first batches after a start as well.
const LOAD_MS: std::ops::Range<u64> = 20..600;

/// When half of the restarts are killed as well: within what a start takes.
const START_MS: std::ops::Range<u64> = 0..80;

/// Watchers that go on after each restart where they were.
const WATCHERS: usize = 4;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect(name))
}

async fn acknowledged_writes_survive_kill_9(mut server: Server) {
    let seed = from_environment("CRASH_SEED").unwrap_or_else(rand::random);
    println!("CRASH_SEED={seed} repeats the operations and the moments, not what falls together");
    let mut random = StdRng::seed_from_u64(seed);
    let chosen = from_environment("CRASH_ROUNDS").map(|rounds| rounds as u32);
    let usual = if server.kind() == Kind::Etcd {
        ROUNDS_ON_ETCD
    } else {
        ROUNDS
    };
    let journal = Arc::new(Journal::default());
    let mut history = History::default();
    let mut watchers: Vec<_> = (0..WATCHERS).map(|_| Resuming::default()).collect();
    let started_at = Instant::now();
    let mut rounds = 0;
    while rounds < chosen.unwrap_or(usual)
        && (chosen.is_some() || started_at.elapsed() < TIME_LIMIT)
    {
        let url = server.client_url();
        let writers = Writers::start(&url, &journal, random.random(), u64::from(rounds)).await;
        let running: Vec<_> = watchers
            .into_iter()
            .map(|watcher| watcher.start(url.clone()))
            .collect();
        tokio::time::sleep(Duration::from_millis(random.random_range(LOAD_MS))).await;
        server.kill9();
        writers.join().await;
        watchers = Vec::new();
        for watcher in running {
            watchers.push(watcher.await.unwrap());
        }
        if random.random_bool(0.5) {
            server.launch();
            tokio::time::sleep(Duration::from_millis(random.random_range(START_MS))).await;
            server.kill9();
        }
        server.restart().await;
        history.read_on(&server.api().await).await;
        history.check(&journal);
        for watcher in &mut watchers {
            history.check_seen(watcher.take_seen());
        }
        rounds += 1;
    }
    let api = server.api().await;
    history.check_state(&api).await;
    history.check_from_the_beginning(&api).await;
    let (revisions, answered) = (history.len(), journal.answered());
    println!("{rounds} kills, {revisions} revisions, {answered} answered writes: all there");
    assert!(answered > 0 && rounds > 0);
}
