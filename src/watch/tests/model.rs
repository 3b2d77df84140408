//! Random histories: any number of streams and watchers, clients that read or do not, late
//! publishing, compaction. Every response is checked against the list of all commits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_proto::etcdserverpb::WatchResponse;
use etcd_proto::mvccpb;
use etcd_state::mvcc::{Change, ChangeKind, Commit, KeyRange, Revision};
use proptest::prelude::*;

use super::client::{hub, pop, settle};

use crate::watch::{
    CatchUp, CloseReason, CreateRequest, Inbox, Options, WatchHub, WatchId, WatchStream,
    testing::{Op, TestStore},
};

#[derive(Debug, Clone)]
enum Step {
    /// Keys, with none for a delete and else the size class of the value.
    Commit(Vec<(u8, Option<u8>)>),
    /// Publishes this share of the commits that the hub does not know.
    Publish(f64),
    Compact(f64),
    Open,
    Create(usize, Create),
    Cancel(usize, i64),
    RequestProgress(usize),
    CatchUp(usize),
    /// The client takes up to so many pieces.
    Read(usize, u8),
    Leave(usize),
}

#[derive(Debug, Clone)]
struct Create {
    watch_id: Option<WatchId>,
    key: u8,
    range_end: Option<u8>,
    start: Start,
    options: Options,
}

#[derive(Debug, Clone)]
enum Start {
    Now,
    Past(f64),
    Future(i64),
    Compaction,
}

fn key_of(letter: u8) -> Bytes {
    vec![b'a' + letter / 3, b'a' + letter % 3].into()
}

/// Two small classes, and one of which a few fill a queue.
fn value_of(class: u8) -> Bytes {
    let len = match class {
        0 => 3,
        1..8 => 40,
        _ => 900 * 1024,
    };
    vec![b'0' + class; len].into()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![2 => Just(None), 5 => (0..8u8).prop_map(Some), 2 => Just(Some(8))];
    let commit = prop::collection::vec((0..9u8, value), 1..4).prop_map(Step::Commit);
    let options =
        (any::<bool>(), 0..8u8, any::<bool>()).prop_map(|(prev_kv, filter, fragment)| Options {
            prev_kv,
            no_put: filter == 0,
            no_delete: filter == 1,
            fragment,
        });
    let start = prop_oneof![
        3 => Just(Start::Now),
        3 => (0.0..=1.0).prop_map(Start::Past),
        1 => (1..4i64).prop_map(Start::Future),
        1 => Just(Start::Compaction),
    ];
    let create = (
        prop_oneof![3 => Just(None), 1 => (1..6i64).prop_map(|id| Some(WatchId::new(id)))],
        0..9u8,
        prop::option::weighted(0.8, 0..12u8),
        start,
        options,
    )
        .prop_map(|(watch_id, key, range_end, start, options)| Create {
            watch_id,
            key,
            range_end,
            start,
            options,
        });
    let step = prop_oneof![
        14 => commit,
        8 => (0.0..=1.0).prop_map(Step::Publish),
        1 => (0.0..=1.0).prop_map(Step::Compact),
        2 => Just(Step::Open),
        4 => (0..4usize, create).prop_map(|(stream, create)| Step::Create(stream, create)),
        1 => (0..4usize, 0..6i64).prop_map(|(stream, id)| Step::Cancel(stream, id)),
        2 => (0..4usize).prop_map(Step::RequestProgress),
        6 => (0..4usize).prop_map(Step::CatchUp),
        3 => (0..4usize, 1..6u8).prop_map(|(stream, pieces)| Step::Read(stream, pieces)),
        1 => (0..4usize).prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..200)
}

/// The client's knowledge of one of its watchers.
struct Seen {
    range: KeyRange,
    options: Options,
    /// The first revision that the watcher wants.
    from: Revision,
    /// The last revision of which it got events.
    last: Revision,
    ended: bool,
}

