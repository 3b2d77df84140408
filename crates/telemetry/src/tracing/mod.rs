//! Traces and metrics by OpenTelemetry, for those who ask for them with `--otel`, and what is known of a request while
//! it is served.
//!
//! Invariants: without `--otel` no span is created, and asking costs one load. Nothing here waits for a
//! collector: spans go into a bounded queue, and what does not fit is dropped. Spans have times that were
//! noted for the slow-request log anyway (`timeline`), so that the writer knows nothing of spans.
//!
//! Why by hand and not by `tracing`'s spans: those would be filtered together with the logs, and the
//! times of a request that waits in a batch are known afterwards only. docs/decisions/0020-traces.md.

mod batch;
mod call_context;
mod division;
mod files;
mod filter;
mod json;
mod meter;
mod operation;
mod subject;
mod timeline;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use opentelemetry::{metrics::MeterProvider, trace::TracerProvider};
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider, exporter::PushMetricExporter},
    trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider},
};
use tonic::transport::Channel;
use tracing::{info, warn};

pub use self::{
    batch::{BatchSize, batch_sent, batch_written},
    call_context::{CallContext, set_subject, within},
    division::{StepTime, reason},
    meter::meter,
    operation::{Forwarding, Operation, Reading},
    subject::Subject,
    timeline::{Step, TimedStep, Timeline},
};
use self::{
    files::{MetricFile, SpanFile},
    filter::{Filter, Filtered},
};
/// The name of the service, as in the Go server.
const SERVICE: &str = "k8s-dqlite";

/// The timeout of one export. A collector that takes longer costs spans, and nothing else.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The timeout of the last export when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Returns the tracer; `None` without `--otel`.
pub fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// The target of spans and metrics, and the selection of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub target: Target,
    /// A regular expression: spans with other names are dropped. Empty: none are.
    pub span_name_filter: String,
    /// Shorter spans are dropped.
    pub span_min_duration: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Files in this directory.
    Directory(PathBuf),
    /// A collector, as `host:port` or a URL.
    Collector(String),
}

/// The reason why there is no telemetry. The server only logs a warning, as the Go server does.
#[derive(Debug, thiserror::Error)]
enum SetupError {
    #[error("invalid span filter regex {0}: {1}")]
    Pattern(String, regex::Error),
    #[error("failed to open otel file {}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    #[error("cannot export to --otel-listen={0}: {1}")]
    Endpoint(String, String),
}

/// The exporters, which run until they are stopped.
pub struct Telemetry {
    traces: SdkTracerProvider,
    meters: SdkMeterProvider,
}

impl Telemetry {
    /// Call it once, within the runtime. None if it cannot be: the reason is logged.
    pub fn start(settings: &Settings) -> Option<Self> {
        let telemetry = match Self::set_up(settings) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                warn!("failed to setup otel sdk: {error}");
                return None;
            }
        };
        let _ = TRACER.set(telemetry.traces.tracer(SERVICE));
        meter::start(telemetry.meters.meter(SERVICE));
        Some(telemetry)
    }

    fn set_up(settings: &Settings) -> Result<Self, SetupError> {
        let pattern = &settings.span_name_filter;
        let filter = Filter::new(pattern, settings.span_min_duration)
            .map_err(|error| SetupError::Pattern(pattern.clone(), error))?;
        let resource = Resource::builder().with_service_name(SERVICE).build();
        match &settings.target {
            Target::Directory(dir) => {
                info!(otel_dir = %dir.display(), "dumping otel data to local directory.");
                to_files(dir, filter, resource)
            }
            Target::Collector(address) => {
                info!(%address, "enabling otel endpoint");
                to_collector(address, filter, resource)
            }
        }
    }

    /// Sends what is left, within a bounded time.
    pub async fn stop(self) {
        let stopping = tokio::task::spawn_blocking(move || {
            let traces = self.traces.shutdown_with_timeout(STOP_TIMEOUT);
            traces.and(self.meters.shutdown_with_timeout(STOP_TIMEOUT))
        });
        if let Ok(Err(error)) = stopping.await {
            warn!("failed to shutdown otel sdk: {error}");
        }
    }
}

fn to_files(dir: &Path, filter: Filter, resource: Resource) -> Result<Telemetry, SetupError> {
    let open = |name: &str| {
        let path = dir.join(name);
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path);
        file.map_err(|error| SetupError::File(path, error))
    };
    let spans = SpanFile::new(open("k8s-dqlite-traces.txt")?);
    let metrics = MetricFile::new(open("k8s-dqlite-metrics.txt")?);
    let spans = Filtered::new(filter, BatchSpanProcessor::builder(spans).build());
    Ok(providers(
        spans,
        PeriodicReader::builder(metrics).build(),
        resource,
    ))
}

fn to_collector(
    address: &str,
    filter: Filter,
    resource: Resource,
) -> Result<Telemetry, SetupError> {
    let endpoint = match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    };
    let wrong = |error: String| SetupError::Endpoint(address.to_owned(), error);
    // Made here, so that the flag counts and not the environment. Connects when there is something to send.
    let channel = Channel::from_shared(endpoint)
        .map_err(|error| wrong(error.to_string()))?
        .connect_timeout(EXPORT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT)
        .connect_lazy();
    let spans = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_timeout(EXPORT_TIMEOUT)
        .with_channel(channel.clone())
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let metrics = opentelemetry_otlp::MetricExporter::builder()
        .with_tonic()
        .with_timeout(EXPORT_TIMEOUT)
        .with_channel(channel)
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let spans = Filtered::new(filter, BatchSpanProcessor::builder(spans).build());
    Ok(providers(
        spans,
        PeriodicReader::builder(metrics).build(),
        resource,
    ))
}

/// The SDK's sampler: a parent's decision counts, and what has no parent is sampled, as in the Go
/// server, unless `OTEL_TRACES_SAMPLER` says otherwise. Its queue has 2048 spans.
fn providers(
    spans: Filtered,
    metrics: PeriodicReader<impl PushMetricExporter>,
    resource: Resource,
) -> Telemetry {
    Telemetry {
        traces: SdkTracerProvider::builder()
            .with_span_processor(spans)
            .with_resource(resource.clone())
            .build(),
        meters: SdkMeterProvider::builder()
            .with_reader(metrics)
            .with_resource(resource)
            .build(),
    }
}
