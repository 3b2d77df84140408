use dqlite::{files::BESIDE_INIT, node::BOOTSTRAP_ID};

use super::*;

const FIRST: &str = "Address: 127.0.0.1:9000\n";
const INFO_TEXT: &str = "ID: 3297041220608546238\nAddress: 127.0.0.1:9000\nRole: 0\n";
const CLUSTER_TEXT: &str = "- ID: 3297041220608546238\n  Address: 127.0.0.1:9000\n  Role: 0\n";

/// A directory with these files.
fn storage(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn read_dir(dir: &Path) -> (Result<Start, ConfigError>, Vec<String>) {
    let mut warnings = Vec::new();
    let socket = dir.join("k8s-dqlite.sock");
    (read(dir, &[&socket], false, &mut warnings), warnings)
}

fn state(files: &[(&str, &str)]) -> Start {
    read_dir(storage(files).path()).0.unwrap()
}

fn error(files: &[(&str, &str)]) -> String {
    read_dir(storage(files).path()).0.unwrap_err().to_string()
}

fn first() -> Start {
    Start::First {
        address: "127.0.0.1:9000".parse().unwrap(),
    }
}

#[test]
fn init_yaml_begins_a_cluster() {
    assert_eq!(state(&[(INIT, FIRST)]), first());
    let address = "Address: '[::1]:9000'";
    let address_only = Start::First {
        address: "[::1]:9000".parse().unwrap(),
    };
    assert_eq!(state(&[(INIT, address)]), address_only);
}

#[test]
fn empty_strings_and_the_own_address_in_cluster_are_no_other_nodes() {
    for cluster in ["[]", "['', '', 127.0.0.1:9000]", "[null]", "null", ""] {
        let text = format!("{FIRST}Cluster: {cluster}\n");
        assert_eq!(state(&[(INIT, &text)]), first(), "{cluster}");
    }
}

const JOINING: &str = "Address: 127.0.0.1:9000\nCluster: [10.0.0.2:9000]\n";

#[test]
fn other_nodes_in_cluster_are_joined() {
    let text = format!("{FIRST}Cluster: ['', 127.0.0.1:9000, 10.0.0.2:9000, 10.0.0.3:9000]");
    let expected = Start::Join {
        address: "127.0.0.1:9000".parse().unwrap(),
        cluster: ["10.0.0.2:9000", "10.0.0.3:9000"]
            .map(|address| address.parse().unwrap())
            .to_vec(),
    };
    assert_eq!(state(&[(INIT, &text)]), expected);
}

#[test]
fn a_joining_node_goes_on_after_an_interruption_with_what_init_yaml_says_then() {
    let dir = storage(&[(INIT, JOINING)]);
    let start = read_dir(dir.path()).0.unwrap();
    let identity = identify(&start, dir.path()).unwrap();
    assert!(identity.is_joining && !identity.bootstrap && identity.id != BOOTSTRAP_ID);
    for name in ["metadata1", "open-1", "snapshot-1-1024-77"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let corrected = JOINING.replace("10.0.0.2", "10.0.0.3");
    fs::write(dir.path().join(INIT), corrected).unwrap();
    let again = read_dir(dir.path()).0.unwrap();
    let resumed = identify(&again, dir.path()).unwrap();
    assert_eq!((resumed.id, resumed.is_joining), (identity.id, true));
    let asked = resumed.cluster.iter().map(|s| s.address.as_str());
    assert_eq!(
        asked.collect::<Vec<_>>(),
        ["10.0.0.2:9000", "10.0.0.3:9000"]
    );
    again.finish(dir.path()).unwrap();
    assert!(!dir.path().join(INIT).exists() && !dir.path().join(JOIN).exists());
    let member = read_dir(dir.path()).0.unwrap();
    assert_eq!(member, Start::Again);
    assert!(!identify(&member, dir.path()).unwrap().is_joining);
}

#[test]
fn a_joining_node_without_init_yaml_is_still_joining() {
    let dir = storage(&[(INIT, JOINING)]);
    let start = read_dir(dir.path()).0.unwrap();
    let identity = identify(&start, dir.path()).unwrap();
    fs::write(dir.path().join("metadata1"), "").unwrap();
    fs::remove_file(dir.path().join(INIT)).unwrap();
    let again = read_dir(dir.path()).0.unwrap();
    assert_eq!(again, Start::Again);
    assert_eq!(identify(&again, dir.path()).unwrap(), identity);
}

#[test]
fn a_first_node_does_not_turn_into_a_joining_one() {
    let dir = storage(&[(INIT, FIRST)]);
    let start = read_dir(dir.path()).0.unwrap();
    identify(&start, dir.path()).unwrap();
    fs::write(dir.path().join(INIT), JOINING).unwrap();
    let error = read_dir(dir.path()).0.unwrap_err().to_string();
    assert!(
        error.contains("holds \"bootstrap\" beside init.yaml"),
        "{error}"
    );
}

#[test]
fn a_wrong_init_yaml_is_explained() {
    for (text, expected) in [
        ("", "the key Address is missing"),
        ("Address: ''", "the key Address is missing"),
        ("address: 127.0.0.1:9000", "the key Address is missing"),
        (
            "Address: 127.0.0.1",
            "Address \"127.0.0.1\" is no address: write it as host:port",
        ),
        ("Address: :9000", "the host is missing"),
        ("Address: a:1\nCluster: [b]", "Cluster \"b\" is no address"),
        (
            "Address: a:1\nCluster: b:1",
            "init.yaml, line 2: Cluster: invalid type",
        ),
        ("Address: [\n", "init.yaml, line "),
        ("just a line", "init.yaml, line 1: invalid type"),
    ] {
        let error = error(&[(INIT, text)]);
        assert!(
            error.contains("init.yaml") && error.contains(expected),
            "{text}: {error}"
        );
    }
}

#[test]
fn an_unreadable_init_yaml_is_named() {
    let dir = storage(&[]);
    fs::create_dir(dir.path().join(INIT)).unwrap();
    let error = read_dir(dir.path()).0.unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("/init.yaml"),
        "{error}"
    );
}

#[test]
fn odd_but_harmless_lines_are_warned_of() {
    let dir = storage(&[(INIT, "Address: 0.0.0.0:9000\nclusters: []\n")]);
    let (state, warnings) = read_dir(dir.path());
    assert!(state.is_ok());
    let text = warnings.join("\n");
    assert!(
        text.contains("\"clusters\"") && text.contains("no other node"),
        "{text}"
    );
}

#[test]
fn what_may_lie_beside_init_yaml_does() {
    let files = BESIDE_INIT
        .iter()
        .filter(|name| **name != INIT)
        .map(|name| (*name, ""));
    let mut files: Vec<_> = files.collect();
    files.extend([
        (INIT, FIRST),
        ("k8s-dqlite.sock", ""),
        ("tmp-bootstrap", ""),
    ]);
    assert_eq!(state(&files), first());
}

#[test]
fn a_foreign_file_beside_init_yaml_is_named() {
    for name in [
        "metadata1",
        "notes.txt",
        "update.yaml",
        "cluster.yaml",
        "open-1",
        "other.sock",
    ] {
        let error = error(&[(INIT, FIRST), (name, "")]);
        assert!(
            error.contains(&format!("holds {name:?} beside init.yaml")),
            "{error}"
        );
    }
}

#[test]
fn an_interrupted_first_start_goes_on() {
    let unborn = [
        (INIT, FIRST),
        (BOOTSTRAP, ""),
        (CLUSTER_FILE, CLUSTER_TEXT),
        (INFO_FILE, INFO_TEXT),
        ("metadata1", ""),
        ("open-1", ""),
        ("0000000000000001-0000000000000003", ""),
    ];
    for count in 2..=unborn.len() {
        let dir = storage(&unborn[..count]);
        let (state, warnings) = read_dir(dir.path());
        assert_eq!(state.unwrap(), first());
        assert!(warnings[0].contains("interrupted"), "{warnings:?}");
    }
    let moved = [
        (INIT, "Address: 127.0.0.1:9001"),
        (BOOTSTRAP, ""),
        (INFO_FILE, INFO_TEXT),
    ];
    assert!(error(&moved).contains("holds \"info.yaml\""));
    let strange = error(&[(INIT, FIRST), (BOOTSTRAP, ""), ("notes.txt", "")]);
    assert!(strange.contains("holds \"notes.txt\""), "{strange}");
}

fn identify(start: &Start, dir: &Path) -> Result<Identity, ConfigError> {
    start.identify(&DirLock::acquire(dir).unwrap())
}

#[test]
fn a_first_start_leaves_what_a_restart_needs() {
    let dir = storage(&[(INIT, FIRST), ("cluster.crt", "kept")]);
    let start = read_dir(dir.path()).0.unwrap();
    let identity = identify(&start, dir.path()).unwrap();
    assert!(identity.bootstrap);
    assert!(dir.path().join(INIT).exists(), "until the node runs");
    // As if the process had ended here.
    let again = read_dir(dir.path()).0.unwrap();
    assert_eq!(identify(&again, dir.path()).unwrap(), identity);
    fs::write(dir.path().join("metadata1"), "").unwrap();
    start.finish(dir.path()).unwrap();
    start.finish(dir.path()).unwrap();
    assert!(!dir.path().join(INIT).exists() && !dir.path().join(BOOTSTRAP).exists());
    assert_eq!(
        fs::read_to_string(dir.path().join(INFO_FILE)).unwrap(),
        format!("ID: {}\nAddress: 127.0.0.1:9000\nRole: 0\n", identity.id)
    );
    let restart = read_dir(dir.path()).0.unwrap();
    assert_eq!(restart, Start::Again);
    assert_eq!(
        identify(&restart, dir.path()).unwrap(),
        Identity {
            bootstrap: false,
            ..identity
        }
    );
}

#[test]
fn a_crash_while_init_yaml_is_deleted_leaves_a_node_that_starts() {
    let dir = storage(&[(INIT, FIRST)]);
    let start = read_dir(dir.path()).0.unwrap();
    let first = identify(&start, dir.path()).unwrap();
    fs::write(dir.path().join("metadata1"), "").unwrap();
    fs::remove_file(dir.path().join(INIT)).unwrap();
    let restart = read_dir(dir.path()).0.unwrap();
    assert_eq!(identify(&restart, dir.path()).unwrap().id, first.id);
}

#[test]
fn the_files_of_the_go_server_are_taken_as_they_are() {
    let dir = storage(&[
        (INFO_FILE, INFO_TEXT),
        (CLUSTER_FILE, CLUSTER_TEXT),
        ("metadata1", ""),
        ("snapshot-1-1024-77", ""),
    ]);
    let start = read_dir(dir.path()).0.unwrap();
    let identity = identify(&start, dir.path()).unwrap();
    assert_eq!(
        (identity.id, identity.address.as_str()),
        (BOOTSTRAP_ID, "127.0.0.1:9000")
    );
    assert!(!identity.bootstrap && !identity.is_joining);
    start.finish(dir.path()).unwrap();
    assert_eq!(
        fs::read_to_string(dir.path().join(INFO_FILE)).unwrap(),
        INFO_TEXT
    );
}

#[test]
fn a_directory_without_anything_says_how_to_begin() {
    let dir = storage(&[("cluster.crt", "")]);
    for dir in [dir.path().to_owned(), dir.path().join("missing")] {
        let error = read_dir(&dir).0.unwrap_err();
        assert!(
            matches!(error, ConfigError::NotInitialised { .. }),
            "{error}"
        );
        let line = format!("k8s-dqlite init --storage-dir {}", dir.display());
        assert!(error.to_string().contains(&line), "{error}");
    }
}

#[test]
fn a_storage_directory_that_is_a_file_is_refused() {
    let dir = storage(&[("data", "")]);
    let error = read_dir(&dir.path().join("data"))
        .0
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot read") && error.contains("directory"),
        "{error}"
    );
}

