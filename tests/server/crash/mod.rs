//! Kills the server under load, over and over: no answered write is lost, and none is there in part. The same when the
//! power fails: [`power`].
//!
//! A [`Journal`] keeps the server's answers, and the watch history shows what it did. A write
//! that was answered must be in the history, at the revision of the answer; one that was not may be
//! there or not, but as a whole; and nothing else may be there.

mod history;
mod journal;
mod load;
mod operation;
mod power;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use crate::harness::*;
use history::History;
use journal::Journal;
use load::{Resuming, Writers};

parity! {
    acknowledged_writes_survive_kill_9,
}

/// The number of kills; CRASH_ROUNDS overrides it.
const ROUNDS: u32 = 10;

/// The number of kills of etcd, which is there to test the test.
const ROUNDS_ON_ETCD: u32 = 3;

/// No further round begins after this; it counts only while CRASH_ROUNDS is not set.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The time of the load before the kill: long enough to write thousands, short enough to hit the
/// first batches after a start as well.
const LOAD_MS: std::ops::Range<u64> = 20..600;

/// The time after which half of the restarts are killed as well: less than a start takes.
const START_MS: std::ops::Range<u64> = 0..80;

/// Watchers that go on after each restart where they were.
const WATCHERS: usize = 4;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect(name))
}

/// The requests, their answers and the state that was read back, over all rounds.
struct Rounds {
    random: StdRng,
    journal: Arc<Journal>,
    history: History,
    watchers: Vec<Resuming>,
    done: u32,
}

/// Load that lasts until the server is gone.
struct Running {
    writers: Writers,
    watchers: Vec<JoinHandle<Resuming>>,
}

impl Rounds {
    fn new() -> Self {
        let seed = from_environment("CRASH_SEED").unwrap_or_else(rand::random);
        println!(
            "CRASH_SEED={seed} repeats the operations and the moments, not what falls together"
        );
        Self {
            random: StdRng::seed_from_u64(seed),
            journal: Arc::default(),
            history: History::default(),
            watchers: (0..WATCHERS).map(|_| Resuming::default()).collect(),
            done: 0,
        }
    }

    /// Starts load, and returns in the middle of it.
    async fn load(&mut self, server: &Server) -> Running {
        let url = server.client_url();
        let (seed, round) = (self.random.random(), u64::from(self.done));
        let writers = Writers::start(&url, &self.journal, seed, round).await;
        let watchers = std::mem::take(&mut self.watchers);
        let watchers = watchers
            .into_iter()
            .map(|watcher| watcher.start(url.clone()));
        let watchers = watchers.collect();
        self.sleep_ms(LOAD_MS).await;
        Running { writers, watchers }
    }

    async fn sleep_ms(&mut self, range: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(range))).await;
    }

    /// Notes that the server is gone.
    async fn join(&mut self, running: Running) {
        running.writers.join().await;
        for watcher in running.watchers {
            self.watchers.push(watcher.await.unwrap());
        }
    }

    /// Notes that the server is there again.
    async fn check(&mut self, server: &Server) {
        self.history.read_on(&server.api().await).await;
        self.history.check(&self.journal);
        for watcher in &mut self.watchers {
            self.history.check_seen(watcher.take_seen());
        }
        self.done += 1;
    }

    async fn finish(self, server: &Server, what: &str) {
        let api = server.api().await;
        self.history.check_state(&api).await;
        self.history.check_from_the_beginning(&api).await;
        let (rounds, revisions) = (self.done, self.history.len());
        let answered = self.journal.answered();
        println!("{rounds} {what}, {revisions} revisions, {answered} answered writes: all there");
        assert!(answered > 0 && rounds > 0);
    }
}

async fn acknowledged_writes_survive_kill_9(mut server: Server) {
    let mut rounds = Rounds::new();
    let chosen = from_environment("CRASH_ROUNDS").map(|rounds| rounds as u32);
    let usual = if server.kind() == Kind::Etcd {
        ROUNDS_ON_ETCD
    } else {
        ROUNDS
    };
    let started_at = Instant::now();
    while rounds.done < chosen.unwrap_or(usual)
        && (chosen.is_some() || started_at.elapsed() < TIME_LIMIT)
    {
        let running = rounds.load(&server).await;
        server.kill9();
        rounds.join(running).await;
        if rounds.random.random_bool(0.5) {
            server.launch();
            rounds.sleep_ms(START_MS).await;
            server.kill9();
        }
        server.restart().await;
        rounds.check(&server).await;
    }
    rounds.finish(&server, "kills").await;
}
