use std::collections::BTreeMap;

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

fn read_dir(dir: &Path) -> (Result<StartState, ConfigError>, Vec<String>) {
    let mut warnings = Vec::new();
    let socket = dir.join("k8s-dqlite.sock");
    (read(dir, Some(&socket), false, &mut warnings), warnings)
}

fn state(files: &[(&str, &str)]) -> StartState {
    read_dir(storage(files).path()).0.unwrap()
}

fn error(files: &[(&str, &str)]) -> String {
    read_dir(storage(files).path()).0.unwrap_err().to_string()
}

fn first() -> StartState {
    let address = "127.0.0.1:9000".parse().unwrap();
    StartState {
        node_id: BOOTSTRAP_ID,
        address,
        is_first: true,
    }
}

#[test]
fn init_yaml_begins_a_cluster() {
    assert_eq!(state(&[(INIT, FIRST)]), first());
    let address = "Address: '[::1]:9000'";
    assert_eq!(state(&[(INIT, address)]).address.as_str(), "[::1]:9000");
}

#[test]
fn empty_strings_and_the_own_address_in_cluster_are_no_other_nodes() {
    for cluster in ["[]", "['', '', 127.0.0.1:9000]", "[null]", "null", ""] {
        let text = format!("{FIRST}Cluster: {cluster}\n");
        assert_eq!(state(&[(INIT, &text)]), first(), "{cluster}");
    }
}

#[test]
fn other_nodes_in_cluster_are_refused_by_name() {
    let text = format!("{FIRST}Cluster: ['', 127.0.0.1:9000, 10.0.0.2:9000]");
    let error = error(&[(INIT, &text)]);
    assert!(
        error.contains("/init.yaml: joining the cluster of 10.0.0.2:9000"),
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
    files.extend([(INIT, FIRST), ("k8s-dqlite.sock", "")]);
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
    let young = [
        (INIT, FIRST),
        (INFO, INFO_TEXT),
        (CLUSTER, CLUSTER_TEXT),
        ("metadata1", ""),
        ("open-1", ""),
        ("0000000000000001-0000000000000003", ""),
    ];
    for count in 2..=young.len() {
        let dir = storage(&young[..count]);
        let (state, warnings) = read_dir(dir.path());
        assert_eq!(state.unwrap(), first());
        assert!(warnings[0].contains("interrupted"), "{warnings:?}");
    }
}

#[test]
fn init_yaml_beside_the_data_of_a_node_is_refused() {
    let snapshot = "snapshot-1-1024-77";
    let old = error(&[
        (INIT, FIRST),
        (INFO, INFO_TEXT),
        (CLUSTER, CLUSTER_TEXT),
        (snapshot, ""),
    ]);
    assert!(
        old.contains(snapshot) && old.contains("delete init.yaml"),
        "{old}"
    );
    let moved = error(&[(INIT, "Address: 127.0.0.1:9001"), (INFO, INFO_TEXT)]);
    assert!(moved.contains("holds \"info.yaml\""), "{moved}");
}

#[test]
fn a_first_start_leaves_what_a_restart_needs() {
    let dir = storage(&[(INIT, FIRST), ("cluster.crt", "kept")]);
    let (state, _) = read_dir(dir.path());
    let state = state.unwrap();
    {
        let lock = DirLock::acquire(dir.path()).unwrap();
        state.record(&lock).unwrap();
    }
    assert!(dir.path().join(INIT).exists(), "until the node runs");
    state.finish(dir.path()).unwrap();
    state.finish(dir.path()).unwrap();
    let text = |name| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let names = [INIT, INFO, CLUSTER, "cluster.crt"];
    let files: BTreeMap<_, _> = names.map(|name| (name, text(name))).into();
    assert_eq!(files[INIT], "");
    assert_eq!(files[INFO], INFO_TEXT);
    assert_eq!(files[CLUSTER], CLUSTER_TEXT);
    assert_eq!(files["cluster.crt"], "kept");
    let (again, _) = read_dir(dir.path());
    assert_eq!(
        again.unwrap(),
        StartState {
            is_first: false,
            ..state
        }
    );
}

#[test]
fn a_restart_writes_and_deletes_nothing() {
    let dir = storage(&[
        (INFO, "ID: 7\nAddress: a:1\n"),
        (CLUSTER, "- {Address: a:1}\n"),
    ]);
    let state = read_dir(dir.path()).0.unwrap();
    assert_eq!(
        (state.node_id, state.address.as_str(), state.is_first),
        (7, "a:1", false)
    );
    let lock = DirLock::acquire(dir.path()).unwrap();
    state.record(&lock).unwrap();
    state.finish(dir.path()).unwrap();
    let info = fs::read_to_string(dir.path().join(INFO)).unwrap();
    assert_eq!(info, "ID: 7\nAddress: a:1\n");
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
        let line = format!(
            "echo 'Address: 127.0.0.1:9000' > {}/init.yaml",
            dir.display()
        );
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
fn half_a_state_is_refused_with_what_to_write() {
    let missing = error(&[(INFO, INFO_TEXT)]);
    assert!(
        missing.contains("cluster.yaml is missing beside info.yaml"),
        "{missing}"
    );
    assert!(
        missing.contains("- ID: 3297041220608546238\n    Address: 127.0.0.1:9000"),
        "{missing}"
    );
    let missing = error(&[(CLUSTER, CLUSTER_TEXT)]);
    assert!(
        missing.contains("info.yaml is missing beside cluster.yaml"),
        "{missing}"
    );
    let missing = error(&[("metadata1", "")]);
    assert!(
        missing.contains("info.yaml is missing beside the files of dqlite"),
        "{missing}"
    );
    let empty = error(&[(INFO, ""), (CLUSTER, CLUSTER_TEXT)]);
    assert!(empty.contains("/info.yaml: the file is empty"), "{empty}");
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let other = error(&[
        (INFO, INFO_TEXT),
        (CLUSTER, "- {ID: 1, Address: 'b:1', Role: 0}"),
    ]);
    assert!(
        other.contains("/cluster.yaml: does not list this node"),
        "{other}"
    );
    let none = error(&[(INFO, INFO_TEXT), (CLUSTER, "[]")]);
    assert!(
        none.contains("/cluster.yaml: does not list this node"),
        "{none}"
    );
    let id = error(&[(INFO, "Address: a:1"), (CLUSTER, "- Address: a:1")]);
    assert!(id.contains("/info.yaml: the ID of this node is 0"), "{id}");
    let address = error(&[(INFO, "ID: 1\nAddress: a"), (CLUSTER, "- Address: a")]);
    assert!(
        address.contains("/info.yaml: Address \"a\" is no address"),
        "{address}"
    );
    let broken = error(&[(INFO, "ID: one\nAddress: a:1"), (CLUSTER, CLUSTER_TEXT)]);
    assert!(
        broken.contains("/info.yaml, line 1: ID: invalid type"),
        "{broken}"
    );
}

#[test]
fn what_a_later_version_will_do_is_refused_with_the_file() {
    let two = format!("{CLUSTER_TEXT}- ID: 2\n  Address: 10.0.0.2:9000\n  Role: 2\n");
    let cluster = error(&[(INFO, INFO_TEXT), (CLUSTER, &two)]);
    assert!(
        cluster.contains("/cluster.yaml: running a cluster of 2 nodes"),
        "{cluster}"
    );
    for name in [UPDATE, JOIN] {
        let error = error(&[(INFO, INFO_TEXT), (CLUSTER, CLUSTER_TEXT), (name, "")]);
        assert!(
            error.contains(&format!("/{name}: ")) && error.contains("not possible"),
            "{error}"
        );
    }
}
