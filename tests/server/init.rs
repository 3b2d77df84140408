//! `k8s-dqlite init`: a directory with which the first start is one command.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use super::wrong_input::certificates::make_pair;
use crate::harness::*;

fn init(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.arg("init").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes the directory of a server that is not started yet, which may have none.
fn init_of(server: &Server, more: &[&str]) -> Output {
    let dir = server.storage_dir();
    let address = format!("127.0.0.1:{}", server.node_port());
    let own = [
        "--storage-dir",
        dir.to_str().unwrap(),
        "--address",
        &address,
    ];
    init(&[&own[..], more].concat())
}

/// A server without a directory.
fn without_directory() -> Server {
    let server = Server::prepare(Kind::K8sDqlite, Options::flags(&["--enable-tls"]));
    fs::remove_dir_all(server.storage_dir()).unwrap();
    server
}

/// Fails with this code and a text, and changes nothing.
fn assert_refused(server: &Server, more: &[&str], code: i32, said: &str) {
    let files = || {
        let entries = fs::read_dir(server.storage_dir()).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let output = init_of(server, more);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(said), "{error}");
    assert_eq!(files(), before);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_node_begins_and_another_joins_by_one_command_each() {
    let mut first = without_directory();
    let made = init_of(&first, &[]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(
        text(&made.stdout).starts_with("made: "),
        "{}",
        text(&made.stdout)
    );
    let dir = first.storage_dir();
    let modes = ["", "cluster.key", "cluster.crt", "init.yaml"].map(|name| mode(&dir.join(name)));
    assert_eq!(modes, [0o700, 0o600, 0o644, 0o600]);
    let pair = fs::read(dir.join("cluster.crt")).unwrap();
    let again = init_of(&first, &[]);
    assert!(
        text(&again.stdout).starts_with("made before: "),
        "{}",
        text(&again.stdout)
    );
    assert_eq!(fs::read(dir.join("cluster.crt")).unwrap(), pair);
    let nowhere = ["--if-missing", "--address", "192.0.2.1:9000"];
    let is_nothing_done = |first: &Server| {
        let done = init(&[&["--storage-dir", dir.to_str().unwrap()], &nowhere[..]].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(text(&done.stdout).starts_with("there already: "));
        assert_eq!(
            fs::read(first.storage_dir().join("cluster.crt")).unwrap(),
            pair
        );
    };
    is_nothing_done(&first);
    first.launch();
    first.ready().await;
    is_nothing_done(&first);
    first.api().await.put("from", "first").await;
    assert_refused(&first, &[], 12, "is the directory of a node already");

    let mut second = without_directory();
    let address = format!("127.0.0.1:{}", first.node_port());
    let from = dir.to_str().unwrap();
    let joining = ["--join", &address, "--pair-from", from];
    let made = init_of(&second, &[&joining[..], &["--if-missing"]].concat());
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).starts_with("made: "));
    second.launch();
    second.ready().await;
    let found = second.api().await.ask(get("from")).await;
    assert_eq!(found.kvs[0].value, "first");

    let third = without_directory();
    assert_refused(&third, &["--join", &address], 12, "--pair-from");
    let foreign = third.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    make_pair(&foreign);
    let foreign = foreign.to_str().unwrap();
    let with_foreign = ["--join", &address, "--pair-from", foreign];
    assert_refused(&third, &with_foreign, 13, "no node of the cluster answers");

    // A node that lost its directory comes back at its address.
    second.kill9();
    fs::remove_dir_all(second.storage_dir()).unwrap();
    let made = init_of(&second, &joining);
    assert!(made.status.success(), "{}", text(&made.stderr));
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_made() {
    let server = without_directory();
    let missing = server.path().join("nowhere");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = holder.local_addr().unwrap().to_string();
    for (more, code, said) in [
        (
            &["--address", "0.0.0.0:9000"][..],
            12,
            "stands for all interfaces",
        ),
        (
            &["--address", "192.0.2.1:9000"],
            4,
            "does not have the address",
        ),
        (&["--address", &occupied], 4, "in use by another process"),
        (&["--address", "10.0.0.1"], 2, "--address"),
        (
            &["--pair-from", missing.to_str().unwrap()],
            3,
            "nowhere/cluster.crt",
        ),
        (
            &["--enable-tls=false", "--join", "127.0.0.1:1"],
            13,
            "no node of the cluster answers at 127.0.0.1:1",
        ),
    ] {
        assert_refused(&server, more, code, said);
    }
    let dir = server.storage_dir();
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    assert_refused(&server, &[], 12, "others may write to it");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(server.storage_dir().join("notes.txt"), "").unwrap();
    assert_refused(&server, &[], 3, "notes.txt");
    fs::remove_file(server.storage_dir().join("notes.txt")).unwrap();
    fs::write(
        server.storage_dir().join("init.yaml"),
        "Address: 127.0.0.1:1\n",
    )
    .unwrap();
    assert_refused(&server, &[], 12, "says otherwise");

    // Cut short between the files of the pair.
    fs::remove_file(dir.join("init.yaml")).unwrap();
    let from = server.path().join("pair");
    fs::create_dir(&from).unwrap();
    make_pair(&from);
    fs::copy(from.join("cluster.key"), dir.join("cluster.key")).unwrap();
    assert_refused(&server, &[], 12, "only one of cluster.crt and cluster.key");
    let again = init_of(&server, &["--pair-from", from.to_str().unwrap()]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    fs::remove_file(dir.join("init.yaml")).unwrap();
    let own = init_of(&server, &[]);
    assert!(
        text(&own.stdout).contains("the one that was there"),
        "{}",
        text(&own.stdout)
    );
    fs::remove_file(dir.join("init.yaml")).unwrap();
    fs::remove_file(from.join("cluster.crt")).unwrap();
    fs::remove_file(from.join("cluster.key")).unwrap();
    make_pair(&from);
    let other = ["--pair-from", from.to_str().unwrap()];
    assert_refused(&server, &other, 12, "has another pair already");
}

#[tokio::test]
async fn a_start_without_a_directory_names_the_command_that_makes_one() {
    let mut server = without_directory();
    server.launch();
    let status = server.process().wait().await;
    assert_eq!(status.code(), Some(3));
    let said = server.output();
    let dir = server.storage_dir();
    let line = format!("k8s-dqlite init --storage-dir {}", dir.display());
    assert!(said.contains(&line), "{said}");
    let made = init(&["--storage-dir", dir.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let yaml = fs::read_to_string(dir.join("init.yaml")).unwrap();
    assert!(
        yaml.trim_end().trim_end_matches('\'').ends_with(":29001"),
        "{yaml}"
    );
}
