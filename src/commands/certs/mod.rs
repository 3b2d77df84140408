//! The sub-command `certs`: the pair that nodes show each other, and another one in its place while they run.
//!
//! Decides nothing: `cluster::certificates` says what comes next, from what all nodes say. Invariants: the new key goes only
//! to nodes of the cluster, with TLS 1.3 and both sides proven; a step is asked for only after every node has answered.

mod manager;
mod nodes;
mod pair;
mod rotate;
mod show;

use openssl::error::ErrorStack;

use crate::{
    args::{CertsArgs, CertsCommand},
    cluster::certificates::Conflict,
    config::ConfigError,
};

#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the pair cannot be made: {0}")]
    NewPair(#[from] ErrorStack),
    /// Nothing was changed.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Conflict(#[from] Conflict),
    #[error("{0}")]
    Unreachable(String),
    /// All nodes use the new pair.
    #[error(
        "all nodes use the new pair, SHA-256 {new}, but k8sd has the former one: {reason}\nNodes cannot join by a token before \
         this is done: {command}"
    )]
    Manager {
        /// Its fingerprint.
        new: String,
        reason: String,
        command: String,
    },
}

/// Returns what is to be printed. `now_s` is in seconds since 1970.
pub async fn run(args: &CertsArgs, now_s: i64) -> Result<String, CertsError> {
    match &args.command {
        None => show::run(&args.storage_dir, now_s).await,
        Some(CertsCommand::Show(wanted)) => show::run(&wanted.storage_dir, now_s).await,
        Some(CertsCommand::Rotate(wanted)) => rotate::run(wanted, now_s).await,
    }
}
