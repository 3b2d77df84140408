//! Begins a cluster of one node with a random node id.
//!
//! The engine does so for two fixed ids only (dqlite: src/server.c, `maybeBootstrap`), so that the first nodes of
//! all clusters would have the same id. Here are its two steps (src/raft/uv.c, `uvBootstrap`) for any id: the term,
//! then a first segment with the configuration. The engine writes the latter itself, as in a recovery.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write},
    path::Path,
};

use super::{DirLock, NodeError, recover::write_configuration};
use crate::{
    files::sync_dir,
    log::{METADATA_NAMES, Metadata},
    wire::{NodeId, Role, Server},
};

/// Makes the log of an empty directory. What an interruption leaves is undone by
/// [`undo_half_a_bootstrap`](super::state::undo_half_a_bootstrap).
pub(super) fn begin_cluster(
    lock: &mut DirLock,
    id: NodeId,
    address: &str,
    dir: &CString,
) -> Result<(), NodeError> {
    write_first_term(lock.dir()).map_err(|source| NodeError::Directory {
        dir: lock.dir().to_owned(),
        source,
    })?;
    let itself = Server {
        id,
        address: address.to_owned(),
        role: Role::Voter,
    };
    lock.yield_to_engine();
    write_configuration(dir, &[itself])?;
    lock.take_from_engine()
}

fn write_first_term(dir: &Path) -> io::Result<()> {
    let mut file = File::create(dir.join(METADATA_NAMES[0]))?;
    file.write_all(&Metadata::FIRST.encode())?;
    file.sync_all()?;
    sync_dir(dir)
}
