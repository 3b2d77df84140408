//! Everything that the server is told: its flags, and the files of its storage directory.
//!
//! Reads, checks and explains; what it hands out needs no further checks. Changes nothing but the files
//! of a first start, and those only when told to.

mod error;
mod failure_domain;
mod node_files;
mod pair;
mod start;
mod tuning;
mod yaml;

use std::{path::PathBuf, time::Duration};

use tracing::{info, warn};

pub use self::{error::ConfigError, pair::TlsPair, start::StartState, tuning::Tuning};
use crate::args::{Args, ListenAddress, LowStorageAction};

#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub storage_dir: PathBuf,
    pub start: StartState,
    pub listen: ListenAddress,
    /// `None`: other nodes are talked to without TLS.
    pub tls: Option<TlsPair>,
    pub failure_domain: u64,
    pub tuning: Tuning,
    /// Between two progress notifications to a watcher that asked for them.
    pub progress_interval: Duration,
    /// `None`: nobody looks.
    pub disk_watch: Option<DiskWatch>,
}

/// How free space on the disk is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskWatch {
    pub interval: Duration,
    /// Less free space than this is low.
    pub min_bytes: u64,
    pub action: LowStorageAction,
}

/// Reads the storage directory, and logs what is odd but harmless.
pub fn load(args: &Args) -> Result<ServerConfig, ConfigError> {
    let mut warnings = args.remarks.clone();
    let config = read(args, &mut warnings);
    for warning in warnings {
        warn!("{warning}");
    }
    let config = config?;
    info!(
        storage_dir = %config.storage_dir.display(),
        node_id = format_args!("{:x}", config.start.node_id),
        address = %config.start.address,
        first_start = config.start.is_first,
        tls = config.tls.is_some(),
        failure_domain = config.failure_domain,
        "configured"
    );
    Ok(config)
}

fn read(args: &Args, warnings: &mut Vec<String>) -> Result<ServerConfig, ConfigError> {
    let dir = args.storage_dir.as_path();
    let listen = args.listen.clone();
    let own_socket = match &listen {
        ListenAddress::Unix(path) => Some(path.as_path()),
        ListenAddress::Tcp { .. } => None,
    };
    let start = start::read(dir, own_socket, args.enable_tls, warnings)?;
    let tls = match args.enable_tls {
        true => Some(pair::check(dir, args.min_tls_version, warnings)?),
        false => None,
    };
    let interval = args.watch_storage_available_size_interval.positive();
    Ok(ServerConfig {
        storage_dir: dir.to_owned(),
        start,
        listen,
        tls,
        failure_domain: failure_domain::read(dir)?,
        tuning: tuning::read(dir, warnings)?,
        progress_interval: args.watch_progress_notify_interval,
        disk_watch: interval.map(|interval| DiskWatch {
            interval,
            min_bytes: args.watch_storage_available_size_min_bytes,
            action: args.low_available_storage_action,
        }),
    })
}
