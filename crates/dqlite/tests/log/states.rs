//! States that the engine leaves.

use std::{fs, os::unix::fs::PermissionsExt};

use dqlite::{
    log::{Error, Remnant, verify_directory},
    node::{BOOTSTRAP_ID, LastEntry},
    wire::Role,
};

use crate::{
    child::Writer,
    files::{Memory, last_entry},
};

#[test]
fn an_empty_directory_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let report = verify_directory(dir.path()).unwrap();
    assert_eq!(last_entry(&report), LastEntry { term: 0, index: 0 });
    assert_eq!((report.term, report.first_index), (0, 1));
    assert_eq!(report.configuration, None);
    assert!(report.remnants.is_empty());
}

#[test]
fn what_cannot_be_read_is_not_damaged() {
    let missing = verify_directory("/nonexistent/directory".as_ref());
    assert!(matches!(missing, Err(Error::Unreadable { .. })));
    if nix::unistd::Uid::effective().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("metadata1");
    fs::write(&file, [0; 32]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let Err(Error::Unreadable { path, source }) = verify_directory(dir.path()) else {
        panic!("it can be read")
    };
    assert_eq!(path, file);
    assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
}

/// Killed at any time and started again, the log is read as the engine reads it, and has all rows.
#[test]
fn a_killed_node_is_read_as_the_engine_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    // A single voter keeps its term.
    let mut rows = 0;
    for round in 0..8usize {
        let mut node = Writer::start(dir.path(), 48);
        let wanted = 5 + round * 29 % 83;
        node.rows(wanted);
        rows += wanted + node.kill();
        let report = verify_directory(dir.path()).unwrap();
        let files = Memory::of(dir.path());
        assert_eq!(files.engine_says(), last_entry(&report), "round {round}");
        assert!(report.last_index > rows as u64, "round {round}: {report:?}");
        assert!(report.open.iter().any(|open| open.entries.is_some()));
        assert!(report.first_index <= report.last_index);
        assert_eq!((report.term, report.last_term), (1, 1));
        let configuration = report.configuration.unwrap();
        let [server] = &configuration.servers[..] else {
            panic!("one node")
        };
        assert_eq!((configuration.index, server.id), (1, BOOTSTRAP_ID));
        assert_eq!(
            (&server.address[..], server.role),
            ("10.1.2.3:9000", Role::Voter)
        );
    }
}

#[test]
fn a_stopped_node_has_closed_all_segments() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let mut node = Writer::start(dir.path(), 40);
        node.rows(70);
        node.stop();
        let report = verify_directory(dir.path()).unwrap();
        let files = Memory::of(dir.path());
        assert_eq!(files.engine_says(), last_entry(&report), "round {round}");
        assert!(report.open.is_empty());
        let snapshot = report.snapshot.unwrap();
        assert!(snapshot.has_checksum && snapshot.id.index <= report.last_index);
        let [database] = &snapshot.databases[..] else {
            panic!("one database")
        };
        assert_eq!((&database.name[..], database.wal_bytes), ("test", 0));
        assert!(database.pages > 1);
        let only = |remnant: &Remnant| matches!(remnant, Remnant::OlderSnapshot(_));
        assert!(report.remnants.iter().all(only), "{:?}", report.remnants);
    }
}
