//! Several threads at once: a writer, the hub, clients that pause and ask for progress.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use etcd_state::mvcc::{KeyRange, Revision};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::client::{hub, pop, request};

use crate::watch::{CatchUp, Inbox, WatchHub, WatchId, WatchStream, testing::TestStore};

const REVISIONS: Revision = Revision::new(4000);
/// More than a queue holds, times this many bytes.
const PAUSE_REVISIONS: i64 = 700;
const VALUE_BYTES: usize = 12 * 1024;
const DEADLINE: Duration = Duration::from_secs(60);

/// The revisions of the events of one watcher, and what they should be.
struct Heard {
    range: KeyRange,
    from: Revision,
    revisions: Vec<Revision>,
}

async fn write(mut store: TestStore, inbox: Arc<Inbox>) -> TestStore {
    let mut random = SmallRng::seed_from_u64(1);
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut unpublished = Vec::new();
    while store.revision() <= REVISIONS {
        let key = Bytes::from(vec![b'a' + random.random_range(0..4u8)]);
        unpublished.extend(store.commit(&[(key, Some(value.clone()))]));
        if random.random_bool(0.5) {
            inbox.publish(&unpublished);
            unpublished.clear();
            tokio::task::yield_now().await;
        }
    }
    inbox.publish(&unpublished);
    store
}

async fn pause(hub: &WatchHub) {
    let until = Revision::new(hub.position().number() + PAUSE_REVISIONS).min(REVISIONS);
    while hub.position() < until {
        tokio::task::yield_now().await;
    }
}

/// Watches until a progress response says that everything was heard.
async fn listen(hub: Arc<WatchHub>, stream: WatchStream, seed: u64) -> Vec<Heard> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut heard: Vec<Heard> = Vec::new();
    let ends = [("a", "c"), ("b", ""), ("a", "z"), ("c", "e")];
    for (key, end) in ends.into_iter().cycle().take(random.random_range(1..6)) {
        let start_revision = random.random_range(0..=hub.position().number());
        let request = request(key, end, start_revision);
        let range = request.range.clone();
        heard.push(Heard {
            range,
            from: Revision::new(start_revision),
            revisions: Vec::new(),
        });
        stream.create(request);
    }
    loop {
        if random.random_bool(0.01) {
            pause(&hub).await;
        }
        if random.random_bool(0.05) || hub.position() > REVISIONS {
            stream.request_progress();
        }
        let is_synced = stream.catch_up() == CatchUp::Synced;
        for response in pop(&stream).expect("the stream is open") {
            let revision = Revision::new(response.header.as_ref().unwrap().revision);
            if response.watch_id == WatchId::NONE.number() {
                for watcher in &heard {
                    let last = watcher.revisions.last().copied().unwrap_or_default();
                    assert!(
                        last <= revision,
                        "progress at {revision} after an event at {last}"
                    );
                }
                if revision > REVISIONS {
                    return heard;
                }
                continue;
            }
            let watcher = &mut heard[usize::try_from(response.watch_id).unwrap()];
            if response.created && watcher.from.is_none() {
                watcher.from = revision.next();
            }
            let revisions = response
                .events
                .iter()
                .map(|event| Revision::new(event.kv.as_ref().unwrap().mod_revision));
            watcher.revisions.extend(revisions);
        }
        if is_synced {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_missed_or_repeated_with_several_threads() {
    let store = TestStore::new();
    let inbox = Arc::new(Inbox::default());
    let hub = hub(&store.history, &inbox, Duration::from_millis(100));
    let task = Arc::clone(&hub);
    let running = tokio::spawn(async move { task.run().await });
    let clients: Vec<_> = (0..12)
        .map(|seed| {
            let stream = hub.open(false).expect("the hub is running");
            tokio::spawn(listen(Arc::clone(&hub), stream, seed))
        })
        .collect();
    let writer = tokio::spawn(write(store, inbox));
    let all = async {
        let store = writer.await.unwrap();
        for client in clients {
            for Heard {
                range,
                from,
                revisions,
            } in client.await.unwrap()
            {
                let commits = store.log.iter().filter(|commit| commit.revision >= from);
                let wanted = commits.filter(|commit| range.contains(&commit.changes[0].kv.key));
                assert!(revisions.iter().eq(wanted.map(|commit| &commit.revision)));
            }
        }
    };
    tokio::time::timeout(DEADLINE, all)
        .await
        .expect("everybody hears everything");
    assert!(
        hub.metrics().fallen_behind.load(Ordering::Relaxed) > 0,
        "nobody was slow"
    );
    hub.stop();
    running.await.unwrap();
}
