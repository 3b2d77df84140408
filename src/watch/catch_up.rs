//! Reads the history for the lagging watchers of a stream, in steps.
//!
//! A step takes no lock while it reads and encodes: the hub never touches a lagging watcher, and
//! only the stream's task, which takes the steps, creates and cancels watchers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use etcd_proto::etcdserverpb::WatchResponse;
use etcd_state::mvcc::{Commit, Revision};

use super::segment::{Segment, Segmenter};
use super::stream::{Phase, Watcher};
use super::{SourceError, WatchId, WatchStream, synced, wire};

/// Changes read from the history in one step. Bounds how long a step keeps its thread: well below
/// a millisecond if few of them match, a few milliseconds if all do.
const STEP_LIMIT_CHANGES: usize = 1024;

/// The result of a step of catch-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// No watcher of the stream is lagging.
    Synced,
    /// There is more to read.
    Behind,
    /// There is more to read once the client took some of what waits for it.
    Blocked,
}

impl WatchStream {
    /// Reads a piece of history for the next lagging watcher.
    pub fn catch_up(&self) -> CatchUp {
        let Some((watch_id, watcher, next)) = self.next_lagging() else {
            return CatchUp::Synced;
        };
        if !self.outbound.has_catch_up_room() {
            return CatchUp::Blocked;
        }
        let head = self.hub.source.head_revision();
        match self.hub.source.commits_from(next, STEP_LIMIT_CHANGES) {
            Ok(commits) => {
                let next = match commits.last() {
                    Some(last) => {
                        let unsent = self.send_history(watch_id, &watcher, &commits);
                        unsent.unwrap_or(last.revision.next())
                    }
                    // Not every revision has a commit: the first one is the empty store.
                    None => next.max(head.next()),
                };
                self.advance(watch_id, next);
            }
            Err(SourceError::Compacted { compact_revision }) => {
                self.end_compacted(watch_id, compact_revision);
            }
        }
        CatchUp::Behind
    }

    fn next_lagging(&self) -> Option<(WatchId, Watcher, Revision)> {
        let state = self.hub.lock();
        let stream = state.streams.get(&self.id)?;
        let watch_id = *stream.lagging.front()?;
        let watcher = stream.watchers.get(&watch_id)?.clone();
        match watcher.phase {
            Phase::Lagging { next } => Some((watch_id, watcher, next)),
            Phase::Synced { .. } | Phase::Compacted => None,
        }
    }

    /// Sends what matches; returns the first revision that found no room.
    fn send_history(
        &self,
        watch_id: WatchId,
        watcher: &Watcher,
        commits: &[Arc<Commit>],
    ) -> Option<Revision> {
        let compact_revision = self.hub.source.compact_revision();
        let mut segmenter = Segmenter::new(watcher.options);
        for commit in commits {
            for change in &commit.changes {
                if !watcher.range.contains(&change.kv.key) {
                    continue;
                }
                let prev = change.visible_prev(compact_revision).map(|prev| &**prev);
                if let Some(segment) = segmenter.push(commit.revision, change, prev)
                    && !self.send_segment(watch_id, &segment)
                {
                    return Some(segment.first_revision);
                }
            }
        }
        let rest = segmenter.finish()?;
        (!self.send_segment(watch_id, &rest)).then_some(rest.first_revision)
    }

    fn send_segment(&self, watch_id: WatchId, segment: &Segment) -> bool {
        let has_room = self.outbound.has_catch_up_room();
        if has_room {
            let framed = synced::frame_segment(segment, &*self.hub.header, watch_id);
            let waker = self.outbound.push_catch_up(&framed);
            self.hub
                .metrics()
                .events
                .fetch_add(segment.events as u64, Ordering::Relaxed);
            waker.into_iter().for_each(Waker::wake);
        }
        has_room
    }

    /// The watcher lacks nothing below `next`: joins it to the synced ones, or leaves it for later.
    fn advance(&self, watch_id: WatchId, next: Revision) {
        let mut state = self.hub.lock();
        let is_synced = next > state.position;
        let phase = if is_synced {
            Phase::Synced { from: next }
        } else {
            Phase::Lagging { next }
        };
        self.change_phase(&mut state, watch_id, phase);
        drop(state);
        if is_synced {
            self.answer_progress();
        }
    }

    fn end_compacted(&self, watch_id: WatchId, compact_revision: Revision) {
        let response = WatchResponse {
            // As in etcd, without a revision.
            header: Some((self.hub.header)(Revision::NONE)),
            watch_id: watch_id.number(),
            canceled: true,
            compact_revision: compact_revision.number(),
            ..Default::default()
        };
        let mut state = self.hub.lock();
        self.change_phase(&mut state, watch_id, Phase::Compacted);
        // Under the lock, so that no progress response speaks for this watcher before.
        let waker = self
            .outbound
            .push_control(wire::control_response(&response));
        drop(state);
        self.hub.metrics().compacted.fetch_add(1, Ordering::Relaxed);
        waker.into_iter().for_each(Waker::wake);
        self.answer_progress();
    }
}
