//! `k8s-dqlite backup`, `backup verify`, and restores of what they made.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use etcd_proto::etcdserverpb::HashKvRequest;

use super::nodes::trio::Trio;
use super::snapshot::{assert_same_store, write};
use crate::harness::*;

pub fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the output of a command that must succeed.
pub fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Returns the exit code and the error text of a command that must fail.
pub fn refusal(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    (output.status.code().unwrap(), text(&output.stderr))
}

pub fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn back_up(server: &Server, name: &str) -> PathBuf {
    let file = server.path().join(name);
    let said = printed(&[
        "backup",
        path_text(&file),
        "--endpoint",
        &server.client_url(),
    ]);
    assert!(said.starts_with("backup made: "), "{said}");
    file
}

/// A node on a backup, started.
async fn restored(file: &Path) -> Server {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let dir = server.storage_dir();
    let to = ["--storage-dir", path_text(&dir)];
    // Its nodes run.
    printed(&[&["restore", path_text(file)], &to[..], &["--force"]].concat());
    server.launch();
    server.ready().await;
    server
}

#[tokio::test]
async fn a_backup_becomes_the_same_store() {
    for kind in [Kind::K8sDqlite, Kind::Etcd] {
        let source = match kind {
            Kind::K8sDqlite => Server::start(kind).await,
            Kind::Etcd => match etcd_or_skip(Options::default()).await {
                Some(etcd) => etcd,
                None => return,
            },
        };
        let api = source.api().await;
        write(&api).await;
        api.ask(compact(40)).await;
        let file = back_up(&source, "backup.db.gz");
        let verified = printed(&["backup", "verify", path_text(&file)]);
        assert!(
            verified.starts_with("whole: revision 151, compacted at 40,"),
            "{verified}"
        );
        let is_known = verified.contains("the hash is the one of that server");
        assert_eq!(is_known, kind == Kind::K8sDqlite, "{verified}");
        let server = restored(&file).await;
        assert_same_store(&api, &server.api().await, 40).await;
    }
}

#[tokio::test]
async fn under_writes_it_is_one_revision_with_the_hash_of_that() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    write(&api).await;
    let writing = tokio::spawn({
        let api = api.clone();
        async move {
            for round in 0.. {
                let both = txn()
                    .then(put("pair/a", round.to_string()))
                    .then(put("pair/b", round.to_string()))
                    .then(delete(format!("single/{}", round - 1)))
                    .then(put(format!("single/{round}"), "1"));
                api.ask(both).await;
            }
        }
    });
    let mut last = 0;
    for round in 0..4 {
        let name = format!("{round}.db.gz");
        let dir = source.path().to_owned();
        let url = source.client_url();
        // The writer's task has to go on meanwhile.
        let file = tokio::task::spawn_blocking(move || {
            let file = dir.join(name);
            printed(&["backup", path_text(&file), "--endpoint", &url]);
            file
        });
        let file = file.await.unwrap();
        let server = restored(&file).await;
        let found = server.api().await;
        let revision = found.revision().await;
        assert!(revision > last, "{revision} after {last}");
        last = revision;
        let request = HashKvRequest { revision };
        let (here, there) = (found.ask(request).await, api.ask(request).await);
        assert_eq!(
            (here.hash, here.compact_revision),
            (there.hash, there.compact_revision)
        );
        let pair = found.ask(get_range("pair/", "pair0")).await.kvs;
        assert_eq!(pair[0].value, pair[1].value);
    }
    writing.abort();
}

