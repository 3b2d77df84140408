//! The flags of the sub-command `migrator`: the Go program's, and those of `--mode copy`.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::{ArgAction, Args, Parser, ValueEnum};

use super::{RemoteFlags, boolean};
use crate::remote::EndpointUrl;

/// The address of the datastore in MicroK8s.
const DEFAULT_ENDPOINT: &str = "unix:///var/snap/microk8s/current/var/kubernetes/backend/kine.sock";

#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(after_help = "\
Examples:
  k8s-dqlite migrator --mode copy --from https://127.0.0.1:2379 --to tcp://127.0.0.1:12379
  k8s-dqlite migrator --mode backup-dqlite --endpoint tcp://127.0.0.1:12379 --db-dir db

See docs/operations.md, \"Moving from etcd\".")]
pub struct MigratorArgs {
    /// Task to do.
    #[arg(long, value_enum, default_value = "backup")]
    pub mode: MigratorMode,

    /// Etcd API of the etcd or k8s-dqlite; not for --mode=copy.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    pub endpoint: EndpointUrl,

    /// Directory of the entries, N.key and N.data; with --mode=copy it remembers what was begun.
    #[arg(long, value_name = "DIR", default_value = "db")]
    pub db_dir: PathBuf,

    /// Log each key.
    #[arg(long, value_parser = boolean, default_value = "false", default_missing_value = "true")]
    #[arg(num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    pub debug: bool,

    #[command(flatten)]
    pub remote: RemoteFlags,

    #[command(flatten)]
    pub copy: CopyFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MigratorMode {
    /// All keys of an etcd into the directory.
    #[value(alias = "backup")]
    BackupEtcd,
    /// The directory into an etcd.
    #[value(alias = "restore-to-etcd")]
    RestoreEtcd,
    /// The keys below / of a k8s-dqlite into the directory.
    BackupDqlite,
    /// The directory into a k8s-dqlite.
    #[value(alias = "restore", alias = "restore-to-dqlite")]
    RestoreDqlite,
    /// Make --to hold what --from holds: keys, values and leases.
    Copy,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct CopyFlags {
    /// With --mode=copy: etcd API to copy from, or the file of a snapshot or backup.
    #[arg(long, value_name = "URL|FILE")]
    pub from: Option<Origin>,

    /// With --mode=copy: etcd API to copy to.
    #[arg(long, value_name = "URL")]
    pub to: Option<EndpointUrl>,

    /// With --mode=copy: replace what --to holds.
    #[arg(long)]
    pub force: bool,

    /// As --cacert, for --from.
    #[arg(long, value_name = "FILE")]
    pub from_cacert: Option<PathBuf>,

    /// As --cert, for --from.
    #[arg(long, value_name = "FILE", requires = "from_key")]
    pub from_cert: Option<PathBuf>,

    /// As --key, for --from.
    #[arg(long, value_name = "FILE", requires = "from_cert")]
    pub from_key: Option<PathBuf>,

    /// As --insecure-skip-tls-verify, for --from.
    #[arg(long)]
    pub from_insecure_skip_tls_verify: bool,

    /// As --user, for --from.
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    pub from_user: Option<String>,

    /// As --cacert, for --to.
    #[arg(long, value_name = "FILE")]
    pub to_cacert: Option<PathBuf>,

    /// As --cert, for --to.
    #[arg(long, value_name = "FILE", requires = "to_key")]
    pub to_cert: Option<PathBuf>,

    /// As --key, for --to.
    #[arg(long, value_name = "FILE", requires = "to_cert")]
    pub to_key: Option<PathBuf>,

    /// As --insecure-skip-tls-verify, for --to.
    #[arg(long)]
    pub to_insecure_skip_tls_verify: bool,

    /// As --user, for --to.
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    pub to_user: Option<String>,
}

impl CopyFlags {
    pub fn from_remote(&self) -> RemoteFlags {
        RemoteFlags {
            cacert: self.from_cacert.clone(),
            cert: self.from_cert.clone(),
            key: self.from_key.clone(),
            insecure_skip_tls_verify: self.from_insecure_skip_tls_verify,
            user: self.from_user.clone(),
        }
    }

    pub fn to_remote(&self) -> RemoteFlags {
        RemoteFlags {
            cacert: self.to_cacert.clone(),
            cert: self.to_cert.clone(),
            key: self.to_key.clone(),
            insecure_skip_tls_verify: self.to_insecure_skip_tls_verify,
            user: self.to_user.clone(),
        }
    }
}

impl MigratorArgs {
    /// Fails with the flags that do not go together, and what to do about it.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_copy = self.mode == MigratorMode::Copy;
        let flags = &self.copy;
        match is_copy {
            true if flags.from.is_none() || flags.to.is_none() => {
                Err("--mode=copy needs --from and --to".to_owned())
            }
            true if self.remote != RemoteFlags::default() => Err(
                "with --mode=copy, say --from- or --to- before the flags of TLS and user: \
                 --from-cacert"
                    .to_owned(),
            ),
            true if matches!(flags.from, Some(Origin::File(_)))
                && flags.from_remote() != RemoteFlags::default() =>
            {
                Err("--from is a file: leave the flags of TLS and user out".to_owned())
            }
            false if *flags != CopyFlags::default() => {
                Err("--from, --to and their flags are for --mode=copy".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The source of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Server(EndpointUrl),
    File(PathBuf),
}

/// Reads a text like a URL, or like host:port while there is no such file, as a server.
impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_url = text.contains("://");
        let path = PathBuf::from(text);
        if !is_url && path.exists() {
            return Ok(Self::File(path));
        }
        match text.parse::<EndpointUrl>() {
            Ok(url) => Ok(Self::Server(url)),
            Err(error) if is_url => Err(error.to_string()),
            Err(_) => Err("there is no such file, and it is no URL".to_owned()),
        }
    }
}

impl Origin {
    /// Returns a text that names the same source from every directory.
    pub fn absolute(&self) -> String {
        match self {
            Self::Server(url) => url.to_string(),
            Self::File(path) => {
                let absolute = path.canonicalize().unwrap_or_else(|_| path.clone());
                absolute.display().to_string()
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
