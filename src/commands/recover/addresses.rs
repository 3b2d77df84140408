//! The cluster has moved to other addresses, all nodes at once: each gets them in its own directory, with the same command.
//!
//! Nothing is recovered: no node is left out, and the cluster and its history stay. The log says the same as before but
//! for the addresses, so it does not matter how far each node has come, nor in which order the command is run.
//!
//! Invariant: the file [`READDRESSING`] is there until all is written, and no server starts beside it.

use std::{fs, path::Path};

use dqlite::{
    cluster::listening,
    files::{is_moving, read_cluster, read_info, remove_file, replace, write_cluster, write_info},
    log::AddressChanges,
    node::{DirLock, change_addresses, read_log},
    wire::Server,
};

use super::{RecoverError, backup};
use crate::{
    args::{Accepted, AddressArg, RecoverArgs},
    config::{ConfigError, INIT, READDRESSING, UPDATE},
};

pub async fn run(dir: &Path, args: &RecoverArgs, now_s: i64) -> Result<String, RecoverError> {
    if args.dirs.len() > 1 {
        return Err(RecoverError::Refused(
            "with --addresses name one directory, that of this node".to_owned(),
        ));
    }
    let lock = DirLock::acquire(dir)?;
    let wanted = list(&args.addresses);
    let is_begun = begun(dir, &wanted)?;
    let own = read_info(dir).map_err(ConfigError::from)?;
    let own = own.ok_or_else(|| refused(dir, "it has no info.yaml: it is not that of a node"))?;
    check_idle(dir)?;
    let cluster = read_cluster(dir).map_err(ConfigError::from)?;
    let report = read_log(&lock, own.id)?;
    let servers = match report.configuration {
        Some(configuration) => configuration.servers,
        // A node that has joined, and has nothing from the leader yet.
        None => cluster.clone().unwrap_or_default(),
    };
    let changes = changes(&args.addresses)
        .and_then(|changes| changes.check(&servers).map(|()| changes))
        .map_err(|fault| refused(dir, &format!("{fault}\n{}", table(&servers, None))))?;
    let changed = changes.applied(&servers);
    let moved = moved(&changes, &own);
    if changed.is_none() && moved == own && !is_begun {
        return Ok(format!("{} has these addresses already\n", dir.display()));
    }
    let table = table(&servers, changed.as_deref());
    if !args.force.contains(&Accepted::LeaveOthersRunning) {
        let running = listening(others(&args.addresses, &own.address)).await;
        if !running.is_empty() {
            return Err(refused(dir, &still_run(&running)));
        }
    }
    if !args.yes {
        return Ok(format!(
            "{table}\nThis would give the nodes these addresses in {}. All keep their data. Nothing was changed: do it with \
             --yes, with the same list on each node, while it is stopped\n",
            dir.display()
        ));
    }
    let copy = match is_begun {
        true => None,
        false => Some(backup::copy(dir, now_s)?),
    };
    let mark = dir.join(READDRESSING);
    replace(&mark, wanted.as_bytes(), 0o600).map_err(|error| unwritable(&mark, error))?;
    change_addresses(&lock, &changes)?;
    if let Some(cluster) = cluster {
        let cluster = changes.applied(&cluster).unwrap_or(cluster);
        write_cluster(dir, &cluster).map_err(ConfigError::from)?;
    }
    write_info(dir, &moved).map_err(ConfigError::from)?;
    remove_file(&mark).map_err(ConfigError::from)?;
    let kept = copy.map_or(String::new(), |copy| {
        format!(
            " The directory as it was is {}: delete it when all is well.",
            copy.display()
        )
    });
    Ok(format!(
        "{table}\nDone: this node is at {}.{kept}\nRun the same command on each other node while it is stopped, and start \
         them: they elect a leader as soon as a majority runs\n",
        moved.address
    ))
}

fn refused(dir: &Path, reason: &str) -> RecoverError {
    RecoverError::Refused(format!("{}: {reason}", dir.display()))
}

/// Returns where the other nodes are as long as they have not moved. Where one moves to, it may have been started already.
fn others(addresses: &[AddressArg], own: &str) -> Vec<String> {
    let olds = addresses.iter().map(|it| it.old.to_string());
    olds.filter(|old| old != own).collect()
}

fn still_run(running: &[String]) -> String {
    format!(
        "other nodes still run, or something does at their old addresses: {}.\nStop k8s-dqlite on all nodes first, run this on \
         each, and start them only then: nodes with the old addresses and nodes with the new ones make two clusters. To move \
         one node of a cluster that runs, write its new address into update.yaml. If no node of this cluster is there, add \
         --force=leave-others-running",
        running.join(", ")
    )
}

fn unwritable(path: &Path, source: std::io::Error) -> ConfigError {
    ConfigError::Unwritable {
        path: path.to_owned(),
        source,
    }
}

fn list(addresses: &[AddressArg]) -> String {
    let changes = addresses.iter().map(|it| format!("{}={}", it.old, it.new));
    let mut changes: Vec<String> = changes.collect();
    changes.sort();
    changes.join(",")
}

fn changes(addresses: &[AddressArg]) -> Result<AddressChanges, dqlite::log::AddressFault> {
    let pairs = addresses
        .iter()
        .map(|it| (it.old.to_string(), it.new.to_string()));
    AddressChanges::new(pairs.collect())
}

fn moved(changes: &AddressChanges, own: &Server) -> Server {
    let own_alone = std::slice::from_ref(own);
    let changed = changes.applied(own_alone).and_then(|mut it| it.pop());
    changed.unwrap_or_else(|| own.clone())
}

/// Returns whether the same was begun and cut short. Fails if something else was.
fn begun(dir: &Path, wanted: &str) -> Result<bool, RecoverError> {
    let path = dir.join(READDRESSING);
    match fs::read_to_string(&path) {
        Ok(found) if found == wanted => Ok(true),
        Ok(found) => Err(refused(
            dir,
            &format!(
                "other addresses were begun and not finished: run it with --addresses {found}"
            ),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ConfigError::Unreadable { path, source }.into()),
    }
}

/// Fails where the next start would change the address, or has not ended.
fn check_idle(dir: &Path) -> Result<(), RecoverError> {
    if dir.join(INIT).exists() {
        return Err(refused(
            dir,
            "it has an init.yaml, so its first start is not finished: write the new addresses into that",
        ));
    }
    let is_moving = is_moving(dir).map_err(ConfigError::from)?;
    match dir.join(UPDATE).exists() || is_moving {
        true => Err(refused(
            dir,
            "its own address is being changed by update.yaml: delete that file, and the file move if it is there",
        )),
        false => Ok(()),
    }
}

fn table(servers: &[Server], changed: Option<&[Server]>) -> String {
    let rows = servers.iter().enumerate().map(|(at, server)| {
        let new = changed.and_then(|changed| changed.get(at));
        vec![
            format!("{:x}", server.id),
            server.address.clone(),
            new.unwrap_or(server).address.clone(),
        ]
    });
    tables::columns(&["NODE", "ADDRESS", "NEW ADDRESS"], rows)
}
