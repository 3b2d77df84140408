//! The hub: knows every watcher, and how far commits were distributed.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_state::mvcc::{Commit, KeyRange, Revision};
use tokio::time::{Instant, MissedTickBehavior};

use super::stream::{Phase, StreamState, WatchStream};
use super::synced::{Round, StreamId, Synced, WatcherId};
use super::wire::HeaderFn;
use super::{CloseReason, CommitSource, Inbox, Metrics, Outbound, SourceError, WatchId};

/// Changes distributed under one lock. Bounds how long a new watcher waits for the lock, and how
/// long the events of the first change wait for those of the last.
const ROUND_LIMIT_CHANGES: usize = 1024;

/// The shortest interval, as in etcd: a shorter one does not help a client, and all idle watchers
/// take part.
const MIN_PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// A watcher that catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowWatcher {
    pub stream_id: u64,
    pub watch_id: WatchId,
    pub behind_revisions: i64,
}

/// A watcher, and what it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub stream_id: u64,
    pub range: KeyRange,
    pub is_slow: bool,
}

/// The settings of an operator.
#[derive(Debug, Clone, Copy)]
pub struct HubSettings {
    /// The interval at which an idle watcher that asked for progress is told the current revision.
    pub progress_interval: Duration,
}

/// Distributes commits to watchers. `run` does the work.
pub struct WatchHub {
    pub(super) source: Arc<dyn CommitSource>,
    pub(super) header: Box<HeaderFn>,
    settings: HubSettings,
    inbox: Arc<Inbox>,
    state: Mutex<State>,
    metrics: Metrics,
}

/// The state that changes together with the position.
pub(super) struct State {
    /// Every commit up to here was handed to the synced watchers. At most the head.
    pub position: Revision,
    pub synced: Synced,
    pub streams: HashMap<StreamId, StreamState>,
    /// Streams whose request for progress cannot be answered yet.
    pub awaiting_progress: BTreeSet<StreamId>,
    next_stream_id: StreamId,
    closed: Option<CloseReason>,
}

impl WatchHub {
    /// Distributes what comes after the head of `source` into `inbox`. `header` makes the header of
    /// a response at a revision.
    pub fn new(
        source: Arc<dyn CommitSource>,
        inbox: Arc<Inbox>,
        header: Box<HeaderFn>,
        settings: HubSettings,
    ) -> Arc<Self> {
        let state = State {
            position: source.head_revision(),
            synced: Synced::default(),
            streams: HashMap::new(),
            awaiting_progress: BTreeSet::new(),
            next_stream_id: 0,
            closed: None,
        };
        Arc::new(Self {
            source,
            header,
            settings,
            inbox,
            state: Mutex::new(state),
            metrics: Metrics::default(),
        })
    }

    /// Distributes what is published, until `stop`. If it ends in any other way, all streams are
    /// closed rather than left silent.
    pub async fn run(&self) {
        let _stopped = StopOnDrop(self);
        let period = self.settings.progress_interval.max(MIN_PROGRESS_INTERVAL);
        let mut progress = tokio::time::interval_at(Instant::now() + period, period);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.lock().closed.is_none() {
            tokio::select! {
                () = self.inbox.arrived() => self.drain().await,
                _ = progress.tick() => {
                    self.notify_progress();
                    // Nothing is missing if every commit is published: this heals, and is cheap.
                    self.read_missing().await;
                }
            }
        }
    }

    /// Closes all streams, refuses new ones, and ends `run`.
    pub fn stop(&self) {
        self.lock().closed = Some(CloseReason::ServerStopped);
        self.close_streams(CloseReason::ServerStopped, |_| true);
        self.inbox.notify();
    }

    /// Closes the streams of the clients that want to be told when there is no leader.
    pub fn lose_leader(&self) {
        self.close_streams(CloseReason::NoLeader, |stream| stream.requires_leader);
    }

    /// A new stream of watches; `None` after `stop`.
    pub fn open(self: &Arc<Self>, requires_leader: bool) -> Option<WatchStream> {
        let mut state = self.lock();
        if state.closed.is_some() {
            return None;
        }
        let id = state.next_stream_id;
        state.next_stream_id += 1;
        let outbound = Arc::new(Outbound::default());
        state
            .streams
            .insert(id, StreamState::new(Arc::clone(&outbound), requires_leader));
        self.metrics.streams.fetch_add(1, Ordering::Relaxed);
        Some(WatchStream::new(Arc::clone(self), id, outbound))
    }

    /// Returns the revision up to which commits were distributed. If it stays behind the head for
    /// longer than a moment, something is wrong.
    pub fn position(&self) -> Revision {
        self.lock().position
    }

    /// Returns the lagging watchers, the furthest behind first; at most `limit` of them.
    pub fn furthest_behind(&self, limit: usize) -> Vec<SlowWatcher> {
        let state = self.lock();
        let mut slow = Vec::new();
        for (&stream_id, stream) in &state.streams {
            for &watch_id in &stream.lagging {
                let watcher = stream.watchers.get(&watch_id);
                if let Some(Phase::Lagging { next }) = watcher.map(|watcher| watcher.phase) {
                    slow.push(SlowWatcher {
                        stream_id,
                        watch_id,
                        behind_revisions: state.position.next().since(next).max(0),
                    });
                }
            }
        }
        drop(state);
        slow.sort_by_key(|watcher| std::cmp::Reverse(watcher.behind_revisions));
        slow.truncate(limit);
        slow
    }

