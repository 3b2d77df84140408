//! Logs, traces, metrics and profiles of a program. Knows neither flags nor a store.

pub mod logging;
pub mod metrics;
pub mod profiling;
pub mod tracing;
