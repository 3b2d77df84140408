//! How the node begins: for the first time from `init.yaml`, or again from `info.yaml` and
//! `cluster.yaml`.
//!
//! A first start writes info.yaml and cluster.yaml before the engine touches the directory, and deletes
//! init.yaml once the engine runs. A crash in between leaves init.yaml beside them, and the next start
//! goes on where it ended.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dqlite::node::{BOOTSTRAP_ID, DirLock, EngineState, engine_state};
use serde::Deserialize;

use super::{
    ConfigError,
    node_files::{self, CLUSTER, INFO, NodeInfo, TEMPORARY},
    yaml,
};
use crate::args::{AddressError, NodeAddress};

const INIT: &str = "init.yaml";
const UPDATE: &str = "update.yaml";
/// go-dqlite's mark for a node that did not finish joining.
const JOIN: &str = "join";

/// What may lie beside init.yaml: what the Go server allows, what a mount point has, and what a start
/// that failed leaves behind.
const BESIDE_INIT: [&str; 8] = [
    "cluster.crt",
    "cluster.key",
    INIT,
    "failure-domain",
    "tuning.yaml",
    "lost+found",
    "dqlite-lock",
    TEMPORARY,
];

/// Who this node is, and whether it starts for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartState {
    pub node_id: u64,
    pub address: NodeAddress,
    /// Whether the directory may become a new cluster; then init.yaml is there.
    pub is_first: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InitFile {
    address: Option<String>,
    cluster: Option<Vec<Option<String>>>,
}

impl StartState {
    /// Writes info.yaml and cluster.yaml if this is the first start. Call it with the directory locked,
    /// before the node is created.
    pub fn record(&self, lock: &DirLock) -> Result<(), ConfigError> {
        if !self.is_first {
            return Ok(());
        }
        let node = NodeInfo::new(self.node_id, self.address.as_str());
        node_files::write(lock.dir(), INFO, &node)?;
        node_files::write(lock.dir(), CLUSTER, &[node])
    }

    /// Deletes init.yaml if this was the first start. Call it once the node runs.
    pub fn finish(&self, dir: &Path) -> Result<(), ConfigError> {
        if !self.is_first {
            return Ok(());
        }
        let path = dir.join(INIT);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        removed
            .and_then(|()| node_files::sync_dir(dir))
            .map_err(|source| ConfigError::Unwritable { path, source })
    }
}

/// `own_socket` is where the API is served, which may be in `dir`.
pub(super) fn read(
    dir: &Path,
    own_socket: Option<&Path>,
    with_tls: bool,
    warnings: &mut Vec<String>,
) -> Result<StartState, ConfigError> {
    let not_initialised = || ConfigError::NotInitialised {
        dir: dir.to_owned(),
        with_tls,
    };
    let state = match engine_state(dir) {
        Ok(state) => state,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_initialised()),
        Err(source) => {
            return Err(ConfigError::Unreadable {
                path: dir.to_owned(),
                source,
            });
        }
    };
    let path = dir.join(INIT);
    if let Some(text) = yaml::read(&path)? {
        return first_start(dir, &path, &text, own_socket, warnings);
    }
    let info = node_files::read_info(dir)?;
    let cluster = node_files::read_cluster(dir)?;
    refuse_what_is_to_come(dir)?;
    match (info, cluster) {
        (None, None) if state == EngineState::Empty => Err(not_initialised()),
        (Some(info), Some(cluster)) => restart(dir, &info, &cluster),
        (None, cluster) => {
            let other = if cluster.is_some() {
                CLUSTER
            } else {
                "the files of dqlite"
            };
            let content = format!("  ID: {BOOTSTRAP_ID}\n  Address: <host:port>\n  Role: 0");
            Err(incomplete(dir, INFO, other, content))
        }
        (Some(info), None) => {
            let NodeInfo { id, address, .. } = info;
            let content = format!("  - ID: {id}\n    Address: {address}\n    Role: 0");
            Err(incomplete(dir, CLUSTER, INFO, content))
        }
    }
}

fn incomplete(dir: &Path, missing: &str, other: &str, content: String) -> ConfigError {
    ConfigError::Incomplete {
        path: dir.join(missing),
        other: other.into(),
        content,
    }
}

