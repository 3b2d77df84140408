//! The flags of the sub-command `init`.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use super::{DEFAULT_STORAGE_DIR, boolean};
use crate::address::NodeAddress;

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Examples:
  k8s-dqlite init --storage-dir /var/lib/k8s-dqlite --address 10.0.0.1:29001
  k8s-dqlite init --storage-dir /var/lib/k8s-dqlite --address 10.0.0.2:29001 \\
    --join 10.0.0.1:29001 --pair-from /root/pair
  k8s-dqlite init --if-missing --storage-dir /var/lib/k8s-dqlite")]
pub struct InitArgs {
    /// Directory to make for the node.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STORAGE_DIR)]
    pub storage_dir: PathBuf,

    /// Address of the node for other nodes. Without it: this machine's, with port 29001.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<NodeAddress>,

    /// Addresses of nodes of the cluster to join, one of which runs. Without it, a new cluster begins.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub join: Vec<NodeAddress>,

    /// Directory with cluster.crt and cluster.key, the pair of the cluster, to copy.
    #[arg(long, value_name = "DIR")]
    pub pair_from: Option<PathBuf>,

    /// Do nothing where a node, or its init.yaml, is in the directory already: for what runs before each start. Without
    /// --address, a machine that has only the loopback's is refused.
    #[arg(long)]
    pub if_missing: bool,

    /// Let nodes speak TLS with each other, which needs the pair.
    #[arg(
        long,
        value_parser = boolean,
        default_value = "true",
        default_missing_value = "true"
    )]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_tls: bool,
}
