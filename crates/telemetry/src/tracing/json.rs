//! Spans and metrics as JSON, as Go's `stdouttrace` and `stdoutmetric` write them.

use std::time::SystemTime;

use jiff::Timestamp;
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value as Attribute,
    trace::{SpanContext, SpanKind, Status},
};
use opentelemetry_sdk::{
    Resource,
    metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics},
    trace::SpanData,
};
use serde_json::{Value, json};

pub(super) fn span(span: &SpanData, resource: Option<&Resource>) -> Value {
    let has_parent = span.parent_span_id != SpanId::INVALID;
    let parent_trace = match has_parent {
        true => span.span_context.trace_id(),
        false => TraceId::INVALID,
    };
    let events: Vec<Value> = span.events.iter().map(event).collect();
    let links: Vec<Value> = span
        .links
        .iter()
        .map(|link| {
            json!({
                "SpanContext": context(&link.span_context),
                "Attributes": attributes(link.attributes.iter()),
                "DroppedAttributeCount": link.dropped_attributes_count,
            })
        })
        .collect();
    let scope = scope(&span.instrumentation_scope);
    json!({
        "Name": span.name,
        "SpanContext": context(&span.span_context),
        "Parent": {
            "TraceID": parent_trace.to_string(),
            "SpanID": span.parent_span_id.to_string(),
            "TraceFlags": flags(if has_parent { span.span_context.trace_flags() } else { TraceFlags::default() }),
            "TraceState": "",
            "Remote": span.parent_span_is_remote,
        },
        "SpanKind": kind(&span.span_kind),
        "StartTime": time(span.start_time),
        "EndTime": time(span.end_time),
        "Attributes": attributes(span.attributes.iter()),
        "Events": events,
        "Links": links,
        "Status": status(&span.status),
        "DroppedAttributes": span.dropped_attributes_count,
        "DroppedEvents": span.events.dropped_count,
        "DroppedLinks": span.links.dropped_count,
        "ChildSpanCount": 0,
        "Resource": resource.map(of_resource),
        "InstrumentationScope": scope,
        "InstrumentationLibrary": scope,
    })
}

fn event(event: &opentelemetry::trace::Event) -> Value {
    json!({
        "Name": event.name,
        "Attributes": attributes(event.attributes.iter()),
        "DroppedAttributeCount": event.dropped_attributes_count,
        "Time": time(event.timestamp),
    })
}

fn context(context: &SpanContext) -> Value {
    json!({
        "TraceID": context.trace_id().to_string(),
        "SpanID": context.span_id().to_string(),
        "TraceFlags": flags(context.trace_flags()),
        "TraceState": context.trace_state().header(),
        "Remote": context.is_remote(),
    })
}

fn flags(flags: TraceFlags) -> String {
    format!("{:02x}", flags.to_u8())
}

/// The numbers of Go's `trace.SpanKind`.
fn kind(kind: &SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn status(status: &Status) -> Value {
    let (code, description) = match status {
        Status::Unset => ("Unset", ""),
        Status::Ok => ("Ok", ""),
        Status::Error { description } => ("Error", description.as_ref()),
    };
    json!({ "Code": code, "Description": description })
}

fn scope(scope: &InstrumentationScope) -> Value {
    json!({
        "Name": scope.name(),
        "Version": scope.version().unwrap_or_default(),
        "SchemaURL": scope.schema_url().unwrap_or_default(),
        "Attributes": null,
    })
}

fn of_resource(resource: &Resource) -> Value {
    let pairs = resource.iter();
    let pairs = pairs.map(|(key, value)| json!({ "Key": key.as_str(), "Value": attribute(value) }));
    pairs.collect()
}

fn attributes<'a>(pairs: impl Iterator<Item = &'a KeyValue>) -> Value {
    let pairs =
        pairs.map(|pair| json!({ "Key": pair.key.as_str(), "Value": attribute(&pair.value) }));
    pairs.collect()
}

fn attribute(value: &Attribute) -> Value {
    match value {
        Attribute::Bool(value) => json!({ "Type": "BOOL", "Value": value }),
        Attribute::I64(value) => json!({ "Type": "INT64", "Value": value }),
        Attribute::F64(value) => json!({ "Type": "FLOAT64", "Value": value }),
        other => json!({ "Type": "STRING", "Value": other.as_str() }),
    }
}

pub(super) fn metrics(metrics: &ResourceMetrics) -> Value {
    let scopes: Vec<Value> = metrics
        .scope_metrics()
        .map(|of| {
            let metrics: Vec<Value> = of.metrics().map(metric).collect();
            json!({ "Scope": scope(of.scope()), "Metrics": metrics })
        })
        .collect();
    json!({ "Resource": of_resource(metrics.resource()), "ScopeMetrics": scopes })
}

fn metric(metric: &Metric) -> Value {
    let data = match metric.data() {
        AggregatedMetrics::F64(data) => points(data),
        AggregatedMetrics::U64(data) => points(data),
        AggregatedMetrics::I64(data) => points(data),
    };
    json!({
        "Name": metric.name(),
        "Description": metric.description(),
        "Unit": metric.unit(),
        "Data": data,
    })
}

/// There are no histograms among what is exported.
fn points<T: Copy + serde::Serialize>(data: &MetricData<T>) -> Value {
    match data {
        MetricData::Gauge(gauge) => {
            let points: Vec<Value> = gauge
                .data_points()
                .map(|point| {
                    json!({
                        "Attributes": attributes(point.attributes()),
                        "StartTime": gauge.start_time().map(time),
                        "Time": time(gauge.time()),
                        "Value": point.value(),
                    })
                })
                .collect();
            json!({ "DataPoints": points })
        }
        MetricData::Sum(sum) => {
            let points: Vec<Value> = sum
                .data_points()
                .map(|point| {
                    json!({
                        "Attributes": attributes(point.attributes()),
                        "StartTime": time(sum.start_time()),
                        "Time": time(sum.time()),
                        "Value": point.value(),
                    })
                })
                .collect();
            json!({
                "DataPoints": points,
                "Temporality": "CumulativeTemporality",
                "IsMonotonic": sum.is_monotonic(),
            })
        }
        MetricData::Histogram(_) | MetricData::ExponentialHistogram(_) => Value::Null,
    }
}

/// RFC 3339 in UTC, with nanoseconds.
fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    format!("{at:.9}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
        ] {
            assert_eq!(time(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        assert_eq!(
            time(UNIX_EPOCH + Duration::from_nanos(1)),
            "1970-01-01T00:00:00.000000001Z"
        );
    }
}
