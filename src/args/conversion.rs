//! The flags of the conversion of a Go k8s-dqlite's data, and of the way back.

use std::path::PathBuf;

use clap::Parser;

use crate::{address::NodeAddress, store::conversion::BackupTo};

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "Example:
  k8s-dqlite roll-back backup.db --storage-dir /var/lib/go-k8s-dqlite --address 10.0.0.1:9000")]
pub struct RollBackArgs {
    /// The backup, as it was made before the data of a Go k8s-dqlite was converted.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Directory to make. It may hold the certificates and init.yaml, but no data.
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    pub storage_dir: Option<PathBuf>,

    /// Address at which the node will listen. Not needed if the directory has an init.yaml.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<NodeAddress>,

    /// Read all of the backup and say what is in it, but make nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// A file, or `none`; empty is a file beside the storage directory.
pub fn backup_to(text: &str) -> Result<BackupTo, String> {
    Ok(match text {
        "" => BackupTo::Beside,
        "none" => BackupTo::Nowhere,
        file if file.ends_with('/') => return Err("must name a file".to_owned()),
        file => BackupTo::File(file.into()),
    })
}