#[tokio::test]
async fn any_of_three_nodes_gives_one_and_makes_its_own() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // All three may write to one directory.
    let flags = [
        &format!("--backup-dir={}", dir.path().display()),
        "--backup-interval=1s",
        "--backup-keep=1",
    ];
    let trio = Trio::start_with(&Options::flags(&flags)).await;
    let api = trio.nodes[0].api().await;
    write(&api).await;
    for node in &trio.nodes {
        // Any node has what another has answered.
        let file = back_up(node, "backup.db.gz");
        let verified = printed(&["backup", "verify", path_text(&file)]);
        assert!(verified.starts_with("whole: revision 151,"), "{verified}");
        assert!(
            verified.contains("the hash is the one of that server"),
            "{verified}"
        );
    }
    until("each has made one of the last revision", async || {
        let names = names(dir.path()).into_iter();
        let last: Vec<_> = names
            .filter(|name| name.contains("-r000000000151-") && name.ends_with(".db.gz"))
            .collect();
        let nodes: std::collections::HashSet<_> = last
            .iter()
            .map(|name| name.rsplit('-').next().unwrap())
            .collect();
        nodes.len() == 3
    })
    .await;
}

#[tokio::test]
async fn unpacked_it_is_a_snapshot_of_etcd() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    write(&api).await;
    let file = back_up(&source, "backup.db.gz");
    let unpacked = Command::new("gzip").arg("-t").arg(&file).output().unwrap();
    assert!(unpacked.status.success(), "{}", text(&unpacked.stderr));
    let unpacked = Command::new("gunzip").arg(&file).output().unwrap();
    assert!(unpacked.status.success(), "{}", text(&unpacked.stderr));
    let file = source.path().join("backup.db");
    let verified = printed(&["backup", "verify", path_text(&file)]);
    assert!(
        verified.contains("a snapshot as etcdctl saves it"),
        "{verified}"
    );
    let Some(etcd) = super::snapshot::restored_etcd(&file).await else {
        return;
    };
    assert_same_store(&api, &etcd.api().await, -1).await;
}

#[tokio::test]
async fn nothing_is_overwritten_unless_told_to() {
    let source = Server::start(Kind::K8sDqlite).await;
    source.api().await.put("a", "1").await;
    let file = source.path().join("backup.db.gz");
    std::fs::write(&file, "precious").unwrap();
    let url = source.client_url();
    let to = ["backup", path_text(&file), "--endpoint", &url];
    let (code, said) = refusal(&to);
    assert!(code == 12 && said.contains("exists already"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    printed(&[&to[..], &["--force"]].concat());
    printed(&["backup", "verify", path_text(&file)]);

    // A server that is not there leaves nothing.
    let other = source.path().join("other.db.gz");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (code, said) = refusal(&["backup", path_text(&other), "--endpoint", &nobody]);
    assert!(code == 13 && said.contains("cannot connect to"), "{said}");
    let left = std::fs::read_dir(source.path()).unwrap();
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with("other")));
}

#[tokio::test]
async fn damage_anywhere_is_refused_and_the_directory_stays_as_it_is() {
    let source = Server::start(Kind::K8sDqlite).await;
    write(&source.api().await).await;
    let file = back_up(&source, "backup.db.gz");
    let whole = std::fs::read(&file).unwrap();
    let dir = source.path().join("restored");
    let refused = |bytes: &[u8], reason: &str| {
        std::fs::write(&file, bytes).unwrap();
        let address = ["--address", "127.0.0.1:29001"];
        let to = [
            "restore",
            path_text(&file),
            "--storage-dir",
            path_text(&dir),
        ];
        for command in [
            &[&to[..], &address].concat()[..],
            &["backup", "verify", path_text(&file)],
        ] {
            let (code, said) = refusal(command);
            assert_eq!(code, 6, "{said}");
            assert!(said.contains(reason), "{reason:?} is not in {said}");
        }
        assert!(!dir.exists());
    };
    let length = whole.len();
    for at in [
        40,
        60,
        length / 4,
        length / 2,
        length - 200,
        length - 60,
        length - 20,
        length - 1,
    ] {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        refused(&flipped, "is damaged");
    }
    let mut flipped = whole.clone();
    flipped[0] ^= 4;
    refused(&flipped, "checksum");
    for at in [length / 2, length - 1, 50] {
        refused(&whole[..at], "cut off");
    }
    refused(&[&whole[..], b"\0"].concat(), "is damaged");
    refused(b"", "checksum");
    refused(b"\x1f\x8b\x08 of somebody else", "is no backup");
    std::fs::write(&file, &whole).unwrap();
    printed(&["backup", "verify", path_text(&file)]);
}

