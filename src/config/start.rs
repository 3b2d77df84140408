//! Decides how the node begins: for the first time from `init.yaml`, or again from its own files.
//!
//! A first start ends with init.yaml deleted: once the engine runs, or once the cluster has the
//! node that joins it. A crash before leaves it there, beside the flag of `dqlite::files` that says
//! so. The next start goes on, and asks the nodes that init.yaml names by then.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dqlite::{
    files::{
        self, CLUSTER_FILE, CLUSTER_ID_FILE, INFO_FILE, Identity, Wanted, stays_beside_init,
        sync_dir,
    },
    node::{DirLock, EngineState, engine_state, mark},
    wire::Server,
};
use serde::Deserialize;

use super::{ConfigError, yaml};
use crate::address::{AddressError, NodeAddress};

pub const INIT: &str = "init.yaml";
pub const UPDATE: &str = "update.yaml";

/// The flags of `dqlite::files`.
const BOOTSTRAP: &str = "bootstrap";
const JOIN: &str = "join";

/// The mark of a directory into which a snapshot is being restored.
pub const RESTORING: &str = "restoring";

/// The mark of a directory whose nodes are being given other addresses, which it has as `recover --addresses` takes them.
pub const READDRESSING: &str = "readdressing";

/// The way in which the node in the storage directory begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// As the first node of a new cluster.
    First { address: NodeAddress },
    /// As a new node of the cluster that these belong to.
    Join {
        address: NodeAddress,
        cluster: Vec<NodeAddress>,
    },
    /// As the node that it was, which may still be joining.
    Again,
    /// As the node that it was, under another address.
    Move { address: NodeAddress },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InitFile {
    address: Option<String>,
    cluster: Option<Vec<Option<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateFile {
    address: Option<String>,
}

impl Start {
    /// Finds out which node this is, and writes info.yaml and cluster.yaml if it is a new one. Call it before
    /// the node is created.
    pub fn identify(&self, lock: &DirLock) -> Result<Identity, ConfigError> {
        let (address, cluster) = self.wanted();
        let identity = files::identify(
            lock,
            Wanted {
                address,
                cluster: &cluster,
            },
        )?;
        parse_address(&lock.dir().join(INFO_FILE), "Address", &identity.address)?;
        Ok(identity)
    }

    /// Finds out the same without writing anything; none for a new node.
    pub fn check_identity(&self, dir: &Path) -> Result<Option<Identity>, ConfigError> {
        let (address, cluster) = self.wanted();
        let wanted = Wanted {
            address,
            cluster: &cluster,
        };
        Ok(files::check_identity(dir, wanted)?)
    }

    /// Returns the address of a new node, and those of the nodes that it joins.
    fn wanted(&self) -> (Option<&str>, Vec<String>) {
        let (address, cluster) = match self {
            Self::First { address } => (Some(address), &[][..]),
            Self::Join { address, cluster } => (Some(address), &cluster[..]),
            // The address was changed before.
            Self::Again | Self::Move { .. } => (None, &[][..]),
        };
        let cluster = cluster.iter().map(ToString::to_string).collect();
        (address.map(NodeAddress::as_str), cluster)
    }

    /// The first node runs, or the cluster has the new one: deletes init.yaml, and sees to it that the
    /// engine never begins a cluster here again.
    pub fn finish(&self, dir: &Path) -> Result<(), ConfigError> {
        if matches!(self, Self::Again | Self::Move { .. }) {
            return Ok(());
        }
        let path = dir.join(INIT);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ConfigError::Unwritable { path, source });
            }
            _ => {}
        }
        // Comes last: without the flag, init.yaml beside data is refused.
        match self {
            Self::Join { .. } => files::joined(dir)?,
            _ => files::bootstrapped(dir)?,
        }
        Ok(())
    }
}

