//! Checks that a directory is as its node has left it, and measures its log and snapshots.

use std::{fs, io, path::Path};

use nix::sys::statvfs::statvfs;

use super::{EngineState, NodeError, engine_state, mark, options::is_bootstrap_id};
use crate::{
    log::{self, FileName, Report},
    wire::NodeId,
};

/// The engine allocates its log in segments of this size (dqlite: src/raft/uv.c), before it writes.
const LOG_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// Reads all that the engine would load and compares it with what the node of this id has written down about
/// it. Changes nothing.
pub fn read_log(dir: &Path, id: NodeId) -> Result<Report, NodeError> {
    let report = report(dir)?;
    if let Some(found) = read_mark(dir)? {
        let checked = mark::check(id, &found, &report);
        checked.map_err(|error| damaged(dir, error.to_string()))?;
        check_content(dir, &found, &report)?;
    }
    Ok(report)
}

/// Checks all that a start checks before its engine runs, and changes nothing. `begins`: the start would begin a new
/// cluster, or join one.
pub fn check_start(dir: &Path, id: NodeId, begins: bool) -> Result<Report, NodeError> {
    judge_state(dir, id, begins)?;
    let report = read_log(dir, id)?;
    check_space(dir)?;
    Ok(report)
}

/// Refuses a directory on which the engine would silently begin a new history. Returns what is in it.
pub(super) fn judge_state(dir: &Path, id: NodeId, begins: bool) -> Result<EngineState, NodeError> {
    let state = engine_state(dir).map_err(|source| NodeError::Directory {
        dir: dir.to_owned(),
        source,
    })?;
    match state {
        EngineState::Present => Ok(EngineState::Present),
        EngineState::Empty if begins || !is_bootstrap_id(id) => Ok(EngineState::Empty),
        EngineState::Empty => Err(NodeError::WouldBootstrap {
            dir: dir.to_owned(),
            id,
        }),
        EngineState::WithoutMetadata => Err(damaged(
            dir,
            "metadata1 and metadata2 are missing beside the log".to_owned(),
        )),
    }
}

/// Refuses to start where not even the first write would succeed: the engine starts, and then fails
/// every one of them with an error that says nothing.
pub(super) fn check_space(dir: &Path) -> Result<(), NodeError> {
    let space = statvfs(dir).map_err(|error| NodeError::Directory {
        dir: dir.to_owned(),
        source: error.into(),
    })?;
    let free_bytes = space.blocks_available() * space.fragment_size();
    if free_bytes < LOG_SEGMENT_BYTES {
        let message = format!("{free_bytes} bytes are free, the log needs {LOG_SEGMENT_BYTES}");
        return Err(NodeError::DiskFull {
            dir: dir.to_owned(),
            message,
        });
    }
    Ok(())
}

/// Returns what is wrong with the directory, in words, or `None`. It does not check which node the directory belongs
/// to.
pub fn find_damage(dir: &Path) -> Result<Option<String>, NodeError> {
    let checked = read_mark(dir).and_then(|found| match found {
        Some(found) => read_log(dir, found.node_id),
        None => report(dir),
    });
    match checked {
        Ok(_) => Ok(None),
        Err(NodeError::Damaged { reason, .. }) => Ok(Some(reason)),
        Err(error) => Err(error),
    }
}

fn report(dir: &Path) -> Result<Report, NodeError> {
    log::verify_directory(dir).map_err(|error| of_log(dir, error))
}

pub(super) fn of_log(dir: &Path, error: log::Error) -> NodeError {
    match error {
        log::Error::Damaged(damage) => damaged(dir, damage.to_string()),
        log::Error::Unreadable { path, source } => NodeError::Unreadable { path, source },
    }
}

/// Fails where a closed segment or the snapshot is whole, and not the one that the node has written.
pub(super) fn check_content(
    dir: &Path,
    mark: &mark::Content,
    report: &Report,
) -> Result<(), NodeError> {
    let snapshot = report.snapshot.as_ref();
    let snapshot = snapshot.map(|snapshot| mark::SnapshotEnd::read(dir, snapshot.id));
    let snapshot = snapshot
        .transpose()
        .map_err(|source| NodeError::Unreadable {
            path: dir.to_owned(),
            source,
        })?;
    let checked = mark::check_closed(mark, report).and_then(|()| match &snapshot {
        Some(snapshot) => mark::check_snapshot(mark, snapshot),
        None => Ok(()),
    });
    checked.map_err(|error| damaged(dir, error.to_string()))
}

pub(super) fn read_mark(dir: &Path) -> Result<Option<mark::Content>, NodeError> {
    mark::read(dir).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => {
            damaged(dir, format!("its file {}: {source}", mark::FILE_NAME))
        }
        _ => NodeError::Unreadable {
            path: dir.join(mark::FILE_NAME),
            source,
        },
    })
}

fn damaged(dir: &Path, reason: String) -> NodeError {
    NodeError::Damaged {
        dir: dir.to_owned(),
        reason,
    }
}

/// Bytes of the log and of the snapshots in a directory. Files come and go while a node runs.
pub fn engine_bytes(dir: &Path) -> io::Result<(u64, u64)> {
    let (mut log, mut snapshots) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let len = || entry.metadata().map_or(0, |metadata| metadata.len());
        match FileName::parse(&name) {
            FileName::Closed { .. } | FileName::Open { .. } => log += len(),
            FileName::Snapshot(_) | FileName::SnapshotMeta(_) => snapshots += len(),
            _ => {}
        }
    }
    Ok((log, snapshots))
}