struct Client {
    stream: WatchStream,
    watchers: BTreeMap<i64, Seen>,
    /// Creations without an answer: the next `created` is for the first.
    asked: Vec<CreateRequest>,
    /// Cancellations without an answer.
    canceling: BTreeSet<i64>,
    /// The heads at requests for progress, without one for each answer. Several may get one.
    progress_asked: VecDeque<Revision>,
    progress: Revision,
    /// A part of a fragmented response is still to come for this watcher.
    fragments: BTreeMap<i64, Vec<mvccpb::Event>>,
}

struct World {
    store: TestStore,
    inbox: Arc<Inbox>,
    hub: Arc<WatchHub>,
    published: usize,
    clients: Vec<Client>,
}

fn wanted<'a>(
    log: &'a [Arc<Commit>],
    seen: &Seen,
    upto: Revision,
) -> impl Iterator<Item = (Revision, &'a Change)> {
    let (range, options) = (seen.range.clone(), seen.options);
    let after = seen.last.max(seen.from.previous());
    log.iter()
        .filter(move |commit| commit.revision > after && commit.revision <= upto)
        .flat_map(|commit| {
            commit
                .changes
                .iter()
                .map(move |change| (commit.revision, change))
        })
        .filter(move |(_, change)| range.contains(&change.kv.key) && options.wants(change.kind))
}

impl Client {
    fn new(stream: WatchStream) -> Self {
        Self {
            stream,
            watchers: BTreeMap::new(),
            asked: Vec::new(),
            canceling: BTreeSet::new(),
            progress_asked: VecDeque::new(),
            progress: Revision::NONE,
            fragments: BTreeMap::new(),
        }
    }

    /// Checks a response against everything that was ever committed.
    fn check(&mut self, response: &WatchResponse, log: &[Arc<Commit>], compacted: Revision) {
        let revision = response
            .header
            .as_ref()
            .expect("every response has a header")
            .revision;
        let revision = Revision::new(revision);
        if response.created {
            self.check_created(response, revision);
        } else if response.canceled {
            let seen = self
                .watchers
                .get_mut(&response.watch_id)
                .expect("it was created");
            assert!(!self.fragments.contains_key(&response.watch_id));
            if response.compact_revision != 0 {
                let next = seen.last.max(seen.from.previous()).next();
                let compact_revision = Revision::new(response.compact_revision);
                assert!(next < compact_revision, "ended without need");
                seen.ended = true;
            } else {
                self.watchers.remove(&response.watch_id);
                self.canceling.remove(&response.watch_id);
            }
        } else if response.events.is_empty() {
            self.check_progress(response.watch_id, revision, log);
        } else {
            self.check_events(response, revision, log, compacted);
        }
    }

    fn check_created(&mut self, response: &WatchResponse, revision: Revision) {
        let request = self.asked.remove(0);
        if response.canceled {
            assert_eq!(response.watch_id, WatchId::NONE.number());
            assert!(!response.cancel_reason.is_empty());
            return;
        }
        let given = WatchId::new(response.watch_id);
        assert!(request.watch_id.is_none_or(|asked| asked == given));
        let from = if request.start_revision.is_none() {
            revision.next()
        } else {
            request.start_revision
        };
        let CreateRequest { range, options, .. } = request;
        let seen = Seen {
            range,
            options,
            from,
            last: Revision::NONE,
            ended: false,
        };
        assert!(
            self.watchers.insert(response.watch_id, seen).is_none(),
            "id given twice"
        );
    }

    fn check_progress(&mut self, watch_id: i64, revision: Revision, log: &[Arc<Commit>]) {
        assert_eq!(watch_id, WatchId::NONE.number());
        assert!(revision >= self.progress);
        let asked = self
            .progress_asked
            .pop_front()
            .expect("progress was asked for");
        assert!(
            revision >= asked,
            "progress {revision} is older than the request at {asked}"
        );
        self.progress = revision;
        for seen in self.watchers.values().filter(|seen| !seen.ended) {
            assert!(
                seen.from <= revision.next(),
                "resuming at {revision} would start too early"
            );
            assert_eq!(
                wanted(log, seen, revision).count(),
                0,
                "progress ahead of events"
            );
        }
    }