/// `own_sockets` are those at which the API is served, which may be in `dir`.
pub(super) fn read(
    dir: &Path,
    own_sockets: &[&Path],
    with_tls: bool,
    warnings: &mut Vec<String>,
) -> Result<Start, ConfigError> {
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
    let mark = dir.join(RESTORING);
    if exists(&mark)? {
        return Err(ConfigError::Invalid {
            path: mark,
            reason:
                "the restore into this directory did not finish: run the same `k8s-dqlite restore` \
                     again, which begins anew"
                    .to_owned(),
        });
    }
    let mark = dir.join(READDRESSING);
    if let Some(addresses) = yaml::read(&mark)? {
        let reason = format!(
            "the change of all addresses did not finish: run `k8s-dqlite recover {} --yes --addresses {addresses}`, which goes on",
            super::quoted(dir)
        );
        return Err(ConfigError::Invalid { path: mark, reason });
    }
    let path = dir.join(INIT);
    if let Some(text) = yaml::read(&path)? {
        return first_start(dir, &path, &text, own_sockets, warnings);
    }
    let info = files::read_info(dir)?;
    let cluster = files::read_cluster(dir)?;
    if state == EngineState::Empty && info.is_none() && cluster.is_none() {
        return Err(not_initialised());
    }
    if let Some(address) = new_address(dir, warnings)? {
        return Ok(Start::Move { address });
    }
    let is_joining = exists(&dir.join(JOIN))?;
    if let (Some(info), Some(cluster), false) = (&info, &cluster, is_joining) {
        check_cluster(dir.join(CLUSTER_FILE), info, cluster)?;
    }
    Ok(Start::Again)
}

fn first_start(
    dir: &Path,
    path: &Path,
    text: &str,
    own_sockets: &[&Path],
    warnings: &mut Vec<String>,
) -> Result<Start, ConfigError> {
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
                "the key Address is missing: write a line such as Address: 10.0.0.1:29001"
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
    let cluster = others.map(|other| parse_address(path, "Cluster", &other));
    let cluster = cluster.collect::<Result<Vec<_>, _>>()?;
    let flag = if cluster.is_empty() { BOOTSTRAP } else { JOIN };
    let interrupted = exists(&dir.join(flag))?.then_some(flag);
    check_beside_init(dir, own_sockets, interrupted)?;
    if interrupted.is_some() {
        if files::read_info(dir)?.is_some_and(|info| info.address != address.as_str()) {
            return Err(foreign(dir, INFO_FILE));
        }
        warnings.push(format!(
            "{}: the first start was interrupted; it continues now",
            path.display()
        ));
    }
    Ok(match cluster.is_empty() {
        true => Start::First { address },
        false => Start::Join { address, cluster },
    })
}

/// The address in init.yaml, if there is one.
pub fn init_address(dir: &Path) -> Result<Option<NodeAddress>, ConfigError> {
    let path = dir.join(INIT);
    let Some(text) = yaml::read(&path)? else {
        return Ok(None);
    };
    let InitFile { address, .. } = yaml::parse(&path, &text)?.unwrap_or_default();
    let address = address.filter(|address| !address.is_empty());
    address
        .map(|address| parse_address(&path, "Address", &address))
        .transpose()
}

/// Returns whether init.yaml is that of a node that is to join others.
pub fn init_names_others(dir: &Path) -> Result<bool, ConfigError> {
    let path = dir.join(INIT);
    let Some(text) = yaml::read(&path)? else {
        return Ok(false);
    };
    let InitFile { cluster, .. } = yaml::parse(&path, &text)?.unwrap_or_default();
    let mut others = cluster.into_iter().flatten().flatten();
    Ok(others.any(|other| !other.is_empty()))
}

/// Makes a directory ready to be restored into, and marks it. The caller has locked it. Files that
/// an interrupted restore left, by its mark, are deleted; any other file of a node is refused.
pub fn prepare_restore(dir: &Path) -> Result<(), ConfigError> {
    let mark = dir.join(RESTORING);
    let unwritable = |path: &Path, source| ConfigError::Unwritable {
        path: path.to_owned(),
        source,
    };
    if exists(&mark)? {
        for entry in fs::read_dir(dir).map_err(|source| unwritable(dir, source))? {
            let name = entry.map_err(|source| unwritable(dir, source))?.file_name();
            let text = name.to_string_lossy();
            let path = dir.join(&name);
            if is_of_an_unborn_node(&text) || text.starts_with("snapshot-") {
                fs::remove_file(&path).map_err(|source| unwritable(&path, source))?;
            } else if !stays_beside_init(&text) && text != RESTORING {
                return Err(foreign(dir, &text));
            }
        }
        return Ok(());
    }
    check_beside_init(dir, &[], None)?;
    let marked = fs::File::create(&mark).and_then(|file| {
        file.sync_all()?;
        sync_dir(dir)
    });
    marked.map_err(|source| unwritable(&mark, source))
}

