//! The watchers that follow the head, and the fan-out of commits to them.
//!
//! No clock, no locks but those of the streams' queues, nothing is woken: the effects are in the
//! `Round` that a caller hands in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use bytes::Bytes;
use etcd_proto::etcdserverpb::{ResponseHeader, WatchResponse};
use etcd_state::mvcc::{Commit, KeyRange, Revision};

use super::index::{Index, SlotId};
use super::outbound::Full;
use super::segment::{Segment, Segmenter};
use super::wire::{self, HeaderFn};
use super::{Metrics, Options, Outbound, WatchId};

/// The number of events for which a range keeps room between fan-outs.
const KEPT_CAPACITY_EVENTS: usize = 64;

/// Names a stream within the hub.
pub type StreamId = u64;

/// Names a watcher within the hub. The watch id first: streams mostly use the same few, and
/// watchers that agree on it share whole responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId {
    pub watch_id: WatchId,
    pub stream_id: StreamId,
}

/// A synced watcher.
#[derive(Debug)]
pub struct Member {
    pub id: WatcherId,
    pub outbound: Arc<Outbound>,
    /// The first revision that it wants. Above the next revision only if it started in the future,
    /// or joined ahead of the hub.
    pub from: Revision,
    pub progress_notify: bool,
    /// True if the watcher got nothing since the last periodic progress.
    pub is_idle: bool,
    /// Set within a fan-out when the queue of its stream is full: the first revision it lacks.
    lacks: Option<Revision>,
}

impl Member {
    pub fn new(
        id: WatcherId,
        outbound: Arc<Outbound>,
        from: Revision,
        wants_progress: bool,
    ) -> Self {
        Member {
            id,
            outbound,
            from,
            progress_notify: wants_progress,
            is_idle: true,
            lacks: None,
        }
    }
}

/// The work that a fan-out leaves to its caller.
#[derive(Default)]
pub struct Round {
    /// Connections that have something to send now.
    pub wakers: Vec<Waker>,
    /// Watchers that are not synced any more, with the first revision that they lack.
    pub fallen: Vec<(WatcherId, Revision)>,
}

#[derive(Default)]
pub struct Synced {
    index: Index,
    slots: Vec<Slot>,
    free: Vec<SlotId>,
    /// Slots with events in the current fan-out.
    touched: Vec<SlotId>,
}

/// A watched range.
struct Slot {
    range: KeyRange,
    groups: Vec<Group>,
    /// Events of the current fan-out: positions of the commit and of the change in it.
    events: Vec<(usize, usize)>,
}

/// Watchers of one range that want their events alike, in the order of their ids.
struct Group {
    options: Options,
    members: Vec<Member>,
}

/// The responses of one segment, kept for the next member with the same watch id.
struct Framed {
    watch_id: WatchId,
    responses: Vec<Bytes>,
}

impl Synced {
    /// Adds a watcher that is not here yet.
    pub fn insert(&mut self, range: &KeyRange, options: Options, member: Member) {
        let slot_id = self
            .index
            .get(range)
            .unwrap_or_else(|| self.add_slot(range));
        let groups = &mut self.slots[slot_id].groups;
        let position = groups.iter().position(|group| group.options == options);
        let group = match position {
            Some(position) => &mut groups[position],
            None => {
                groups.push(Group {
                    options,
                    members: Vec::new(),
                });
                groups.last_mut().expect("just pushed")
            }
        };
        let place = group.members.partition_point(|other| other.id < member.id);
        group.members.insert(place, member);
    }

    /// Removes a watcher that `insert` added with the same range and options.
    pub fn remove(&mut self, range: &KeyRange, options: Options, id: WatcherId) {
        let Some(slot_id) = self.index.get(range) else {
            return;
        };
        let groups = &mut self.slots[slot_id].groups;
        if let Some(group) = groups.iter_mut().find(|group| group.options == options)
            && let Ok(place) = group.members.binary_search_by_key(&id, |member| member.id)
        {
            group.members.remove(place);
        }
        self.tidy(slot_id);
    }

