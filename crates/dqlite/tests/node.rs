//! The node on the real engine, seen through its directory and its socket.

#[expect(dead_code, reason = "shared with tests that use more of it")]
mod engine;

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use dqlite::{
    log::verify_directory,
    node::{
        BOOTSTRAP_ID, DirLock, EngineState, LastEntry, Node, NodeError, NodeOptions,
        SnapshotOptions, describe_last_entry, engine_state, mark,
    },
    wire::NodeId,
};

use engine::{Client, DEADLINE, options, start};

/// Somebody else who holds the lock of a file, until dropped.
struct Holder(Child);

impl Holder {
    fn of(path: &Path) -> Self {
        let mut child = Command::new("flock")
            .args(["--exclusive", "--nonblock", "--no-fork"])
            .arg(path)
            .args(["sh", "-c", "echo held; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("flock of util-linux runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_bootstrapped_node_leads_itself_and_keeps_its_data_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(&options(dir.path()));
    let mut client = Client::connect(&node);
    assert_eq!(client.leader(), (BOOTSTRAP_ID, "10.1.2.3:9000".to_owned()));
    client.open();
    client.exec("CREATE TABLE t (n INTEGER PRIMARY KEY)");
    node.stop().unwrap();
    assert_eq!(
        client.0.read(&mut [0]).unwrap(),
        0,
        "the engine's connections are closed"
    );

    let again = NodeOptions {
        bootstrap: false,
        ..options(dir.path())
    };
    let node = start(&again);
    let mut client = Client::connect(&node);
    client.leader();
    client.open();
    client.exec("INSERT INTO t VALUES (1)");
}

#[test]
fn a_named_socket_is_used_and_free_again_after_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("@dqlite-node-test-{}", std::process::id());
    let options = NodeOptions {
        bind_address: name.clone(),
        ..options(dir.path())
    };
    for _ in 0..2 {
        let mut node = start(&options);
        assert_eq!(node.bind_address(), name);
        Client::connect(&node).leader();
        node.stop().unwrap();
    }
}

#[test]
fn an_occupied_socket_is_named_in_the_error() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = start(&options(one.path()));
    let bind_address = first.bind_address().to_owned();
    let mut second = Node::create(&NodeOptions {
        bind_address: bind_address.clone(),
        ..options(two.path())
    })
    .unwrap();
    let error = second.start().unwrap_err().to_string();
    assert!(
        error.contains(&bind_address) && error.contains("in use"),
        "{error}"
    );
}

#[test]
fn a_node_joins_nothing_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&NodeOptions {
        id: NodeId::new(42),
        bootstrap: false,
        ..options(dir.path())
    });
    assert_eq!(
        Client::connect(&node).leader(),
        (NodeId::UNKNOWN, String::new())
    );
}

#[test]
fn a_running_node_holds_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&options(dir.path()));
    let second = Node::create(&options(dir.path())).err().unwrap();
    assert!(
        matches!(second, NodeError::DirectoryHeld { .. }),
        "{second}"
    );
    let described = describe_last_entry(dir.path()).unwrap_err();
    assert!(
        matches!(described, NodeError::DirectoryHeld { .. }),
        "{described}"
    );
    drop(node);
    assert!(describe_last_entry(dir.path()).unwrap() > LastEntry { term: 0, index: 0 });
}

#[test]
fn another_process_on_the_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    // What this program holds, and what anything else that embeds the engine holds.
    for held in [dir.path().to_owned(), dir.path().join("dqlite-lock")] {
        let holder = Holder::of(&held);
        let error = Node::create(&options(dir.path())).err().unwrap();
        assert!(matches!(error, NodeError::DirectoryHeld { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("process {} (", holder.0.id())),
            "{text}"
        );
    }
    start(&options(dir.path()));
}

#[test]
fn a_cluster_begins_under_any_id_with_the_log_that_the_engine_would_write() {
    let of = |id| {
        let dir = tempfile::tempdir().unwrap();
        let options = NodeOptions {
            id,
            ..options(dir.path())
        };
        drop(Node::create(&options).unwrap());
        let log = ["metadata1", "0000000000000001-0000000000000001"];
        let log = log.map(|name| fs::read(dir.path().join(name)).unwrap());
        let mut node = start(&options);
        let leader = Client::connect(&node).leader();
        assert_eq!(leader, (id, "10.1.2.3:9000".to_owned()));
        node.stop().unwrap();
        log
    };
    let [metadata, segment] = of(NodeId::new(0x0123_4567_89ab_cdef));
    let [expected, with_its_id] = of(BOOTSTRAP_ID);
    assert_eq!(metadata, expected);
    assert_eq!(segment.len(), with_its_id.len());
    // The id and the checksum of it.
    let differing = segment.iter().zip(&with_its_id).filter(|(a, b)| a != b);
    assert!((1..=12).contains(&differing.count()));
}

