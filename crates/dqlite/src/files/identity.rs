//! Decides at every start which node a directory belongs to.
//!
//! The rules are go-dqlite's (app/app.go, `New`), except that its "inconsistent" pair of files is
//! understood: a new node writes its flag, then `cluster.yaml`, then `info.yaml`, and each prefix
//! of that, as well as a lost `cluster.yaml`, leads to the same node as before.

use std::path::Path;

use super::{
    FileError,
    flag::{self, BOOTSTRAP, JOIN},
    read_cluster, read_info, write_cluster, write_info,
};
use crate::{
    node::{BOOTSTRAP_ID, DirLock, EngineState, engine_state, generate_node_id},
    wire::{NodeId, Role, Server},
};

/// The identity that the configuration asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Needed for a new node; has to be the same for an old one.
    pub address: Option<&'a str>,
    /// Members to join. None: a new node begins a cluster of its own.
    pub cluster: &'a [String],
}

/// The facts that a node needs to know about itself before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: NodeId,
    pub address: String,
    /// The nodes to ask for the leader.
    pub cluster: Vec<Server>,
    /// The node is not a member yet. See [`joined`].
    pub is_joining: bool,
    /// The engine may begin a new cluster. See [`bootstrapped`].
    pub bootstrap: bool,
}

/// Finds out or decides which node this is, and writes down what is new.
pub fn identify(lock: &DirLock, wanted: Wanted<'_>) -> Result<Identity, FileError> {
    let dir = lock.dir();
    let found = Found::read(dir)?;
    let identity = decide(dir, &found, wanted, generate_id)?;
    write(dir, &found, &identity)?;
    Ok(identity)
}

/// Finds out the same, and writes nothing. A new node has no id yet.
pub fn check_identity(dir: &Path, wanted: Wanted<'_>) -> Result<Option<Identity>, FileError> {
    let found = Found::read(dir)?;
    let is_known = found.info.is_some() || found.engine != EngineState::Empty;
    let identity = decide(dir, &found, wanted, |_| Ok(BOOTSTRAP_ID))?;
    Ok(is_known.then_some(identity))
}

/// The engine has begun its cluster; it must never do so again here.
pub fn bootstrapped(dir: &Path) -> Result<(), FileError> {
    flag::clear(dir, BOOTSTRAP)
}

/// The node is a member now.
pub fn joined(dir: &Path) -> Result<(), FileError> {
    flag::clear(dir, JOIN)
}

struct Found {
    info: Option<Server>,
    cluster: Option<Vec<Server>>,
    join: bool,
    bootstrap: bool,
    engine: EngineState,
}

impl Found {
    fn read(dir: &Path) -> Result<Self, FileError> {
        Ok(Self {
            info: read_info(dir)?,
            cluster: read_cluster(dir)?,
            join: flag::is_set(dir, JOIN)?,
            bootstrap: flag::is_set(dir, BOOTSTRAP)?,
            engine: engine_state(dir).map_err(FileError::io("list", dir))?,
        })
    }
}

fn decide(
    dir: &Path,
    found: &Found,
    wanted: Wanted<'_>,
    generate_id: impl FnOnce(&str) -> Result<NodeId, FileError>,
) -> Result<Identity, FileError> {
    let is_member = !found.join && !found.bootstrap;
    match &found.info {
        Some(_) if found.engine == EngineState::Empty && is_member => Err(FileError::DataLost {
            dir: dir.to_owned(),
        }),
        Some(info) => known(dir, found, wanted, info),
        None if found.engine != EngineState::Empty => {
            let info = known_by_address(found, wanted).ok_or_else(|| FileError::IdLost {
                dir: dir.to_owned(),
            })?;
            known(dir, found, wanted, info)
        }
        // A new node that stopped half-way has left its flag.
        None if found.cluster.is_some() && is_member => Err(FileError::OnlyCluster {
            dir: dir.to_owned(),
        }),
        None => new(wanted, generate_id),
    }
}