fn parse_address(path: &Path, key: &str, text: &str) -> Result<NodeAddress, ConfigError> {
    text.parse()
        .map_err(|error: AddressError| ConfigError::Invalid {
            path: path.to_owned(),
            reason: format!("{key} {text:?} is no address: {error}"),
        })
}

/// Fails if the directory is there and holds anything that a new node cannot have beside it.
pub fn check_unused(dir: &Path) -> Result<(), ConfigError> {
    match exists(dir)? {
        true => check_beside_init(dir, &[], None),
        false => Ok(()),
    }
}

/// Fails with the first name, in alphabetic order, that does not belong there.
fn check_beside_init(
    dir: &Path,
    own_sockets: &[&Path],
    interrupted: Option<&str>,
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
        let is_own_socket = || own_sockets.contains(&dir.join(&name).as_path());
        let text = name.to_string_lossy();
        let is_ours = interrupted.is_some_and(|flag| is_left_by(flag, &text));
        if !stays_beside_init(&text) && !is_ours && !is_own_socket() {
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

/// Returns whether a first start with this flag may leave the file. A node that joins may have got
/// its data already.
fn is_left_by(flag: &str, name: &str) -> bool {
    match flag {
        JOIN => {
            name == JOIN
                || name.starts_with("snapshot-")
                || (name != BOOTSTRAP && is_of_an_unborn_node(name))
        }
        _ => is_of_an_unborn_node(name),
    }
}

/// Returns whether a node writes the file before it has started once.
fn is_of_an_unborn_node(name: &str) -> bool {
    let is_segment = name.len() == 33
        && name.bytes().enumerate().all(|(at, byte)| match at {
            16 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    matches!(
        name,
        BOOTSTRAP
            | INFO_FILE
            | CLUSTER_FILE
            | CLUSTER_ID_FILE
            | "metadata1"
            | "metadata2"
            | mark::FILE_NAME
    ) || name.starts_with("open-")
        || is_segment
}

/// Returns the address in update.yaml, if the file exists.
fn new_address(dir: &Path, warnings: &mut Vec<String>) -> Result<Option<NodeAddress>, ConfigError> {
    let path = dir.join(UPDATE);
    let Some(text) = yaml::read(&path)? else {
        return Ok(None);
    };
    let invalid = |reason: &str| ConfigError::Invalid {
        path: path.clone(),
        reason: reason.to_owned(),
    };
    let UpdateFile { address } = yaml::parse(&path, &text)?.unwrap_or_default();
    for key in yaml::unknown_keys(&text, &["Address"]) {
        let path = path.display();
        warnings.push(format!(
            "{path}: the key {key:?} is not known and has no effect"
        ));
    }
    let address = address.filter(|address| !address.is_empty());
    let address = address.ok_or_else(|| {
        invalid(
            "the key Address is missing: write a line such as Address: 10.0.0.1:29001, or delete the \
             file to go on with the old address",
        )
    })?;
    let address = parse_address(&path, "Address", &address)?;
    if address.is_unspecified() {
        return Err(invalid(
            "no other node could reach that Address: write the one that others dial",
        ));
    }
    if exists(&dir.join(JOIN))? || exists(&dir.join(BOOTSTRAP))? {
        return Err(invalid(
            "the first start of this node is not finished: delete update.yaml, and begin anew with \
             an empty directory and the new address in init.yaml",
        ));
    }
    Ok(Some(address))
}

fn exists(path: &Path) -> Result<bool, ConfigError> {
    path.try_exists().map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn check_cluster(path: PathBuf, own: &Server, cluster: &[Server]) -> Result<(), ConfigError> {
    match cluster {
        [only] if only.address != own.address => {
            let reason = format!(
                "does not list this node, whose address in info.yaml is {}",
                own.address
            );
            Err(ConfigError::Invalid { path, reason })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
