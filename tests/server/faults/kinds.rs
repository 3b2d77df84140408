//! Kinds of files in the directory of a node.

use std::path::Path;

use dqlite::node::mark;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::change::{Change, is_of_the_node, names};

const OPEN: FileKind = ("open-", "");
const CLOSED: FileKind = ("0", "");
const SNAPSHOT: FileKind = ("snapshot-", "");

/// The kinds of files, by how their names begin and end.
pub const KINDS: [FileKind; 8] = [
    OPEN,
    CLOSED,
    ("snapshot-", ".meta"),
    SNAPSHOT,
    ("metadata1", ""),
    ("metadata2", ""),
    (mark::FILE_NAME, ""),
    ("info.yaml", ""),
];

/// One of [`KINDS`].
pub type FileKind = (&'static str, &'static str);

fn is_of(kind: FileKind, name: &str) -> bool {
    let is_meta = name.ends_with(".meta");
    name.starts_with(kind.0)
        && name.ends_with(kind.1)
        && (kind.0 != "snapshot-" || is_meta != kind.1.is_empty())
}

/// A file of this kind, by its name.
pub fn one_of(dir: &Path, kind: FileKind, random: &mut StdRng) -> Option<String> {
    let mut names = names(dir);
    names.retain(|name| is_of(kind, name) && is_of_the_node(name));
    names.sort();
    names.choose(random).cloned()
}

/// Returns whether the change may pass, as docs/decisions/0022 says: nothing tells what is in a segment that was not
/// used yet when the mark was written, so a whole one of another log is taken.
pub fn may_pass(kind: FileKind, change: Change) -> bool {
    kind == OPEN && matches!(change, Change::Foreign | Change::OtherNode)
}

pub fn kind_of(name: &str) -> FileKind {
    let kind = KINDS.into_iter().find(|kind| is_of(*kind, name));
    kind.expect("a file of a node")
}
