//! The settings of the server: its flags, and the files of its storage directory.
//!
//! Reads, checks and explains; what it hands out needs no further checks. Changes nothing but the files
//! of a first start, and those only when told to.

mod archive;
mod auth_token;
mod bounded;
mod client_tls;
mod error;
mod failure_domain;
mod next;
mod start;
mod telemetry;
mod tls;
mod tuning;
mod yaml;

use std::{
    path::{self, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dqlite::{roles::RoleTargets, tls::Tls};
use etcd_state::{auth::AuthOptions, requests::Limits};
use tracing::warn;

pub use self::bounded::read as read_bounded;
pub use self::telemetry::{NoTarget, telemetry};
pub use self::tls::{
    CERTIFICATE, KEY, RENEW_PAIR, REPLACE_PAIR, load as load_pair, rotation, settle as settle_pair,
};
pub use self::{
    error::{ConfigError, quoted},
    next::{next_of, take_next},
    start::{
        INIT, READDRESSING, RESTORING, Start, UPDATE, check_unused, init_address,
        init_names_others, prepare_restore,
    },
    tuning::Tuning,
};
use crate::{
    address::{ListenAddress, ListenSocket},
    archive::ArchiveSettings,
    args::{Args, ListenAddresses, file},
    backup::BackupSettings,
    process::disk::DiskWatch,
    store::{QuotaBytes, conversion::BackupTo},
    tls::ServerTls,
};

#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub storage_dir: PathBuf,
    pub start: Start,
    pub listen: ListenAddresses,
    /// The URLs under which clients reach this node; none if they follow from `listen`.
    pub advertised_urls: Vec<String>,
    /// The address at which the metrics are served beside `listen`, if at all.
    pub metrics_listen: Option<ListenAddress>,
    /// Prefixes of keys, and the clients that use them, are shown there, too.
    pub metrics_top: bool,
    pub profiling_listen: Option<ListenAddress>,
    /// The TLS settings for clients. `None`: clients connect without TLS.
    pub client_tls: Option<Arc<ServerTls>>,
    pub auth: AuthOptions,
    /// The TLS settings for other nodes. `None`: nodes connect without TLS.
    pub tls: Option<Tls>,
    pub failure_domain: u64,
    pub roles: RoleTargets,
    pub tuning: Tuning,
    /// The interval of progress notifications to a watcher that asked for them.
    pub progress_interval: Duration,
    pub quota: QuotaBytes,
    pub limits: Limits,
    /// Calls at a time on one client connection.
    pub max_concurrent_streams: u32,
    /// The origins of web pages that may use the API, and the names of this server that they may use; `*` is all.
    pub cors: Vec<String>,
    pub host_whitelist: Vec<String>,
    /// The watch on the disk's free space. `None`: the disk is not watched.
    pub disk_watch: Option<DiskWatch>,
    /// The settings of scheduled backups. `None`: the server makes none.
    pub backups: Option<BackupSettings>,
    /// The place of the archive. `None`: there is none.
    pub archive: Option<ArchiveSettings>,
    pub take_over_backup: BackupTo,
}

/// Reads the storage directory, and logs what is odd but harmless.
pub fn load(args: &Args) -> Result<ServerConfig, ConfigError> {
    let mut warnings = args.remarks.clone();
    let config = read(args, &mut warnings);
    for warning in warnings {
        warn!("{warning}");
    }
    config
}

/// The flags and files that a start reads, each read for itself.
#[derive(Debug, Default)]
pub struct Survey {
    /// None if the files do not tell.
    pub start: Option<Start>,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<String>,
}

impl Survey {
    fn keep<T>(&mut self, read: Result<T, ConfigError>) -> Option<T> {
        read.map_err(|error| self.errors.push(error)).ok()
    }
}

/// Reads all that a start reads, and goes on where that would fail. Changes nothing.
pub fn survey(args: &Args) -> Survey {
    let dir = args.storage_dir.as_path();
    let mut survey = Survey::default();
    let mut warnings = args.remarks.clone();
    let start = start::read(dir, &own_sockets(args), args.enable_tls, &mut warnings);
    survey.start = survey.keep(start);
    if args.enable_tls {
        survey.keep(tls::load(dir, args.min_tls_version));
    }
    survey.keep(client_tls::load(args).map_err(ConfigError::from));
    survey.keep(auth_token::load(&args.auth));
    survey.keep(failure_domain::read(dir));
    survey.keep(tuning::read(dir, &mut warnings));
    survey.keep(backups(args));
    survey.keep(archive::settings(args));
    survey.warnings = warnings;
    survey
}

/// The sockets at which the API is served, which may be in the storage directory.
fn own_sockets(args: &Args) -> Vec<&Path> {
    let addresses = args.listen.0.iter();
    let sockets = addresses.filter_map(|address| match &address.socket {
        ListenSocket::Unix(path) => Some(path.as_path()),
        ListenSocket::Tcp { .. } => None,
    });
    sockets.collect()
}

fn read(args: &Args, warnings: &mut Vec<String>) -> Result<ServerConfig, ConfigError> {
    let dir = args.storage_dir.as_path();
    let listen = args.listen.clone();
    let start = start::read(dir, &own_sockets(args), args.enable_tls, warnings)?;
    let tls = match args.enable_tls {
        true => Some(tls::load(dir, args.min_tls_version)?),
        false => None,
    };
    let interval = args.watch_storage_available_size_interval.positive();
    Ok(ServerConfig {
        storage_dir: dir.to_owned(),
        start,
        client_tls: client_tls::load(args)?.map(Arc::new),
        auth: AuthOptions {
            tokens: auth_token::load(&args.auth)?,
            bcrypt_cost: args.auth.bcrypt_cost,
        },
        listen,
        advertised_urls: args.advertise_client_urls.0.clone(),
        metrics_listen: args.metrics.then(|| args.metrics_listen.clone()),
        metrics_top: args.metrics_top,
        profiling_listen: args.profiling.then(|| args.profiling_listen.clone()),
        tls,
        failure_domain: failure_domain::read(dir)?,
        roles: RoleTargets::new(args.voters, args.stand_bys).unwrap_or_default(),
        tuning: tuning::read(dir, warnings)?,
        quota: QuotaBytes(args.quota_backend_bytes),
        limits: Limits {
            max_request_bytes: args.max_request_bytes,
            max_txn_operations: args.max_txn_ops,
        },
        max_concurrent_streams: args.max_concurrent_streams,
        cors: args.cors.clone(),
        host_whitelist: args.host_whitelist.clone(),
        progress_interval: args.watch_progress_notify_interval,
        disk_watch: interval.map(|interval| DiskWatch {
            interval,
            min_bytes: args.watch_storage_available_size_min_bytes,
            action: args.low_available_storage_action,
        }),
        backups: backups(args)?,
        archive: archive::settings(args)?,
        take_over_backup: args.take_over_backup.clone(),
    })
}

/// Reads what may change while the server runs.
pub fn read_tuning(storage_dir: &Path) -> Result<Tuning, ConfigError> {
    let mut warnings = Vec::new();
    let tuning = tuning::read(storage_dir, &mut warnings);
    for warning in warnings {
        warn!("{warning}");
    }
    tuning
}

/// Free bytes that scheduled backups leave on their disk, beyond what makes it a low one.
const BACKUP_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

fn backups(args: &Args) -> Result<Option<BackupSettings>, ConfigError> {
    let (flags, interval) = (&args.backup, args.backup.backup_interval.positive());
    let (Some(dir), Some(interval)) = (file(&flags.backup_dir), interval) else {
        return Ok(None);
    };
    let absolute = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if absolute(&dir).starts_with(absolute(&args.storage_dir)) {
        return Err(ConfigError::Invalid {
            path: dir,
            reason: "--backup-dir is in the storage directory: backups are for when that is lost"
                .to_owned(),
        });
    }
    let low = args.watch_storage_available_size_min_bytes;
    Ok(Some(BackupSettings {
        dir,
        interval,
        keep: flags.backup_keep,
        reserve_bytes: low.saturating_add(BACKUP_RESERVE_BYTES),
    }))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, fs};

    use super::*;
    use crate::process::disk::LowStorageAction;

    fn read_with(dir: &std::path::Path, flags: &[&str]) -> Result<ServerConfig, ConfigError> {
        let dir = OsString::from(format!("--storage-dir={}", dir.display()));
        let flags = flags.iter().map(OsString::from);
        let args = Args::read(["k8s-dqlite".into(), dir].into_iter().chain(flags)).unwrap();
        load(&args)
    }

    #[test]
    fn flags_and_files_become_one_configuration() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("init.yaml"), "Address: 127.0.0.1:9000").unwrap();
        fs::write(dir.path().join("failure-domain"), "7").unwrap();
        fs::write(dir.path().join("tuning.yaml"), "network-latency: 5ms").unwrap();
        let flags = [
            "--enable-tls=false",
            "--watch-progress-notify-interval=1m",
            "--watch-storage-available-size-interval=2s",
            "--watch-storage-available-size-min-bytes=5",
            "--low-available-storage-action=terminate",
            "--voters=5",
            "--stand-bys=0",
            "--quota-backend-bytes=-1",
            "--max-request-bytes=2000000",
            "--max-txn-ops=9",
            "--max-concurrent-streams=7",
        ];
        let config = read_with(dir.path(), &flags).unwrap();
        assert!(matches!(config.start, Start::First { .. }) && config.tls.is_none());
        assert_eq!(config.listen.to_string(), crate::args::DEFAULT_LISTEN);
        assert_eq!(config.failure_domain, 7);
        assert_eq!(config.roles, RoleTargets::new(5, 0).unwrap());
        assert_eq!(config.quota, QuotaBytes(-1));
        let limits = Limits {
            max_request_bytes: 2_000_000,
            max_txn_operations: 9,
        };
        assert_eq!(config.limits, limits);
        assert_eq!(config.max_concurrent_streams, 7);
        assert_eq!(
            config.tuning.network_latency,
            Some(Duration::from_millis(5))
        );
        assert_eq!(config.progress_interval, Duration::from_secs(60));
        let (interval, action) = (Duration::from_secs(2), LowStorageAction::Terminate);
        assert_eq!(
            config.disk_watch,
            Some(DiskWatch {
                interval,
                min_bytes: 5,
                action
            })
        );
        let flags = [
            "--enable-tls=false",
            "--watch-storage-available-size-interval=0",
        ];
        assert_eq!(read_with(dir.path(), &flags).unwrap().disk_watch, None);
    }

    #[test]
    fn the_socket_of_the_api_may_be_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("init.yaml"), "Address: 127.0.0.1:9000").unwrap();
        fs::write(dir.path().join("k8s-dqlite.sock"), "").unwrap();
        let socket = format!("--listen=unix://{}/k8s-dqlite.sock", dir.path().display());
        assert!(read_with(dir.path(), &["--enable-tls=false", &socket]).is_ok());
        let error = read_with(dir.path(), &["--enable-tls=false"]).unwrap_err();
        assert!(matches!(error, ConfigError::ForeignFile { .. }), "{error}");
    }

    #[test]
    fn tls_needs_a_pair_unless_it_is_switched_off() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("init.yaml"), "Address: 127.0.0.1:9000").unwrap();
        let error = read_with(dir.path(), &[]).unwrap_err();
        assert!(matches!(error, ConfigError::NoPair { .. }), "{error}");
    }
}
