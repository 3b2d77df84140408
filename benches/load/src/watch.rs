//! Watch fan-out: every put under one prefix goes to many watchers.
//!
//! A put carries the time when it was sent, so that each watcher can tell how long its event took.
//! Each writer ends with a marker; a watcher that has seen all markers has to have seen every
//! acknowledged put exactly once and in the order of revisions.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_proto::etcdserverpb::watch_client::WatchClient;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use etcd_proto::mvccpb::Event;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::transport::Channel;

use crate::args::WatchShape;
use crate::crew::{self, Crew, GRACE, Schedule, Tally, Window};
use crate::failure::{Failure, wrong};
use crate::keys::{KeyMaker, prefix_end};
use crate::meter::Cost;
use crate::operation::await_all;
use crate::target::{Kv, Target, kv};

/// The time stamp of a put that says "this writer is done".
const MARKER: u64 = u64::MAX;
const STAMP_BYTES: usize = size_of::<u64>();

pub struct Fanout<'a> {
    target: &'a Target,
    shape: &'a WatchShape,
    threads: usize,
    board: Arc<Board>,
}

/// The state that the writers and watchers of all threads share.
struct Board {
    prefix: String,
    origin: Instant,
    writers: usize,
    value_bytes: usize,
    /// Puts that the server acknowledged, in the window or not, without markers.
    acknowledged: AtomicU64,
    /// Events that each watcher saw by its end.
    received: Mutex<Vec<u64>>,
}

type Events = tonic::Streaming<WatchResponse>;

pub struct Ready {
    watchers: Vec<Events>,
    writers: Vec<Channel>,
}

impl<'a> Fanout<'a> {
    pub fn new(target: &'a Target, shape: &'a WatchShape, threads: usize) -> Self {
        let board = Board {
            prefix: KeyMaker::new().prefix(),
            origin: Instant::now(),
            writers: shape.writers,
            value_bytes: shape.value_bytes,
            acknowledged: AtomicU64::new(0),
            received: Mutex::default(),
        };
        Fanout {
            target,
            shape,
            threads,
            board: Arc::new(board),
        }
    }

    /// Operations of the tally are events; its latencies run from sending a put to reading its event.
    pub fn run(&self, schedule: &Schedule) -> Result<(Tally, Cost), Failure> {
        let (mut tally, cost) = crew::run(self, self.threads, schedule, &self.target.server_pids)?;
        let acknowledged = self.board.acknowledged.load(Ordering::Relaxed);
        for &received in self
            .board
            .received
            .lock()
            .expect("no watcher panicked")
            .iter()
        {
            if received != acknowledged {
                tally.failures.add(&Failure::WrongAnswer(format!(
                    "a watcher saw {received} events of {acknowledged} acknowledged puts"
                )));
            }
        }
        Ok((tally, cost))
    }
}

impl Crew for Fanout<'_> {
    type Ready = Ready;

    async fn prepare(&self, thread: usize) -> Result<Ready, Failure> {
        let mut ready = Ready {
            watchers: Vec::new(),
            writers: Vec::new(),
        };
        let conns = self.shape.conns.min(self.shape.watchers);
        for conn in (thread..conns).step_by(self.threads) {
            let channel = self.target.connect().await?;
            for _ in (conn..self.shape.watchers).step_by(conns) {
                ready
                    .watchers
                    .push(watch(channel.clone(), &self.board.prefix).await?);
            }
        }
        for _ in (thread..self.shape.writers).step_by(self.threads) {
            ready.writers.push(self.target.connect().await?);
        }
        Ok(ready)
    }

    async fn work(&self, ready: Ready, window: Arc<Window>) -> Tally {
        let tally = Rc::new(RefCell::new(Tally {
            writes: Some(0),
            ..Default::default()
        }));
        let mut tasks = JoinSet::new();
        for events in ready.watchers {
            let watcher = Watcher::new(&self.board, &window, &tally);
            tasks.spawn_local(watcher.run(events));
        }
        for channel in ready.writers {
            let board = Arc::clone(&self.board);
            tasks.spawn_local(write(
                kv(channel),
                board,
                Arc::clone(&window),
                Rc::clone(&tally),
            ));
        }
        await_all(&mut tasks, &window, &tally).await;
        drop(tasks);
        tally.take()
    }
}

/// Opens a stream with one watch, and waits until it is created.
async fn watch(channel: Channel, prefix: &str) -> Result<Events, Failure> {
    let create = WatchCreateRequest {
        key: Bytes::copy_from_slice(prefix.as_bytes()),
        range_end: prefix_end(prefix),
        ..Default::default()
    };
    let request = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    // The request side stays open: its end would end the watch.
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let opening = async {
        let mut events = WatchClient::new(channel)
            .watch(requests)
            .await?
            .into_inner();
        match events.message().await? {
            Some(first) if first.created && !first.canceled => Ok(events),
            _ => wrong("a watch did not start with 'created'"),
        }
    };
    match tokio::time::timeout(GRACE, opening).await {
        Ok(opened) => opened,
        Err(_) => wrong(format!(
            "a watch was not created within {} s",
            GRACE.as_secs()
        )),
    }
}

