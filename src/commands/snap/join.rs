//! `snap set k8s-dqlite join-token=…`: becoming a node of another cluster.
//!
//! The token is shown by k8sd, which gets the pair and the addresses of the nodes for it and writes them into a new
//! storage directory beside the one in use. The server takes it at its restart, and moves the old one aside.

use std::process::Command;

use super::{
    HookError, SnapPaths,
    address::{is_managed, manager_address, node_address},
    paths::MANAGER,
    settings::Settings,
    snapctl,
};
use crate::{
    commands::{machine, status},
    config::next_of,
};

/// The revision of a store to which nothing was ever written.
const FIRST_REVISION: i64 = 1;

pub async fn run(
    paths: &SnapPaths,
    settings: &Settings,
    token: &str,
    now_s: i64,
) -> Result<(), HookError> {
    if is_managed(paths) {
        return Err(HookError::Refused(
            "join-token: this node is part of a cluster already: `k8s-dqlite.k8sd members` shows it".to_owned(),
        ));
    }
    check_unused(paths, now_s).await?;
    let node = node_address(paths, settings)?;
    let name = settings.name.clone().unwrap_or_else(machine::host_name);
    let mut k8sd = Command::new(paths.program(MANAGER));
    k8sd.args(["join", "-"])
        .arg("--state-dir")
        .arg(paths.manager())
        .args(["--name", &name, "--address", &manager_address(&node)])
        .arg("--datastore-dir")
        .arg(next_of(&paths.storage()))
        .args(["--datastore-address", &node]);
    if let Some(domain) = &settings.failure_domain {
        k8sd.args(["--failure-domain", domain]);
    }
    // On its command line, every user of this machine would see the token.
    match snapctl::run_with(&mut k8sd, "k8sd join", token) {
        Err(HookError::Program { output, .. }) => {
            Err(HookError::Refused(format!("join-token: {output}")))
        }
        done => done.map(drop),
    }
}

/// Fails unless this node is alone and its store is empty: joining puts the other cluster's data in its place.
async fn check_unused(paths: &SnapPaths, now_s: i64) -> Result<(), HookError> {
    let storage_dir = paths.storage();
    if !storage_dir.join(dqlite::files::INFO_FILE).exists() {
        return Ok(());
    }
    let refused = |reason: String| {
        Err(HookError::Refused(format!(
            "join-token: {reason}, and joining would put the other cluster's data in its place. To give it up, move \
             {} away and restart first",
            storage_dir.display()
        )))
    };
    let report = status::run(&storage_dir, None, now_s).await?;
    match report.revision {
        _ if report.nodes.len() > 1 => {
            refused("this node is one of a cluster of several".to_owned())
        }
        Some(FIRST_REVISION) => Ok(()),
        Some(revision) => refused(format!(
            "this datastore has been written to, up to revision {revision}"
        )),
        None => refused(
            "this datastore does not answer, so it cannot be told whether it is empty".to_owned(),
        ),
    }
}
