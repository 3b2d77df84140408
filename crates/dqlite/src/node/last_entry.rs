//! The last entry of a node's log, to find the most complete log after a majority was lost.

use std::path::Path;

use super::{
    DirLock, NodeError,
    engine::Engine,
    options::checked_dir,
    process::{check_version, prepare_process},
};
use crate::wire::NodeId;

/// Ordered as Raft compares logs: the higher term wins, then the longer log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastEntry {
    pub term: u64,
    pub index: u64,
}

/// Read the last entry of a directory whose node does not run; both are 0 for an empty one. The
/// engine may close open segments in it, which changes nothing for the node.
pub fn describe_last_entry(dir: &Path) -> Result<LastEntry, NodeError> {
    last_entry(&DirLock::acquire(dir)?)
}

/// The same in a directory that the caller has locked.
pub fn last_entry(lock: &DirLock) -> Result<LastEntry, NodeError> {
    prepare_process();
    check_version()?;
    // The id and the address matter only to a node that is started.
    let engine = Engine::create(NodeId::new(1), c"1", &checked_dir(lock.dir())?)?;
    let (index, term) = engine.last_entry()?;
    Ok(LastEntry { term, index })
}
