//! One client's stream of watches: its requests, and the state of its watchers.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use etcd_proto::etcdserverpb::WatchResponse;
use etcd_state::mvcc::{KeyRange, Revision};

use super::hub::{State, WatchHub, wake_all};
use super::synced::{self, Member, Round, StreamId, WatcherId};
use super::wire::{self, HeaderFn};
use super::{CloseReason, Options, Outbound, WatchId};

/// Watchers of one stream, so that a client in a loop cannot take all memory: about 0.3 KiB each.
/// Kubernetes has one per stream, etcd's own benchmark a few thousand.
const WATCHER_LIMIT: usize = 65_536;

// The texts are etcd's: clients look them up.
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
/// etcd has no such limit.
const TOO_MANY: &str = "etcdserver: too many watchers on the watch stream";

/// A client's request for a watch.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// None leaves the choice to the stream.
    pub watch_id: Option<WatchId>,
    pub range: KeyRange,
    /// 0 is the revision after the current one.
    pub start_revision: Revision,
    pub options: Options,
    pub progress_notify: bool,
}

/// A stream of watches. Only its own task may use it; dropping it ends its watchers.
pub struct WatchStream {
    pub(super) hub: Arc<WatchHub>,
    pub(super) id: StreamId,
    pub(super) outbound: Arc<Outbound>,
}

pub(super) struct StreamState {
    pub outbound: Arc<Outbound>,
    pub requires_leader: bool,
    pub watchers: HashMap<WatchId, Watcher>,
    /// The lagging ones, next first.
    pub lagging: VecDeque<WatchId>,
    next_watch_id: WatchId,
    /// The client asked for progress when the head was at this revision.
    progress_wanted: Option<Revision>,
}

#[derive(Clone)]
pub(super) struct Watcher {
    pub range: KeyRange,
    pub options: Options,
    pub progress_notify: bool,
    pub phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// In the index of the hub; gets the events at and above `from`.
    Synced { from: Revision },
    /// Lacks the events at and above `next`, which only the stream's task reads.
    Lagging { next: Revision },
    /// Ended by a compaction. Its id stays taken until the client cancels it, as in etcd.
    Compacted,
}

impl StreamState {
    pub fn new(outbound: Arc<Outbound>, requires_leader: bool) -> Self {
        Self {
            outbound,
            requires_leader,
            watchers: HashMap::new(),
            lagging: VecDeque::new(),
            next_watch_id: WatchId::FIRST,
            progress_wanted: None,
        }
    }

    /// Answers the request for progress if that is possible now. Returns none if it must wait, else
    /// the connection to wake, if any.
    ///
    /// The answer speaks for all watchers, and a client resumes each after the revision in it. So
    /// no watcher may lack an event up to there, nor want to start above the next revision.
    pub fn answer_progress(
        &mut self,
        position: Revision,
        header: &HeaderFn,
    ) -> Option<Option<Waker>> {
        let Some(wanted) = self.progress_wanted else {
            return Some(None);
        };
        let is_up_to_date = |watcher: &Watcher| match watcher.phase {
            Phase::Synced { from } => from <= position.next(),
            Phase::Lagging { .. } => false,
            Phase::Compacted => true,
        };
        if position < wanted || !self.watchers.values().all(is_up_to_date) {
            return None;
        }
        self.progress_wanted = None;
        let response = synced::progress_response(&header(position), WatchId::NONE);
        Some(self.outbound.push_control(response))
    }

    fn choose_watch_id(&mut self) -> WatchId {
        while self.watchers.contains_key(&self.next_watch_id) {
            self.next_watch_id = self.next_watch_id.next();
        }
        let chosen = self.next_watch_id;
        self.next_watch_id = chosen.next();
        chosen
    }

    fn refusal(&self, request: &CreateRequest) -> Option<&'static str> {
        let is_taken = |id| self.watchers.contains_key(&id);
        if request.start_revision < Revision::NONE {
            Some(COMPACTED)
        } else if request.range.is_empty() {
            Some(EMPTY_RANGE)
        } else if request.watch_id.is_some_and(is_taken) {
            Some(DUPLICATE_ID)
        } else if self.watchers.len() >= WATCHER_LIMIT {
            Some(TOO_MANY)
        } else {
            None
        }
    }
}

impl WatchStream {
    pub(super) fn new(hub: Arc<WatchHub>, id: StreamId, outbound: Arc<Outbound>) -> Self {
        Self { hub, id, outbound }
    }

