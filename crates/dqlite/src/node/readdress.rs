//! Gives the nodes of a directory other addresses, all at once and on each node for itself.

use std::{fs, io, os::unix::fs::MetadataExt};

use super::{DirLock, NodeError, check, mark};
use crate::{
    files::{remove_if_there, replace, sync_dir},
    log::{AddressChanges, FileName, Report},
    wire::NodeId,
};

/// Reads the log of a directory that no engine has, as its node would at its start. Changes nothing.
pub fn read_log(lock: &DirLock, id: NodeId) -> Result<Report, NodeError> {
    check::read_log(lock.dir(), id)
}

/// Writes the new addresses into each file that has old ones. Interrupted, it may be done again, and has to be before
/// an engine starts. The mark goes first, which knows the files as they were.
pub fn change_addresses(lock: &DirLock, changes: &AddressChanges) -> Result<(), NodeError> {
    change(lock, changes).map_err(|source| NodeError::Directory {
        dir: lock.dir().to_owned(),
        source,
    })
}

fn change(lock: &DirLock, changes: &AddressChanges) -> io::Result<()> {
    let dir = lock.dir();
    remove_if_there(&dir.join(mark::FILE_NAME))?;
    sync_dir(dir)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let changed = match FileName::parse(&name) {
            FileName::Closed { .. } | FileName::Open { .. } => {
                changes.segment(&fs::read(entry.path())?)
            }
            FileName::SnapshotMeta(_) => changes.snapshot_meta(&fs::read(entry.path())?),
            _ => None,
        };
        if let Some(bytes) = changed {
            let mode = entry.metadata()?.mode() & 0o7777;
            replace(&entry.path(), &bytes, mode)?;
        }
    }
    Ok(())
}
