//! The hooks of the snap: `k8s-dqlite snap-hook NAME`.
//!
//! | Module | Owns |
//! |---|---|
//! | `paths` | the directories of the snap and what is where in them |
//! | `snapctl` | the settings, and what is asked of snapd |
//! | `settings` | what each setting may be. Pure |
//! | `args` | the flags in an args file that settings decide. Pure |
//! | `address` | this machine's name and address |
//! | `check` | whether this machine can have the addresses |
//! | `certificate` | the pair of a new cluster |
//! | `install`, `configure`, `refresh`, `health`, `remove` | the hooks |
//! | `join` | becoming a node of another cluster, by a token |
//!
//! Invariants: a hook that is run again changes nothing more; one that fails has changed nothing that matters, because
//! snapd keeps the old settings then. Nothing with data in it is deleted, only moved aside.

mod address;
mod args;
mod certificate;
mod check;
mod configure;
mod health;
mod install;
mod join;
mod paths;
mod refresh;
mod remove;
mod settings;
mod snapctl;

pub use self::check::check_socket;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

pub use self::paths::SnapPaths;
use crate::{args::Hook, config::ConfigError};

/// The text is for the person who ran `snap`: snapd shows it.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("{0} is not set: this is for the hooks of the snap, see docs/operations.md")]
    NoSnap(&'static str),
    /// One line for each setting that is wrong.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{program} cannot be run: {source}")]
    Run { program: String, source: io::Error },
    #[error("{program} failed: {output}")]
    Program { program: String, output: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The hook would lose something, or cannot be run now.
    #[error("{0}")]
    Refused(String),
}

impl HookError {
    fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// `now_s`: since 1970.
pub async fn run(hook: Hook, paths: &SnapPaths, now_s: i64) -> Result<(), HookError> {
    match hook {
        Hook::Install => install::run(paths),
        Hook::Configure => configure::run(paths, now_s).await,
        Hook::PreRefresh => refresh::before(paths, now_s).await,
        Hook::PostRefresh => refresh::after(paths),
        Hook::CheckHealth => health::run(paths, now_s).await,
        Hook::Remove => {
            remove::run(paths);
            Ok(())
        }
    }
}
