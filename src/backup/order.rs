//! The order in which a node has made its scheduled backups: `k8s-dqlite-NODE.order`, a line for
//! each name.
//!
//! The clock does not tell it: a backup that was made while it was ahead would look newest for ever. Neither do
//! revisions: a store that was restored begins again with lower ones. Names that are not listed, as those of
//! earlier versions, count as made before, in the order of their time.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use dqlite::{files::replace, wire::NodeId};

use super::names::Name;

/// The most bytes that are read of the file: some ten thousand names.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

fn path(dir: &Path, node_id: NodeId) -> PathBuf {
    dir.join(format!("k8s-dqlite-{node_id:016x}.order"))
}

/// Reads the names in their order. A line that is no name is skipped, as if it were not listed.
pub fn read(dir: &Path, node_id: NodeId) -> io::Result<Vec<Name>> {
    let file = match File::open(path(dir, node_id)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Replaces the file in one step.
pub fn write(dir: &Path, node_id: NodeId, names: &[Name]) -> io::Result<()> {
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    replace(&path(dir, node_id), text.as_bytes(), 0o600).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use etcd_state::mvcc::Revision;

    use super::super::names::Time;
    use super::*;

    #[test]
    fn the_order_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), NodeId::new(7)).unwrap(), []);
        let name = |unix_s, revision| Name {
            time: Time::from_unix(unix_s),
            revision: Revision::new(revision),
            node_id: NodeId::new(7),
        };
        let names = [name(9, 3), name(2, 4), name(2, 1)];
        write(dir.path(), NodeId::new(7), &names).unwrap();
        assert_eq!(read(dir.path(), NodeId::new(7)).unwrap(), names);
        assert_eq!(read(dir.path(), NodeId::new(8)).unwrap(), []);
        let file = path(dir.path(), NodeId::new(7));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("k8s", "ks8", 1) + "\nnothing").unwrap();
        assert_eq!(read(dir.path(), NodeId::new(7)).unwrap(), names[1..]);
    }
}
