//! Nodes under faults are one store: whatever clients and watchers were told is strictly serializable.
//!
//! There are three, or one. Clients on all nodes and faults come from one seed; everything is recorded, and judged at
//! the end. The checker is pure, and [`planted`] tests that it finds what it is for.

mod call;
mod check;
mod disk;
mod faults;
mod history;
mod leases;
mod load;
mod nodes;
mod planted;
mod register;
mod run;
mod truth;
mod violation;
mod watchers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use etcd_proto::etcdserverpb::HashKvRequest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::*;
use history::History;
use nodes::Nodes;
use run::Run;

/// The time of the load; LINEAR_SECONDS overrides it.
const SECONDS: u64 = 20;

/// The number of nodes; LINEAR_NODES overrides it.
const NODES: usize = 3;

/// The number of violations that are printed: there are often many.
const SHOWN: usize = 10;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_under_faults_are_one_store() {
    let seed = from_environment("LINEAR_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    println!("LINEAR_SEED={seed} repeats calls and faults, not what falls together");
    let seconds = from_environment("LINEAR_SECONDS").unwrap_or(SECONDS);
    let in_namespaces = from_environment("LINEAR_NETNS") == Some(1);
    let mut random = StdRng::seed_from_u64(seed);
    let count = from_environment("LINEAR_NODES").map_or(NODES, |count| count as usize);
    let mut nodes = Nodes::start(count, in_namespaces).await;
    let run = Arc::new(Run::new(nodes.urls()));
    let (until_revision, until_seen) = tokio::sync::watch::channel(i64::MAX);
    let watchers = watchers::start(&run, random.random(), &until_seen);
    let mut clients = load::start(&run, random.random());
    clients.extend(leases::start(&run, random.random()));

    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut done: BTreeMap<_, usize> = BTreeMap::new();
    let mut times = Vec::new();
    while Instant::now() < deadline {
        let begin = run.now();
        let (fault, outcome) = faults::one(&mut nodes, &mut random).await;
        times.push((fault, begin, run.now()));
        *done.entry((fault, outcome)).or_default() += 1;
    }
    nodes.wait_until_well().await;
    run.stop();
    for client in clients {
        client.await.unwrap();
    }
    let last = wait_for_the_end_of_leases(&run).await;
    until_revision.send(last).unwrap();
    for watcher in watchers {
        watcher.await.unwrap();
    }
    let hashes = hashes(&run, last).await;

    let history = run.take_history();
    check::assert_distinct_values(&history);
    let mut violations = check::check(&history, leases::PREFIX.as_bytes());
    let (registers, unjudged) = register::check(&history, &mut violations);
    let (from, to) = longest_silence(&history);
    let during = times
        .iter()
        .filter(|(_, begin, end)| *begin < to && from < *end);
    let during: Vec<_> = during.map(|(fault, ..)| *fault).collect();
    let unknown = history.operations.iter().filter(|o| o.answer.is_none());
    println!(
        "{} operations, {} of unknown outcome; {last} revisions; {} watches; {} leases; {registers} registers, {unjudged} not judged; faults {done:?}; \
         longest time without a write {:?}, during {during:?}; {} assertions of libdqlite; {} violations",
        history.operations.len(),
        unknown.count(),
        history.streams.len(),
        history.leases.len(),
        to - from,
        nodes::ABORTS.load(Ordering::Relaxed),
        violations.len()
    );
    for violation in violations.iter().take(SHOWN) {
        println!("{violation}");
    }
    assert!(violations.is_empty(), "LINEAR_SEED={seed}");
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "LINEAR_SEED={seed}: {hashes:?}"
    );
    assert!(last > 1 && !done.is_empty());
}

/// Between two writes that were acknowledged: when it began and ended.
fn longest_silence(history: &History) -> (Duration, Duration) {
    let answers = history.operations.iter().filter_map(|operation| {
        operation.call.value()?;
        operation.answer.as_ref()
    });
    let mut returned: Vec<_> = answers.map(|answer| answer.returned).collect();
    returned.sort_unstable();
    let between = returned.windows(2).map(|pair| (pair[0], pair[1]));
    between
        .max_by_key(|(from, to)| *to - *from)
        .unwrap_or_default()
}

/// Returns the revision after which nothing changes any more.
async fn wait_for_the_end_of_leases(run: &Run) -> i64 {
    let api = run.api(0);
    let mut revision = 0;
    until(
        "all leases have ended and their keys are gone",
        async || {
            let Ok(found) = api.try_ask(get_prefix(leases::PREFIX)).await else {
                return false;
            };
            revision = at(&found.header);
            found.count == 0
        },
    )
    .await;
    revision
}

/// The hash of each node at a revision.
async fn hashes(run: &Run, revision: i64) -> Vec<(u32, i64)> {
    let mut hashes = Vec::new();
    for node in 0..run.urls.len() {
        let api = run.api(node);
        let mut hash = None;
        until("the node has the hash", async || {
            hash = api.try_ask(HashKvRequest { revision }).await.ok();
            hash.is_some()
        })
        .await;
        let hash = hash.unwrap();
        hashes.push((hash.hash, hash.compact_revision));
    }
    hashes
}
