//! The times at which a request reached each point on its way through the writer.
//!
//! The writer and whoever waits for the request share it. It can be read at any time, so it also shows what a request
//! that hangs is waiting for.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::trace::SpanContext;

/// A step on which a request spends time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The client sends the request.
    Receive,
    /// The request waits for the writer, which has others before it.
    Queue,
    /// The request is evaluated.
    Evaluate,
    /// The request waits for the commit before its own.
    Batch,
    /// The engine replicates, writes and syncs it.
    Commit,
    /// The request waits for the leader: for its answer, or for its proof that it leads.
    Leader,
    /// The result goes back to the call, which encodes the answer.
    Answer,
    /// Nothing that is timed: the call waits for a processor, is checked or decoded, or its answer is sent.
    Elsewhere,
}

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Queue => "queue",
            Self::Evaluate => "evaluate",
            Self::Batch => "batch",
            Self::Commit => "commit",
            Self::Leader => "leader",
            Self::Answer => "answer",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// A step, from and to when.
#[derive(Debug, Clone, Copy)]
pub struct TimedStep {
    pub step: Step,
    pub from: Instant,
    pub to: Instant,
}

impl TimedStep {
    pub fn took(&self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

/// Nanoseconds since the beginning of a timeline, or 0 for never.
#[derive(Default)]
struct Mark(AtomicU64);

impl Mark {
    fn set(&self, since: Instant, at: Instant) {
        let nanos = at.saturating_duration_since(since).as_nanos() as u64;
        self.0.store(nanos.max(1), Ordering::Relaxed);
    }

    fn get(&self, since: Instant) -> Option<Instant> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(since + Duration::from_nanos(nanos)),
        }
    }
}

/// The times of one request.
pub struct Timeline {
    submitted: Instant,
    forwarded: Mark,
    taken: Mark,
    evaluated: Mark,
    sent: Mark,
    committed: Mark,
    /// The context of the parent span, if the request is traced.
    pub(super) context: Option<SpanContext>,
    /// The context of the span of the batch that the request was in.
    pub(super) batch: OnceLock<SpanContext>,
}

impl fmt::Debug for Timeline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Timeline")
            .field("submitted", &self.submitted)
            .finish_non_exhaustive()
    }
}

impl Timeline {
    pub fn new(submitted: Instant, context: Option<SpanContext>) -> Self {
        Self {
            submitted,
            forwarded: Mark::default(),
            taken: Mark::default(),
            evaluated: Mark::default(),
            sent: Mark::default(),
            committed: Mark::default(),
            context,
            batch: OnceLock::new(),
        }
    }

    /// Notes that the request was given to another node, which leads.
    pub fn forwarded(&self, at: Instant) {
        self.forwarded.set(self.submitted, at);
    }

    pub fn evaluated(&self, from: Instant, to: Instant) {
        self.taken.set(self.submitted, from);
        self.evaluated.set(self.submitted, to);
    }

    pub fn sent(&self, at: Instant) {
        self.sent.set(self.submitted, at);
    }

    pub fn committed(&self, at: Instant) {
        self.committed.set(self.submitted, at);
    }

    /// The steps until now, without a gap. The last is what it is at.
    pub fn steps(&self, until: Instant) -> Vec<TimedStep> {
        let marks = [
            (
                Step::Queue,
                self.forwarded.get(self.submitted),
                Step::Leader,
            ),
            (Step::Queue, self.taken.get(self.submitted), Step::Evaluate),
            (
                Step::Evaluate,
                self.evaluated.get(self.submitted),
                Step::Batch,
            ),
            (Step::Batch, self.sent.get(self.submitted), Step::Commit),
            (
                Step::Commit,
                self.committed.get(self.submitted),
                Step::Answer,
            ),
        ];
        let mut steps = Vec::with_capacity(marks.len());
        let (mut from, mut at) = (self.submitted, Step::Queue);
        for (step, mark, next) in marks {
            if let Some(to) = mark {
                // Clocks of two threads are read, and the marks may be set in any order.
                let to = to.max(from);
                steps.push(TimedStep { step, from, to });
                (from, at) = (to, next);
            }
        }
        // What changed nothing is answered without a commit, unless others have to be waited for.
        steps.push(TimedStep {
            step: at,
            from,
            to: until.max(from),
        });
        steps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tracing::division::divide;

    const MS: Duration = Duration::from_millis(1);

    fn names(timeline: &Timeline, until: Instant) -> Vec<(&'static str, u128)> {
        let steps = timeline.steps(until).into_iter();
        steps
            .map(|timed| (timed.step.name(), timed.took().as_millis()))
            .collect()
    }

    #[test]
    fn the_last_step_is_what_a_request_waits_for() {
        let start = Instant::now();
        let timeline = Timeline::new(start, None);
        assert_eq!(names(&timeline, start + 5 * MS), [("queue", 5)]);
        timeline.evaluated(start + 2 * MS, start + 3 * MS);
        assert_eq!(
            names(&timeline, start + 5 * MS),
            [("queue", 2), ("evaluate", 1), ("batch", 2)]
        );
        timeline.sent(start + 6 * MS);
        timeline.committed(start + 16 * MS);
        assert_eq!(
            names(&timeline, start + 17 * MS),
            [
                ("queue", 2),
                ("evaluate", 1),
                ("batch", 3),
                ("commit", 10),
                ("answer", 1)
            ]
        );
    }

    #[test]
    fn a_follower_waits_for_the_leader() {
        let start = Instant::now();
        let timeline = Timeline::new(start, None);
        timeline.forwarded(start + MS);
        assert_eq!(
            names(&timeline, start + 9 * MS),
            [("queue", 1), ("leader", 8)]
        );
    }

    proptest! {
        /// Marks as a writer sets them, and in any other order: some of them, equal ones, and ones after the end.
        #[test]
        fn steps_of_a_timeline_sum_to_the_whole(
            marks in prop::collection::vec(prop::option::of(0..100_u32), 5),
            is_in_order: bool,
            whole in 0..120_u32,
        ) {
            let mut marks = marks;
            if is_in_order {
                marks.sort_by_key(|mark| mark.unwrap_or(u32::MAX));
            }
            let start = Instant::now();
            let until = start + whole * MS;
            let timeline = Timeline::new(start, None);
            let names = [&timeline.forwarded, &timeline.taken, &timeline.evaluated, &timeline.sent, &timeline.committed];
            for (name, mark) in names.into_iter().zip(&marks) {
                if let Some(mark) = mark {
                    name.set(start, start + *mark * MS);
                }
            }
            let steps = timeline.steps(until);
            prop_assert_eq!(steps.len(), marks.iter().flatten().count() + 1);
            prop_assert_eq!(steps[0].from, start);
            for pair in steps.windows(2) {
                prop_assert_eq!(pair[0].to, pair[1].from);
            }
            let end = steps[steps.len() - 1].to;
            let last = marks.iter().flatten().copied().max().unwrap_or(0);
            // A mark at the beginning is one nanosecond later, which tells it from none.
            prop_assert!(end >= until && end <= start + whole.max(last) * MS + Duration::from_nanos(1));
            let sum: Duration = steps.iter().map(TimedStep::took).sum();
            prop_assert_eq!(sum, end - start);
            // What a line says of a request that began before, and had not ended when it was written.
            let arrived = start.checked_sub(MS).unwrap_or(start);
            let divided = divide(arrived, until, steps);
            let sum: Duration = divided.iter().map(|time| time.took).sum();
            prop_assert_eq!(sum, until - arrived);
        }
    }
}
