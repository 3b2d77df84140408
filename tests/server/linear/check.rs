//! Finds answers that no strictly serializable store would have given.
//!
//! The watch history gives the order of writes, so the rest is looking up: each write is where its answer
//! says, each read is the store at its revision, and revisions never go back in real time.

mod leases;
mod order;
mod streams;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use etcd_proto::mvccpb::{Event, KeyValue, event::EventType};

use self::order::Floor;
use super::history::{Answer, Call, History, Operation, Read, key_of};
use super::truth::Truth;
use super::violation::{Kind, Violation};

/// Returns all violations of a history. Keys below `leased` may vanish when a lease ends.
pub fn check(history: &History, leased: &[u8]) -> Vec<Violation> {
    let mut found = Vec::new();
    let truth = Truth::merge(&history.streams, &mut found);
    let floor = Floor::of(history);
    let done = Writes::attribute(history, &truth, &floor, leased, &mut found);
    for (index, operation) in history.operations.iter().enumerate() {
        if let Some(answer) = &operation.answer {
            let revision = done.by_operation.get(&index).copied();
            check_answer(operation, answer, revision, &truth, &mut found);
        }
        let revision = match (&operation.answer, done.by_operation.get(&index)) {
            (_, Some(revision)) => *revision,
            (Some(answer), None) if operation.call.is_linearizable() => answer.revision + 1,
            _ => continue,
        };
        let floor = floor.at(operation.invoked);
        if revision <= floor {
            found.push(Violation::new(
                Kind::FromThePast,
                format!(
                    "on node {}, {floor} had been seen before: {operation:?}",
                    operation.node
                ),
            ));
        }
    }
    for stream in &history.streams {
        streams::check(stream, &truth, &mut found);
    }
    leases::check(history, &mut found);
    compactions(history, &mut found);
    found
}

/// Returns the operation that made each revision.
#[derive(Default)]
struct Writes {
    by_operation: HashMap<usize, i64>,
}