    fn add_slot(&mut self, range: &KeyRange) -> SlotId {
        let slot = Slot {
            range: range.clone(),
            groups: Vec::new(),
            events: Vec::new(),
        };
        let slot_id = match self.free.pop() {
            Some(slot_id) => {
                self.slots[slot_id] = slot;
                slot_id
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.index.insert(range, slot_id);
        slot_id
    }

    /// Forgets groups without members, and the range if none is left.
    fn tidy(&mut self, slot_id: SlotId) {
        let slot = &mut self.slots[slot_id];
        slot.groups.retain(|group| !group.members.is_empty());
        if slot.groups.is_empty() {
            self.index.remove(&slot.range);
            self.free.push(slot_id);
        }
    }

    /// Sends the events of `commits` to the watchers that want them.
    pub fn distribute(
        &mut self,
        commits: &[Arc<Commit>],
        header: &HeaderFn,
        metrics: &Metrics,
        round: &mut Round,
    ) {
        self.collect(commits);
        let mut events_sent = 0;
        let mut touched = std::mem::take(&mut self.touched);
        for slot_id in touched.drain(..) {
            let fallen_before = round.fallen.len();
            let slot = &mut self.slots[slot_id];
            for group in &mut slot.groups {
                let mut delivery = Delivery {
                    commits,
                    header,
                    round,
                    events: 0,
                    fell: false,
                };
                delivery.deliver(group, &slot.events);
                events_sent += delivery.events;
            }
            slot.events.clear();
            slot.events.shrink_to(KEPT_CAPACITY_EVENTS);
            if round.fallen.len() > fallen_before {
                self.tidy(slot_id);
            }
        }
        self.touched = touched;
        metrics.events.fetch_add(events_sent, Ordering::Relaxed);
    }

    fn collect(&mut self, commits: &[Arc<Commit>]) {
        let Self {
            index,
            slots,
            touched,
            ..
        } = self;
        for (commit_at, commit) in commits.iter().enumerate() {
            for (change_at, change) in commit.changes.iter().enumerate() {
                index.matching(&change.kv.key, |slot_id| {
                    let events = &mut slots[slot_id].events;
                    if events.is_empty() {
                        touched.push(slot_id);
                    }
                    events.push((commit_at, change_at));
                });
            }
        }
    }

    /// Sends periodic progress to the watchers that asked for it and were idle since the last time.
    pub fn notify_progress(&mut self, header: &ResponseHeader, round: &mut Round) {
        for group in self.slots.iter_mut().flat_map(|slot| &mut slot.groups) {
            let mut framed = Framed {
                watch_id: WatchId::NONE,
                responses: Vec::new(),
            };
            for member in group
                .members
                .iter_mut()
                .filter(|member| member.progress_notify)
            {
                let was_idle = std::mem::replace(&mut member.is_idle, true);
                if !was_idle || member.from > Revision::new(header.revision).next() {
                    continue;
                }
                let watch_id = member.id.watch_id;
                framed.reuse(watch_id, || vec![progress_response(header, watch_id)]);
                // A full queue will tell the client more than this response would.
                if let Ok(waker) = member.outbound.push_live(&framed.responses) {
                    round.wakers.extend(waker);
                }
            }
        }
    }
}

/// The response that says that every event up to the revision of `header` was sent.
pub fn progress_response(header: &ResponseHeader, watch_id: WatchId) -> Bytes {
    let response = WatchResponse {
        header: Some(*header),
        watch_id: watch_id.number(),
        ..Default::default()
    };
    wire::control_response(&response)
}

/// The responses that carry `segment` to a watcher.
pub fn frame_segment(segment: &Segment, header: &HeaderFn, watch_id: WatchId) -> Vec<Bytes> {
    let header = header(segment.last_revision);
    let count = segment.parts.len();
    let frame = |(at, events): (usize, &Vec<u8>)| {
        wire::events_response(&header, watch_id, at + 1 < count, events)
    };
    segment.parts.iter().enumerate().map(frame).collect()
}

impl Framed {
    fn reuse(&mut self, watch_id: WatchId, make: impl FnOnce() -> Vec<Bytes>) {
        if self.responses.is_empty() || self.watch_id != watch_id {
            *self = Framed {
                watch_id,
                responses: make(),
            };
        }
    }
}

/// A fan-out to one group.
struct Delivery<'a> {
    commits: &'a [Arc<Commit>],
    header: &'a HeaderFn,
    round: &'a mut Round,
    events: u64,
    /// True if a member's queue was full.
    fell: bool,
}

impl Delivery<'_> {
    fn deliver(&mut self, group: &mut Group, events: &[(usize, usize)]) {
        let Some((first, _)) = events.first() else {
            return;
        };
        let first_revision = self.commits[*first].revision;
        let header = self.header;
        for segment in self.segments(group.options, events, first_revision) {
            let mut framed = Framed {
                watch_id: WatchId::NONE,
                responses: Vec::new(),
            };
            for member in group
                .members
                .iter_mut()
                .filter(|member| member.from <= first_revision)
            {
                let watch_id = member.id.watch_id;
                framed.reuse(watch_id, || frame_segment(&segment, header, watch_id));
                self.push(member, &segment, &framed.responses);
            }
        }
        for member in group
            .members
            .iter_mut()
            .filter(|member| member.from > first_revision)
        {
            for segment in self.segments(group.options, events, member.from) {
                let responses = frame_segment(&segment, header, member.id.watch_id);
                self.push(member, &segment, &responses);
            }
        }
        if self.fell {
            let lagging = group
                .members
                .extract_if(.., |member| member.lacks.is_some());
            self.round
                .fallen
                .extend(lagging.filter_map(|member| Some((member.id, member.lacks?))));
        }
    }

    fn segments(
        &self,
        options: Options,
        events: &[(usize, usize)],
        from: Revision,
    ) -> Vec<Segment> {
        let mut segmenter = Segmenter::new(options);
        let mut segments = Vec::new();
        for (commit_at, change_at) in events {
            let commit = &self.commits[*commit_at];
            if commit.revision >= from {
                let change = &commit.changes[*change_at];
                segments.extend(segmenter.push(commit.revision, change, change.prev.as_deref()));
            }
        }
        segments.extend(segmenter.finish());
        segments
    }

    fn push(&mut self, member: &mut Member, segment: &Segment, responses: &[Bytes]) {
        if member.lacks.is_some() {
            return;
        }
        match member.outbound.push_live(responses) {
            Ok(waker) => {
                member.is_idle = false;
                self.events += segment.events as u64;
                self.round.wakers.extend(waker);
            }
            Err(Full) => {
                member.lacks = Some(segment.first_revision);
                self.fell = true;
            }
        }
    }
}
