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

    /// Time in which requests are counted, and between two outputs of --watch.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub interval: Duration,

    #[command(flatten)]
    pub server: ServerFlags,
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
