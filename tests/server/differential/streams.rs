//! One watch stream of one server: the responses, watcher by watcher.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::*;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::answer::mask_header;
use super::operation::Revisions;
use crate::harness::*;

/// The key that tells that everything before it has come; nothing else writes it.
pub const SENTINEL_KEY: &[u8] = b"m";
pub const SENTINEL_ID: i64 = 1 << 40;
const PROBE_ID: i64 = SENTINEL_ID + 1;
const REQUEST_QUEUE: usize = 1024;

/// The id in an answer that is about no watcher, or about all.
const ALL_WATCHERS: i64 = -1;

/// The interval at which kube-apiserver asks for progress.
const PROGRESS_REPEAT: Duration = Duration::from_millis(100);
const PROGRESS_ATTEMPTS: usize = 100;

/// The responses that came, in the order in which they came to each watcher.
///
/// The cut of events into responses is a matter of timing, and so is the revision of a header; so
/// neither is in here, but that a response holds whole revisions is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    pub of_watcher: BTreeMap<i64, Vec<String>>,
    /// Apart, because their id may be a watcher's as well.
    pub refusals: Vec<String>,
    pub end: Option<String>,
}

#[derive(Debug, Default)]
pub struct Received {
    pub log: Log,
    pub answers_to_create: usize,
    pub last_created: Option<WatchResponse>,
    /// Watchers that the server has ended by itself, and not begun anew since.
    pub cancelled: BTreeSet<i64>,
    pub cancels: usize,
    /// The last revision that the sentinel has told.
    pub sentinel_at: i64,
    probed_at: i64,
    pub progress: Option<i64>,
    last_event: BTreeMap<i64, i64>,
    pub broken: Option<String>,
}

pub struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    pub received: watch::Receiver<Received>,
    reader: JoinHandle<()>,
    watchers: BTreeMap<i64, Expected>,
    /// The responses that did not come in time.
    pub complaints: Mutex<Vec<String>>,
}

/// The response that a watcher is known to get by itself.
enum Expected {
    /// It has events from this revision on; zero if it began at the current one.
    Events { start_revision: i64 },
    /// It began below the compaction revision.
    Cancel,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Stream {
    pub async fn open(api: &Api) -> Self {
        let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
        let (sender, received) = watch::channel(Received::default());
        let mut client = api.watch.clone();
        let reader = tokio::spawn(async move {
            let end = match client.watch(ReceiverStream::new(queue)).await {
                Err(status) => format!("{:?}: {}", status.code(), status.message()),
                Ok(responses) => {
                    let mut responses = responses.into_inner();
                    loop {
                        match responses.next().await {
                            None => break "end".to_owned(),
                            Some(Err(status)) => {
                                break format!("{:?}: {}", status.code(), status.message());
                            }
                            Some(Ok(response)) => {
                                sender.send_modify(|received| received.take(response));
                            }
                        }
                    }
                }
            };
            sender.send_modify(|received| received.log.end = Some(end));
        });
        let stream = Self {
            requests,
            received,
            reader,
            watchers: BTreeMap::new(),
            complaints: Mutex::default(),
        };
        let sentinel = WatchCreateRequest {
            key: SENTINEL_KEY.into(),
            watch_id: SENTINEL_ID,
            ..Default::default()
        };
        stream.send(RequestUnion::CreateRequest(sentinel)).await;
        let answered = |now: &Received| now.answers_to_create == 1;
        stream.wait("the sentinel's answer", answered).await;
        stream
    }

    /// Sends a request and waits for its answer, if one is due.
    pub async fn ask(&mut self, request: Option<RequestUnion>, revisions: &Revisions) {
        let (creates, cancels) = {
            let received = self.received.borrow();
            (received.answers_to_create, received.cancels)
        };
        self.send(request.clone()).await;
        match request {
            Some(RequestUnion::CreateRequest(create)) => {
                let answered = |now: &Received| now.answers_to_create > creates;
                self.wait("the answer to a create request", answered).await;
                self.expect(&create, revisions);
            }
            Some(RequestUnion::CancelRequest(cancel))
                if self.watchers.remove(&cancel.watch_id).is_some() =>
            {
                let answered = |now: &Received| now.cancels > cancels;
                self.wait("the answer to a cancel request", answered).await;
            }
            _ => {}
        }
    }

    fn expect(&mut self, create: &WatchCreateRequest, revisions: &Revisions) {
        let received = self.received.borrow();
        let Some(created) = &received.last_created else {
            return;
        };
        if created.canceled {
            return;
        }
        let expected = if (1..revisions.compacted).contains(&create.start_revision) {
            Expected::Cancel
        } else {
            Expected::Events {
                start_revision: create.start_revision,
            }
        };
        self.watchers.insert(created.watch_id, expected);
    }

    /// Waits until everything up to `revision` has come to all watchers that want it.
    pub async fn settle(&self, revision: i64) {
        let told = |now: &Received| now.sentinel_at >= revision;
        self.wait("the sentinel's event", told).await;
        let has_progress = self.watchers.values().all(|expected| match expected {
            Expected::Events { start_revision } => *start_revision <= revision,
            Expected::Cancel => false,
        });
        if !has_progress {
            self.probe(revision).await;
        } else if self.progress(revision).await.is_none() {
            self.complain("no progress");
        }
        for (id, expected) in &self.watchers {
            if matches!(expected, Expected::Cancel) {
                let cancelled = |now: &Received| now.cancelled.contains(id);
                self.wait("the end of a compacted watcher", cancelled).await;
            }
        }
    }

    /// Waits for one more watcher that lags: etcd looks after all that do at once, so those that
    /// began before have read their history as well.
    async fn probe(&self, revision: i64) {
        self.send(RequestUnion::CreateRequest(WatchCreateRequest {
            key: SENTINEL_KEY.into(),
            watch_id: PROBE_ID,
            start_revision: revision,
            ..Default::default()
        }))
        .await;
        let told = |now: &Received| now.probed_at >= revision;
        self.wait("the probe's event", told).await;
        let cancel = WatchCancelRequest { watch_id: PROBE_ID };
        self.send(RequestUnion::CancelRequest(cancel)).await;
        let cancelled = |now: &Received| now.cancelled.contains(&PROBE_ID);
        self.wait("the probe's end", cancelled).await;
    }

    pub fn log(&self) -> Log {
        self.received.borrow().log.clone()
    }

    fn complain(&self, what: &str) {
        self.complaints.lock().unwrap().push(what.to_owned());
    }

    async fn send(&self, request: impl Into<Option<RequestUnion>>) {
        let request_union = request.into();
        // An error means that the stream has ended, which is in the log.
        let _ = self.requests.send(WatchRequest { request_union }).await;
    }

    /// Waits until `condition` holds or the stream has ended, and notes if neither happens in time.
    async fn wait(&self, what: &str, condition: impl Fn(&Received) -> bool) {
        let mut received = self.received.clone();
        let settled = received.wait_for(|now| condition(now) || now.log.end.is_some());
        if tokio::time::timeout(TIMEOUT / 3, settled).await.is_err() {
            self.complain(what);
        }
    }

    /// Asks until the answer says at least `revision`: while a watcher is behind, etcd gives none.
    async fn progress(&self, revision: i64) -> Option<i64> {
        let mut received = self.received.clone();
        for _ in 0..PROGRESS_ATTEMPTS {
            self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}))
                .await;
            let answered =
                received.wait_for(|now| now.progress >= Some(revision) || now.log.end.is_some());
            let in_time = tokio::time::timeout(PROGRESS_REPEAT, answered).await;
            if in_time.is_ok() {
                return self.received.borrow().progress;
            }
        }
        None
    }
}

