//! The checker finds what is planted, and nothing in a history that is right.

use std::time::Duration;

use bytes::Bytes;
use etcd_proto::mvccpb::{Event, KeyValue};

use super::check::check;
use super::history::*;
use super::register::{Action, Step, Verdict, judge};
use super::truth::tombstone;
use super::violation::Kind;
use crate::harness::kv;

const LEASED: &[u8] = b"/lease/";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn put_event(key: &'static str, value: &'static str, at: (i64, i64, i64)) -> Event {
    Event {
        r#type: 0,
        kv: Some(kv(key, value, at)),
        prev_kv: None,
    }
}

fn whole(node: usize, events: Vec<(u64, Event)>) -> Stream {
    let delivered = events
        .into_iter()
        .map(|(at, event)| Delivered::Events(ms(at), vec![event]));
    Stream {
        node,
        key: "\0".into(),
        range_end: "\0".into(),
        start: 2,
        delivered: delivered.collect(),
    }
}

fn operation(call: Call, invoked: u64, answer: Option<Answer>) -> Operation {
    Operation {
        node: 0,
        call,
        invoked: ms(invoked),
        answer,
    }
}

fn put(value: &'static str) -> Call {
    Call::Put {
        key: "a".into(),
        value: value.into(),
        lease: 0,
    }
}

fn answer(returned: u64, revision: i64, kvs: Vec<KeyValue>) -> Option<Answer> {
    Some(Answer {
        returned: ms(returned),
        revision,
        succeeded: false,
        count: kvs.len() as i64,
        kvs,
    })
}

fn read() -> Call {
    Call::Read(Read {
        key: "a".into(),
        ..Default::default()
    })
}

/// Two acknowledged puts, one of unknown outcome that was done, a read, and a delete.
fn sound() -> History {
    let first = kv("a", "1", (2, 2, 1));
    let third = kv("a", "3", (2, 4, 3));
    let events = || {
        vec![
            (11, put_event("a", "1", (2, 2, 1))),
            (21, put_event("a", "2", (2, 3, 2))),
            (31, put_event("a", "3", (2, 4, 3))),
            (51, tombstone(&"a".into(), 5)),
        ]
    };
    let second = kv("a", "2", (2, 3, 2));
    let delete = Call::Delete {
        key: "a".into(),
        range_end: Bytes::new(),
    };
    History {
        operations: vec![
            operation(put("1"), 0, answer(10, 2, vec![])),
            operation(put("2"), 12, None),
            operation(put("3"), 22, answer(30, 4, vec![second])),
            operation(read(), 35, answer(40, 4, vec![third.clone()])),
            operation(delete, 41, answer(50, 5, vec![third])),
            operation(put("never done"), 60, None),
            operation(
                Call::Read(Read {
                    key: "a".into(),
                    revision: 2,
                    ..Default::default()
                }),
                60,
                answer(70, 5, vec![first]),
            ),
        ],
        streams: vec![whole(0, events()), whole(1, events())],
        leases: Vec::new(),
    }
}

#[track_caller]
fn finds(kind: Kind, history: &History) {
    let found = check(history, LEASED);
    assert!(
        found.iter().any(|violation| violation.kind == kind),
        "{found:?}"
    );
}

