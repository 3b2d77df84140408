//! Logs: to standard error, or to the journal where systemd connected that to it.

mod journal;
mod level;
pub mod slow;

use std::{env, io, os::unix::fs::MetadataExt};

use tracing::{Level, warn};
use tracing_subscriber::{
    EnvFilter, layer::SubscriberExt, registry, reload, util::SubscriberInitExt,
};

pub use self::level::{UnknownLevel, level, obey_signals, set_level};

/// The format of logs on standard error; the journal has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON document on each line.
    Json,
}

/// The libraries below us are silent about what a client did wrong until somebody looks for it.
const LIBRARIES: &str = "h2=warn,hyper=warn,hyper_util=warn,tonic=warn,tower=warn";
const LIBRARIES_TRACED: &str = "h2=info,hyper=debug,hyper_util=debug,tonic=debug,tower=debug";

/// Starts logging for the whole process, in the text form. Call it once.
pub fn start(level: &str, is_debug: bool) {
    start_as(LogFormat::Text, level, is_debug);
}

/// Starts logging in this form. The journal always has its own.
pub fn start_as(format: LogFormat, level: &str, is_debug: bool) {
    let known = parse_level(level);
    let level_used = match known.unwrap_or(Level::INFO) {
        level if is_debug => level.max(Level::DEBUG),
        level => level,
    };
    let journal = is_journal(
        env::var("JOURNAL_STREAM").ok().as_deref(),
        stderr_identity(),
    );
    let (filter, handle) = reload::Layer::new(EnvFilter::new(directives(level_used)));
    level::start(handle, level_used);
    let registry = registry().with(filter);
    match journal.then(tracing_journald::layer) {
        Some(Ok(layer)) => registry.with(journal::readable(layer)).init(),
        Some(Err(_)) | None if format == LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json();
            let layer = layer.flatten_event(true).with_writer(io::stderr);
            registry
                .with(layer.with_current_span(false).with_span_list(false))
                .init();
        }
        Some(Err(_)) | None => {
            let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
            let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
            registry
                .with(layer.with_ansi(is_terminal).with_target(false))
                .init();
        }
    }
    if known.is_none() {
        warn!(
            "--log-level {level:?} is not known, info is used; there are trace, debug, info, warn, error, \
             fatal and panic"
        );
    }
}

/// The names of the Go server's logger, in any case.
fn parse_level(text: &str) -> Option<Level> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Some(Level::TRACE),
        "debug" => Some(Level::DEBUG),
        "info" => Some(Level::INFO),
        "warn" | "warning" => Some(Level::WARN),
        "error" | "fatal" | "panic" => Some(Level::ERROR),
        _ => None,
    }
}

fn directives(level: Level) -> String {
    let libraries = if level == Level::TRACE {
        LIBRARIES_TRACED
    } else {
        LIBRARIES
    };
    match level {
        Level::ERROR => "error".to_owned(),
        level => format!("{},{libraries}", level.as_str().to_ascii_lowercase()),
    }
}

/// `stream` is what systemd.exec(5) promises: `device:inode` of the socket that it made, which may be
/// inherited by a process whose standard error goes elsewhere.
fn is_journal(stream: Option<&str>, stderr: Option<(u64, u64)>) -> bool {
    let parse = |(device, inode): (&str, &str)| Some((device.parse().ok()?, inode.parse().ok()?));
    let stream = stream.and_then(|stream| parse(stream.split_once(':')?));
    stream.is_some() && stream == stderr
}

fn stderr_identity() -> Option<(u64, u64)> {
    let metadata = std::fs::metadata("/proc/self/fd/2").ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_names_of_the_go_server() {
        for (text, expected) in [
            ("trace", Level::TRACE),
            ("debug", Level::DEBUG),
            ("info", Level::INFO),
            ("Warning", Level::WARN),
            ("warn", Level::WARN),
            ("ERROR", Level::ERROR),
            ("fatal", Level::ERROR),
            ("panic", Level::ERROR),
        ] {
            assert_eq!(parse_level(text), Some(expected), "{text}");
            let filter = EnvFilter::try_new(directives(expected)).unwrap();
            assert_eq!(filter.max_level_hint().unwrap(), expected, "{text}");
        }
        assert_eq!(parse_level("verbose"), None);
        assert_eq!(parse_level(""), None);
    }

    #[test]
    fn the_journal_is_used_only_if_standard_error_leads_there() {
        assert!(is_journal(Some("8:25601"), Some((8, 25601))));
        assert!(!is_journal(Some("8:25601"), Some((8, 25602))));
        assert!(!is_journal(Some("8"), Some((8, 8))));
        assert!(!is_journal(Some("x:y"), None));
        assert!(!is_journal(None, None));
        assert!(stderr_identity().is_some());
    }
}