    pub fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// Returns the number that tells it apart from the other streams of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Answers, and starts the watcher unless something speaks against it.
    pub fn create(&self, request: CreateRequest) {
        let mut state = self.hub.lock();
        // Read under the lock: the hub's position cannot pass it.
        let head = self.hub.source.head_revision();
        let position = state.position;
        let Some(stream) = state.streams.get_mut(&self.id) else {
            return;
        };
        let mut response = WatchResponse {
            header: Some((self.hub.header)(head)),
            watch_id: WatchId::NONE.number(),
            created: true,
            ..Default::default()
        };
        if let Some(reason) = stream.refusal(&request) {
            drop(state);
            return self.refuse(reason);
        }
        let watch_id = match request.watch_id {
            None => stream.choose_watch_id(),
            Some(chosen) => chosen,
        };
        response.watch_id = watch_id.number();
        let phase = match request.start_revision {
            Revision::NONE => Phase::Synced { from: head.next() },
            start if start > position => Phase::Synced { from: start },
            start => Phase::Lagging { next: start },
        };
        let CreateRequest {
            range,
            options,
            progress_notify,
            ..
        } = request;
        stream.watchers.insert(
            watch_id,
            Watcher {
                range,
                options,
                progress_notify,
                phase,
            },
        );
        self.hub.metrics().watchers.fetch_add(1, Ordering::Relaxed);
        // Before the watcher can get events.
        let waker = self
            .outbound
            .push_control(wire::control_response(&response));
        self.enter(&mut state, watch_id, phase);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Answers a request for a watcher that cannot be.
    pub fn refuse(&self, reason: &str) {
        let head = self.hub.source.head_revision();
        self.send_control(&WatchResponse {
            header: Some((self.hub.header)(head)),
            watch_id: WatchId::NONE.number(),
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        });
    }

    /// Ends a watcher and says so; an unknown id is ignored.
    pub fn cancel(&self, watch_id: WatchId) {
        let mut state = self.hub.lock();
        let Some(stream) = state.streams.get_mut(&self.id) else {
            return;
        };
        let Some(watcher) = stream.watchers.remove(&watch_id) else {
            return;
        };
        stream.lagging.retain(|lagging| *lagging != watch_id);
        self.leave(&mut state, watch_id, &watcher);
        drop(state);
        let head = self.hub.source.head_revision();
        self.send_control(&WatchResponse {
            header: Some((self.hub.header)(head)),
            watch_id: watch_id.number(),
            canceled: true,
            ..Default::default()
        });
        // What kept a request for progress waiting may have been this watcher.
        self.answer_progress();
    }

    /// Answers with a revision at or above the current one as soon as all events up to it are on
    /// their way. Requests that wait get one answer.
    pub fn request_progress(&self) {
        let mut state = self.hub.lock();
        let head = self.hub.source.head_revision();
        let Some(stream) = state.streams.get_mut(&self.id) else {
            return;
        };
        if stream.watchers.is_empty() {
            return;
        }
        let waits_already = stream.progress_wanted.replace(head).is_some();
        if !waits_already {
            let mut round = Round::default();
            self.hub.answer_progress(&mut state, self.id, &mut round);
            drop(state);
            wake_all(round);
        }
    }

    /// Gives the first lagging watcher its next phase.
    pub(super) fn change_phase(&self, state: &mut State, watch_id: WatchId, phase: Phase) {
        let Some(stream) = state.streams.get_mut(&self.id) else {
            return;
        };
        let Some(watcher) = stream.watchers.get_mut(&watch_id) else {
            return;
        };
        watcher.phase = phase;
        let front = stream.lagging.pop_front();
        debug_assert_eq!(front, Some(watch_id));
        self.hub
            .metrics()
            .slow_watchers
            .fetch_sub(1, Ordering::Relaxed);
        self.enter(state, watch_id, phase);
    }

    /// Puts a watcher where its new phase belongs.
    fn enter(&self, state: &mut State, watch_id: WatchId, phase: Phase) {
        let Some(stream) = state.streams.get_mut(&self.id) else {
            return;
        };
        match phase {
            Phase::Synced { from } => {
                let Some(watcher) = stream.watchers.get(&watch_id) else {
                    return;
                };
                let outbound = Arc::clone(&self.outbound);
                let member = Member::new(
                    self.watcher_id(watch_id),
                    outbound,
                    from,
                    watcher.progress_notify,
                );
                state.synced.insert(&watcher.range, watcher.options, member);
            }
            Phase::Lagging { .. } => {
                stream.lagging.push_back(watch_id);
                self.hub
                    .metrics()
                    .slow_watchers
                    .fetch_add(1, Ordering::Relaxed);
            }
            Phase::Compacted => {}
        }
    }

    /// Removes a watcher from where its phase put it.
    fn leave(&self, state: &mut State, watch_id: WatchId, watcher: &Watcher) {
        let metrics = self.hub.metrics();
        metrics.watchers.fetch_sub(1, Ordering::Relaxed);
        match watcher.phase {
            Phase::Synced { .. } => {
                let id = self.watcher_id(watch_id);
                state.synced.remove(&watcher.range, watcher.options, id);
            }
            Phase::Lagging { .. } => drop(metrics.slow_watchers.fetch_sub(1, Ordering::Relaxed)),
            Phase::Compacted => {}
        }
    }

    fn watcher_id(&self, watch_id: WatchId) -> WatcherId {
        WatcherId {
            watch_id,
            stream_id: self.id,
        }
    }

    pub(super) fn answer_progress(&self) {
        let mut round = Round::default();
        self.hub
            .answer_progress(&mut self.hub.lock(), self.id, &mut round);
        wake_all(round);
    }

    fn send_control(&self, response: &WatchResponse) {
        let waker = self.outbound.push_control(wire::control_response(response));
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.outbound.close(CloseReason::Client);
        let mut state = self.hub.lock();
        state.awaiting_progress.remove(&self.id);
        let Some(stream) = state.streams.remove(&self.id) else {
            return;
        };
        for (watch_id, watcher) in &stream.watchers {
            self.leave(&mut state, *watch_id, watcher);
        }
        drop(state);
        self.hub.metrics().streams.fetch_sub(1, Ordering::Relaxed);
    }
}
