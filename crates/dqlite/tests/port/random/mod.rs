//! Random requests of several clients at a time, through the port to a real engine in a process of its own. However
//! that ends, unless by our own signal, is a failure, and so is a node that takes no more writes.

mod conversation;
mod node;
mod requests;
mod statements;

use std::env;
use std::time::{Duration, Instant};

use dqlite::client::{ConnectOptions, Connection, Endpoint, Error};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use conversation::{Sent, client};
use node::Process;

/// The seed of the first round, and the seconds for which others follow, each with the next seed. Without the second
/// there is a fixed number of them.
const SEED: &str = "PORT_SEED";
const SECONDS: &str = "PORT_SECONDS";

const ROUNDS: u64 = 8;
/// Rounds that ask one node, of which only the first is repeatable by itself.
const ROUNDS_OF_A_NODE: u64 = 4;
const MAX_CLIENTS: u64 = 4;
const REQUESTS_OF_A_CLIENT: u64 = 300;

/// The time in which a node writes again: a result whose client has left is read to its end for so long.
const DEADLINE: Duration = Duration::from_secs(90);

/// Failures after which a run ends.
const MAX_FAILURES: usize = 20;

fn pick<T: Copy>(rng: &mut StdRng, among: &[T]) -> T {
    *among.choose(rng).expect("there are some")
}

fn variable(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

#[derive(Default)]
struct Run {
    requests: u64,
    answers: u64,
    errors: u64,
    connections: u64,
    kills: u64,
    stops: u64,
    failures: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_survives_random_requests() {
    let first = variable(SEED).unwrap_or(1);
    let length = variable(SECONDS).map(Duration::from_secs);
    let began = Instant::now();
    let mut run = Run::default();
    let mut process = None;
    for seed in first.. {
        let goes_on = match length {
            Some(length) => began.elapsed() < length,
            None => seed < first + ROUNDS,
        };
        if !goes_on || run.failures.len() >= MAX_FAILURES {
            println!("{} rounds", seed - first);
            break;
        }
        process = run.round(process, seed).await;
    }
    println!(
        "{} requests, {} answers, {} errors, {} connections, {} kills, {} stops, {} failures",
        run.requests,
        run.answers,
        run.errors,
        run.connections,
        run.kills,
        run.stops,
        run.failures.len()
    );
    assert!(run.failures.is_empty(), "{}", run.failures.join("\n\n"));
}

impl Run {
    /// Returns the node, if it can go on.
    async fn round(&mut self, process: Option<Process>, seed: u64) -> Option<Process> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut process = match process {
            Some(process) if !seed.is_multiple_of(ROUNDS_OF_A_NODE) => process,
            _ => Process::start().await,
        };
        let end = pick(
            &mut rng,
            &[End::Killed, End::Stopped, End::GoesOn, End::GoesOn],
        );
        let mut ended = Ok(());
        let mut sent: Vec<Sent> = Vec::new();
        for client in clients(&mut rng, &process.address) {
            sent.push(client.await.expect("a client"));
            // The others are in the middle of something.
            if sent.len() == 1 && end == End::Killed {
                self.kills += 1;
                ended = process.kill();
                process.start_again();
            }
        }
        for sent in &sent {
            self.requests += sent.requests;
            self.answers += sent.answers;
            self.errors += sent.errors;
            self.connections += sent.connections;
        }
        let mut ended = match ended {
            Err(status) => Err(format!("ended with {status}")),
            Ok(()) => healthy(&mut process).await,
        };
        if ended.is_ok() && end == End::Stopped {
            self.stops += 1;
            let stopped = tokio::task::block_in_place(|| process.stop());
            ended = stopped.map_err(|status| format!("stopped with {status}"));
            process.start_again();
        }
        let Err(failure) = ended else {
            return Some(process);
        };
        let failure = told(seed, &failure, &process, &sent);
        println!("{failure}");
        self.failures.push(failure);
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Killed,
    Stopped,
    GoesOn,
}

fn clients(rng: &mut StdRng, address: &str) -> Vec<JoinHandle<Sent>> {
    (0..rng.random_range(1..=MAX_CLIENTS))
        .map(|number| {
            let (address, seed) = (address.to_owned(), rng.random());
            // At the end of the first one, the node may be ended.
            let requests = match number {
                0 => rng.random_range(1..REQUESTS_OF_A_CLIENT),
                _ => REQUESTS_OF_A_CLIENT,
            };
            tokio::spawn(async move { client(&address, seed, requests).await })
        })
        .collect()
}

fn told(seed: u64, failure: &str, process: &Process, sent: &[Sent]) -> String {
    let first = seed / ROUNDS_OF_A_NODE * ROUNDS_OF_A_NODE;
    let mut told = format!("{SEED}={first}, round {seed}: the node {failure}\n");
    for (number, sent) in sent.iter().enumerate() {
        told.push_str(&format!("client {number}, its last first:\n"));
        for request in &sent.last {
            told.push_str(&format!("  {request}\n"));
        }
    }
    told + &process.log()
}

/// Waits until the node has written, once the locks of the clients are gone.
async fn healthy(process: &mut Process) -> Result<(), String> {
    let began = Instant::now();
    loop {
        if let Some(status) = process.ended() {
            return Err(format!("ended with {status}"));
        }
        let failure = match timeout(DEADLINE, write(&process.address)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(
                failure @ (Error::Busy { .. }
                | Error::NotLeader
                | Error::Unreachable(_)
                | Error::OutcomeUnknown(_)
                | Error::Disconnected(_)),
            )) => failure,
            Ok(Err(error)) => return Err(format!("does not write: {error:?}")),
            Err(_) => return Err("does not answer".into()),
        };
        if began.elapsed() > DEADLINE {
            return Err(format!("does not write any more: {failure}"));
        }
        tokio::task::yield_now().await;
    }
}

async fn write(address: &str) -> Result<(), Error> {
    let endpoint = Endpoint::Tcp(address.to_owned());
    let mut last = Connection::connect(&endpoint, ConnectOptions::default()).await?;
    last.open("test").await?;
    let create = "CREATE TABLE IF NOT EXISTS last (v); INSERT INTO last VALUES (1)";
    last.exec_sql(create, &[]).await?;
    Ok(())
}