#[test]
fn a_whole_segment_of_another_log_is_neither_loaded_nor_left_by_a_cut() {
    let dirs = [7, 8].map(|id| {
        let dir = tempfile::tempdir().unwrap();
        let options = NodeOptions {
            id: NodeId::new(id),
            ..options(dir.path())
        };
        start(&options).stop().unwrap();
        dir
    });
    let name = "0000000000000001-0000000000000001";
    fs::copy(dirs[1].path().join(name), dirs[0].path().join(name)).unwrap();
    let lock = DirLock::acquire(dirs[0].path()).unwrap();
    let damage = dqlite::node::find_damage(dirs[0].path()).unwrap().unwrap();
    assert!(damage.contains("entries that this node wrote"), "{damage}");
    let error = dqlite::node::plan_cut(&lock).unwrap_err();
    assert!(matches!(error, NodeError::Damaged { .. }), "{error}");
}

#[test]
fn an_empty_directory_becomes_a_cluster_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    for id in [NodeId::new(1), BOOTSTRAP_ID] {
        let error = Node::create(&NodeOptions {
            id,
            bootstrap: false,
            ..options(dir.path())
        })
        .err()
        .unwrap();
        assert!(matches!(error, NodeError::WouldBootstrap { .. }), "{error}");
    }
    assert_eq!(engine_state(dir.path()).unwrap(), EngineState::Empty);
}

#[test]
fn a_log_without_metadata_is_not_started_over() {
    let dir = tempfile::tempdir().unwrap();
    drop(start(&options(dir.path())));
    for name in ["metadata1", "metadata2"] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    let error = Node::create(&options(dir.path())).err().unwrap();
    assert!(matches!(error, NodeError::Damaged { .. }), "{error}");
}

#[test]
fn a_damaged_segment_stops_the_start_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&options(dir.path()));
    let mut client = Client::connect(&node);
    client.leader();
    client.open();
    client.exec("CREATE TABLE t (n INTEGER PRIMARY KEY)");
    drop((client, node));
    let segment = closed_segments(dir.path()).pop().unwrap();
    let path = dir.path().join(&segment);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&path, &bytes).unwrap();

    let error = Node::create(&options(dir.path())).err().unwrap();
    assert!(matches!(error, NodeError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&segment), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn the_mark_says_how_far_the_log_must_reach() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&options(dir.path()));
    let begun = mark::read(dir.path()).unwrap().unwrap();
    assert!(!begun.is_clean);
    let mut client = Client::connect(&node);
    client.leader();
    client.open();
    client.exec("CREATE TABLE t (n INTEGER PRIMARY KEY)");
    for n in 0..100 {
        client.exec(&format!("INSERT INTO t VALUES ({n})"));
    }
    drop((client, node));
    let found = mark::read(dir.path()).unwrap().unwrap();
    let report = verify_directory(dir.path()).unwrap();
    assert!(found.is_clean && found.open.is_empty());
    assert_eq!(found.last_index, report.last_index);
    assert!(found.last_index >= begun.last_index + 101);

    // The last segment is gone: the files alone say nothing of it.
    let last = dir.path().join(closed_segments(dir.path()).pop().unwrap());
    let bytes = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    let refused = Node::create(&options(dir.path()))
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("entries are lost"), "{refused}");
    fs::write(&last, bytes).unwrap();
    // Another node's.
    let other = NodeOptions {
        id: NodeId::new(7),
        bootstrap: false,
        ..options(dir.path())
    };
    let refused = Node::create(&other).err().unwrap().to_string();
    assert!(refused.contains("two nodes were mixed up"), "{refused}");
    start(&options(dir.path()));
}

fn closed_segments(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("0000"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_node_that_was_never_started_can_be_dropped() {
    let dir = tempfile::tempdir().unwrap();
    drop(Node::create(&options(dir.path())).unwrap());
    start(&options(dir.path()));
}

#[test]
fn a_node_is_started_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = start(&options(dir.path()));
    node.stop().unwrap();
    node.stop().unwrap();
    assert!(
        node.start()
            .unwrap_err()
            .to_string()
            .contains("started once")
    );
}

#[test]
fn a_locked_directory_can_be_prepared_before_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    fs::write(lock.dir().join("info.yaml"), "").unwrap();
    Node::create_locked(&options(dir.path()), lock)
        .unwrap()
        .start()
        .unwrap();

    let other = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(other.path()).unwrap();
    assert!(Node::create_locked(&options(dir.path()), lock).is_err());
}

