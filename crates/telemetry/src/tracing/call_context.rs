//! The facts known about one gRPC call while it is served. The handler and the store find it in a variable of the
//! thread, where it is while the call is polled, so that no function takes it as a parameter.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::Span};

use super::{
    Subject, Timeline,
    division::divide,
    operation::record,
    timeline::{Step, TimedStep},
    tracer,
};
use crate::logging::slow;
use crate::metrics::MethodCalls;

/// The proof that what is read is current, and the reading.
const MAX_STEPS: usize = 2;

thread_local! {
    static CURRENT: Cell<Option<Box<CallContext>>> = const { Cell::new(None) };
}

/// One call.
pub struct CallContext {
    method: &'static MethodCalls,
    arrived: Instant,
    /// The time at which its request was there, from which on it is served.
    started: Instant,
    pub(super) subject: Option<Subject>,
    /// The steps of reads; those of writes are in the timeline.
    steps: [Option<TimedStep>; MAX_STEPS],
    pub(super) timeline: Option<Arc<Timeline>>,
    pub(super) span: Option<Box<Span>>,
    sent_bytes: usize,
}

impl CallContext {
    /// Returns `None` for a call that nobody will ask about. `arrived` is now: reading the clock is what a call costs
    /// most here, so that it is done once.
    pub fn begin(
        method: &'static MethodCalls,
        headers: &HeaderMap,
        arrived: Instant,
    ) -> Option<Box<Self>> {
        let span = tracer().and_then(|tracer| {
            let parent = match headers.contains_key("traceparent") {
                true => TraceContextPropagator::new()
                    .extract_with_context(&Context::new(), &Headers(headers)),
                false => Context::new(),
            };
            let (service, name) = method.names();
            let span = SpanBuilder::from_name(format!("{service}/{name}"))
                .with_kind(SpanKind::Server)
                .with_attributes([
                    KeyValue::new("rpc.system", "grpc"),
                    KeyValue::new("rpc.service", service.to_owned()),
                    KeyValue::new("rpc.method", name.to_owned()),
                ])
                .start_with_context(tracer, &parent);
            span.is_recording().then(|| Box::new(span))
        });
        let is_timed = slow::is_on() && method.is_data();
        (is_timed || span.is_some()).then(|| {
            Box::new(Self {
                method,
                arrived,
                started: arrived,
                subject: None,
                steps: [None; MAX_STEPS],
                timeline: None,
                span,
                sent_bytes: 0,
            })
        })
    }

    /// Notes that the client took until now to send the request.
    pub fn received(&mut self, now: Instant) {
        self.started = now;
        if let Some(span) = &self.span {
            record(span.span_context(), &self.receive(), Vec::new());
        }
    }

    fn receive(&self) -> TimedStep {
        TimedStep {
            step: Step::Receive,
            from: self.arrived,
            to: self.started,
        }
    }

    pub fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes;
    }

    /// `code` is gRPC's.
    pub fn end(mut self: Box<Self>, code: usize, now: Instant) {
        let took = now.saturating_duration_since(self.started);
        if self.method.is_data() && took >= slow::threshold() {
            self.warn(took, code, now);
        }
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new("rpc.grpc.status_code", code as i64));
            span.set_attribute(KeyValue::new("rpc.response.size", self.sent_bytes as i64));
            // Those for which the server is to blame, as OpenTelemetry's conventions have it.
            if matches!(code, 2 | 4 | 12 | 13 | 14 | 15) {
                span.set_status(Status::error(""));
            }
            span.end();
        }
    }

    fn warn(&self, took: Duration, code: usize, now: Instant) {
        let mut steps = vec![self.receive()];
        steps.extend(self.steps.into_iter().flatten());
        if let Some(timeline) = &self.timeline {
            steps.extend(timeline.steps(now));
        }
        let (service, name) = self.method.names();
        slow::request(&slow::Request {
            service,
            name,
            subject: self.subject.as_ref(),
            steps: &divide(self.arrived, now, steps),
            response_bytes: self.sent_bytes,
            code,
            took,
        });
    }

    pub(super) fn context(&self) -> Option<SpanContext> {
        let span = self.span.as_ref()?;
        Some(span.span_context().clone())
    }
}

/// Runs `poll` with the call as the current one.
pub fn within<T>(call: &mut Option<Box<CallContext>>, poll: impl FnOnce() -> T) -> T {
    if call.is_none() {
        return poll();
    }
    let outer = CURRENT.replace(call.take());
    let result = poll();
    *call = CURRENT.replace(outer);
    result
}

/// Reads or changes the current call, if there is one.
pub(super) fn with<T>(change: impl FnOnce(&mut CallContext) -> T) -> Option<T> {
    let mut call = CURRENT.take()?;
    let result = change(&mut call);
    CURRENT.set(Some(call));
    Some(result)
}

/// Notes what the current call is about.
pub fn set_subject<'a, T>(request: &'a T)
where
    Subject: From<&'a T>,
{
    with(|call| call.subject = Some(Subject::from(request)));
}

pub(super) fn note(step: Step, from: Instant, to: Instant) {
    with(|call| {
        // A call reads once.
        if let Some(free) = call.steps.iter_mut().find(|step| step.is_none()) {
            *free = Some(TimedStep { step, from, to });
        }
    });
}

/// A context whose span is `context`, to be a parent.
pub(super) fn parent(context: SpanContext) -> Context {
    Context::new().with_remote_span_context(context)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}
