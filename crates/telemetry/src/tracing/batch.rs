//! Batches of the writer: when their requests were sent and committed, and spans of them.

use std::time::{Duration, Instant};

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, Status},
};

use super::{Trail, operation::wall, tracer};

/// The size of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchFacts {
    pub requests: usize,
    pub rows: usize,
    pub bytes: usize,
}

/// Notes that the engine has the batch of these requests.
pub fn batch_sent<'a>(trails: impl Iterator<Item = &'a Trail>) {
    let mut now = None;
    for trail in trails {
        trail.sent(*now.get_or_insert_with(Instant::now));
    }
}

/// Notes that the engine has answered, which took `took`. A batch that has a traced request has a span,
/// to which the spans of its requests are linked.
pub fn batch_written<'a>(
    trails: impl Iterator<Item = &'a Trail> + Clone,
    facts: BatchFacts,
    took: Duration,
    is_committed: bool,
) {
    let now = Instant::now();
    for trail in trails.clone() {
        trail.committed(now);
    }
    let Some(tracer) = tracer() else {
        return;
    };
    let mut traced = trails.filter(|trail| trail.context.is_some()).peekable();
    if traced.peek().is_none() {
        return;
    }
    let count = |count: usize| count as i64;
    let mut span = SpanBuilder::from_name("batch")
        .with_start_time(wall(now - took))
        .with_attributes([
            KeyValue::new("requests", count(facts.requests)),
            KeyValue::new("rows", count(facts.rows)),
            KeyValue::new("bytes", count(facts.bytes)),
        ])
        .start_with_context(tracer, &Context::new());
    if !is_committed {
        span.set_status(Status::error("the engine did not take it"));
    }
    for trail in traced {
        let _ = trail.batch.set(span.span_context().clone());
    }
    span.end_with_timestamp(wall(now));
}
