//! Checks that a directory is what its mark says. Pure.

use super::file::{ClosedSegment, Content, FILE_NAME, SnapshotEnd};
use crate::{
    log::{OpenReport, Report},
    wire::NodeId,
};

/// The reason why a directory is not the one that its mark was written for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error(
        "its file {FILE_NAME} belongs to node {found:x}, but this is node {own:x}: files of two nodes were mixed up"
    )]
    OtherNode { found: NodeId, own: NodeId },
    #[error(
        "its log ends with the entry {found}, although this node had stored the entries up to {expected}, \
         as the file {FILE_NAME} says: {}, or the directory is an older copy", lost(expected - found)
    )]
    TooShort { found: u64, expected: u64 },
    #[error(
        "{name} does not have the entries that this node wrote, as the file {FILE_NAME} says: it is from an older copy, or \
         of another log"
    )]
    OtherEntries { name: String },
    #[error(
        "{name} does not have the data that this node wrote, as the file {FILE_NAME} says: it is of another snapshot"
    )]
    OtherSnapshot { name: String },
    #[error(
        "{name} does not belong there: this node stopped cleanly, as the file {FILE_NAME} says, and left no such \
         file; it is from an older copy, or of another node. Only if another program, such as an earlier version, \
         has run on this directory since and was killed, delete {FILE_NAME}"
    )]
    AfterCleanStop { name: String },
    #[error(
        "{name} does not belong there: the file {FILE_NAME} knows of no such segment, or of one that begins \
         otherwise; it is from an older copy, or of another node. Only if another program, such as an earlier \
         version, has run on this directory since and was killed, delete {FILE_NAME}"
    )]
    OtherSegment { name: String },
}

fn lost(entries: u64) -> String {
    match entries {
        1 => "1 entry is lost".to_owned(),
        entries => format!("{entries} entries are lost"),
    }
}

/// Compares what the engine would load with what this node has written down.
pub fn check(node_id: NodeId, mark: &Content, report: &Report) -> Result<(), Mismatch> {
    if mark.node_id != node_id {
        return Err(Mismatch::OtherNode {
            found: mark.node_id,
            own: node_id,
        });
    }
    let used = report.open.iter().filter(|open| open.entries.is_some());
    for open in used {
        check_open(mark, open)?;
    }
    if report.last_index < mark.last_index {
        return Err(Mismatch::TooShort {
            found: report.last_index,
            expected: mark.last_index,
        });
    }
    Ok(())
}
/// Checks that an open segment with entries is one that the node has written.
pub fn check_open(mark: &Content, open: &OpenReport) -> Result<(), Mismatch> {
    let name = open.name.clone();
    if mark.is_clean {
        return Err(Mismatch::AfterCleanStop { name });
    }
    let known = mark.open.iter().find(|known| known.counter == open.counter);
    let is_known = known
        .is_some_and(|known| known.first_batch.is_none() || known.first_batch == open.first_batch);
    match is_known {
        true => Ok(()),
        false => Err(Mismatch::OtherSegment { name }),
    }
}

/// Compares the closed segments whose batches the node has noted.
pub fn check_closed(mark: &Content, report: &Report) -> Result<(), Mismatch> {
    for closed in &report.closed {
        let of_name =
            |known: &&ClosedSegment| (known.first, known.last) == (closed.first, closed.last);
        let known = mark.closed.iter().find(of_name);
        if known.is_some_and(|known| known.digest != closed.digest) {
            let name = closed.name.clone();
            return Err(Mismatch::OtherEntries { name });
        }
    }
    Ok(())
}

/// Compares the snapshot that the engine would load.
pub fn check_snapshot(mark: &Content, found: &SnapshotEnd) -> Result<(), Mismatch> {
    match &mark.snapshot {
        Some(known) if known.id == found.id && known != found => Err(Mismatch::OtherSnapshot {
            name: match known.meta == found.meta {
                true => found.id.data_name(),
                false => found.id.meta_name(),
            },
        }),
        _ => Ok(()),
    }
}
