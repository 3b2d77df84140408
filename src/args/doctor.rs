//! The flags of the sub-command `doctor`.

use std::path::PathBuf;

use clap::Parser;

use super::RemoteFlags;
use crate::remote::EndpointUrl;

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "\
Examples:
  k8s-dqlite doctor /var/lib/k8s-dqlite
  k8s-dqlite --args-file /etc/k8s-dqlite/args doctor --bundle /tmp/k8s-dqlite.tar.gz
  k8s-dqlite doctor --endpoint https://10.0.0.1:12379 --cacert ca.crt

Flags of the server before the word doctor are checked, too. Exit codes: see docs/operations.md.")]
pub struct DoctorArgs {
    /// Storage directory of a node, which need not run. Without it: that of the server's flags.
    #[arg(value_name = "DIR", conflicts_with_all = ["endpoint", "dir_by_flag"])]
    pub dir: Option<PathBuf>,

    /// The same.
    #[arg(
        id = "dir_by_flag",
        long = "storage-dir",
        value_name = "DIR",
        conflicts_with = "endpoint"
    )]
    pub dir_by_flag: Option<PathBuf>,

    /// Ask the server at this etcd API instead of looking at a directory.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<EndpointUrl>,

    #[command(flatten)]
    pub remote: RemoteFlags,

    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,

    /// Collect logs, states, metrics and settings in this file for a bug report, without keys, values and secrets.
    #[arg(long, value_name = "FILE.tar.gz", conflicts_with = "endpoint")]
    pub bundle: Option<PathBuf>,

    /// Files of the server's log for the bundle, where it is not in the journal; may be given several times.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub log: Vec<PathBuf>,
}