#[tokio::test]
async fn one_that_is_killed_leaves_nothing_under_the_name_and_the_next_one_works() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    let value = "v".repeat(1_000_000);
    for index in 0..24 {
        api.put(&format!("large/{index}"), &value).await;
    }
    let file = source.path().join("backup.db.gz");
    let part = source.path().join("backup.db.gz.part");
    let url = source.client_url();
    let to = ["backup", path_text(&file), "--endpoint", &url];
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    let mut process = Process::spawn(
        {
            command.args(to);
            command
        },
        &source.path().join("backup.log"),
    );
    until("the backup has begun", async || {
        std::fs::metadata(&part).is_ok() || process.exited().is_some()
    })
    .await;
    process.kill();
    // It may have been complete already: then it is whole.
    match file.exists() {
        true => drop(printed(&["backup", "verify", path_text(&file)])),
        false => drop(printed(&to)),
    }
    printed(&["backup", "verify", path_text(&file)]);
    assert!(!part.exists());
}

/// The names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_server_makes_backups_and_keeps_the_newest() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let backups = dir.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    // Somebody else's, and those of another node.
    let others = [
        "k8s-dqlite-20200101T000000Z-r000000000001-00000000000000ff.db.gz",
        "k8s-dqlite-20200101T000000Z.db.gz",
        "precious",
    ];
    for name in others {
        std::fs::write(backups.join(name), "").unwrap();
    }
    let flags = [
        &format!("--backup-dir={}", backups.display()),
        "--backup-interval=1s",
        "--backup-keep=2",
    ];
    let server = Server::start_with(Kind::K8sDqlite, Options::flags(&flags)).await;
    let api = server.api().await;
    let own = || {
        let names = names(&backups).into_iter();
        names
            .filter(|name| !others.contains(&name.as_str()) && name.ends_with(".db.gz"))
            .collect::<Vec<_>>()
    };
    let mut first = Vec::new();
    until("the first is there", async || {
        first = own();
        !first.is_empty()
    })
    .await;
    api.put("a", "1").await;
    until("it is gone, and two are there", async || {
        let now = own();
        now.len() == 2 && !now.contains(&first[0])
    })
    .await;
    let newest = backups.join(own().pop().unwrap());
    let all = names(&backups);
    assert!(
        others
            .iter()
            .all(|name| all.iter().any(|found| found == name))
    );
    let metrics = server.http("GET", "/metrics").await.body;
    let made = metrics
        .lines()
        .find_map(|line| line.strip_prefix("k8s_dqlite_backups_total "));
    assert!(made.unwrap().parse::<u32>().unwrap() >= 3);
    drop(server);
    let verified = printed(&["backup", "verify", path_text(&newest)]);
    assert!(
        verified.contains("the hash is the one of that server"),
        "{verified}"
    );
}

#[tokio::test]
async fn a_backup_that_fails_is_counted_and_the_server_goes_on() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let flag = format!("--backup-dir={}", file.join("backups").display());
    let flags = [flag.as_str(), "--backup-interval=1s"];
    let server = Server::start_with(Kind::K8sDqlite, Options::flags(&flags)).await;
    until("two have failed", async || {
        let metrics = server.http("GET", "/metrics").await.body;
        let failed = metrics
            .lines()
            .find_map(|line| line.strip_prefix("k8s_dqlite_backup_failures_total "));
        failed.is_some_and(|count| count != "0" && count != "1")
    })
    .await;
    assert!(server.output().contains("the backup failed"));
    server.api().await.put("a", "1").await;
}

#[test]
fn backups_are_not_kept_in_the_storage_directory() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(dir.path().join("init.yaml"), "Address: 127.0.0.1:9000").unwrap();
    let storage = path_text(dir.path());
    let inside = format!("{storage}/backups");
    let flags = [
        "--enable-tls=false",
        "--storage-dir",
        storage,
        "--backup-dir",
        &inside,
    ];
    let (code, said) = refusal(&flags);
    assert!(
        code == 3 && said.contains("is in the storage directory"),
        "{said}"
    );
}
