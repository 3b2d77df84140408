//! Cuts a watcher's events into responses. Pure.

use etcd_state::mvcc::{Change, ChangeKind, KeyValue, Revision};

use super::wire;

/// A response is ended at the next revision after this many bytes of events, and a fragment before
/// the event that would pass it. Large enough that the cost of a message does not matter, small
/// enough that a stream's queue holds several.
pub const RESPONSE_TARGET_BYTES: usize = 1024 * 1024;

/// The options of a watcher for its events. Watchers that agree share their responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    pub prev_kv: bool,
    pub no_put: bool,
    pub no_delete: bool,
    /// A revision larger than a response may come in parts.
    pub fragment: bool,
}

impl Options {
    pub fn wants(self, kind: ChangeKind) -> bool {
        match kind {
            ChangeKind::Put => !self.no_put,
            ChangeKind::Delete => !self.no_delete,
        }
    }
}

/// The events of some whole revisions, which are sent together or not at all.
#[derive(Debug)]
pub struct Segment {
    pub first_revision: Revision,
    pub last_revision: Revision,
    pub events: usize,
    /// Encoded events per response: one, or several fragments.
    pub parts: Vec<Vec<u8>>,
}

/// Takes the events that match a watcher's range in order, and gives segments.
pub struct Segmenter {
    options: Options,
    target_bytes: usize,
    current: Option<Segment>,
}

impl Segmenter {
    pub fn new(options: Options) -> Self {
        Self::with_target(options, RESPONSE_TARGET_BYTES)
    }

    fn with_target(options: Options, target_bytes: usize) -> Self {
        Self {
            options,
            target_bytes,
            current: None,
        }
    }

    /// Adds an event; returns the segment that ended before it.
    pub fn push(
        &mut self,
        revision: Revision,
        change: &Change,
        prev: Option<&KeyValue>,
    ) -> Option<Segment> {
        if !self.options.wants(change.kind) {
            return None;
        }
        let target_bytes = self.target_bytes;
        let is_complete = |segment: &mut Segment| {
            segment.last_revision != revision
                && segment.parts.iter().map(Vec::len).sum::<usize>() >= target_bytes
        };
        let complete = self.current.take_if(is_complete);
        let segment = self.current.get_or_insert_with(|| Segment {
            first_revision: revision,
            last_revision: revision,
            events: 0,
            parts: vec![Vec::new()],
        });
        segment.last_revision = revision;
        segment.events += 1;
        let part = segment.parts.last_mut().expect("a segment has a part");
        let before = part.len();
        wire::put_event(change, prev.filter(|_| self.options.prev_kv), part);
        if self.options.fragment && before > 0 && part.len() > target_bytes {
            let event = part.split_off(before);
            segment.parts.push(event);
        }
        complete
    }

    /// The last segment, if there were events that did not make a complete one.
    pub fn finish(self) -> Option<Segment> {
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use etcd_proto::etcdserverpb::WatchResponse;
    use etcd_state::mvcc::LeaseId;
    use proptest::prelude::*;
    use prost::Message;
    use std::sync::Arc;

    fn change(kind: ChangeKind, revision: i64, value: usize) -> Change {
        let revision = Revision::new(revision);
        let kv = KeyValue {
            key: Bytes::from_static(b"k"),
            value: vec![b'v'; value].into(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: LeaseId::NONE,
            position: 0,
        };
        Change {
            kind,
            kv: Arc::new(kv),
            prev: None,
        }
    }

    fn revisions(part: &[u8]) -> Vec<Revision> {
        let response = WatchResponse::decode(part).expect("a part is the events of a response");
        response
            .events
            .iter()
            .map(|event| Revision::new(event.kv.as_ref().unwrap().mod_revision))
            .collect()
    }

    proptest! {
        #[test]
        fn segments_hold_whole_revisions_in_order(
            sizes in prop::collection::vec(prop::collection::vec(0usize..60, 0..6), 1..20),
            target in 1usize..200,
            fragment: bool,
        ) {
            let options = Options { fragment, ..Options::default() };
            let mut segmenter = Segmenter::with_target(options, target);
            let mut segments = Vec::new();
            let mut expected = Vec::new();
            for (revision, values) in (1..).zip(&sizes) {
                for value in values {
                    let change = change(ChangeKind::Put, revision, *value);
                    let revision = change.kv.mod_revision;
                    segments.extend(segmenter.push(revision, &change, None));
                    expected.push(revision);
                }
            }
            segments.extend(segmenter.finish());
            let mut seen = Vec::new();
            for segment in &segments {
                let events: Vec<_> = segment.parts.iter().flat_map(|part| revisions(part)).collect();
                prop_assert_eq!(events.len(), segment.events);
                prop_assert_eq!(events.first(), Some(&segment.first_revision));
                prop_assert_eq!(events.last(), Some(&segment.last_revision));
                if let Some(last) = seen.last() {
                    prop_assert!(segment.first_revision > *last, "a revision was split");
                }
                seen.extend(events);
                prop_assert!(fragment || segment.parts.len() == 1);
                for part in &segment.parts {
                    let is_in_bounds = part.len() <= target || revisions(part).len() == 1;
                    prop_assert!(!fragment || is_in_bounds);
                }
            }
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn filters_leave_events_out() {
        let options = Options {
            no_put: true,
            ..Options::default()
        };
        let mut segmenter = Segmenter::new(options);
        assert!(
            segmenter
                .push(Revision::new(2), &change(ChangeKind::Put, 2, 1), None)
                .is_none()
        );
        assert!(
            segmenter
                .push(Revision::new(3), &change(ChangeKind::Delete, 3, 0), None)
                .is_none()
        );
        let segment = segmenter.finish().unwrap();
        assert_eq!(
            (segment.first_revision, segment.events),
            (Revision::new(3), 1)
        );
        let both = Options {
            no_put: true,
            no_delete: true,
            ..Options::default()
        };
        let mut segmenter = Segmenter::new(both);
        assert!(
            segmenter
                .push(Revision::new(2), &change(ChangeKind::Put, 2, 1), None)
                .is_none()
        );
        assert!(segmenter.finish().is_none());
    }
}
