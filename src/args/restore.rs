//! The flags of the sub-command `restore`: etcdutl's, where it has the same ones.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::AccessFlags;
use crate::address::NodeAddress;

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Examples:
  k8s-dqlite restore backup.db.gz --storage-dir /var/lib/k8s-dqlite --address 10.0.0.1:9000
  k8s-dqlite restore --from file:///mnt/archive --revision 4711 --storage-dir /var/lib/k8s-dqlite --address 10.0.0.1:9000

See docs/operations.md, \"Restore\".")]
pub struct RestoreArgs {
    /// A backup, or a snapshot as `etcdctl snapshot save` writes it.
    #[arg(value_name = "FILE", required_unless_present = "from")]
    file: Option<PathBuf>,

    /// An archive instead of a file, such as file:///mnt/archive or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub from: Option<String>,

    #[command(flatten)]
    pub access: AccessFlags,

    /// Revision of the archived store to restore; otherwise the last one.
    #[arg(long, value_name = "N", requires = "from", conflicts_with = "time", value_parser = clap::value_parser!(i64).range(1..))]
    pub revision: Option<i64>,

    /// Moment of the archived store to restore, such as 2026-12-01T10:00:00Z: what was in the archive by then.
    #[arg(long, value_name = "TIME", requires = "from")]
    pub time: Option<jiff::Timestamp>,

    /// Directory to make. It may hold the certificates and init.yaml, but no data.
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    pub storage_dir: Option<PathBuf>,

    /// Address at which the node will listen. Not needed if the directory has an init.yaml.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<NodeAddress>,

    /// Raise the revision by this much, so that clients do not meet one that they know.
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "0",
        hide_default_value = true
    )]
    #[arg(requires = "mark_compacted")]
    pub bump_revision: u64,

    /// Compact to the raised revision, so that all watches end and their clients read anew.
    #[arg(long, requires = "bump_revision")]
    pub mark_compacted: bool,

    /// Restore although nodes of the cluster that was saved run: for a cluster beside it.
    #[arg(long)]
    pub force: bool,

    /// Take a file without a checksum, such as member/snap/db of an etcd that is stopped.
    #[arg(long)]
    pub skip_hash_check: bool,

    /// Directory in which a backup is unpacked meanwhile; otherwise beside it, or the system's for
    /// such files.
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,

    /// Read all of the snapshot and say what is in it, but make nothing.
    #[arg(long)]
    pub dry_run: bool,
}

impl RestoreArgs {
    /// Returns the file, unless an archive is to be restored.
    pub fn file(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(""))
    }
}
