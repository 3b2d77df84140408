//! Nodes that stop where there is no majority.

use std::time::Duration;

use tokio::time::Instant;

use super::trio::Trio;
use crate::harness::*;

/// An election that finds nobody, a second in which a leader may still show up, and what a busy machine adds.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Kills two of three nodes and stops the third, which leads or not. Returns its revision as it was acknowledged.
async fn stop_last(leads: bool) {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let last = match leads {
        true => leader,
        false => trio.others(leader)[0],
    };
    let api = trio.nodes[last].api().await;
    let revision = api.put("key", "acknowledged").await;
    for other in trio.others(last) {
        trio.nodes[other].kill9();
    }
    // Calls that wait for a majority do not hold up the stop, and nobody warns of how they end.
    let waiting = tokio::spawn(async move {
        let calls = tokio::join!(api.try_ask(put("key", "lost")), api.try_ask(get("key")));
        (calls.0.err(), calls.1.err())
    });
    let began = Instant::now();
    let status = trio.nodes[last].terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < STOP_TIMEOUT, "{:?}", began.elapsed());
    let (written, read) = waiting.await.unwrap();
    assert!(written.is_some() && read.is_some());
    let output = trio.nodes[last].output();
    let (_, after) = output.split_once("stopping").unwrap();
    for level in [" WARN ", " ERROR "] {
        assert!(!after.contains(level), "{after}");
    }
    for node in &mut trio.nodes {
        node.launch();
    }
    for node in &mut trio.nodes {
        node.ready().await;
        let found = node.api().await.ask(get("key")).await;
        assert!(found.kvs[0].mod_revision >= revision);
    }
}

#[tokio::test]
async fn a_leader_without_a_majority_stops_at_once() {
    stop_last(true).await;
}

#[tokio::test]
async fn a_follower_without_a_majority_stops_at_once() {
    stop_last(false).await;
}
