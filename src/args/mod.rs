//! The command line: the flags of the Go k8s-dqlite, with their names, forms and defaults.
//!
//! Flags whose meaning is gone stay, so that existing argument files keep working.

mod archive;
mod archiving;
mod auth;
mod backup;
mod certs;
mod client_tls;
mod client_urls;
mod conversion;
mod doctor;
mod groups;
mod init;
mod inspect;
mod listen;
mod logs;
mod migrator;
mod recover;
mod remarks;
mod remote;
mod restore;
mod snap;
mod status;
mod top;
mod values;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};

use crate::{process::disk::LowStorageAction, store::conversion::BackupTo};
use dqlite::tls::TlsVersion;

use self::values::{boolean, count, request_bytes, signed, streams, tls_version, unsigned, voters};
use crate::address::{AddressError, ListenAddress};

pub use command_line::{DurationError, GoDuration};

pub use self::{
    archive::{AccessFlags, ArchiveArgs, ArchiveCommand, PlaceFlags, PruneArgs},
    archiving::ArchiveFlags,
    auth::{AuthFlags, JwtFlags, TokenKind},
    backup::{BackupArgs, BackupCommand, ScheduledBackupFlags, VerifyArgs},
    certs::{CertsArgs, CertsCommand, CertsRotateArgs, CertsShowArgs},
    client_tls::{ClientTlsFlags, file},
    client_urls::ClientUrls,
    conversion::RollBackArgs,
    doctor::DoctorArgs,
    init::InitArgs,
    inspect::{DiffArgs, GetArgs, HistoryArgs, Output, ServerFlags},
    listen::ListenAddresses,
    logs::{LogFlags, LogFormat, Threshold},
    migrator::{CopyFlags, MigratorArgs, MigratorMode, Origin},
    recover::{Accepted, AddressArg, MemberArg, RecoverArgs},
    remote::RemoteFlags,
    restore::RestoreArgs,
    snap::Hook,
    status::StatusArgs,
    top::{TopArgs, TopForm, TopSort},
};

pub const DEFAULT_STORAGE_DIR: &str = "/var/tmp/k8s-dqlite";
/// The variable by which the snap names the directory of its node for commands that work on it.
pub const STORAGE_DIR_VARIABLE: &str = "K8S_DQLITE_STORAGE_DIR";

pub const DEFAULT_LISTEN: &str = "tcp://127.0.0.1:12379";

/// A datastore for Kubernetes: the etcd v3 API on dqlite.
#[derive(Debug, Clone, Parser)]
#[command(name = "k8s-dqlite", version, args_override_self = true)]
#[command(after_help = "\
Examples:
  k8s-dqlite --storage-dir /var/lib/k8s-dqlite
  k8s-dqlite --storage-dir /var/lib/k8s-dqlite --listen unix:///run/k8s-dqlite.sock --metrics
  k8s-dqlite status --storage-dir /var/lib/k8s-dqlite

