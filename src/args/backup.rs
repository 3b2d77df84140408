//! The flags of the sub-command `backup`, and those of the server's own backups.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use super::{DEFAULT_LISTEN, GoDuration, RemoteFlags, values::count};
use crate::remote::EndpointUrl;

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  k8s-dqlite backup backup.db.gz --endpoint https://127.0.0.1:2379 --cacert ca.crt
  k8s-dqlite backup verify backup.db.gz")]
pub struct BackupArgs {
    #[command(subcommand)]
    pub command: Option<BackupCommand>,

    /// The file to write, such as backup.db.gz: a snapshot of etcd's format, compressed by gzip.
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,

    /// Etcd API of any node of the cluster, or of an etcd.
    #[arg(long, value_name = "URL", default_value = DEFAULT_LISTEN)]
    pub endpoint: EndpointUrl,

    #[command(flatten)]
    pub remote: RemoteFlags,

    /// Replace the file if it is there already.
    #[arg(long)]
    pub force: bool,
}

impl BackupArgs {
    pub fn file(&self) -> &Path {
        self.file.as_deref().expect("it is required")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum BackupCommand {
    /// Read all of a backup, or of a snapshot as etcdctl saves it, and say what is in it. Exit code 6: it is
    /// damaged, or something else.
    Verify(VerifyArgs),
}

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Example:
  k8s-dqlite backup verify backup.db.gz")]
pub struct VerifyArgs {
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Directory in which it is unpacked meanwhile; otherwise beside the file, or the system's for
    /// such files.
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,
}

/// Backups that the server makes by itself.
#[derive(Debug, Clone, Args)]
pub struct ScheduledBackupFlags {
    /// Make backups in this directory, of this node's own. Empty: none.
    #[arg(long, value_name = "DIR", default_value = "")]
    pub backup_dir: String,

    /// Time between two backups; at least 1s.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = backup_interval)]
    pub backup_interval: GoDuration,

    /// Backups of this node to keep; older ones are deleted.
    #[arg(long, value_name = "COUNT", default_value = "24", value_parser = backup_keep)]
    pub backup_keep: usize,
}

fn backup_interval(text: &str) -> Result<GoDuration, String> {
    let interval: GoDuration = text.parse().map_err(|error| format!("{error}"))?;
    match interval >= GoDuration::from_secs(1) {
        true => Ok(interval),
        false => Err("must be at least 1s".to_owned()),
    }
}

fn backup_keep(text: &str) -> Result<usize, String> {
    match count(text)? {
        0 => Err("must be at least 1".to_owned()),
        keep => Ok(keep),
    }
}
