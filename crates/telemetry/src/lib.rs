//! What a program tells about itself: logs, traces, metrics and profiles. Knows neither flags nor a store.

pub mod logging;
pub mod metrics;
pub mod profiling;
pub mod tracing;