#[test]
fn unusable_options_are_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let good = options(dir.path());
    let with = |change: fn(&mut NodeOptions)| {
        let mut options = good.clone();
        change(&mut options);
        options
    };
    let wrong = [
        (with(|o| o.id = NodeId::UNKNOWN), "id"),
        (with(|o| o.address.clear()), "address"),
        (with(|o| o.address = "a\0b".to_owned()), "NUL"),
        (
            with(|o| o.bind_address = "127.0.0.1:9000".to_owned()),
            "abstract unix socket",
        ),
        (
            with(|o| o.bind_address = format!("@{}", "x".repeat(108))),
            "107 bytes",
        ),
        (with(|o| o.snapshot.trailing = 3), "trailing"),
        (
            with(|o| o.snapshot.threshold = o.snapshot.trailing + 1),
            "threshold",
        ),
        (
            with(|o| o.network_latency = Some(Duration::ZERO)),
            "latency",
        ),
        (
            with(|o| o.network_latency = Some(Duration::from_secs(3601))),
            "latency",
        ),
        (with(|o| o.block_size_bytes = Some(1000)), "block size"),
    ];
    for (options, expected) in wrong {
        let error = Node::create(&options).err().unwrap().to_string();
        assert!(
            error.contains(expected),
            "{error:?} does not mention {expected:?}"
        );
    }
    let untouched = fs::read_dir(dir.path())
        .unwrap()
        .all(|e| e.unwrap().file_name() == "dqlite-lock");
    assert!(untouched);
}

#[test]
fn other_nodes_are_reached_through_the_dial_option() {
    let dir = tempfile::tempdir().unwrap();
    let (dialled, dials) = mpsc::sync_channel(100);
    let dial = Arc::new(move |address: &str| {
        let _ = dialled.try_send(address.to_owned());
        Err(io::ErrorKind::ConnectionRefused.into())
    });
    let mut node = start(&NodeOptions {
        dial,
        ..options(dir.path())
    });
    let mut client = Client::connect(&node);
    client.add(2, "10.9.9.9:9000");
    // The answer would come once the node has caught up.
    client.send(13, &[2u64.to_le_bytes(), 0u64.to_le_bytes()].concat());
    assert_eq!(dials.recv_timeout(DEADLINE).unwrap(), "10.9.9.9:9000");
    node.stop().unwrap();
}

#[test]
fn the_last_entry_moves_on_with_every_write() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        describe_last_entry(dir.path()).unwrap(),
        LastEntry { term: 0, index: 0 }
    );
    let mut entries = Vec::new();
    for table in ["a", "b"] {
        let node = start(&options(dir.path()));
        let mut client = Client::connect(&node);
        client.open();
        client.exec(&format!("CREATE TABLE {table} (n INTEGER PRIMARY KEY)"));
        drop(node);
        entries.push(describe_last_entry(dir.path()).unwrap());
    }
    assert!(
        entries[0] < entries[1] && entries[0].index < entries[1].index,
        "{entries:?}"
    );
}

#[test]
fn every_option_reaches_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&NodeOptions {
        failure_domain: 7,
        network_latency: Some(Duration::from_millis(20)),
        block_size_bytes: Some(4096),
        ..options(dir.path())
    });
    let (kind, body) = Client::connect(&node).call(18, &[0; 8]);
    assert_eq!(
        (kind, u64::from_le_bytes(body[..8].try_into().unwrap())),
        (10, 7)
    );
}

/// Returns the last entry in the newest snapshot, 0 if there is none.
fn snapshot_index(dir: &Path) -> u64 {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().file_name());
    let indices = names.filter_map(|name| {
        // snapshot-TERM-INDEX-TIME
        let mut parts = name.to_str()?.strip_prefix("snapshot-")?.split('-');
        parts.nth(1)?.parse().ok()
    });
    indices.max().unwrap_or(0)
}

#[test]
fn snapshots_of_a_database_that_is_larger_than_the_log_are_taken_more_rarely() {
    const OFTEN: u32 = 8;
    const RARELY: u32 = 64;
    let dir = tempfile::tempdir().unwrap();
    let snapshot = SnapshotOptions {
        threshold: OFTEN,
        threshold_max: RARELY,
        trailing: 2 * RARELY,
        ..SnapshotOptions::default()
    };
    let node = start(&NodeOptions {
        snapshot,
        ..options(dir.path())
    });
    let mut client = Client::connect(&node);
    client.leader();
    client.open();
    client.exec("CREATE TABLE t (bytes BLOB)");
    client.exec("INSERT INTO t VALUES (randomblob(1000000))");
    let deadline = Instant::now() + DEADLINE;
    let mut found = vec![0];
    loop {
        client.exec("INSERT INTO t VALUES (1)");
        let newest = snapshot_index(dir.path());
        if found.last() != Some(&newest) {
            found.push(newest);
            if newest - found[found.len() - 2] >= RARELY.into() {
                break;
            }
        }
        assert!(Instant::now() < deadline, "{found:?}");
    }
    assert!(found[1] < RARELY.into(), "{found:?}");
}
