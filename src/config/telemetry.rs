//! Traces and metrics as the flags want them.

use std::time::Duration;

use telemetry::tracing::{Settings, Target};
use tracing::warn;

use crate::args::{Args, GoDuration};

/// The duration that the Go server uses instead of one that it cannot read.
const DEFAULT_MIN_DURATION: Duration = Duration::from_millis(10);

/// The command line asks for telemetry, and says nowhere where to.
#[derive(Debug, thiserror::Error)]
#[error("no otel address or directory specified.")]
pub struct NoTarget;

/// Returns none without `--otel`.
pub fn telemetry(args: &Args) -> Result<Option<Settings>, NoTarget> {
    if !args.otel {
        return Ok(None);
    }
    let target = match (args.otel_dir.as_str(), args.otel_listen.as_str()) {
        ("", "") => return Err(NoTarget),
        ("", address) => Target::Collector(address.to_owned()),
        (dir, _) => Target::Directory(dir.into()),
    };
    Ok(Some(Settings {
        target,
        span_name_filter: args.otel_span_name_filter.clone(),
        span_min_duration: min_duration(&args.otel_span_min_duration_filter),
    }))
}

fn min_duration(text: &str) -> Duration {
    if text.is_empty() {
        return Duration::ZERO;
    }
    match text.parse::<GoDuration>() {
        // Less than nothing filters nothing.
        Ok(duration) => duration.positive().unwrap_or_default(),
        Err(error) => {
            warn!("could not parse otel span duration {text}: {error}, defaulting to 10ms.");
            DEFAULT_MIN_DURATION
        }
    }
}
