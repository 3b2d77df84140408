//! Writers and watchers that go on until the server dies.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_proto::etcdserverpb::WatchCreateRequest;
use etcd_proto::mvccpb::Event;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;

use super::journal::Journal;
use super::operation::Operation;
use crate::harness::*;

const WRITERS: usize = 64;
const WRITERS_PER_CONNECTION: usize = 8;

pub struct Writers(Vec<JoinHandle<()>>);

impl Writers {
    /// Each writes until an answer does not come.
    pub async fn start(url: &str, journal: &Arc<Journal>, seed: u64, round: u64) -> Self {
        let mut tasks = Vec::new();
        let mut api = Api::connect(url).await;
        for writer in 0..WRITERS {
            if writer % WRITERS_PER_CONNECTION == 0 {
                api = Api::connect(url).await;
            }
            let random = StdRng::seed_from_u64(seed.wrapping_add(writer as u64));
            tasks.push(tokio::spawn(write(
                api.clone(),
                journal.clone(),
                random,
                writer,
                round,
            )));
        }
        Self(tasks)
    }

    pub async fn join(self) {
        for task in self.0 {
            task.await.unwrap();
        }
    }
}

async fn write(api: Api, journal: Arc<Journal>, mut random: StdRng, writer: usize, round: u64) {
    let mut last = 0;
    for sequence in 0.. {
        let operation = Operation::random(&mut random, writer, round, sequence);
        let (marker, request) = (operation.marker.clone(), operation.request());
        journal.sent(operation);
        let Ok(answer) = api.try_ask(request).await else {
            return;
        };
        let revision = at(&answer.header);
        assert!(revision > last, "revision {revision} after {last}");
        last = revision;
        journal.answered_at(&marker, revision);
    }
}

/// All keys.
pub fn everything(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        range_end: "\0".into(),
        start_revision,
        ..watch("\0")
    }
}

/// A watcher that goes on after a restart where it was.
#[derive(Default)]
pub struct Resuming {
    last: i64,
    seen: BTreeMap<i64, Vec<Event>>,
}

impl Resuming {
    pub fn start(mut self, url: String) -> JoinHandle<Self> {
        tokio::spawn(async move {
            self.watch(&url).await;
            self
        })
    }

    /// Watches until the stream fails.
    async fn watch(&mut self, url: &str) {
        // The first revision of a write is 2.
        self.last = self.last.max(1);
        let Some(api) = Api::try_connect(url).await else {
            return;
        };
        let Some(mut watcher) = Watcher::try_open(&api, everything(self.last + 1)).await else {
            return;
        };
        while let Ok(Some(response)) = watcher.try_next().await {
            assert!(!response.canceled, "{response:?}");
            for event in response.events {
                let revision = event.kv.as_ref().unwrap().mod_revision;
                assert!(
                    revision == self.last + 1 || self.seen.contains_key(&revision),
                    "{revision} after {}",
                    self.last
                );
                self.last = revision;
                self.seen.entry(revision).or_default().push(event);
            }
        }
    }

    pub fn take_seen(&mut self) -> BTreeMap<i64, Vec<Event>> {
        std::mem::take(&mut self.seen)
    }
}
