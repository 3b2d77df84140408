//! Watch: many watchers, many writers.

use std::collections::HashMap;

use etcd_proto::etcdserverpb::WatchCreateRequest;

use crate::harness::*;

parity! {
    watchers_that_join_at_any_time_miss_and_repeat_nothing,
    a_watcher_that_does_not_read_gets_everything_later,
    a_hundred_watchers_get_every_event,
}

const WRITERS: usize = 8;
const WRITES_EACH: usize = 250;

/// Writers that each take every key in turn, so that revisions and keys are well mixed.
fn start_writers(api: &Api) -> Vec<tokio::task::JoinHandle<()>> {
    let write = |api: Api, writer: usize| async move {
        for index in 0..WRITES_EACH {
            let key = format!("k{}", (writer + index) % 10);
            if index % 7 == 6 {
                let pair = txn().then(put(format!("{key}x"), "v")).then(put(key, "v"));
                api.ask(pair).await;
            } else {
                api.put(&key, "v").await;
            }
        }
    };
    (0..WRITERS)
        .map(|writer| tokio::spawn(write(api.clone(), writer)))
        .collect()
}

/// Reads a watch that began at `start` until revision `end`: each revision once, in order.
async fn read_all(mut watcher: Watcher, start: i64, end: i64) -> HashMap<i64, usize> {
    let mut events: HashMap<i64, usize> = HashMap::new();
    let mut last = start - 1;
    while last < end {
        let response = watcher.next().await;
        assert!(!response.canceled);
        let first = response.events[0].kv.as_ref().unwrap().mod_revision;
        assert_eq!(
            first,
            last + 1,
            "responses begin where the one before ended"
        );
        for event in response.events {
            let revision = event.kv.unwrap().mod_revision;
            assert!(
                revision == last || revision == last + 1,
                "{revision} after {last}"
            );
            *events.entry(revision).or_default() += 1;
            last = revision;
        }
    }
    events
}

const TOTAL_REVISIONS: i64 = (WRITERS * WRITES_EACH) as i64;

async fn watchers_that_join_at_any_time_miss_and_repeat_nothing(server: Server) {
    let api = server.api().await;
    let writers = start_writers(&api);
    let end = 1 + TOTAL_REVISIONS;
    let mut readers = Vec::new();
    for index in 0..20 {
        let current = api.revision().await;
        let start = 2 + (current - 1) * index / 20;
        let create = WatchCreateRequest {
            start_revision: start,
            ..watch_prefix("k")
        };
        let (watcher, _) = Watcher::open(&api, create).await;
        readers.push((start, tokio::spawn(read_all(watcher, start, end))));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let create = WatchCreateRequest {
        start_revision: 2,
        ..watch_prefix("k")
    };
    let (watcher, _) = Watcher::open(&api, create).await;
    let whole = read_all(watcher, 2, end).await;
    for (start, reader) in readers {
        let seen = reader.await.unwrap();
        assert_eq!(seen.len() as i64, end - start + 1);
        assert!(
            seen.iter()
                .all(|(revision, count)| whole[revision] == *count)
        );
    }
}

async fn a_watcher_that_does_not_read_gets_everything_later(server: Server) {
    let api = server.api().await;
    // A connection of its own, whose windows fill.
    let (mut slow, _) = Watcher::open(&server.api().await, watch("a")).await;
    let value = "v".repeat(10_000);
    let write = |api: Api, value: String| async move {
        for _ in 0..250 {
            api.put("a", &value).await;
        }
    };
    let writers: Vec<_> = (0..8)
        .map(|_| tokio::spawn(write(api.clone(), value.clone())))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let events = slow.events(2000).await;
    let revisions = events
        .iter()
        .map(|event| event.kv.as_ref().unwrap().mod_revision);
    assert!(revisions.eq(2..=2001));
}

async fn a_hundred_watchers_get_every_event(server: Server) {
    let api = server.api().await;
    let mut readers = Vec::new();
    for _ in 0..100 {
        let (watcher, _) = Watcher::open(&api, watch_prefix("k")).await;
        readers.push(tokio::spawn(read_all(watcher, 2, 1 + TOTAL_REVISIONS)));
    }
    for writer in start_writers(&api) {
        writer.await.unwrap();
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap().len() as i64, TOTAL_REVISIONS);
    }
}
