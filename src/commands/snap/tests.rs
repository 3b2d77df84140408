//! Hooks in a tree that looks like a snap's, with a program in place of snapctl that notes what it is asked.

mod addresses;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{paths::SERVER, *};

const NOW_S: i64 = 1_800_000_000;

const SNAPCTL: &str = r#"#!/bin/sh
here=${0%/*}
echo "$*" >>"$here/asked"
case $1 in
get) if [ -z "$3" ]; then printf '{"": %s}' "$(cat "$here/settings")"; else cat "$here/settings"; fi ;;
services) printf 'Service Startup Current Notes\n%s enabled active -\n' "$2" ;;
esac
"#;

/// A k8sd that notes its arguments and the token, and answers as the file beside it says.
const K8SD: &str = r#"#!/bin/sh
here=${0%/*}
echo "$*" >"$here/asked-k8sd"
cat >"$here/token"
[ ! -e "$here/refusal" ] || { cat "$here/refusal" >&2; exit 1; }
"#;

struct Tree {
    dir: TempDir,
    paths: SnapPaths,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let paths = SnapPaths {
            snap: root.join("snap"),
            data: root.join("k8s-dqlite/x1"),
            common: root.join("k8s-dqlite/common"),
            instance: "k8s-dqlite".to_owned(),
            snapctl: root.join("snapctl"),
        };
        for dir in [&paths.data, &paths.common, &paths.snap.join("bin")] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::create_dir_all(paths.snap.join("config")).unwrap();
        fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("config/csr-dqlite.conf.template"),
            paths.snap.join("config/csr-dqlite.conf.template"),
        )
        .unwrap();
        for (path, text) in [(&paths.snapctl, SNAPCTL), (&paths.program("k8sd"), K8SD)] {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        let tree = Self { dir, paths };
        tree.set(json!({}));
        tree
    }

    /// Returns the tree after the install hook.
    fn installed() -> Self {
        let tree = Self::new();
        // Making a pair of 4096 bits takes seconds in the tests, and one test does it.
        let storage = tree.paths.storage();
        fs::create_dir_all(&storage).unwrap();
        for name in ["cluster.crt", "cluster.key"] {
            fs::write(storage.join(name), "").unwrap();
        }
        install::run(&tree.paths).unwrap();
        tree
    }

    fn set(&self, settings: Value) {
        fs::write(self.dir.path().join("settings"), settings.to_string()).unwrap();
    }

    /// Returns the calls of snapctl, without those that only read settings and services.
    fn asked(&self) -> Vec<String> {
        let path = self.dir.path().join("asked");
        let asked = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let lines = asked.lines().map(str::to_owned);
        lines
            .filter(|line| !line.starts_with("get ") && !line.starts_with("services "))
            .collect()
    }

    async fn configure(&self, settings: Value) -> Result<(), String> {
        self.set(settings);
        let ran = configure::run(&self.paths, NOW_S).await;
        ran.map_err(|error| error.to_string())
    }

    fn args(&self) -> String {
        fs::read_to_string(self.paths.args(SERVER)).unwrap()
    }

    fn storage_file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.paths.storage().join(name)).ok()
    }

    /// Makes the files that a server which has run would leave.
    fn is_born_at(&self, address: &str) {
        let storage = self.paths.storage();
        let _ = fs::remove_file(storage.join("init.yaml"));
        let info = format!("ID: 3297041220608546238\nAddress: {address}\nRole: 0\n");
        fs::write(storage.join("info.yaml"), info).unwrap();
    }
}

#[tokio::test]
async fn a_key_that_means_nothing_is_refused_and_forgotten_by_a_refresh() {
    let tree = Tree::installed();
    let before = tree.args();
    let told = tree
        .configure(json!({"log-levle": "debug", "metrics": "maybe"}))
        .await
        .unwrap_err();
    assert!(
        told.contains("log-levle: there is no such setting; is log-level meant?"),
        "{told}"
    );
    assert!(told.contains("metrics: "), "{told}");
    assert_eq!(tree.args(), before);
    let _ = tree.asked();
    // One that was let pass by an older revision is in nobody's way.
    tree.set(json!({"log-levle": "debug", "log-level": "debug"}));
    refresh::after(&tree.paths).unwrap();
    assert_eq!(tree.asked(), ["unset log-levle"]);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_installation_is_ready_to_start_and_a_second_one_changes_nothing() {
    let tree = Tree::new();
    install::run(&tree.paths).unwrap();
    let storage = tree.paths.storage();
    assert_eq!(mode(&storage), 0o700);
    assert_eq!(mode(&storage.join("cluster.key")), 0o600);
    assert_eq!(
        fs::canonicalize(tree.paths.documented()).unwrap(),
        fs::canonicalize(&storage).unwrap()
    );
    let init = tree.storage_file("init.yaml").unwrap();
    assert!(
        init.starts_with("Address: ") && init.ends_with(":29001\n"),
        "{init}"
    );
    let pair = crate::config::load_pair(&storage, Default::default());
    assert!(pair.is_ok(), "{:?}", pair.err());
    assert!(
        tree.args()
            .contains("--storage-dir=${SNAP_COMMON}/var/lib/k8s-dqlite\n")
    );

    let before: Vec<_> = ["cluster.crt", "cluster.key", "init.yaml"]
        .map(|name| tree.storage_file(name))
        .to_vec();
    fs::write(tree.paths.args(SERVER), "--debug\n").unwrap();
    install::run(&tree.paths).unwrap();
    let after: Vec<_> = ["cluster.crt", "cluster.key", "init.yaml"]
        .map(|name| tree.storage_file(name))
        .to_vec();
    assert_eq!(before, after);
    assert_eq!(tree.args(), "--debug\n");
}

#[test]
fn half_a_pair_is_refused() {
    let tree = Tree::new();
    fs::create_dir_all(tree.paths.storage()).unwrap();
    fs::write(tree.paths.storage().join("cluster.key"), "mine").unwrap();
    let error = install::run(&tree.paths).unwrap_err().to_string();
    assert!(
        error.contains("only one of cluster.crt and cluster.key"),
        "{error}"
    );
    assert_eq!(tree.storage_file("cluster.key").unwrap(), "mine");
}

#[tokio::test]
async fn settings_change_flags_and_restart_once() {
    let tree = Tree::installed();
    tree.configure(json!({})).await.unwrap();
    assert!(tree.asked().is_empty());

    let settings = json!({"listen": "unix:///run/k.sock", "metrics": true, "metrics-top": true, "log-level": "debug"});
    tree.configure(settings.clone()).await.unwrap();
    assert_eq!(tree.asked(), ["restart k8s-dqlite.k8s-dqlite"]);
    let args = tree.args();
    for flag in [
        "--listen=unix:///run/k.sock",
        "--metrics=true",
        "--metrics-listen=127.0.0.1:9042",
        "--metrics-top=true",
        "--log-level=debug",
        "--storage-dir=${SNAP_COMMON}/var/lib/k8s-dqlite",
    ] {
        assert!(args.lines().any(|line| line == flag), "{flag} in {args}");
    }
    tree.configure(settings).await.unwrap();
    assert!(tree.asked().is_empty());

    tree.configure(json!({})).await.unwrap();
    assert_eq!(tree.asked(), ["restart k8s-dqlite.k8s-dqlite"]);
    assert!(!tree.args().contains("--listen"));
}

#[tokio::test]
async fn wrong_settings_change_nothing() {
    let tree = Tree::installed();
    let before = tree.args();
    for (settings, reason) in [
        (
            json!({"listen": "localhost", "log-level": "debug"}),
            "listen: ",
        ),
        (json!({"listen": "https://:1"}), "--cert-file"),
        (json!({"address": "0.0.0.0"}), "address: "),
        (json!({"join-token": "no token"}), "join-token: "),
    ] {
        let error = tree.configure(settings).await.unwrap_err();
        assert!(error.contains(reason), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(tree.args(), before);
    assert!(tree.asked().is_empty());
}

#[tokio::test]
async fn another_address_is_for_the_next_start() {
    let tree = Tree::installed();
    tree.configure(json!({"address": "127.0.0.7"}))
        .await
        .unwrap();
    assert_eq!(
        tree.storage_file("init.yaml").unwrap(),
        "Address: 127.0.0.7:29001\n"
    );
    let manager = fs::read_to_string(tree.paths.args("k8sd")).unwrap();
    assert!(
        manager.ends_with("--address=127.0.0.7:6400\n--datastore-address=127.0.0.7:29001\n"),
        "{manager}"
    );
    assert_eq!(
        tree.asked(),
        [
            "restart k8s-dqlite.k8s-dqlite",
            "restart k8s-dqlite.k8sd-daemon"
        ]
    );

    tree.is_born_at("127.0.0.7:29001");
    tree.configure(json!({"address": "127.0.0.8:9000"}))
        .await
        .unwrap();
    assert_eq!(
        tree.storage_file("update.yaml").unwrap(),
        "Address: 127.0.0.8:9000\n"
    );
    assert_eq!(tree.storage_file("init.yaml"), None);

    fs::write(tree.paths.manager().join("daemon.yaml"), "").unwrap();
    let error = tree
        .configure(json!({"address": "127.0.0.9"}))
        .await
        .unwrap_err();
    assert!(error.contains("part of a cluster of k8sd"), "{error}");
}

#[tokio::test]
async fn a_node_that_joins_others_by_hand_keeps_its_init_yaml() {
    let tree = Tree::installed();
    let init = "Address: 127.0.0.2:29001\nCluster:\n- 127.0.0.1:29001\n";
    fs::write(tree.paths.storage().join("init.yaml"), init).unwrap();
    let error = tree
        .configure(json!({"address": "127.0.0.3"}))
        .await
        .unwrap_err();
    assert!(error.contains("change Address there"), "{error}");
    tree.configure(json!({"address": "127.0.0.2"}))
        .await
        .unwrap();
    assert_eq!(tree.storage_file("init.yaml").unwrap(), init);
}

#[tokio::test]
async fn a_failure_domain_is_written_as_a_number() {
    let tree = Tree::installed();
    tree.configure(json!({"failure-domain": 3})).await.unwrap();
    assert_eq!(tree.storage_file("failure-domain").unwrap(), "3\n");
    assert_eq!(tree.asked(), ["restart k8s-dqlite.k8s-dqlite"]);
    tree.configure(json!({"failure-domain": "3"}))
        .await
        .unwrap();
    assert!(tree.asked().is_empty());
}

#[tokio::test]
async fn a_token_goes_to_k8sd_and_is_forgotten() {
    let tree = Tree::installed();
    let settings = json!({"join-token": "e30=", "name": "node2", "address": "127.0.0.2"});
    tree.configure(settings).await.unwrap();
    let asked = fs::read_to_string(tree.paths.snap.join("bin/asked-k8sd")).unwrap();
    assert!(asked.starts_with("join - "), "{asked}");
    assert!(
        asked.contains("--name node2 --address 127.0.0.2:6400"),
        "{asked}"
    );
    assert!(
        asked.contains("/k8s-dqlite.next --datastore-address 127.0.0.2:29001"),
        "{asked}"
    );
    assert!(!asked.contains("e30="), "{asked}");
    assert_eq!(
        fs::read_to_string(tree.paths.snap.join("bin/token")).unwrap(),
        "e30="
    );
    assert_eq!(
        tree.asked(),
        [
            "unset join-token",
            "restart k8s-dqlite.k8s-dqlite",
            "restart k8s-dqlite.k8sd-daemon"
        ]
    );
}

#[tokio::test]
async fn a_refused_token_changes_nothing() {
    let tree = Tree::installed();
    fs::write(
        tree.paths.snap.join("bin/refusal"),
        "No matching join token found",
    )
    .unwrap();
    let before = tree.args();
    let settings = json!({"join-token": "e30=", "log-level": "debug"});
    let error = tree.configure(settings).await.unwrap_err();
    assert_eq!(error, "join-token: No matching join token found");
    assert_eq!(tree.args(), before);
    assert!(tree.asked().is_empty());
}

#[tokio::test]
async fn a_datastore_that_may_have_data_is_not_given_up() {
    let tree = Tree::installed();
    // Nothing listens there.
    tree.is_born_at("127.0.0.1:1");
    for name in ["cluster.crt", "cluster.key"] {
        fs::remove_file(tree.paths.storage().join(name)).unwrap();
    }
    let error = tree
        .configure(json!({"join-token": "e30="}))
        .await
        .unwrap_err();
    assert!(
        error.contains("cannot be told whether it is empty"),
        "{error}"
    );
    fs::write(tree.paths.manager().join("daemon.yaml"), "").unwrap();
    let error = tree
        .configure(json!({"join-token": "e30="}))
        .await
        .unwrap_err();
    assert!(error.contains("part of a cluster already"), "{error}");
    assert!(!tree.paths.snap.join("bin/asked-k8sd").exists());
}

#[test]
fn a_node_that_is_removed_leaves_its_cluster() {
    let tree = Tree::installed();
    remove::run(&tree.paths);
    let asked = fs::read_to_string(tree.paths.snap.join("bin/asked-k8sd")).unwrap();
    let state = tree.paths.manager();
    assert_eq!(asked, format!("leave --state-dir {}\n", state.display()));
    // Nothing holds a removal up.
    fs::write(tree.paths.snap.join("bin/refusal"), "nobody answers").unwrap();
    remove::run(&tree.paths);
}

#[test]
fn data_of_older_revisions_moves_once() {
    let tree = Tree::new();
    let old = tree.paths.documented();
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("metadata1"), "votes").unwrap();
    refresh::after(&tree.paths).unwrap();
    assert_eq!(tree.storage_file("metadata1").unwrap(), "votes");
    assert!(fs::symlink_metadata(&old).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(old.join("metadata1")).unwrap(), "votes");
    refresh::after(&tree.paths).unwrap();
    assert_eq!(tree.storage_file("metadata1").unwrap(), "votes");

    // The copy of a revision that was reverted, and refreshed again.
    fs::remove_file(&old).unwrap();
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("metadata1"), "older").unwrap();
    let error = refresh::after(&tree.paths).unwrap_err().to_string();
    assert!(error.contains("move one of the two away"), "{error}");
    assert_eq!(tree.storage_file("metadata1").unwrap(), "votes");
    assert_eq!(fs::read_to_string(old.join("metadata1")).unwrap(), "older");
}

#[tokio::test]
async fn a_node_that_does_not_run_does_not_hold_up_a_refresh() {
    let tree = Tree::installed();
    refresh::before(&tree.paths, NOW_S).await.unwrap();
    tree.is_born_at("127.0.0.1:1");
    refresh::before(&tree.paths, NOW_S).await.unwrap();
}