async fn write(mut kv: Kv, board: Arc<Board>, window: Arc<Window>, tally: Rc<RefCell<Tally>>) {
    let mut keys = KeyMaker::new();
    while window.admits() {
        let sent_ns = board.origin.elapsed().as_nanos() as u64;
        match kv.put(board.put(&mut keys, sent_ns)).await {
            Ok(_) => {
                board.acknowledged.fetch_add(1, Ordering::Relaxed);
                if window.holds(Instant::now()) {
                    *tally.borrow_mut().writes.get_or_insert_default() += 1;
                }
            }
            Err(status) => {
                tally.borrow_mut().failures.add(&status.into());
                break;
            }
        }
    }
    if let Err(status) = kv.put(board.put(&mut keys, MARKER)).await {
        tally.borrow_mut().failures.add(&status.into());
    }
}

impl Board {
    fn put(&self, keys: &mut KeyMaker, stamp: u64) -> PutRequest {
        let mut value = vec![b'v'; self.value_bytes.max(STAMP_BYTES)];
        value[..STAMP_BYTES].copy_from_slice(&stamp.to_be_bytes());
        let key = keys.under(&self.prefix);
        PutRequest {
            key,
            value: value.into(),
            ..Default::default()
        }
    }
}

struct Watcher {
    board: Arc<Board>,
    window: Arc<Window>,
    tally: Rc<RefCell<Tally>>,
    last_revision: i64,
    received: u64,
    markers: usize,
}

impl Watcher {
    fn new(board: &Arc<Board>, window: &Arc<Window>, tally: &Rc<RefCell<Tally>>) -> Self {
        Watcher {
            board: Arc::clone(board),
            window: Arc::clone(window),
            tally: Rc::clone(tally),
            last_revision: 0,
            received: 0,
            markers: 0,
        }
    }

    async fn run(mut self, mut events: Events) {
        if let Err(failure) = self.follow(&mut events).await {
            self.tally.borrow_mut().failures.add(&failure);
        }
        self.board
            .received
            .lock()
            .expect("no watcher panicked")
            .push(self.received);
    }

    async fn follow(&mut self, events: &mut Events) -> Result<(), Failure> {
        while self.markers < self.board.writers {
            let Some(response) = events.message().await? else {
                return wrong("a watch stream ended by itself");
            };
            if response.canceled {
                return wrong(format!("a watch was cancelled: {}", response.cancel_reason));
            }
            let now = Instant::now();
            for event in &response.events {
                self.take(event, now)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &Event, now: Instant) -> Result<(), Failure> {
        let Some((kv, stamp)) = event
            .kv
            .as_ref()
            .and_then(|kv| Some((kv, stamp(&kv.value)?)))
        else {
            return wrong("an event without the value that was put");
        };
        if kv.mod_revision <= self.last_revision {
            return wrong("events out of the order of their revisions");
        }
        self.last_revision = kv.mod_revision;
        if stamp == MARKER {
            self.markers += 1;
            return Ok(());
        }
        self.received += 1;
        if self.window.holds(now) {
            let sent = self.board.origin + Duration::from_nanos(stamp);
            self.tally
                .borrow_mut()
                .success(now.saturating_duration_since(sent));
        }
        Ok(())
    }
}

fn stamp(value: &Bytes) -> Option<u64> {
    Some(u64::from_be_bytes(*value.first_chunk::<STAMP_BYTES>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_proto::mvccpb::KeyValue;

    fn watcher() -> Watcher {
        let board = Board {
            prefix: "/registry/x/".into(),
            origin: Instant::now(),
            writers: 1,
            value_bytes: 16,
            acknowledged: AtomicU64::new(0),
            received: Mutex::default(),
        };
        let schedule = Schedule {
            warm_up: GRACE,
            length: GRACE,
            operations: Some(1),
        };
        Watcher::new(
            &Arc::new(board),
            &Arc::new(Window::new(&schedule)),
            &Rc::default(),
        )
    }

    fn event(put: PutRequest, mod_revision: i64) -> Event {
        let kv = KeyValue {
            key: put.key,
            value: put.value,
            mod_revision,
            ..Default::default()
        };
        Event {
            kv: Some(kv),
            ..Default::default()
        }
    }

    #[test]
    fn events_count_and_markers_do_not() {
        let (mut watcher, mut keys) = (watcher(), KeyMaker::new());
        let board = Arc::clone(&watcher.board);
        watcher
            .take(&event(board.put(&mut keys, 7), 5), Instant::now())
            .unwrap();
        watcher
            .take(&event(board.put(&mut keys, MARKER), 6), Instant::now())
            .unwrap();
        assert_eq!((watcher.received, watcher.markers), (1, 1));
        assert_eq!(watcher.tally.borrow().operations, 1);
    }

    #[test]
    fn repeated_or_unordered_events_and_foreign_values_are_wrong() {
        let (mut watcher, mut keys) = (watcher(), KeyMaker::new());
        let board = Arc::clone(&watcher.board);
        watcher
            .take(&event(board.put(&mut keys, 7), 5), Instant::now())
            .unwrap();
        assert!(
            watcher
                .take(&event(board.put(&mut keys, 7), 5), Instant::now())
                .is_err()
        );
        assert!(
            watcher
                .take(&event(board.put(&mut keys, 7), 4), Instant::now())
                .is_err()
        );
        assert!(
            watcher
                .take(&event(PutRequest::default(), 9), Instant::now())
                .is_err()
        );
    }
}
