//! The flags of the sub-command `archive`, and those that name a place.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use archive::place::PlaceOptions;
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "\
Examples:
  k8s-dqlite archive list file:///mnt/archive
  k8s-dqlite archive verify 's3://backups/cluster-1?region=eu-central-1'

See docs/archive.md.")]
pub struct ArchiveArgs {
    #[command(subcommand)]
    pub command: ArchiveCommand,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ArchiveCommand {
    /// Show the bases of an archive, and what it holds in all.
    #[command(after_help = "Example:
  k8s-dqlite archive list file:///mnt/archive")]
    List(PlaceFlags),
    /// Read all of an archive, and check each object by itself and in its place. Exit code 6: one is damaged or missing.
    #[command(after_help = "Example:
  k8s-dqlite archive verify file:///mnt/archive")]
    Verify(PlaceFlags),
    /// Show which objects of an archive may go, and with --yes remove them.
    Prune(PruneArgs),
}

/// The place of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PlaceFlags {
    /// The place of the archive: file:///DIRECTORY, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX. See
    /// docs/archive.md, "Places".
    #[arg(value_name = "URL")]
    pub url: String,

    #[command(flatten)]
    pub access: AccessFlags,
}

/// The files that a place needs beside its URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct AccessFlags {
    /// File with the credentials for the place of the archive; otherwise those of the environment and of the machine.
    #[arg(long, value_name = "FILE")]
    pub archive_credentials_file: Option<PathBuf>,

    /// Certificates of the authorities that its server may have its own from: PEM. Otherwise those of the system.
    #[arg(long, value_name = "FILE")]
    pub archive_trusted_ca_file: Option<PathBuf>,

    /// File with the keys that its objects are sealed with; without it they are not.
    #[arg(long, value_name = "FILE")]
    pub archive_key_file: Option<PathBuf>,
}

impl AccessFlags {
    pub fn options(&self) -> PlaceOptions {
        PlaceOptions {
            credentials_file: self.archive_credentials_file.clone(),
            trusted_ca_file: self.archive_trusted_ca_file.clone(),
            key_file: self.archive_key_file.clone(),
            ..PlaceOptions::default()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "\
Examples:
  k8s-dqlite archive prune file:///mnt/archive --keep-days 30
  k8s-dqlite archive prune file:///mnt/archive --keep-days 30 --yes")]
pub struct PruneArgs {
    #[command(flatten)]
    pub place: PlaceFlags,

    /// Keep every moment of so many days.
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    pub keep_days: u32,

    /// Keep at least so many bases, whatever their age.
    #[arg(long, value_name = "COUNT", default_value = "2")]
    pub keep_bases: NonZeroUsize,

    /// Remove what may go.
    #[arg(long)]
    pub yes: bool,
}

impl PruneArgs {
    pub fn age(&self) -> Duration {
        const DAY_S: u64 = 24 * 3600;
        Duration::from_secs(u64::from(self.keep_days) * DAY_S)
    }
}
