//! Consistent reads from its watch cache: current revision, then progress up to it.

use std::time::{Duration, Instant};

use etcd_proto::etcdserverpb::WatchCreateRequest;

use super::objects::create;
use crate::harness::*;

parity! {
    the_cache_reaches_the_current_revision,
}

/// kube-apiserver gives up after 3 s and reads from the store; a hundred of these fit into it.
const ROUNDS: usize = 100;

async fn the_cache_reaches_the_current_revision(server: Server) {
    let api = server.api().await;
    let cache = WatchCreateRequest {
        prev_kv: true,
        progress_notify: true,
        start_revision: 2,
        ..watch_prefix("/registry/pods/")
    };
    let (mut watcher, _) = Watcher::open(&api, cache).await;
    let mut latencies = Vec::new();
    let mut seen = 0;
    for round in 0..ROUNDS {
        // Another resource moves the revision, so that only progress can bring the cache up to it.
        api.ask(create(format!("/registry/pods/default/p{round}"), "pod"))
            .await;
        api.ask(create(format!("/registry/nodes/n{round}"), "node"))
            .await;
        let current = at(&api.ask(get("/registry/pods")).await.header);
        let asked_at = Instant::now();
        loop {
            let (events, response) = watcher.progress().await;
            seen += events.len();
            if at(&response.header) >= current {
                break;
            }
        }
        latencies.push(asked_at.elapsed());
        assert_eq!(
            seen,
            round + 1,
            "progress promises that all events were delivered"
        );
    }
    latencies.sort_unstable();
    println!(
        "progress: p50 {:?}, p99 {:?}",
        latencies[ROUNDS / 2],
        latencies[ROUNDS - 1]
    );
    // Without the promptness, each list of kube-apiserver waits for the next question, 100 ms later.
    if server.kind() == Kind::K8sDqlite {
        let median = latencies[ROUNDS / 2];
        assert!(median < Duration::from_millis(50), "{median:?}");
    }
}
