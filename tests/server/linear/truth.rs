//! The store at each revision, as watchers of all keys saw it become.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_proto::mvccpb::{Event, KeyValue, event::EventType};

use super::history::{Call, Delivered, Expected, Stream, contains, key_of, revision_of};
use super::violation::{Kind, Violation};

/// The revision of the empty store.
const EMPTY: i64 = 1;

#[derive(Debug, Default)]
pub struct Truth {
    revisions: BTreeMap<i64, Vec<Event>>,
    keys: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
}

impl Truth {
    /// Merges what the streams of all keys show. They must not contradict each other.
    pub fn merge(streams: &[Stream], found: &mut Vec<Violation>) -> Self {
        let mut revisions: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
        for stream in streams.iter().filter(|stream| stream.is_whole()) {
            let mut own: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
            for delivered in &stream.delivered {
                if let Delivered::Events(_, events) = delivered {
                    for event in events {
                        own.entry(revision_of(event))
                            .or_default()
                            .push(event.clone());
                    }
                }
            }
            for (revision, events) in own {
                let known = revisions.entry(revision).or_insert_with(|| events.clone());
                if *known != events {
                    found.push(Violation::new(
                        Kind::Divergence,
                        format!(
                            "revision {revision}: {events:?} on node {}, {known:?} elsewhere",
                            stream.node
                        ),
                    ));
                }
            }
        }
        let mut truth = Self::default();
        let mut expected = EMPTY + 1;
        for (revision, events) in revisions {
            if revision != expected {
                found.push(Violation::new(
                    Kind::SkippedEvent,
                    format!("no watcher saw revisions {expected} to {}", revision - 1),
                ));
            }
            expected = revision + 1;
            truth.add(revision, events);
        }
        truth
    }

    fn add(&mut self, revision: i64, events: Vec<Event>) {
        for event in &events {
            let kv = event
                .kv
                .clone()
                .filter(|_| event.r#type() == EventType::Put);
            let versions = self.keys.entry(key_of(event).clone()).or_default();
            versions.push((revision, kv));
        }
        self.revisions.insert(revision, events);
    }

    pub fn last(&self) -> i64 {
        self.revisions
            .last_key_value()
            .map_or(EMPTY, |last| *last.0)
    }

    pub fn revisions(&self) -> impl Iterator<Item = (i64, &[Event])> {
        self.revisions.iter().map(|(at, events)| (*at, &events[..]))
    }

    /// The revisions from `start` up to before `end` that a watch of the range shows.
    pub fn shown<'a>(
        &'a self,
        stream: &'a Stream,
        start: i64,
        end: i64,
    ) -> impl Iterator<Item = (i64, Vec<&'a Event>)> {
        let range = self.revisions.range(start..end.max(start));
        range.filter_map(|(revision, events)| {
            let shown: Vec<_> = events
                .iter()
                .filter(|event| contains(&stream.key, &stream.range_end, key_of(event)))
                .collect();
            (!shown.is_empty()).then_some((*revision, shown))
        })
    }

    pub fn at(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        let versions = self.keys.get(key)?;
        let after = versions.partition_point(|version| version.0 <= revision);
        versions[..after].last()?.1.as_ref()
    }

    pub fn range(&self, key: &[u8], range_end: &[u8], revision: i64) -> Vec<&KeyValue> {
        self.keys
            .keys()
            .filter(|candidate| contains(key, range_end, candidate))
            .filter_map(|found| self.at(found, revision))
            .collect()
    }

    pub fn holds(&self, key: &[u8], expected: &Expected, revision: i64) -> bool {
        let kv = self.at(key, revision);
        match expected {
            Expected::ModRevision(expected) => kv.map_or(0, |kv| kv.mod_revision) == *expected,
            Expected::Value(expected) => kv.is_some_and(|kv| kv.value == *expected),
        }
    }

    /// The events of a call that makes `revision`; none when it changes nothing.
    pub fn expect(&self, call: &Call, revision: i64) -> Vec<Event> {
        let put = |key: &Bytes, value: &Bytes, lease| self.put(key, value, lease, revision);
        match call {
            Call::Put { key, value, lease } => vec![put(key, value, *lease)],
            Call::Swap {
                key,
                expected,
                value,
            } => {
                let holds = self.holds(key, expected, revision - 1);
                holds.then(|| put(key, value, 0)).into_iter().collect()
            }
            Call::Several {
                written,
                deleted,
                value,
            } => {
                let mut events: Vec<_> = written.iter().map(|key| put(key, value, 0)).collect();
                events.extend(self.delete(deleted, b"", revision));
                events
            }
            Call::Delete { key, range_end } => self.delete(key, range_end, revision),
            Call::Read(_) | Call::Compact(_) => Vec::new(),
        }
    }

    fn put(&self, key: &Bytes, value: &Bytes, lease: i64, revision: i64) -> Event {
        let before = self.at(key, revision - 1);
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |kv| kv.version + 1),
            lease,
        };
        Event {
            r#type: EventType::Put as i32,
            kv: Some(kv),
            prev_kv: None,
        }
    }

    fn delete(&self, key: &[u8], range_end: &[u8], revision: i64) -> Vec<Event> {
        let deleted = self.range(key, range_end, revision - 1).into_iter();
        deleted.map(|kv| tombstone(&kv.key, revision)).collect()
    }
}

pub fn tombstone(key: &Bytes, revision: i64) -> Event {
    let kv = KeyValue {
        key: key.clone(),
        mod_revision: revision,
        ..Default::default()
    };
    Event {
        r#type: EventType::Delete as i32,
        kv: Some(kv),
        prev_kv: None,
    }
}
