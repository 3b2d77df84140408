//! Watchers: on each node one that sees everything and goes on after each loss, and some that come and go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::{WatchCreateRequest, WatchProgressRequest, WatchRequest};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::call::CALL_TIMEOUT;
use super::history::{Delivered, Stream, revision_of};
use super::run::Run;
use crate::harness::{Api, TIMEOUT, get, watch};

/// The number of watchers that come and go, on each node.
const PASSERS_BY: usize = 2;

/// Asked while no event comes, so that a stream that is silent without reason is found.
const PROGRESS_REPEAT: Duration = Duration::from_millis(200);

/// A stream with nothing at all for so long is given up and opened again, as clients with keep-alives do.
const SILENCE: Duration = Duration::from_secs(3);

const RECONNECT: Duration = Duration::from_millis(50);

/// The revisions by which the watches that come and go begin in the past.
const PAST: i64 = 100;

struct Open {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<etcd_proto::etcdserverpb::WatchResponse>,
}

enum End {
    Failed,
    /// The history that it asked for is compacted up to this revision.
    Compacted(i64),
    /// Everything that it was to see was shown.
    Done,
}

async fn open(api: &Api, create: WatchCreateRequest) -> Option<Open> {
    let (requests, queue) = mpsc::channel(4);
    let request = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(create)),
    };
    requests.send(request).await.ok()?;
    let call = api.watch.clone();
    let opened = timeout(CALL_TIMEOUT, { call }.watch(ReceiverStream::new(queue))).await;
    Some(Open {
        requests,
        responses: opened.ok()?.ok()?.into_inner(),
    })
}

/// Watches the range of `stream` until it fails, or `is_done` says so of a revision that it has reached.
async fn follow(run: &Run, api: &Api, stream: &mut Stream, is_done: impl Fn(i64) -> bool) -> End {
    let create = WatchCreateRequest {
        range_end: stream.range_end.clone(),
        start_revision: stream.start,
        ..watch(stream.key.clone())
    };
    let Some(mut open) = open(api, create).await else {
        return End::Failed;
    };
    let mut heard_at = Instant::now();
    loop {
        let response = match timeout(PROGRESS_REPEAT, open.responses.message()).await {
            Ok(Ok(Some(response))) => response,
            Ok(_) => return End::Failed,
            Err(_) if heard_at.elapsed() > SILENCE => return End::Failed,
            Err(_) => {
                let request = WatchRequest {
                    request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
                };
                if open.requests.send(request).await.is_err() {
                    return End::Failed;
                }
                continue;
            }
        };
        heard_at = Instant::now();
        if response.canceled {
            return match response.compact_revision {
                0 => End::Failed,
                revision => End::Compacted(revision),
            };
        }
        if response.created {
            continue;
        }
        let reached = if let Some(last) = response.events.last() {
            let reached = revision_of(last);
            let delivered = Delivered::Events(run.now(), response.events);
            stream.delivered.push(delivered);
            reached
        } else {
            let revision = response.header.unwrap().revision;
            stream.delivered.push(Delivered::Progress(revision));
            revision
        };
        if stream.is_whole() {
            run.saw(reached);
        }
        if is_done(reached) {
            return End::Done;
        }
    }
}

/// Starts the watchers; those of all keys end when they have seen `until`, which is set at the end.
pub fn start(
    run: &Arc<Run>,
    seed: u64,
    until: &tokio::sync::watch::Receiver<i64>,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for node in 0..run.urls.len() {
        tasks.push(tokio::spawn(see_all(run.clone(), node, until.clone())));
        for index in 0..PASSERS_BY {
            let seed = seed.wrapping_add((node * PASSERS_BY + index) as u64);
            let random = StdRng::seed_from_u64(seed);
            tasks.push(tokio::spawn(pass_by(run.clone(), node, random)));
        }
    }
    tasks
}

async fn see_all(run: Arc<Run>, node: usize, until: tokio::sync::watch::Receiver<i64>) {
    let mut next = 2;
    let mut ended_at = None;
    while *until.borrow() >= next {
        let mut stream = Stream {
            node,
            key: "\0".into(),
            range_end: "\0".into(),
            start: next,
            delivered: Vec::new(),
        };
        let end = follow(&run, &run.api(node), &mut stream, |at| {
            at >= *until.borrow()
        })
        .await;
        next = stream
            .delivered
            .iter()
            .fold(next, |next, delivered| match delivered {
                Delivered::Events(_, events) => next.max(revision_of(events.last().unwrap()) + 1),
                Delivered::Progress(revision) => next.max(revision + 1),
            });
        run.record_stream(stream);
        match end {
            End::Compacted(revision) => next = next.max(revision),
            End::Failed => tokio::time::sleep(RECONNECT).await,
            End::Done => break,
        }
        if run.is_stopped() {
            let ended_at = ended_at.get_or_insert_with(Instant::now);
            assert!(
                ended_at.elapsed() < TIMEOUT,
                "a watch of everything on node {node} does not get beyond {next}"
            );
        }
    }
}

async fn pass_by(run: Arc<Run>, node: usize, mut random: StdRng) {
    let ranges = [
        ("/key/1", ""),
        ("/key/", "/key0"),
        ("/key/4", "/key/7"),
        ("/lease/", "/lease0"),
    ];
    while !run.is_stopped() {
        let api = run.api(node);
        let (key, range_end) = ranges[random.random_range(0..ranges.len())];
        let Ok(Ok(found)) = timeout(CALL_TIMEOUT, api.try_ask(get("nothing"))).await else {
            tokio::time::sleep(RECONNECT).await;
            continue;
        };
        let current = found.header.unwrap().revision;
        let mut stream = Stream {
            node,
            key: Bytes::from_static(key.as_bytes()),
            range_end: Bytes::from_static(range_end.as_bytes()),
            // Up to a revision that is still to come.
            start: (current + random.random_range(-PAST..PAST / 4)).max(2),
            delivered: Vec::new(),
        };
        let goal = current + random.random_range(0..PAST * 4);
        follow(&run, &api, &mut stream, |at| at >= goal || run.is_stopped()).await;
        run.record_stream(stream);
    }
}
