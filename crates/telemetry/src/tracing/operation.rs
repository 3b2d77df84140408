//! Spans of what the store does for a call, with etcd's names, and of their steps.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use etcd_proto::etcdserverpb::RangeRequest;
use opentelemetry::{
    KeyValue, SpanId, TraceFlags, TraceId,
    trace::{Link, Span as _, SpanBuilder, SpanContext, SpanKind, TraceState},
};
use opentelemetry_sdk::trace::Span;

use super::{
    Subject, Timeline,
    call_context::{self, note, parent},
    timeline::{Step, TimedStep},
    tracer,
};

/// A request on its way through the writer. Dropped, it has ended.
pub struct Operation {
    began: Instant,
    timeline: Option<Arc<Timeline>>,
    span: Option<Box<Span>>,
}

impl Operation {
    /// Begins an operation of the current call; without a call it records nothing.
    pub fn begin(name: &'static str) -> Self {
        let now = Instant::now();
        let begun = call_context::with(|call| {
            let span = call.context().and_then(|context| {
                let subject = call
                    .subject
                    .as_ref()
                    .map_or_else(Vec::new, Subject::attributes);
                start(name, SpanKind::Internal, context, subject)
            });
            let context = span.as_ref().map(|span| span.span_context().clone());
            let timeline = Arc::new(Timeline::new(now, context));
            call.timeline = Some(timeline.clone());
            Self {
                began: now,
                timeline: Some(timeline),
                span,
            }
        });
        begun.unwrap_or(Self {
            began: now,
            timeline: None,
            span: None,
        })
    }

    /// Begins an operation for a request of another node, which sent the context of its span.
    pub fn continued(name: &'static str, traceparent: &str) -> Self {
        let span = parse(traceparent)
            .and_then(|context| start(name, SpanKind::Server, context, Vec::new()));
        let began = Instant::now();
        let timeline = span
            .as_ref()
            .map(|span| Arc::new(Timeline::new(began, Some(span.span_context().clone()))));
        Self {
            began,
            timeline,
            span,
        }
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    pub fn timeline(&self) -> Option<&Arc<Timeline>> {
        self.timeline.as_ref()
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let (Some(span), Some(timeline)) = (&mut self.span, &self.timeline) else {
            return;
        };
        let batch = timeline.batch.get();
        for timed in timeline.steps(Instant::now()) {
            // A leader's answer has a span that began when it was asked.
            if !matches!(timed.step, Step::Leader | Step::Answer) {
                let links = match (timed.step, batch) {
                    (Step::Commit, Some(batch)) => vec![Link::new(batch.clone(), Vec::new(), 0)],
                    _ => Vec::new(),
                };
                record(span.span_context(), &timed, links);
            }
        }
        span.end();
    }
}

/// A range on its way. Dropped, it has ended.
pub struct Reading(Option<Noted>);

struct Noted {
    began: Instant,
    confirmed: Option<Instant>,
    span: Option<Box<Span>>,
}

impl Reading {
    pub fn begin(request: &RangeRequest) -> Self {
        let context = call_context::with(|call| {
            call.subject = Some(Subject::from(request));
            call.context()
        });
        Self(context.map(|context| Noted {
            began: Instant::now(),
            confirmed: None,
            span: context.and_then(|context| {
                let attributes = Subject::from(request).attributes();
                start("range", SpanKind::Internal, context, attributes)
            }),
        }))
    }

    /// Notes that this node has all that it must have for the read.
    pub fn confirmed(&mut self) {
        if let Some(noted) = &mut self.0 {
            noted.confirmed = Some(Instant::now());
        }
    }

    pub fn found(&mut self, count: usize) {
        if let Some(Noted {
            span: Some(span), ..
        }) = &mut self.0
        {
            span.set_attribute(KeyValue::new("response_count", count as i64));
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let now = Instant::now();
        let confirmed = self.confirmed.unwrap_or(now);
        let steps = [
            (Step::Leader, self.began, confirmed),
            (Step::Evaluate, confirmed, now),
        ];
        for (step, from, to) in steps {
            note(step, from, to);
            if let Some(span) = &self.span {
                record(
                    span.span_context(),
                    &TimedStep { step, from, to },
                    Vec::new(),
                );
            }
        }
    }
}

/// The span of a request to another node; it ends when this is dropped.
#[derive(Debug)]
pub struct Forwarding(Box<Span>);

impl Forwarding {
    /// Returns `None` if the request is not traced.
    pub fn begin(timeline: &Timeline) -> Option<Self> {
        let context = timeline.context.clone()?;
        start("forward", SpanKind::Client, context, Vec::new()).map(Self)
    }

    /// Returns the `traceparent` header of W3C's Trace Context.
    pub fn traceparent(&self) -> String {
        let context = self.0.span_context();
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        )
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Parses a `traceparent` header; `None` if it is invalid.
fn parse(traceparent: &str) -> Option<SpanContext> {
    tracer()?;
    let mut parts = traceparent.split('-');
    let (_, trace_id, span_id, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let context = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

fn start(
    name: &'static str,
    kind: SpanKind,
    context: SpanContext,
    attributes: Vec<KeyValue>,
) -> Option<Box<Span>> {
    let tracer = tracer()?;
    let span = SpanBuilder::from_name(name)
        .with_kind(kind)
        .with_attributes(attributes)
        .start_with_context(tracer, &parent(context));
    // It has hundreds of bytes, and most calls are without one.
    span.is_recording().then(|| Box::new(span))
}

/// Records the span of a step that is over.
pub(super) fn record(context: &SpanContext, timed: &TimedStep, links: Vec<Link>) {
    let Some(tracer) = tracer() else {
        return;
    };
    let mut span = SpanBuilder::from_name(timed.step.name())
        .with_start_time(wall(timed.from))
        .with_links(links)
        .start_with_context(tracer, &parent(context.clone()));
    span.end_with_timestamp(wall(timed.to));
}

/// Returns the time of the clock at that moment.
pub(super) fn wall(at: Instant) -> SystemTime {
    SystemTime::now() - at.elapsed()
}