#[test]
fn a_state_that_makes_no_sense_is_refused_with_the_file() {
    let refusal = |files: &[(&str, &str)]| {
        let dir = storage(files);
        let start = read_dir(dir.path()).0;
        let identity = start.and_then(|start| identify(&start, dir.path()));
        identity.unwrap_err().to_string()
    };
    let address = [(INFO_FILE, "ID: 1\nAddress: a"), ("metadata1", "")];
    for (files, expected) in [
        (
            [(INFO_FILE, INFO_TEXT), (CLUSTER_FILE, "- {Address: 'b:1'}")],
            "does not list this node",
        ),
        (
            [(INFO_FILE, ""), (CLUSTER_FILE, CLUSTER_TEXT)],
            "/info.yaml is damaged",
        ),
        (
            [(INFO_FILE, INFO_TEXT), (CLUSTER_FILE, "- [")],
            "/cluster.yaml is damaged",
        ),
        (
            [(INFO_FILE, "Address: a:1"), (CLUSTER_FILE, "")],
            "/info.yaml is damaged: ID",
        ),
        (
            [(INFO_FILE, INFO_TEXT), (CLUSTER_FILE, CLUSTER_TEXT)],
            "lost its data",
        ),
        (
            [(CLUSTER_FILE, CLUSTER_TEXT), ("cluster.crt", "")],
            "neither info.yaml nor data",
        ),
        ([("metadata1", ""), ("open-1", "")], "info.yaml"),
        (address, "/info.yaml: Address \"a\" is no address"),
    ] {
        let error = refusal(&files);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_node_of_several_starts_again() {
    let three = format!(
        "{CLUSTER_TEXT}- ID: 2\n  Address: 10.0.0.2:9000\n  Role: 0\n- ID: 3\n  Address: 10.0.0.3:9000\n  Role: 0\n"
    );
    let dir = storage(&[
        (INFO_FILE, INFO_TEXT),
        (CLUSTER_FILE, &three),
        ("metadata1", ""),
    ]);
    let start = read_dir(dir.path()).0.unwrap();
    let identity = identify(&start, dir.path()).unwrap();
    assert_eq!((identity.cluster.len(), identity.bootstrap), (3, false));
    assert_eq!(
        fs::read_to_string(dir.path().join(CLUSTER_FILE)).unwrap(),
        three
    );
}

fn with_update(text: &str, more: &[(&str, &str)]) -> Result<Start, ConfigError> {
    let mut files = vec![
        (INFO_FILE, INFO_TEXT),
        (CLUSTER_FILE, CLUSTER_TEXT),
        (UPDATE, text),
    ];
    files.extend(more);
    read_dir(storage(&files).path()).0
}

#[test]
fn update_yaml_is_the_new_address() {
    let address = "10.0.0.1:9000".parse().unwrap();
    let start = with_update("Address: 10.0.0.1:9000\n", &[]).unwrap();
    assert_eq!(start, Start::Move { address });
}

#[test]
fn a_wrong_update_yaml_is_named_with_what_to_write() {
    for (text, expected) in [
        ("", "write a line such as Address: "),
        ("Address: ''", "write a line such as Address: "),
        ("Address: 0.0.0.0:9000", "write the one that others dial"),
        ("Address: nowhere", "is no address"),
        ("- a", "update.yaml, line 1"),
    ] {
        let error = with_update(text, &[]).unwrap_err().to_string();
        assert!(error.contains("/update.yaml"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    for flag in [JOIN, BOOTSTRAP] {
        let error = with_update("Address: 10.0.0.1:9000", &[(flag, "")]).unwrap_err();
        assert!(error.to_string().contains("is not finished"), "{error}");
    }
}