fn first_start(
    dir: &Path,
    path: &Path,
    text: &str,
    own_socket: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<StartState, ConfigError> {
    let invalid = |reason| ConfigError::Invalid {
        path: path.to_owned(),
        reason,
    };
    let InitFile { address, cluster } = yaml::parse(path, text)?.unwrap_or_default();
    for key in yaml::unknown_keys(text, &["Address", "Cluster"]) {
        let path = path.display();
        warnings.push(format!(
            "{path}: the key {key:?} is not known and has no effect"
        ));
    }
    let address = address
        .filter(|address| !address.is_empty())
        .ok_or_else(|| {
            invalid(
                "the key Address is missing: write a line such as Address: 127.0.0.1:9000"
                    .to_owned(),
            )
        })?;
    let address = parse_address(path, "Address", &address)?;
    if address.is_unspecified() {
        let path = path.display();
        warnings.push(format!(
            "{path}: no other node will be able to reach Address {address}"
        ));
    }
    let others = cluster.into_iter().flatten().flatten();
    let others = others.filter(|other| !other.is_empty() && other != address.as_str());
    if let Some(other) = others.into_iter().next() {
        parse_address(path, "Cluster", &other)?;
        let what = format!("joining the cluster of {other}");
        return Err(ConfigError::NotInThisVersion {
            path: path.to_owned(),
            what,
        });
    }
    let was_interrupted = match node_files::read_info(dir)? {
        None => false,
        Some(info) if info.id == BOOTSTRAP_ID && info.address == address.as_str() => true,
        Some(_) => return Err(foreign(dir, INFO)),
    };
    check_beside_init(dir, own_socket, was_interrupted)?;
    if was_interrupted {
        warnings.push(format!(
            "{}: the first start was interrupted, and goes on",
            path.display()
        ));
    }
    Ok(StartState {
        node_id: BOOTSTRAP_ID,
        address,
        is_first: true,
    })
}

fn parse_address(path: &Path, key: &str, text: &str) -> Result<NodeAddress, ConfigError> {
    text.parse()
        .map_err(|error: AddressError| ConfigError::Invalid {
            path: path.to_owned(),
            reason: format!("{key} {text:?} is no address: {error}"),
        })
}

/// Fails with the first name, in alphabetic order, that does not belong there.
fn check_beside_init(
    dir: &Path,
    own_socket: Option<&Path>,
    was_interrupted: bool,
) -> Result<(), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: dir.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name());
    }
    names.sort();
    for name in names {
        let is_own_socket = || own_socket == Some(dir.join(&name).as_path());
        let text = name.to_string_lossy();
        let is_ours = was_interrupted && is_of_a_young_node(&text);
        if !BESIDE_INIT.contains(&text.as_ref()) && !is_ours && !is_own_socket() {
            return Err(foreign(dir, &text));
        }
    }
    Ok(())
}

fn foreign(dir: &Path, name: &str) -> ConfigError {
    ConfigError::ForeignFile {
        dir: dir.to_owned(),
        name: name.to_owned(),
    }
}

/// What the engine writes in its first moments. A node that has a snapshot has lived on after its first
/// start, and its init.yaml is a mistake.
fn is_of_a_young_node(name: &str) -> bool {
    let is_segment = name.len() == 33
        && name.bytes().enumerate().all(|(at, byte)| match at {
            16 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    matches!(name, INFO | CLUSTER | "metadata1" | "metadata2")
        || name.starts_with("open-")
        || name.starts_with("tmp-")
        || is_segment
}

fn refuse_what_is_to_come(dir: &Path) -> Result<(), ConfigError> {
    for (name, what) in [
        (
            UPDATE,
            "changing the address of a node (delete the file to go on with the old one)",
        ),
        (JOIN, "joining a cluster"),
    ] {
        let path = dir.join(name);
        match path.try_exists() {
            Ok(false) => {}
            Ok(true) => {
                return Err(ConfigError::NotInThisVersion {
                    path,
                    what: what.to_owned(),
                });
            }
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        }
    }
    Ok(())
}

fn restart(dir: &Path, info: &NodeInfo, cluster: &[NodeInfo]) -> Result<StartState, ConfigError> {
    let path = dir.join(INFO);
    if info.id == 0 {
        let reason = "the ID of this node is 0 or missing: restore the file from a backup";
        return Err(ConfigError::Invalid {
            path,
            reason: reason.to_owned(),
        });
    }
    let address = parse_address(&path, "Address", &info.address)?;
    check_cluster(dir.join(CLUSTER), info, cluster)?;
    Ok(StartState {
        node_id: info.id,
        address,
        is_first: false,
    })
}

fn check_cluster(path: PathBuf, own: &NodeInfo, cluster: &[NodeInfo]) -> Result<(), ConfigError> {
    match cluster {
        [only] if only.address == own.address => Ok(()),
        [] | [_] => {
            let reason = format!(
                "does not list this node, whose address in info.yaml is {}",
                own.address
            );
            Err(ConfigError::Invalid { path, reason })
        }
        _ => {
            let what = format!("running a cluster of {} nodes", cluster.len());
            Err(ConfigError::NotInThisVersion { path, what })
        }
    }
}

#[cfg(test)]
mod tests;