impl Received {
    fn take(&mut self, response: WatchResponse) {
        let id = response.watch_id;
        let revision = at(&response.header);
        if !response.events.is_empty() {
            return self.take_events(response);
        }
        if response.created {
            self.answers_to_create += 1;
            self.last_created = Some(response.clone());
            if !response.canceled {
                self.cancelled.remove(&id);
            }
        } else if response.canceled {
            self.cancels += 1;
            self.cancelled.insert(id);
        } else {
            // Progress: of all watchers, or of one that has asked for it.
            if id == ALL_WATCHERS {
                self.progress = self.progress.max(Some(revision));
            }
            return;
        }
        if id == SENTINEL_ID || id == PROBE_ID {
            return;
        }
        // Which id is free again once a watcher is gone is the business of the answers alone.
        self.last_event.remove(&id);
        let mut answer = response;
        // When etcd cancels by itself depends on its timing, and so does the revision.
        mask_header(&mut answer.header);
        if answer.compact_revision != 0 {
            answer.header = None;
        }
        let line = format!("{answer:?}");
        if answer.created && answer.canceled {
            self.log.refusals.push(line);
        } else {
            self.note(id, line);
        }
    }

    fn take_events(&mut self, response: WatchResponse) {
        let id = response.watch_id;
        for event in &response.events {
            let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let last = self.last_event.entry(id).or_default();
            if revision < *last {
                self.broken = Some(format!("watcher {id}: {revision} after {last}"));
            }
            *last = revision;
            if revision > at(&response.header) {
                self.broken = Some(format!("watcher {id}: {revision} above its header's"));
            }
            if id == SENTINEL_ID {
                self.sentinel_at = revision;
            } else if id == PROBE_ID {
                self.probed_at = revision;
            } else {
                self.note(id, format!("{event:?}"));
            }
        }
    }

    fn note(&mut self, id: i64, line: String) {
        self.log.of_watcher.entry(id).or_default().push(line);
    }
}
