//! The flags of the sub-commands that show keys and values: `get`, `history` and `diff`.

use clap::{Parser, ValueEnum};

use super::{DEFAULT_LISTEN, RemoteFlags};
use crate::remote::EndpointUrl;

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Examples:
  k8s-dqlite get /registry/pods/default/web
  k8s-dqlite get /registry/configmaps/kube-system/coredns -o json --revision 4711")]
pub struct GetArgs {
    /// The key, such as /registry/pods/default/web.
    #[arg(id = "shown_key", value_name = "KEY")]
    pub key: String,

    /// Form of the value.
    #[arg(short, long, value_enum, default_value = "yaml")]
    pub output: Output,

    /// The key as it was at this revision; 0 is now.
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    pub revision: i64,

    #[command(flatten)]
    pub server: ServerFlags,
}

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Example:
  k8s-dqlite history /registry/leases/kube-system/kube-scheduler")]
pub struct HistoryArgs {
    /// The key.
    #[arg(id = "shown_key", value_name = "KEY")]
    pub key: String,

    #[command(flatten)]
    pub server: ServerFlags,
}

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Example:
  k8s-dqlite diff 4711 4800 /registry/deployments/")]
pub struct DiffArgs {
    /// The earlier revision.
    #[arg(value_name = "REV1", value_parser = clap::value_parser!(i64).range(1..))]
    pub from: i64,

    /// The later revision; 0 is now.
    #[arg(value_name = "REV2", value_parser = clap::value_parser!(i64).range(0..))]
    pub to: i64,

    /// The beginning of the keys to compare.
    #[arg(value_name = "PREFIX")]
    pub prefix: String,

    #[command(flatten)]
    pub server: ServerFlags,
}

/// The server to ask.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ServerFlags {
    /// Etcd API of any node of the cluster, or of an etcd.
    #[arg(long, value_name = "URL", default_value = DEFAULT_LISTEN)]
    pub endpoint: EndpointUrl,

    #[command(flatten)]
    pub remote: RemoteFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: text as text, an object of Kubernetes as YAML, after a comment with the revisions.
    Yaml,
    /// One document with the value and the revisions.
    Json,
    /// The bytes of the value, and no more.
    Raw,
}
