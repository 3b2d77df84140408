//! The flags of the sub-command `certs`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{DEFAULT_STORAGE_DIR, STORAGE_DIR_VARIABLE};

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "\
Examples:
  k8s-dqlite certs --storage-dir /var/lib/k8s-dqlite
  k8s-dqlite certs rotate --storage-dir /var/lib/k8s-dqlite

See docs/operations.md, \"Certificates\".")]
pub struct CertsArgs {
    #[command(subcommand)]
    pub command: Option<CertsCommand>,

    /// Without a command: the directory of a node whose certificate is shown.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STORAGE_DIR)]
    #[arg(env = STORAGE_DIR_VARIABLE, hide_env = true)]
    pub storage_dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CertsCommand {
    /// Show the certificate of each node, when it ends, and how far it is on its way to another one.
    Show(CertsShowArgs),
    /// Replace the pair of all nodes while they run, or go on with that.
    Rotate(CertsRotateArgs),
}

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Example:
  k8s-dqlite certs show --storage-dir /var/lib/k8s-dqlite")]
pub struct CertsShowArgs {
    /// Directory of a node of the cluster, which need not run.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STORAGE_DIR)]
    #[arg(env = STORAGE_DIR_VARIABLE, hide_env = true)]
    pub storage_dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "\
Every node must run. All trust both pairs before any uses the new one, and all use that before the old one is dropped.
Whatever ends it in between, the cluster serves on: run the same command on the same node again.

Examples:
  k8s-dqlite certs rotate --storage-dir /var/lib/k8s-dqlite
  k8s-dqlite certs rotate --storage-dir /var/lib/k8s-dqlite --cert new.crt --key new.key
  k8s-dqlite certs rotate --storage-dir /var/lib/k8s-dqlite --cancel")]
pub struct CertsRotateArgs {
    /// Directory of a node of the cluster, which runs on this machine.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STORAGE_DIR)]
    #[arg(env = STORAGE_DIR_VARIABLE, hide_env = true)]
    pub storage_dir: PathBuf,

    /// The new certificate, with its chain if it has one: PEM. Without it, a pair is made, for ten years.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Its private key: PEM, not encrypted.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// State directory of k8sd on this machine, which is told of the new pair when all nodes use it. Nothing is told where
    /// k8sd has no cluster.
    #[arg(long, value_name = "DIR", env = "K8SD_STATE_DIR", hide_env = true)]
    pub k8sd_state_dir: Option<PathBuf>,

    /// Forget the new pair, which no node uses yet.
    #[arg(long, conflicts_with_all = ["cert", "key"])]
    pub cancel: bool,
}
