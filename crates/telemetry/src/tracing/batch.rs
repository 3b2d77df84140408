//! Batches of the writer: when their requests were sent and committed, and spans of them.

use std::time::{Duration, Instant};

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, Status},
};

use super::{Timeline, operation::wall, tracer};

/// The size of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchSize {
    pub requests: usize,
    pub rows: usize,
    pub bytes: usize,
}

/// Notes that the engine has the batch of these requests.
pub fn batch_sent<'a>(timelines: impl Iterator<Item = &'a Timeline>) {
    let mut now = None;
    for timeline in timelines {
        timeline.sent(*now.get_or_insert_with(Instant::now));
    }
}

/// Notes that the engine has answered, which took `took`. A batch that has a traced request has a span,
/// to which the spans of its requests are linked.
pub fn batch_written<'a>(
    timelines: impl Iterator<Item = &'a Timeline> + Clone,
    size: BatchSize,
    took: Duration,
    is_committed: bool,
) {
    let now = Instant::now();
    for timeline in timelines.clone() {
        timeline.committed(now);
    }
    let Some(tracer) = tracer() else {
        return;
    };
    let mut traced = timelines
        .filter(|timeline| timeline.context.is_some())
        .peekable();
    if traced.peek().is_none() {
        return;
    }
    let count = |count: usize| count as i64;
    let mut span = SpanBuilder::from_name("batch")
        .with_start_time(wall(now - took))
        .with_attributes([
            KeyValue::new("requests", count(size.requests)),
            KeyValue::new("rows", count(size.rows)),
            KeyValue::new("bytes", count(size.bytes)),
        ])
        .start_with_context(tracer, &Context::new());
    if !is_committed {
        span.set_status(Status::error("the engine did not take it"));
    }
    for timeline in traced {
        let _ = timeline.batch.set(span.span_context().clone());
    }
    span.end_with_timestamp(wall(now));
}