    /// Returns `limit` watchers at most, and the number of those that are left out.
    pub fn watched(&self, limit: usize) -> (Vec<Watched>, usize) {
        let state = self.lock();
        let mut watched = Vec::new();
        let mut count = 0;
        for (&stream_id, stream) in &state.streams {
            count += stream.watchers.len();
            let room = limit - watched.len();
            let watchers = stream.watchers.values().take(room);
            watched.extend(watchers.map(|watcher| Watched {
                stream_id,
                range: watcher.range.clone(),
                is_slow: matches!(watcher.phase, Phase::Lagging { .. }),
            }));
        }
        let left_out = count - watched.len();
        (watched, left_out)
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock ends `run`, which closes all streams: nobody relies on the rest.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Distributes one round. Not all that there are, or progress would wait for a pause.
    async fn drain(&self) {
        let (round, overflowed) = self.inbox.take_round(ROUND_LIMIT_CHANGES);
        if round.is_empty() && !overflowed {
            return;
        }
        self.distribute(&round);
        if overflowed {
            self.read_missing().await;
        }
        self.inbox.notify();
        // The connections send while more commits arrive, which makes for fewer, larger rounds.
        tokio::task::yield_now().await;
    }

    fn notify_progress(&self) {
        let mut round = Round::default();
        let mut state = self.lock();
        let header = (self.header)(state.position);
        state.synced.notify_progress(&header, &mut round);
        drop(state);
        wake_all(round);
    }

    /// Distributes commits that follow each other; the first may leave a gap, or be known.
    fn distribute(&self, commits: &[Arc<Commit>]) {
        let mut state = self.lock();
        let fresh = commits.partition_point(|commit| commit.revision <= state.position);
        let Some(first) = commits.get(fresh) else {
            return;
        };
        while state.position.next() < first.revision {
            match self
                .source
                .commits_from(state.position.next(), ROUND_LIMIT_CHANGES)
            {
                Ok(missing) if !missing.is_empty() => state = self.distribute_next(state, &missing),
                Ok(_) | Err(SourceError::Compacted { .. }) => {
                    state = self.lose_events(state, first.revision.previous());
                }
            }
        }
        let fresh = commits.partition_point(|commit| commit.revision <= state.position);
        drop(self.distribute_next(state, &commits[fresh..]));
    }

    /// Distributes the commits that are in the history only.
    async fn read_missing(&self) {
        while self.read_some() {
            tokio::task::yield_now().await;
        }
    }

    /// Reads one round from the history. Returns whether there was one.
    fn read_some(&self) -> bool {
        let state = self.lock();
        match self
            .source
            .commits_from(state.position.next(), ROUND_LIMIT_CHANGES)
        {
            Ok(missing) => {
                drop(self.distribute_next(state, &missing));
                !missing.is_empty()
            }
            Err(SourceError::Compacted { .. }) => {
                drop(self.lose_events(state, self.source.head_revision()));
                true
            }
        }
    }

    /// The one place where the position advances. Wakes connections without the lock, and returns
    /// the lock taken again.
    fn distribute_next<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        commits: &[Arc<Commit>],
    ) -> MutexGuard<'a, State> {
        let Some(last) = commits.last() else {
            return state;
        };
        debug_assert!(
            commits
                .windows(2)
                .all(|pair| pair[0].revision < pair[1].revision)
        );
        let mut round = Round::default();
        state
            .synced
            .distribute(commits, &*self.header, &self.metrics, &mut round);
        state.position = last.revision;
        for (id, next) in round.fallen.drain(..) {
            self.fall_behind(&mut state, id, next);
        }
        for stream_id in std::mem::take(&mut state.awaiting_progress) {
            self.answer_progress(&mut state, stream_id, &mut round);
        }
        drop(state);
        wake_all(round);
        self.lock()
    }

    fn fall_behind(&self, state: &mut State, id: WatcherId, next: Revision) {
        let Some(stream) = state.streams.get_mut(&id.stream_id) else {
            return;
        };
        if let Some(watcher) = stream.watchers.get_mut(&id.watch_id) {
            watcher.phase = Phase::Lagging { next };
            stream.lagging.push_back(id.watch_id);
            stream.outbound.notify_task();
            self.metrics.slow_watchers.fetch_add(1, Ordering::Relaxed);
            self.metrics.fallen_behind.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Commits up to `revision` cannot be had any more: no stream may go on as if it had them.
    fn lose_events<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        revision: Revision,
    ) -> MutexGuard<'a, State> {
        tracing::error!(
            from = state.position.next().number(),
            to = revision.number(),
            "commits were compacted before they reached the watchers: closing all watch streams"
        );
        state.position = state.position.max(revision);
        drop(state);
        self.metrics.lost_events.fetch_add(1, Ordering::Relaxed);
        self.close_streams(CloseReason::LostEvents, |_| true);
        self.lock()
    }

    /// Answers the request for progress of a stream, or leaves it waiting.
    pub(super) fn answer_progress(&self, state: &mut State, id: StreamId, round: &mut Round) {
        let position = state.position;
        let Some(stream) = state.streams.get_mut(&id) else {
            return;
        };
        match stream.answer_progress(position, &*self.header) {
            Some(waker) => {
                round.wakers.extend(waker);
                state.awaiting_progress.remove(&id);
            }
            None => drop(state.awaiting_progress.insert(id)),
        }
    }

    fn close_streams(&self, reason: CloseReason, choose: impl Fn(&StreamState) -> bool) {
        let state = self.lock();
        let chosen = state.streams.values().filter(|stream| choose(stream));
        let outbounds: Vec<_> = chosen.map(|stream| Arc::clone(&stream.outbound)).collect();
        drop(state);
        outbounds.iter().for_each(|outbound| outbound.close(reason));
    }
}

pub(super) fn wake_all(round: Round) {
    round.wakers.into_iter().for_each(std::task::Waker::wake);
}

struct StopOnDrop<'a>(&'a WatchHub);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
