//! The flags of the sub-command `status`.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use super::{DEFAULT_STORAGE_DIR, boolean};

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Example:
  k8s-dqlite status --storage-dir /var/lib/k8s-dqlite --json")]
pub struct StatusArgs {
    /// Directory of a node of the cluster, which need not run.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STORAGE_DIR)]
    pub storage_dir: PathBuf,

    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,

    /// The nodes speak TLS with each other. Without this flag: if the directory has cluster.crt.
    #[arg(long, value_parser = boolean, default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_tls: Option<bool>,
}