    fn check_events(
        &mut self,
        response: &WatchResponse,
        revision: Revision,
        log: &[Arc<Commit>],
        compacted: Revision,
    ) {
        let watch_id = response.watch_id;
        let seen = self
            .watchers
            .get_mut(&watch_id)
            .expect("created before its events");
        assert!(!seen.ended);
        assert!(seen.options.fragment || !response.fragment);
        let mut events = self.fragments.remove(&watch_id).unwrap_or_default();
        events.extend(response.events.iter().cloned());
        if response.fragment {
            self.fragments.insert(watch_id, events);
            return;
        }
        let expected: Vec<_> = wanted(log, seen, revision).collect();
        assert_eq!(
            events.len(),
            expected.len(),
            "whole revisions, no gap, no repeat"
        );
        for (event, (mod_revision, change)) in events.iter().zip(&expected) {
            let kv = event.kv.as_ref().unwrap();
            assert_eq!(
                (&kv.key, kv.mod_revision),
                (&change.kv.key, mod_revision.number())
            );
            assert_eq!(
                (&kv.value, kv.version),
                (&change.kv.value, change.kv.version)
            );
            assert_eq!(event.r#type == 1, change.kind == ChangeKind::Delete);
            check_prev(
                event,
                change,
                seen.options.prev_kv,
                *mod_revision <= compacted,
            );
        }
        seen.last = expected.last().expect("events").0;
        assert_eq!(seen.last, revision, "the header names the last event");
    }
}

/// Returns the revision at this share of the way to the head.
fn share_of(head: Revision, share: f64) -> Revision {
    Revision::new((head.number() as f64 * share) as i64)
}

fn check_prev(event: &mvccpb::Event, change: &Change, is_asked: bool, may_be_compacted: bool) {
    let found = event
        .prev_kv
        .as_ref()
        .map(|prev| (&prev.value, prev.mod_revision, prev.version));
    let prev = change.prev.as_ref().filter(|_| is_asked);
    let expected = prev.map(|prev| (&prev.value, prev.mod_revision.number(), prev.version));
    assert!(found == expected || (found.is_none() && may_be_compacted));
}

impl World {
    fn new() -> Self {
        let store = TestStore::new();
        let inbox = Arc::new(Inbox::default());
        let hub = hub(&store.history, &inbox, Duration::from_secs(3600));
        Self {
            store,
            inbox,
            hub,
            published: 0,
            clients: Vec::new(),
        }
    }

    fn client(&mut self, choice: usize) -> Option<&mut Client> {
        let count = self.clients.len();
        (count > 0).then(|| &mut self.clients[choice % count])
    }

