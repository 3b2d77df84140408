//! The watch history, compared with what the clients were told.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_proto::mvccpb::{Event, KeyValue};

use super::journal::Journal;
use super::load::everything;
use super::operation::Operation;
use crate::harness::*;

/// The revision of the empty store.
const EMPTY: i64 = 1;

#[derive(Default)]
pub struct History {
    /// The events of revision 2 and of each one after it.
    revisions: Vec<Vec<Event>>,
    /// The last revision that is checked.
    checked: usize,
    /// The keys as the checked revisions leave them.
    state: BTreeMap<Bytes, KeyValue>,
    /// Markers of the checked revisions.
    found: std::collections::HashMap<String, i64>,
}

/// Reads all revisions from `start` up to the present one.
async fn read(api: &Api, start: i64) -> Vec<Vec<Event>> {
    let end = api.revision().await;
    let mut revisions: Vec<Vec<Event>> = Vec::new();
    if end < start {
        return revisions;
    }
    let (mut watcher, _) = Watcher::open(api, everything(start)).await;
    while start + (revisions.len() as i64) <= end {
        let mut added = Vec::new();
        for event in watcher.next().await.events {
            let revision = event.kv.as_ref().unwrap().mod_revision;
            let next = start + (revisions.len() + added.len()) as i64;
            if revision == next {
                added.push(vec![event]);
            } else {
                assert_eq!(revision, next - 1, "a revision is missing or comes twice");
                added
                    .last_mut()
                    .expect("a revision is not split")
                    .push(event);
            }
        }
        revisions.extend(added);
    }
    revisions
}

impl History {
    pub fn len(&self) -> usize {
        self.revisions.len()
    }

    fn next(&self) -> i64 {
        EMPTY + 1 + self.revisions.len() as i64
    }

    /// Reads what was written since the last time.
    pub async fn read_on(&mut self, api: &Api) {
        let start = self.next();
        let current = api.revision().await;
        assert!(
            current >= start - 1,
            "the revision went back from {} to {current}",
            start - 1
        );
        self.revisions.extend(read(api, start).await);
    }

    /// Checks what was read on against what was sent and answered.
    pub fn check(&mut self, journal: &Journal) {
        for index in self.checked..self.revisions.len() {
            let revision = EMPTY + 1 + index as i64;
            let events = &self.revisions[index];
            let marker = events.iter().find_map(marker_of);
            let marker = marker.unwrap_or_else(|| panic!("{revision} is half there: {events:?}"));
            let operation = journal.operation_at(&marker, revision);
            assert!(
                self.found.insert(marker, revision).is_none(),
                "done twice: {operation:?}"
            );
            let expected = expect(&operation, revision, &self.state);
            assert_eq!(*events, expected, "revision {revision}");
            for event in expected {
                let kv = event.kv.unwrap();
                match event.r#type {
                    0 => self.state.insert(kv.key.clone(), kv),
                    _ => self.state.remove(&kv.key),
                };
            }
        }
        self.checked = self.revisions.len();
        for (marker, revision) in journal.all_answered() {
            assert_eq!(
                self.found.get(&marker),
                Some(&revision),
                "{marker} was answered and is lost"
            );
        }
    }

    /// Checks what a watcher saw before the kill: it must have stayed.
    pub fn check_seen(&self, seen: BTreeMap<i64, Vec<Event>>) {
        for (revision, events) in seen {
            let index = (revision - EMPTY - 1) as usize;
            let stored = self.revisions.get(index);
            assert_eq!(stored, Some(&events), "a watcher saw {revision} otherwise");
        }
    }

    /// Checks that the keys are what the history leaves.
    pub async fn check_state(&self, api: &Api) {
        let answer = api.ask(get_range("\0", "\0")).await;
        assert_eq!(answer.count as usize, self.state.len());
        assert!(
            answer.kvs.iter().eq(self.state.values()),
            "the keys are not what was written"
        );
    }

    /// Checks that reading all of it at once gives what reading it piece by piece gave.
    pub async fn check_from_the_beginning(&self, api: &Api) {
        assert!(read(api, EMPTY + 1).await == self.revisions);
    }
}

fn marker_of(event: &Event) -> Option<String> {
    let key = str::from_utf8(&event.kv.as_ref()?.key).unwrap();
    key.starts_with("/op/").then(|| key.to_owned())
}

/// The events of an operation on `state`.
fn expect(operation: &Operation, revision: i64, state: &BTreeMap<Bytes, KeyValue>) -> Vec<Event> {
    let put = |key: &str, value: &str| {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let (created, version) = match state.get(&key) {
            Some(kv) => (kv.create_revision, kv.version + 1),
            None => (revision, 1),
        };
        let value = Bytes::copy_from_slice(value.as_bytes());
        let kv = kv(key, value, (created, revision, version));
        Event {
            r#type: 0,
            kv: Some(kv),
            prev_kv: None,
        }
    };
    let mut events = vec![
        put(&operation.written, &operation.marker),
        put(&operation.marker, "done"),
    ];
    if let Some(key) = &operation.deleted {
        let key = Bytes::copy_from_slice(key.as_bytes());
        if state.contains_key(&key) {
            let kv = kv(key, "", (0, revision, 0));
            events.push(Event {
                r#type: 1,
                kv: Some(kv),
                prev_kv: None,
            });
        }
    }
    events
}
