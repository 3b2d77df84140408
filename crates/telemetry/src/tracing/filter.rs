//! Selects the spans that are worth exporting.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor},
};
use regex::Regex;

/// The values of `--otel-span-name-filter` and `--otel-span-min-duration-filter`.
#[derive(Debug, Default)]
pub(super) struct Filter {
    name: Option<Regex>,
    min_duration: Duration,
}

impl Filter {
    pub fn new(pattern: &str, min_duration: Duration) -> Result<Self, regex::Error> {
        let name = match pattern {
            "" => None,
            pattern => Some(Regex::new(pattern)?),
        };
        Ok(Self { name, min_duration })
    }

    fn passes(&self, span: &SpanData) -> bool {
        // A clock that went back makes a span that has no duration.
        let duration = span.end_time.duration_since(span.start_time);
        duration.unwrap_or_default() >= self.min_duration
            && self
                .name
                .as_ref()
                .is_none_or(|name| name.is_match(&span.name))
    }
}

/// An exporter that passes on the spans which the filter selects.
#[derive(Debug)]
pub(super) struct Filtered {
    filter: Filter,
    next: BatchSpanProcessor,
}

impl Filtered {
    pub fn new(filter: Filter, next: BatchSpanProcessor) -> Self {
        Self { filter, next }
    }
}

impl SpanProcessor for Filtered {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.filter.passes(&span) {
            self.next.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}