The last of a repeated flag counts. Exit codes: see docs/operations.md.")]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Directory of the data, of init.yaml and of the certificates.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STORAGE_DIR)]
    pub storage_dir: PathBuf,

    /// Addresses of the etcd API, separated by commas: tcp://host:port, https://host:port or
    /// unix:///path. Empty: unix://kine.sock.
    #[arg(long, value_name = "ADDRESSES", default_value = DEFAULT_LISTEN)]
    pub listen: ListenAddresses,

    /// URLs under which clients reach this node, separated by commas; all nodes list them. Empty:
    /// those of --listen, with the host of the node's own address for all interfaces.
    #[arg(long, value_name = "URLS", default_value = "")]
    pub advertise_client_urls: ClientUrls,

    #[command(flatten)]
    pub client_tls: ClientTlsFlags,

    #[command(flatten)]
    pub auth: AuthFlags,

    /// Mutual TLS between nodes, with cluster.crt and cluster.key of the storage directory.
    #[arg(long, value_parser = boolean, default_value = "true", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub enable_tls: bool,

    /// Oldest TLS version accepted from other nodes: tls10, tls11, tls12 or tls13.
    #[arg(long, value_name = "VERSION", value_parser = tls_version, default_value = "tls12")]
    pub min_tls_version: TlsVersion,

    /// TLS sessions kept for resumption when dialling other nodes; 0 is none.
    #[arg(long, value_name = "COUNT", value_parser = unsigned, default_value = "0")]
    pub tls_client_session_cache_size: u64,

    /// trace, debug, info, warn, error, fatal or panic.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    #[command(flatten)]
    pub logs: LogFlags,

    /// Deprecated: use --log-level=debug.
    #[arg(long, value_parser = boolean, default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide = true)]
    pub debug: bool,

    /// Serve profiles for go tool pprof and speedscope, and the level of the log.
    #[arg(long, value_parser = boolean, default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub profiling: bool,

    /// Address at which profiles are served.
    #[arg(long, value_name = "HOST:PORT", value_parser = http_address, default_value = "127.0.0.1:4000")]
    pub profiling_listen: ListenAddress,

    /// Directory for a CPU profile, which is written at exit; with --profiling.
    #[arg(long, value_name = "DIR", default_value = "")]
    pub profiling_dir: String,

    /// No effect: dqlite has no disk mode any more.
    #[arg(long, value_parser = boolean, default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub disk_mode: bool,

    /// Serve Prometheus metrics at /metrics.
    #[arg(long, value_parser = boolean, default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub metrics: bool,

    /// Address at which metrics are served with --metrics; --listen has them in any case.
    #[arg(long, value_name = "HOST:PORT", value_parser = http_address, default_value = "127.0.0.1:9042")]
    pub metrics_listen: ListenAddress,

    /// Show what fills the store and who uses it there, too: prefixes of keys, users and addresses of clients, in clear.
    #[arg(long, value_parser = boolean, default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub metrics_top: bool,

    /// Export OpenTelemetry traces and metrics.
    #[arg(long, value_parser = boolean, default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub otel: bool,

    /// OTLP/gRPC endpoint that traces and metrics are sent to.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4317")]
    pub otel_listen: String,

    /// Directory for traces and metrics, instead of the endpoint.
    #[arg(long, value_name = "DIR", default_value = "")]
    pub otel_dir: String,

    /// Drop spans whose name does not match this regular expression.
    #[arg(long, value_name = "REGEX", default_value = "")]
    pub otel_span_name_filter: String,

    /// Drop spans that are shorter.
    #[arg(long, value_name = "DURATION", default_value = "")]
    pub otel_span_min_duration_filter: String,

    /// No effect: there is no connection pool.
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "5",
        allow_hyphen_values = true
    )]
    pub datastore_max_idle_connections: i64,

    /// No effect: there is no connection pool.
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "5",
        allow_hyphen_values = true
    )]
    pub datastore_max_open_connections: i64,

    /// No effect: there is no connection pool.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "60s",
        allow_hyphen_values = true
    )]
    pub datastore_connection_max_lifetime: GoDuration,

    /// No effect: there is no connection pool.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        allow_hyphen_values = true
    )]
    pub datastore_connection_max_idle_time: GoDuration,

    /// Nodes that vote: an odd number, at least 3. The same on all nodes.
    #[arg(long, value_name = "COUNT", value_parser = voters, default_value = "3")]
    pub voters: usize,

    /// Nodes that have the data without a vote, and replace voters. The same on all nodes.
    #[arg(long, value_name = "COUNT", value_parser = count, default_value = "3")]
    pub stand_bys: usize,

    /// Interval at which free space on the disk is checked; 0 is never.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        allow_hyphen_values = true
    )]
    pub watch_storage_available_size_interval: GoDuration,

    /// Free bytes below which --low-available-storage-action is taken.
    #[arg(long, value_name = "BYTES", value_parser = unsigned, default_value = "10485760")]
    pub watch_storage_available_size_min_bytes: u64,

    /// Bytes that the database may use before writes that grow it are refused; 0 is 2 GiB, less
    /// than 0 is no quota.
    #[arg(long, value_name = "BYTES", value_parser = signed, default_value = "0")]
    #[arg(allow_hyphen_values = true)]
    pub quota_backend_bytes: i64,

    /// Bytes that a write may have; at most 134217728.
    #[arg(long, value_name = "BYTES", value_parser = request_bytes, default_value = "1572864")]
    pub max_request_bytes: usize,

    /// Operations in one list of a transaction.
    #[arg(long, value_name = "COUNT", value_parser = count, default_value = "128")]
    pub max_txn_ops: usize,

    /// Calls, watches among them, that one client connection may have open.
    #[arg(long, value_name = "COUNT", value_parser = streams, default_value = "4294967295")]
    pub max_concurrent_streams: u32,

    /// Origins of the web pages that may use the API over HTTP, such as https://a.example; * is all.
    #[arg(
        long,
        value_name = "ORIGINS",
        value_delimiter = ',',
        default_value = "*"
    )]
    pub cors: Vec<String>,

    /// Names of this server in requests over HTTP without TLS; others are refused; * is all.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "*")]
    pub host_whitelist: Vec<String>,

    /// Action when the disk is nearly full.
    #[arg(
        long,
        value_name = "ACTION",
        value_enum,
        default_value = "none",
        hide_possible_values = false
    )]
    pub low_available_storage_action: LowStorageAction,

    /// No effect: watches are fed by commits, not by polling.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "20s",
        allow_hyphen_values = true
    )]
    pub watch_query_timeout: GoDuration,

    /// Interval at which watchers that asked for it are told the current revision.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = interval)]
    pub watch_progress_notify_interval: Duration,

    #[command(flatten)]
    pub archive: ArchiveFlags,

    #[command(flatten)]
    pub backup: ScheduledBackupFlags,

    /// File to which the data is saved before the tables of a Go k8s-dqlite, or those of an earlier version, are
    /// converted, or none. Empty: a file in a directory beside the storage directory.
    #[arg(long, value_name = "FILE", value_parser = conversion::backup_to, default_value = "")]
    pub take_over_backup: BackupTo,

    /// Given flags that do nothing, for the log.
    #[arg(skip)]
    pub remarks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Print the versions of k8s-dqlite, SQLite, dqlite and libuv.
    #[command(after_help = "Example:\n  k8s-dqlite version")]
    Version,
    /// Make the storage directory of a new node: the pair of a new cluster and init.yaml, or what a cluster needs to be joined.
    Init(InitArgs),
    /// Save a cluster that runs in a file, or check such a file.
    Backup(BackupArgs),
    /// Look at an archive, check it, or thin it out.
    Archive(ArchiveArgs),
    /// Make the storage directory of a new node from a backup, or from a snapshot of k8s-dqlite or of etcd.
    Restore(RestoreArgs),
    /// Move keys and values between an etcd, a k8s-dqlite and files.
    Migrator(Box<MigratorArgs>),
    /// Make the storage directory of a new node for the Go k8s-dqlite, from the backup that a conversion made.
    RollBack(RollBackArgs),
    /// Show the nodes of the cluster and how they are. Exit code 10: degraded, 11: no leader.
    Status(StatusArgs),
    /// Show the certificates that nodes show each other, or replace them while all nodes run.
    Certs(CertsArgs),
    /// Show a key, now or at a revision: text as text, objects of Kubernetes as YAML.
    Get(GetArgs),
    /// Show all revisions of a key that are kept, and what each changed.
    History(HistoryArgs),
    /// Show what happened to the keys below a prefix from one revision to another.
    Diff(DiffArgs),
    /// Show which keys fill the store, and which clients read, write and watch them.
    Top(TopArgs),
    /// Check everything about a node that can be checked, and say what to do. Exit code 0: no problem.
    Doctor(Box<DoctorArgs>),
    /// Bring a cluster back that has lost its majority, or a node whose directory is damaged.
    Recover(RecoverArgs),
    /// Run a hook of the snap.
    #[command(hide = true)]
    SnapHook {
        #[arg(value_enum)]
        hook: Hook,
    },
}

