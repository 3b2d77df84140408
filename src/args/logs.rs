//! The flags of logs.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use telemetry::logging;

use super::GoDuration;

/// Sooner everything is slow, later nothing is.
const MIN_WARNING: Duration = Duration::from_millis(1);
const MAX_WARNING: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
pub struct LogFlags {
    /// Format of logs on standard error; the journal has its own.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Requests and commits that take longer are warned of, with the reason; 0 is never.
    #[arg(long, value_name = "DURATION", value_parser = threshold, default_value = "100ms")]
    #[arg(alias = "experimental-warning-apply-duration")]
    pub warning_apply_duration: Threshold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON document on each line.
    Json,
}

impl From<LogFormat> for logging::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// A duration from which on something is slow; none is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold(pub Option<Duration>);

fn threshold(text: &str) -> Result<Threshold, String> {
    let duration: GoDuration = text
        .parse()
        .map_err(|error: super::DurationError| error.to_string())?;
    match duration.positive() {
        None if duration == GoDuration::from_secs(0) => Ok(Threshold(None)),
        Some(duration) if (MIN_WARNING..=MAX_WARNING).contains(&duration) => {
            Ok(Threshold(Some(duration)))
        }
        _ => Err("must be 0, or from 1ms to 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_bounded() {
        assert_eq!(
            threshold("100ms"),
            Ok(Threshold(Some(Duration::from_millis(100))))
        );
        assert_eq!(threshold("0"), Ok(Threshold(None)));
        assert_eq!(threshold("0s"), Ok(Threshold(None)));
        for wrong in ["-1s", "1us", "2h", "soon"] {
            assert!(threshold(wrong).is_err(), "{wrong}");
        }
    }
}