    async fn take(&mut self, step: Step) {
        let head = self.store.revision();
        match step {
            Step::Commit(mut ops) => {
                ops.sort_by_key(|(key, _)| *key);
                ops.dedup_by_key(|(key, _)| *key);
                let op =
                    |(key, class): (u8, Option<u8>)| -> Op { (key_of(key), class.map(value_of)) };
                self.store
                    .commit(&ops.into_iter().map(op).collect::<Vec<_>>());
            }
            Step::Publish(share) => self.publish(share).await,
            Step::Compact(share) => {
                let revision = share_of(head, share);
                // The writer publishes before it compacts.
                self.publish(1.0).await;
                let _ = self.store.history.compact(revision);
            }
            Step::Open => {
                if self.clients.len() < 4 {
                    let stream = self.hub.open(false).expect("the hub is running");
                    self.clients.push(Client::new(stream));
                }
            }
            Step::Create(choice, create) => {
                let compacted = self.store.history.compact_revision();
                let Some(client) = self.client(choice) else {
                    return;
                };
                let start_revision = match create.start {
                    Start::Now => Revision::NONE,
                    Start::Past(share) => share_of(head, share),
                    Start::Future(by) => Revision::new(head.number() + by),
                    Start::Compaction => compacted.max(Revision::FIRST),
                };
                let range_end = create.range_end.map_or(Bytes::new(), |end| match end {
                    0..9 => key_of(end),
                    9 => Bytes::from_static(&[0]),
                    _ => vec![key_of(create.key)[0], key_of(create.key)[1] + 1].into(),
                });
                let request = CreateRequest {
                    watch_id: create.watch_id,
                    range: KeyRange::new(key_of(create.key), range_end),
                    start_revision,
                    options: create.options,
                    progress_notify: false,
                };
                client.asked.push(request.clone());
                client.stream.create(request);
            }
            Step::Cancel(choice, id) => {
                // A client knows an id from the answer to its creation.
                if let Some(client) = self.client(choice)
                    && client.asked.is_empty()
                {
                    if client.watchers.contains_key(&id) {
                        client.canceling.insert(id);
                    }
                    client.stream.cancel(WatchId::new(id));
                }
            }
            Step::RequestProgress(choice) => {
                if let Some(client) = self.client(choice) {
                    // As in etcd, a stream without watchers gets no answer.
                    if client
                        .watchers
                        .keys()
                        .any(|id| !client.canceling.contains(id))
                    {
                        client.progress_asked.push_back(head);
                        client.stream.request_progress();
                    }
                }
            }
            Step::CatchUp(choice) => {
                if let Some(client) = self.client(choice) {
                    client.stream.catch_up();
                }
            }
            Step::Read(choice, pieces) => drop(self.read(choice, pieces)),
            Step::Leave(choice) => {
                if !self.clients.is_empty() {
                    self.clients.remove(choice % self.clients.len());
                }
            }
        }
    }

    async fn publish(&mut self, share: f64) {
        let waiting = &self.store.log[self.published..];
        let count = (waiting.len() as f64 * share) as usize;
        self.inbox.publish(&waiting[..count]);
        self.published += count;
        settle().await;
    }

    /// Reads what the stream has. Returns whether there was anything.
    fn read(&mut self, choice: usize, pieces: u8) -> bool {
        let compacted = self.store.history.compact_revision();
        let log = std::mem::take(&mut self.store.log);
        let mut was_something = false;
        if let Some(client) = self.client(choice) {
            for _ in 0..pieces {
                for response in pop(&client.stream).expect("the stream is open") {
                    was_something = true;
                    client.check(&response, &log, compacted);
                }
            }
        }
        self.store.log = log;
        was_something
    }

    /// Lets all clients read all responses, and checks that nothing is missing.
    async fn finish(mut self) {
        self.publish(1.0).await;
        assert_eq!(self.hub.position(), self.store.revision());
        for choice in 0..self.clients.len() {
            let mut rounds = 0;
            loop {
                let step = self.clients[choice].stream.catch_up();
                let has_read = self.read(choice, u8::MAX);
                if step == CatchUp::Synced && !has_read {
                    break;
                }
                rounds += 1;
                assert!(rounds < 10_000, "catching up has no end");
            }
        }
        let head = self.store.revision();
        for client in &self.clients {
            assert!(client.asked.is_empty() && client.fragments.is_empty());
            let live: Vec<_> = client
                .watchers
                .values()
                .filter(|seen| !seen.ended)
                .collect();
            for seen in &live {
                assert_eq!(
                    wanted(&self.store.log, seen, head).count(),
                    0,
                    "events never sent"
                );
            }
            let is_held_back = live.iter().any(|seen| seen.from > head.next());
            let is_answered = client
                .progress_asked
                .iter()
                .all(|asked| *asked <= client.progress);
            assert!(is_answered || is_held_back, "progress never sent");
        }
        self.hub.stop();
        for client in &self.clients {
            assert_eq!(pop(&client.stream), Err(CloseReason::ServerStopped));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn every_watcher_gets_each_event_once_and_in_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            let hub = Arc::clone(&world.hub);
            let task = tokio::spawn(async move { hub.run().await });
            world.take(Step::Open).await;
            for step in steps {
                world.take(step).await;
            }
            world.finish().await;
            task.await.expect("the hub does not panic");
        });
    }
}
