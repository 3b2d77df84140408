//! The flags of the sub-command `top`.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::{ServerFlags, interval};

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Examples:
  k8s-dqlite top
  k8s-dqlite top --sort writes --watch
  k8s-dqlite top --prefix /registry/pods/ -o json")]
pub struct TopArgs {
    /// Only keys that begin with it.
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub prefix: String,

    /// Levels of the keys that make a line: of Kubernetes' keys, 2 are types of resources, 3 namespaces. Without it: 2,
    /// or the level below --prefix.
    #[arg(long, value_name = "LEVELS", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub depth: Option<u32>,

    /// The largest come first.
    #[arg(long, value_enum, default_value = "size")]
    pub sort: TopSort,

    /// Lines of each table; 0 is all.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub limit: usize,

    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: TopForm,

    /// Repeat until it is interrupted; with -o json, one document a line.
    #[arg(long)]
    pub watch: bool,

    /// Time in which requests are counted, and between two outputs of --watch; less than 60s.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = top_interval)]
    pub interval: Duration,

    #[command(flatten)]
    pub server: ServerFlags,
}

/// A server counts until 90 s after a question, and answers within 30 s.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

fn top_interval(text: &str) -> Result<Duration, String> {
    let interval = interval(text)?;
    match interval < MAX_INTERVAL {
        true => Ok(interval),
        false => Err("must be less than 60s: servers stop to count when nobody asks".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopSort {
    /// Bytes of keys and values.
    Size,
    Keys,
    /// Puts and deletions since the compaction.
    Changes,
    Reads,
    Writes,
    Watchers,
    /// By name, upwards.
    Prefix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopForm {
    Table,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_ends_before_the_server_stops_to_count() {
        assert_eq!(top_interval("59s"), Ok(Duration::from_secs(59)));
        for long in ["60s", "90s", "1h"] {
            assert!(top_interval(long).is_err_and(|told| told.contains("less than 60s")));
        }
        assert!(top_interval("0s").is_err());
    }
}