fn new(
    wanted: Wanted<'_>,
    generate_id: impl FnOnce(&str) -> Result<NodeId, FileError>,
) -> Result<Identity, FileError> {
    let address = wanted
        .address
        .filter(|a| !a.is_empty())
        .ok_or(FileError::AddressMissing)?;
    let is_joining = !wanted.cluster.is_empty();
    Ok(Identity {
        id: generate_id(address)?,
        address: address.to_owned(),
        cluster: if is_joining {
            unknown(wanted.cluster)
        } else {
            unknown(&[address.to_owned()])
        },
        is_joining,
        bootstrap: !is_joining,
    })
}

fn known(
    dir: &Path,
    found: &Found,
    wanted: Wanted<'_>,
    info: &Server,
) -> Result<Identity, FileError> {
    if let Some(address) = wanted.address
        && address != info.address
    {
        return Err(FileError::AddressChanged {
            found: info.address.clone(),
            wanted: address.to_owned(),
        });
    }
    if info.id == BOOTSTRAP_ID && found.join {
        return Err(FileError::FirstNodeJoins {
            dir: dir.to_owned(),
        });
    }
    let cluster = match &found.cluster {
        // Whom to ask may have been corrected since.
        Some(cluster) if found.join && !wanted.cluster.is_empty() => {
            with_unknown(cluster, wanted.cluster)
        }
        Some(cluster) if !cluster.is_empty() => cluster.clone(),
        _ if found.join && wanted.cluster.is_empty() => return Err(FileError::ClusterMissing),
        _ if found.join => unknown(wanted.cluster),
        _ => unknown(std::iter::once(&info.address).chain(wanted.cluster)),
    };
    Ok(Identity {
        id: info.id,
        address: info.address.clone(),
        cluster,
        is_joining: found.join,
        bootstrap: found.bootstrap,
    })
}

/// The member with our address, if `info.yaml` is lost and `cluster.yaml` is not.
fn known_by_address<'a>(found: &'a Found, wanted: Wanted<'_>) -> Option<&'a Server> {
    let address = wanted.address?;
    found
        .cluster
        .iter()
        .flatten()
        .find(|server| !server.id.is_unknown() && server.address == address)
}

/// Servers of which only the address is known.
fn unknown<'a>(addresses: impl IntoIterator<Item = &'a String>) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for address in addresses {
        if servers.iter().all(|server| server.address != *address) {
            servers.push(Server {
                id: NodeId::UNKNOWN,
                address: address.clone(),
                role: Role::Voter,
            });
        }
    }
    servers
}

/// The servers, and those of the addresses that are none of theirs.
fn with_unknown(servers: &[Server], addresses: &[String]) -> Vec<Server> {
    let mut all = servers.to_vec();
    let is_new = |server: &Server| servers.iter().all(|s| s.address != server.address);
    all.extend(unknown(addresses).into_iter().filter(is_new));
    all
}

/// `info.yaml` comes last: it makes the rest count.
fn write(dir: &Path, found: &Found, identity: &Identity) -> Result<(), FileError> {
    let is_new = found.info.is_none();
    if is_new && identity.is_joining {
        flag::set(dir, JOIN)?;
        flag::clear(dir, BOOTSTRAP)?;
    }
    if is_new && identity.bootstrap {
        flag::set(dir, BOOTSTRAP)?;
        flag::clear(dir, JOIN)?;
    }
    if found.cluster.as_ref() != Some(&identity.cluster) {
        if !is_new && found.cluster.as_deref().is_none_or(<[Server]>::is_empty) {
            tracing::warn!(dir = %dir.display(), "cluster.yaml was missing; it was written again");
        }
        write_cluster(dir, &identity.cluster)?;
    }
    if is_new {
        let (id, address) = (identity.id, identity.address.clone());
        write_info(
            dir,
            &Server {
                id,
                address,
                role: Role::Voter,
            },
        )?;
    }
    Ok(())
}

fn generate_id(address: &str) -> Result<NodeId, FileError> {
    generate_node_id(address).map_err(|_| FileError::AddressInvalid {
        address: address.to_owned(),
    })
}

#[cfg(test)]
mod tests;
