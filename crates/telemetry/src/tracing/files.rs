//! Exporters to files: one JSON document a line, in the form of the Go exporters `stdouttrace` and
//! `stdoutmetric`, which the Go server uses.

use std::{
    fs::File,
    io::{self, Write},
    sync::{Mutex, OnceLock},
    time::Duration,
};

use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter},
};
use serde_json::Value;

use super::json;

fn write(file: &Mutex<File>, documents: impl Iterator<Item = Value>) -> OTelSdkResult {
    let mut text = Vec::new();
    for document in documents {
        serde_json::to_writer(&mut text, &document).expect("it has string keys");
        text.push(b'\n');
    }
    let mut file = file.lock().expect("no panic while it is held");
    file.write_all(&text).map_err(failed)
}

fn failed(error: io::Error) -> OTelSdkError {
    OTelSdkError::InternalFailure(error.to_string())
}

#[derive(Debug)]
pub(super) struct SpanFile {
    file: Mutex<File>,
    resource: OnceLock<Resource>,
}

impl SpanFile {
    pub fn new(file: File) -> Self {
        Self {
            file: Mutex::new(file),
            resource: OnceLock::new(),
        }
    }
}

impl SpanExporter for SpanFile {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource = self.resource.get();
        write(
            &self.file,
            batch.iter().map(|span| json::span(span, resource)),
        )
    }

    fn set_resource(&mut self, resource: &Resource) {
        let _ = self.resource.set(resource.clone());
    }
}

#[derive(Debug)]
pub(super) struct MetricFile(Mutex<File>);

impl MetricFile {
    pub fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }
}

impl PushMetricExporter for MetricFile {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        write(&self.0, std::iter::once(json::metrics(metrics)))
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}