#[test]
fn a_right_history_is_right() {
    let found = check(&sound(), LEASED);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_read_from_the_past_is_found() {
    let mut history = sound();
    history.operations[3] = operation(read(), 35, answer(40, 2, vec![kv("a", "1", (2, 2, 1))]));
    finds(Kind::FromThePast, &history);
    let Call::Read(read) = &mut history.operations[3].call else {
        unreachable!()
    };
    read.serializable = true;
    assert!(check(&history, LEASED).is_empty(), "that may be old");
}

#[test]
fn a_read_of_what_never_was_is_found() {
    let mut history = sound();
    history.operations[3] = operation(read(), 35, answer(40, 4, vec![kv("a", "1", (2, 4, 3))]));
    finds(Kind::WrongAnswer, &history);
}

#[test]
fn a_lost_write_is_found() {
    let mut history = sound();
    let lost = operation(put("lost"), 80, answer(90, 5, vec![]));
    history.operations.push(lost);
    finds(Kind::LostWrite, &history);
}

#[test]
fn a_write_done_twice_is_found() {
    let mut history = sound();
    for stream in &mut history.streams {
        let again = put_event("a", "2", (6, 6, 1));
        stream
            .delivered
            .push(Delivered::Events(ms(80), vec![again]));
    }
    finds(Kind::DoneTwice, &history);
}

#[test]
fn a_write_that_nobody_asked_for_is_found() {
    let mut history = sound();
    for stream in &mut history.streams {
        let strange = put_event("b", "strange", (6, 6, 1));
        stream
            .delivered
            .push(Delivered::Events(ms(80), vec![strange]));
    }
    finds(Kind::Unasked, &history);
}

#[test]
fn an_unknown_outcome_from_before_it_was_asked_is_found() {
    let mut history = sound();
    history.operations[1].invoked = ms(45);
    finds(Kind::FromThePast, &history);
}

#[test]
fn skipped_repeated_and_reordered_events_are_found() {
    let mut history = sound();
    history.streams[1].delivered.remove(1);
    finds(Kind::SkippedEvent, &history);
    let mut history = sound();
    let again = history.streams[1].delivered[1].clone();
    history.streams[1].delivered.insert(2, again);
    finds(Kind::RepeatedEvent, &history);
    let mut history = sound();
    history.streams[1].delivered.swap(1, 2);
    finds(Kind::RepeatedEvent, &history);
}

#[test]
fn progress_ahead_of_events_is_found() {
    let mut history = sound();
    let progress = Delivered::Progress(4);
    history.streams[1].delivered.insert(1, progress);
    finds(Kind::SkippedEvent, &history);
}

#[test]
fn nodes_that_differ_are_found() {
    let mut history = sound();
    let other = put_event("a", "x", (2, 3, 2));
    history.streams[1].delivered[1] = Delivered::Events(ms(21), vec![other]);
    finds(Kind::Divergence, &history);
}

#[test]
fn a_lease_that_ends_early_or_lives_on_is_found() {
    let mut history = sound();
    let lease = Lease {
        key: "a".into(),
        ttl: ms(20),
        kept: vec![ms(0), ms(30)],
        revoked: None,
    };
    history.leases.push(lease.clone());
    assert!(check(&history, LEASED).is_empty());
    history.leases[0].kept.push(ms(40));
    finds(Kind::Lease, &history);
    history.leases[0].revoked = Some(ms(50));
    assert!(check(&history, LEASED).is_empty());
    history.leases[0] = lease;
    history.leases[0].kept.push(ms(60));
    finds(Kind::Lease, &history);
}

#[test]
fn a_read_below_an_acknowledged_compaction_is_found() {
    let mut history = sound();
    let compaction = operation(Call::Compact(3), 52, answer(55, 5, vec![]));
    history.operations.push(compaction);
    finds(Kind::FromThePast, &history);
}

fn step(invoked: u64, returned: Option<u64>, action: Action) -> Step {
    Step {
        invoked: ms(invoked),
        returned: returned.map(ms),
        action,
    }
}

#[test]
fn registers_are_judged_without_revisions() {
    let write = |value: &'static str| Action::Write(value.into());
    let read = |value: &'static str| Action::Read(Some(value.into()));
    let swap = |from: &'static str, to: &'static str| Action::Swap {
        from: from.into(),
        to: to.into(),
    };
    let first = step(0, Some(10), write("1"));
    let overlapping = step(5, Some(30), write("2"));
    let mut steps = vec![
        first,
        overlapping,
        step(12, Some(14), read("1")),
        step(15, Some(18), read("2")),
        step(16, None, swap("2", "3")),
        step(40, Some(50), read("3")),
    ];
    assert!(matches!(judge(&steps), Verdict::Linearizable));
    steps.push(step(60, Some(70), read("2")));
    assert!(matches!(judge(&steps), Verdict::NotLinearizable));
    steps.pop();
    let refused = Action::SwapRefused {
        from: "3".into(),
        found: Some("2".into()),
    };
    steps.push(step(60, Some(70), refused));
    assert!(matches!(judge(&steps), Verdict::NotLinearizable));
}
