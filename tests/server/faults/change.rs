//! Changes to a file as disks and people make them, and copies of files.

use std::path::Path;

use dqlite::node::mark;
use rand::Rng;
use rand::rngs::StdRng;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    FlipBit,
    /// Overwrites four bytes.
    Overwrite,
    Cut,
    CutAtBlock,
    /// Writes zeros from somewhere to the end.
    Zero,
    Empty,
    Delete,
    /// The file of this name, as it was before the last start.
    Older,
    /// The file of this name of another cluster, or of another node.
    Foreign,
    /// A file of that kind of another node: of three it gets the name that it has there.
    OtherNode,
}

pub const CHANGES: [Change; 10] = [
    Change::FlipBit,
    Change::Overwrite,
    Change::Cut,
    Change::CutAtBlock,
    Change::Zero,
    Change::Empty,
    Change::Delete,
    Change::Older,
    Change::Foreign,
    Change::OtherNode,
];

const BLOCK_BYTES: usize = 4096;

pub fn is_of_the_engine(name: &str) -> bool {
    let starts = ["open-", "snapshot-", "metadata", "0"];
    starts.iter().any(|start| name.starts_with(start))
}

pub fn is_of_the_node(name: &str) -> bool {
    is_of_the_engine(name) || name == mark::FILE_NAME || name == "info.yaml"
}

pub fn changed(bytes: &[u8], change: Change, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Most of an open segment is zeros that mean nothing.
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    if used == 0 {
        return bytes;
    }
    let at = random.random_range(0..used);
    match change {
        Change::FlipBit => bytes[at] ^= 1 << random.random_range(0..8),
        Change::Overwrite => {
            let end = (at + 4).min(bytes.len());
            random.fill(&mut bytes[at..end]);
        }
        Change::Cut => bytes.truncate(at),
        Change::CutAtBlock => bytes.truncate(at / BLOCK_BYTES * BLOCK_BYTES),
        Change::Zero => bytes[at..].fill(0),
        _ => bytes.clear(),
    }
    bytes
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

pub fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names(from) {
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}
