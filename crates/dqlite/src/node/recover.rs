//! Giving a log whose majority is lost to the nodes that are left.

use std::{
    ffi::{CString, OsStr},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use dqlite_sys as ffi;

use super::{
    DirLock, LastEntry, NodeError,
    engine::Engine,
    options::checked_dir,
    poison::Watch,
    process::{check_version, prepare_process},
};
use crate::wire::{NodeId, Server};

/// Appends a configuration with exactly these nodes to the log of a directory, as if a majority had
/// agreed on it, and returns where the log ends then. Takes the lock: the directory is the engine's.
/// After a failure, end the process: the engine keeps its own lock.
pub fn recover(mut lock: DirLock, servers: &[Server]) -> Result<LastEntry, NodeError> {
    prepare_process();
    check_version()?;
    let dir = checked_dir(lock.dir())?;
    lock.yield_to_engine();
    write_configuration(&dir, servers)?;
    let engine = Engine::create(NodeId::new(1), c"1", &dir)?;
    let (index, term) = engine.last_entry()?;
    Ok(LastEntry { term, index })
}

/// Appends the configuration. The directory is locked, and yielded to the engine.
pub(super) fn write_configuration(dir: &CString, servers: &[Server]) -> Result<(), NodeError> {
    let invalid = |reason: String| NodeError::InvalidOption {
        option: "configuration",
        reason,
    };
    let addresses = servers
        .iter()
        .map(|server| CString::new(server.address.as_str()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(error.to_string()))?;
    if servers.is_empty() || servers.iter().any(|server| server.id.is_unknown()) {
        return Err(invalid("a node has no id".to_owned()));
    }
    let mut infos: Vec<_> = servers
        .iter()
        .zip(&addresses)
        .map(|(server, address)| ffi::dqlite_node_info_ext {
            size: size_of::<ffi::dqlite_node_info_ext>() as u64,
            id: server.id.number(),
            address: address.as_ptr() as u64,
            dqlite_role: server.role as u64,
        })
        .collect();
    // The id and the address matter only to a node that is started.
    let engine = Engine::create(NodeId::new(1), c"1", dir)?;
    // A directory that cannot be listed ends the process.
    let _watch = Watch::begin(Path::new(OsStr::from_bytes(dir.as_bytes())));
    engine.recover(&mut infos)
}
