//! Watches: every event once, in order, whole revisions, none left out.

use super::super::history::{Delivered, Stream, revision_of};
use super::super::truth::Truth;
use super::super::violation::{Kind, Violation};

pub fn check(stream: &Stream, truth: &Truth, found: &mut Vec<Violation>) {
    let mut next = stream.start;
    let mut report = |kind, text: String| {
        let key = String::from_utf8_lossy(&stream.key);
        let node = stream.node;
        let text = format!(
            "watch of {key:?} from {} on node {node}: {text}",
            stream.start
        );
        found.push(Violation::new(kind, text));
    };
    for delivered in &stream.delivered {
        match delivered {
            Delivered::Events(_, events) => {
                for of_one in events.chunk_by(|a, b| revision_of(a) == revision_of(b)) {
                    let revision = revision_of(&of_one[0]);
                    if revision < next {
                        report(
                            Kind::RepeatedEvent,
                            format!("{revision} after {}", next - 1),
                        );
                        continue;
                    }
                    for (missed, events) in truth.shown(stream, next, revision) {
                        report(Kind::SkippedEvent, format!("{missed}: {events:?}"));
                    }
                    let expected = truth.shown(stream, revision, revision + 1).next();
                    let expected = expected.map(|(_, events)| events).unwrap_or_default();
                    if !of_one.iter().eq(expected.iter().copied()) {
                        report(
                            Kind::SkippedEvent,
                            format!("{of_one:?} instead of {expected:?}"),
                        );
                    }
                    next = revision + 1;
                }
            }
            Delivered::Progress(revision) => {
                for (missed, events) in truth.shown(stream, next, revision + 1) {
                    report(
                        Kind::SkippedEvent,
                        format!("progress {revision} before {missed}: {events:?}"),
                    );
                }
                next = next.max(revision + 1);
            }
        }
    }
}
