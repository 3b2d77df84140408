//! The files beside the engine's own in a data directory: which node this is, and whom it knows.
//!
//! | File | Content |
//! |---|---|
//! | `info.yaml` | id, fixed for the life of the directory, and address of this node |
//! | `cluster.yaml` | the members last seen, to find the leader with |
//! | `cluster-id.yaml` | the history that the directory belongs to; go-dqlite does not know it |
//! | `join` | empty: the node has not become a member yet |
//! | `bootstrap` | empty: the engine may begin a new cluster here; go-dqlite does not know it |
//! | `move` | empty: the cluster is being told another address of this node; go-dqlite does not know it |
//!
//! Invariants: written by go-dqlite or by us, the bytes are the same (go-dqlite: app/files.go,
//! client/store.go), so either can take over a directory; a file is there as a whole or not at all,
//! whenever the machine stops; no crash leaves a state that needs repair by hand.

mod atomic;
mod beside;
mod cluster_id;
mod durable;
mod error;
mod flag;
mod identity;
mod yaml;

use std::path::Path;

pub(crate) use atomic::{FILE_BYTES_MAX, read as read_text};
pub use beside::{BESIDE_INIT, stays_beside_init};
pub use cluster_id::{CLUSTER_ID_FILE, HistoryId, read_cluster_id, write_cluster_id};
pub use durable::{TEMPORARY_PREFIX, parent, remove_if_there, replace, sync_dir};
pub use error::FileError;
pub use identity::{Identity, Wanted, bootstrapped, check_identity, identify, joined};

pub use yaml::{scalar as yaml_value, without_mark};

use crate::wire::Server;

/// Names of all files that say which node this is; without them and the engine's, the directory is a
/// new node's.
pub const IDENTITY_FILES: [&str; 6] = [
    INFO_FILE,
    CLUSTER_FILE,
    CLUSTER_ID_FILE,
    flag::JOIN,
    flag::BOOTSTRAP,
    flag::MOVE,
];

pub const INFO_FILE: &str = "info.yaml";
pub const CLUSTER_FILE: &str = "cluster.yaml";

/// This node, or `None` on a directory without `info.yaml`.
pub fn read_info(dir: &Path) -> Result<Option<Server>, FileError> {
    read_info_copy(dir, INFO_FILE)
}

/// Reads an info.yaml that is kept under another name.
pub fn read_info_copy(dir: &Path, name: &str) -> Result<Option<Server>, FileError> {
    let path = dir.join(name);
    let Some(text) = atomic::read(&path)? else {
        return Ok(None);
    };
    let info = yaml::parse_one(&text).map_err(|reason| FileError::damaged(&path, reason))?;
    if info.id.is_unknown() {
        return Err(FileError::damaged(&path, "ID is missing or 0"));
    }
    if info.address.is_empty() {
        return Err(FileError::damaged(&path, "Address is missing or empty"));
    }
    Ok(Some(info))
}

/// Returns whether a change of the address was begun and has not ended.
pub fn is_moving(dir: &Path) -> Result<bool, FileError> {
    flag::is_set(dir, flag::MOVE)
}

/// Notes that from now on the cluster may no longer have this node under its old address.
pub fn begin_move(dir: &Path) -> Result<(), FileError> {
    flag::set(dir, flag::MOVE)
}

/// Notes that the cluster has this node under its new address.
pub fn end_move(dir: &Path) -> Result<(), FileError> {
    flag::clear(dir, flag::MOVE)
}

/// Removes a file so that it stays removed after a power failure.
pub fn remove_file(path: &Path) -> Result<(), FileError> {
    atomic::remove(path)
}

/// Keeps a copy of a file, if it is there, beside it under this name.
pub fn keep_copy(path: &Path, name: &str) -> Result<(), FileError> {
    match atomic::read(path)? {
        Some(text) => atomic::write(&path.with_file_name(name), &text),
        None => Ok(()),
    }
}

pub fn write_info(dir: &Path, info: &Server) -> Result<(), FileError> {
    atomic::write(&dir.join(INFO_FILE), &yaml::format_one(info))
}

/// The known members, or `None` on a directory without `cluster.yaml`. Ids are 0 before the first
/// contact.
pub fn read_cluster(dir: &Path) -> Result<Option<Vec<Server>>, FileError> {
    let path = dir.join(CLUSTER_FILE);
    let Some(text) = atomic::read(&path)? else {
        return Ok(None);
    };
    let servers = yaml::parse_list(&text).map_err(|reason| FileError::damaged(&path, reason))?;
    Ok(Some(servers))
}

/// The members that a file of cluster.yaml's form names, wherever it is.
pub fn read_members(path: &Path) -> Result<Vec<Server>, FileError> {
    let missing = || FileError::damaged(path, "does not exist");
    let text = atomic::read(path)?.ok_or_else(missing)?;
    yaml::parse_list(&text).map_err(|reason| FileError::damaged(path, reason))
}

pub fn write_cluster(dir: &Path, servers: &[Server]) -> Result<(), FileError> {
    atomic::write(&dir.join(CLUSTER_FILE), &yaml::format_list(servers))
}
