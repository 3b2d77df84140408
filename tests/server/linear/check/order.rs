//! Real time: what anybody had seen when an operation began.

use std::time::Duration;

use super::super::history::{Delivered, History, revision_of};

/// The highest revision seen up to each moment.
pub struct Floor(Vec<(Duration, i64)>);

impl Floor {
    pub fn of(history: &History) -> Self {
        let answers = history.operations.iter().filter_map(|operation| {
            let answer = operation.answer.as_ref()?;
            Some((answer.returned, answer.revision))
        });
        let deliveries = history.streams.iter().flat_map(|stream| &stream.delivered);
        let events = deliveries.filter_map(|delivered| match delivered {
            Delivered::Events(at, events) => Some((*at, revision_of(events.last()?))),
            Delivered::Progress(_) => None,
        });
        let mut seen: Vec<_> = answers.chain(events).collect();
        seen.sort_unstable();
        let mut highest = 0;
        for (_, revision) in &mut seen {
            highest = highest.max(*revision);
            *revision = highest;
        }
        Self(seen)
    }

    /// The highest revision that was seen before a moment.
    pub fn at(&self, moment: Duration) -> i64 {
        let before = self.0.partition_point(|(at, _)| *at < moment);
        self.0[..before].last().map_or(0, |(_, revision)| *revision)
    }
}
