//! The sub-command `migrator`: keys and values from one server to files or to another server.
//!
//! Invariants: everything is read at one revision; memory holds a few pages of it, never all; a target that
//! holds something is left alone unless told otherwise.

mod copy;
mod directory;
mod dump;
mod entry;
mod leases;
mod load;
mod pages;
mod source;
mod state;
mod target;

use std::{io, path::PathBuf};

use crate::{
    args::{MigratorArgs, MigratorMode},
    commands::restore::RestoreError,
    remote::{EndpointUrl, Remote, RemoteError},
};

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error(
        "{url} holds {keys} keys: copy to an empty store, or replace them with --force", url = .0, keys = .1
    )]
    NotEmpty(EndpointUrl, u64),
    #[error(
        "--from and --to both have the cluster id {0:x}; if they are two stores, as etcds with the same flags \
         may be, copy from a snapshot of the one"
    )]
    Same(u64),
    #[error("{failed} of {all} entries were not restored; the log says why")]
    Incomplete { failed: u64, all: u64 },
    #[error(
        "the source is being compacted faster than it is read: compact it less often meanwhile"
    )]
    Compacted,
    #[error("the copy differs from its source: {0}; does another program write to the target?")]
    Differs(String),
    #[error("{0} answers a range with keys that are out of order")]
    Disorder(EndpointUrl),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("{0}; what was written before that remains, and the same command completes it")]
    Begun(RemoteError),
    #[error(transparent)]
    Snapshot(#[from] RestoreError),
}

impl MigrateError {
    /// Returns the error of a command that may have written something already.
    fn once_begun(self) -> Self {
        match self {
            Self::Remote(error) => Self::Begun(error),
            other => other,
        }
    }
}

/// Runs the command, and returns what was done.
pub async fn run(args: &MigratorArgs) -> Result<String, MigrateError> {
    if args.mode == MigratorMode::Copy {
        return copy::run(args).await.map(|done| done.to_string());
    }
    let (tls, login) = (args.remote.tls_files(), args.remote.login());
    let remote = Remote::connect(&args.endpoint, &tls, login.as_ref()).await?;
    let dir = &args.db_dir;
    let (done, count) = match args.mode {
        MigratorMode::BackupEtcd => ("saved", dump::etcd(remote, dir).await?),
        MigratorMode::BackupDqlite => ("saved", dump::dqlite(remote, dir).await?),
        MigratorMode::RestoreEtcd => ("restored", load::etcd(remote, dir).await?),
        MigratorMode::RestoreDqlite => ("restored", load::dqlite(remote, dir).await?),
        MigratorMode::Copy => unreachable!("it has no directory of entries"),
    };
    Ok(format!("{done}: {count} entries"))
}