impl Writes {
    fn attribute(
        history: &History,
        truth: &Truth,
        floor: &Floor,
        leased: &[u8],
        found: &mut Vec<Violation>,
    ) -> Self {
        let mut by_value: HashMap<&Bytes, usize> = HashMap::new();
        let mut deletes: HashMap<i64, usize> = HashMap::new();
        let mut unknown: Vec<usize> = Vec::new();
        for (index, operation) in history.operations.iter().enumerate() {
            if let Some(value) = operation.call.value() {
                by_value.insert(value, index);
            } else if matches!(operation.call, Call::Delete { .. }) {
                match &operation.answer {
                    Some(answer) if answer.count > 0 => {
                        deletes.insert(answer.revision, index);
                    }
                    Some(_) => (),
                    None => unknown.push(index),
                }
            }
        }
        let mut writes = Self::default();
        for (revision, events) in truth.revisions() {
            let put = events.iter().find(|event| event.r#type() == EventType::Put);
            let index = match put {
                Some(put) => by_value.get(&put.kv.as_ref().unwrap().value).copied(),
                None => deletes.get(&revision).copied().or_else(|| {
                    let at = unknown.iter().position(|index| {
                        let operation = &history.operations[*index];
                        floor.at(operation.invoked) < revision
                            && truth.expect(&operation.call, revision) == events
                    })?;
                    Some(unknown.swap_remove(at))
                }),
            };
            let Some(index) = index else {
                let expired = put.is_none() && events.iter().all(|e| key_of(e).starts_with(leased));
                if !expired {
                    found.push(Violation::new(Kind::Unasked, format!("{events:?}")));
                }
                continue;
            };
            writes.note(index, revision, events, history, truth, found);
        }
        writes
    }

    fn note(
        &mut self,
        index: usize,
        revision: i64,
        events: &[Event],
        history: &History,
        truth: &Truth,
        found: &mut Vec<Violation>,
    ) {
        let operation = &history.operations[index];
        if let Some(first) = self.by_operation.insert(index, revision) {
            found.push(Violation::new(
                Kind::DoneTwice,
                format!("at {first} and at {revision}: {operation:?}"),
            ));
        }
        let expected = truth.expect(&operation.call, revision);
        if expected != events {
            found.push(Violation::new(
                Kind::DoneOtherwise,
                format!("{events:?}, expected {expected:?}: {operation:?}"),
            ));
        }
    }
}

/// Checks one answer; `done` is the revision that the operation made.
fn check_answer(
    operation: &Operation,
    answer: &Answer,
    done: Option<i64>,
    truth: &Truth,
    found: &mut Vec<Violation>,
) {
    let mut report = |kind, expected: String| {
        let text = format!("expected {expected}: {operation:?}");
        found.push(Violation::new(kind, text));
    };
    let changes = match &operation.call {
        Call::Put { .. } | Call::Several { .. } => true,
        Call::Swap { .. } => answer.succeeded,
        Call::Delete { .. } => answer.count > 0,
        Call::Read(_) | Call::Compact(_) => false,
    };
    if changes && done != Some(answer.revision) {
        report(
            Kind::LostWrite,
            format!("to be found there, not at {done:?}"),
        );
        return;
    }
    if !changes && done.is_some() {
        report(Kind::DoneOtherwise, format!("no change, found at {done:?}"));
        return;
    }
    if answer.revision > truth.last() {
        report(Kind::WrongAnswer, format!("no more than {}", truth.last()));
        return;
    }
    // What a write replaced is the store just before it.
    let revision = answer.revision - i64::from(changes);
    let same = |key: &[u8], range_end: &[u8], revision, limit: i64| {
        let all = truth.range(key, range_end, revision);
        let count = all.len() as i64;
        let limit = if limit == 0 {
            all.len()
        } else {
            limit as usize
        };
        let shown: Vec<KeyValue> = all.into_iter().take(limit).cloned().collect();
        (answer.kvs == shown && (answer.count == count))
            .then_some(())
            .ok_or(shown)
    };
    let compared = match &operation.call {
        Call::Put { key, .. } => same(key, b"", revision, 0),
        Call::Swap { key, expected, .. } => {
            if truth.holds(key, expected, revision) != answer.succeeded {
                report(Kind::WrongAnswer, format!("{:?}", truth.at(key, revision)));
            }
            if answer.succeeded {
                return;
            }
            same(key, b"", revision, 0)
        }
        Call::Delete { key, range_end } => same(key, range_end, revision, 0),
        Call::Read(read) => {
            let revision = if read.revision == 0 {
                revision
            } else {
                read.revision
            };
            same(&read.key, &read.range_end, revision, read.limit)
        }
        Call::Several { .. } | Call::Compact(_) => return,
    };
    if let Err(expected) = compared {
        report(Kind::WrongAnswer, format!("{expected:?}"));
    }
}

/// Checks that nothing below an acknowledged compaction is answered any more.
fn compactions(history: &History, found: &mut Vec<Violation>) {
    let mut compacted: Vec<_> = history
        .operations
        .iter()
        .filter_map(|operation| match (&operation.call, &operation.answer) {
            (Call::Compact(revision), Some(answer)) => Some((answer.returned, *revision)),
            _ => None,
        })
        .collect();
    compacted.sort_unstable();
    for operation in &history.operations {
        let (
            Call::Read(Read {
                revision,
                serializable: false,
                ..
            }),
            Some(_),
        ) = (&operation.call, &operation.answer)
        else {
            continue;
        };
        let before = compacted.partition_point(|(returned, _)| *returned < operation.invoked);
        let highest = compacted[..before]
            .iter()
            .map(|(_, revision)| revision)
            .max();
        if *revision > 0 && highest.is_some_and(|highest| highest > revision) {
            found.push(Violation::new(
                Kind::FromThePast,
                format!("{highest:?} was compacted before: {operation:?}"),
            ));
        }
    }
}

/// Values that were written twice would make the check blind.
pub fn assert_distinct_values(history: &History) {
    let mut values = HashSet::new();
    for value in history.operations.iter().filter_map(|o| o.call.value()) {
        assert!(values.insert(value), "{value:?} was written by two calls");
    }
}