impl Args {
    /// Returns the command line with its help, in groups.
    pub fn grouped() -> clap::Command {
        groups::apply(Self::command())
    }

    /// `arguments` begins with the program's name. The error carries the text for the user, also when
    /// help was asked for.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut matches = Self::grouped().try_get_matches_from(arguments)?;
        let remarks = remarks::on(&matches);
        let mut args = Self::from_arg_matches_mut(&mut matches)?;
        args.client_tls
            .check(&args.listen)
            .map_err(|message| Self::command().error(ErrorKind::ArgumentConflict, message))?;
        if let Some(Command::Migrator(migrator)) = &args.command {
            migrator
                .check()
                .map_err(|message| Self::command().error(ErrorKind::ArgumentConflict, message))?;
        }
        if let Some(Command::Recover(recover)) = &mut args.command {
            recover
                .complete(std::env::var_os(STORAGE_DIR_VARIABLE).map(PathBuf::from))
                .map_err(|message| {
                    Self::command().error(ErrorKind::MissingRequiredArgument, message)
                })?;
        }
        args.remarks = remarks;
        Ok(args)
    }
}

fn http_address(text: &str) -> Result<ListenAddress, AddressError> {
    format!("tcp://{text}").parse()
}

fn interval(text: &str) -> Result<Duration, String> {
    let duration: GoDuration = text
        .parse()
        .map_err(|error: DurationError| error.to_string())?;
    duration
        .positive()
        .ok_or_else(|| "must be more than zero".to_owned())
}

#[cfg(test)]
mod tests;
