//! `k8s-dqlite restore`: a node made of a snapshot, of an etcd or of a node like it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use etcd_proto::authpb::permission::Type;
use etcd_proto::etcdserverpb::{
    AlarmRequest, AlarmType, HashKvRequest, SnapshotRequest, alarm_request::AlarmAction,
};

use super::auth::{self, management::until_signed_in};
use super::nodes::trio::Trio;
use super::snapshot::{assert_same_store, write};
use crate::harness::*;

/// Saves the stream as a client does.
async fn save(server: &Server) -> PathBuf {
    save_as(server, server.api().await).await
}

async fn save_as(server: &Server, mut api: Api) -> PathBuf {
    let request = api.request(SnapshotRequest {});
    let stream = api.maintenance.snapshot(request).await;
    let mut stream = stream.unwrap().into_inner();
    let mut file = Vec::new();
    while let Some(blob) = stream.message().await.unwrap() {
        file.extend_from_slice(&blob.blob);
    }
    let path = server.path().join("saved.db");
    std::fs::write(&path, file).unwrap();
    path
}

fn restore(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.arg("restore").arg(file).args(arguments);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// For a snapshot whose node still runs.
const BESIDE: &str = "--force";

/// A node on the snapshot, started, and what the restore printed.
async fn restored(file: &Path, arguments: &[&str]) -> (Server, String) {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let dir = server.storage_dir();
    let to = ["--storage-dir", dir.to_str().unwrap()];
    let output = restore(file, &[&to[..], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    server.launch();
    server.ready().await;
    (server, text(&output.stdout))
}

#[tokio::test]
async fn a_snapshot_becomes_the_same_store() {
    for kind in [Kind::K8sDqlite, Kind::Etcd] {
        for compact_revision in [-1, 40, 151] {
            let source = match kind {
                Kind::K8sDqlite => Server::start(kind).await,
                Kind::Etcd => match etcd_or_skip(Options::default()).await {
                    Some(etcd) => etcd,
                    None => return,
                },
            };
            let api = source.api().await;
            write(&api).await;
            if compact_revision > 0 {
                let mut request = compact(compact_revision);
                request.physical = true;
                api.ask(request).await;
            }
            // The nodes of an etcd are none of ours.
            let flags = match kind {
                Kind::K8sDqlite => &[BESIDE][..],
                Kind::Etcd => &[],
            };
            let (server, printed) = restored(&save(&source).await, flags).await;
            assert!(printed.starts_with("restored: revision 151, "), "{printed}");
            let found = server.api().await;
            assert_same_store(&api, &found, compact_revision).await;
            assert_eq!(found.put("new", "1").await, api.put("new", "1").await);
        }
    }
}

#[tokio::test]
async fn the_restored_node_starts_again_and_keeps_everything() {
    let source = Server::start(Kind::K8sDqlite).await;
    write(&source.api().await).await;
    let (mut server, _) = restored(&save(&source).await, &[BESIDE]).await;
    server.kill9();
    server.restart().await;
    assert_same_store(&source.api().await, &server.api().await, -1).await;
}

#[tokio::test]
async fn the_database_of_a_stopped_etcd_is_taken_without_a_checksum() {
    let Some(mut etcd) = etcd_or_skip(Options::default()).await else {
        return;
    };
    write(&etcd.api().await).await;
    etcd.terminate().await;
    let file = etcd.storage_dir().join("member/snap/db");
    let (code, said) = refusal(&file, &["--dry-run"]);
    assert!(code == 6 && said.contains("--skip-hash-check"), "{said}");
    let (server, _) = restored(&file, &["--skip-hash-check"]).await;
    etcd.restart().await;
    assert_same_store(&etcd.api().await, &server.api().await, -1).await;
}

#[tokio::test]
async fn raised_alarms_come_along() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    api.put("a", "1").await;
    let raise = AlarmRequest {
        action: AlarmAction::Activate.into(),
        member_id: 7,
        alarm: AlarmType::Nospace.into(),
    };
    let raised = api.ask(raise).await.alarms;
    assert_eq!(raised.len(), 1);
    let (server, _) = restored(&save(&source).await, &[BESIDE]).await;
    let found = server.api().await.ask(AlarmRequest::default()).await.alarms;
    assert_eq!(found, raised);
}

#[tokio::test]
async fn a_bumped_revision_leaves_only_what_is_live() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    write(&api).await;
    let flags = ["--bump-revision", "1000000", "--mark-compacted", BESIDE];
    let (server, _) = restored(&save(&source).await, &flags).await;
    let found = server.api().await;
    let bumped = api.revision().await + 1_000_000;
    assert_eq!(found.revision().await, bumped);
    let everything = get_range("\0", "\0");
    assert_eq!(
        found.ask(everything.clone()).await.kvs,
        api.ask(everything).await.kvs
    );
    let mut before = get("plain");
    before.revision = bumped - 1;
    let refused = found.refused(before).await.1;
    assert!(refused.contains("has been compacted"), "{refused}");
    let (mut watcher, _) = Watcher::open(&found, watch("plain")).await;
    assert_eq!(found.put("plain", "1").await, bumped + 1);
    assert_eq!(
        watcher.events(1).await[0].kv.as_ref().unwrap().mod_revision,
        bumped + 1
    );
}

#[tokio::test]
async fn a_dry_run_makes_nothing() {
    let source = Server::start(Kind::K8sDqlite).await;
    source.api().await.put("a", "1").await;
    let file = save(&source).await;
    let dir = source.path().join("restored");
    let flags = ["--dry-run", "--storage-dir", dir.to_str().unwrap()];
    let output = restore(&file, &flags);
    assert!(output.status.success());
    let printed = text(&output.stdout);
    assert!(
        printed.starts_with("can be restored: revision 2, not compacted, 1 keys in 1 versions"),
        "{printed}"
    );
    assert!(!dir.exists());
}

/// The number after a word of what was printed.
fn number_after(printed: &str, word: &str) -> i64 {
    let (_, rest) = printed.split_once(word).expect("the word is there");
    let is_number = |c: &char| c.is_ascii_digit() || *c == '-';
    let digits: String = rest.chars().take_while(is_number).collect();
    digits.parse().unwrap()
}

#[tokio::test]
async fn a_snapshot_belongs_to_one_revision_while_others_write() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    write(&api).await;
    let writing = tokio::spawn({
        let api = api.clone();
        async move {
            for round in 0.. {
                let pair = txn()
                    .then(put("pair/a", round.to_string()))
                    .then(put("pair/b", round.to_string()))
                    .then(delete(format!("single/{}", round - 1)))
                    .then(put(format!("single/{round}"), "1"));
                api.ask(pair).await;
                if round % 100 == 50 {
                    let revision = api.revision().await - 20;
                    api.ask(compact(revision)).await;
                }
            }
        }
    });
    let mut last = 0;
    for _ in 0..8 {
        let file = save(&source).await;
        let output = restore(&file, &["--dry-run"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        let revision = number_after(&printed, "revision ");
        assert!(revision > last, "{printed}");
        last = revision;
        // Unless it was compacted meanwhile.
        let known = api.try_ask(HashKvRequest { revision }).await;
        let compact_revision = match printed.contains(", not compacted, ") {
            true => -1,
            false => number_after(&printed, "compacted at "),
        };
        if let Ok(known) = known
            && known.compact_revision == compact_revision
        {
            assert_eq!(i64::from(known.hash), number_after(&printed, "hash "));
        }
    }
    writing.abort();
}

/// The exit code, and what was said.
fn refusal(file: &Path, arguments: &[&str]) -> (i32, String) {
    let output = restore(file, arguments);
    (output.status.code().unwrap(), text(&output.stderr))
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let source = Server::start(Kind::K8sDqlite).await;
    source.api().await.put("a", "1").await;
    let file = save(&source).await;
    let whole = std::fs::read(&file).unwrap();
    let refused = |bytes: &[u8], flags: &[&str], reason: &str| {
        std::fs::write(&file, bytes).unwrap();
        let (code, said) = refusal(&file, &[&["--dry-run"], flags].concat());
        assert!(said.contains(reason), "{said}");
        assert_eq!(code, 6);
    };
    let mut flipped = whole.clone();
    flipped[5000] ^= 1;
    refused(&flipped, &[], "its checksum is wrong");
    let cut = &whole[..whole.len() - 32];
    refused(cut, &[], "does not end with a checksum");
    refused(
        &whole[..8192],
        &["--skip-hash-check"],
        "shorter than its first page says",
    );
    refused(b"no snapshot", &["--skip-hash-check"], "is no snapshot");
    // As copied from the directory of an etcd.
    std::fs::write(&file, cut).unwrap();
    let output = restore(&file, &["--dry-run", "--skip-hash-check"]);
    assert!(output.status.success());
}

#[tokio::test]
async fn a_directory_with_data_is_refused_and_an_unfinished_restore_is_not_started() {
    let mut source = Server::start(Kind::K8sDqlite).await;
    source.api().await.put("a", "1").await;
    let file = save(&source).await;
    source.terminate().await;
    let dir = source.storage_dir();
    let to = [
        "--storage-dir",
        dir.to_str().unwrap(),
        "--address",
        "127.0.0.1:29001",
    ];
    let (code, said) = refusal(&file, &to);
    assert!(said.contains("because it holds"), "{said}");
    assert_eq!(code, 3);

    // With the mark of an unfinished one, nothing starts.
    std::fs::write(dir.join("restoring"), "").unwrap();
    source.launch();
    let status = source.process().wait().await;
    assert_eq!(status.code(), Some(3));
    assert!(source.output().contains("did not finish"));

    // Repeated, it begins anew.
    let address = format!("127.0.0.1:{}", source.node_port());
    let output = restore(
        &file,
        &[
            "--storage-dir",
            dir.to_str().unwrap(),
            "--address",
            &address,
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    source.kill9();
    source.restart().await;
    assert_eq!(source.api().await.ask(get("a")).await.count, 1);
}

#[tokio::test]
async fn nodes_that_still_run_are_in_the_way() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let file = save(&trio.nodes[leader]).await;
    trio.nodes[leader].terminate().await;
    let new = trio.nodes[leader].path().join("new");
    let address = format!("127.0.0.1:{}", trio.nodes[leader].node_port());
    let to = [
        "--storage-dir",
        new.to_str().unwrap(),
        "--address",
        &address,
    ];
    let [first, second] = trio.others(leader);
    trio.pause(second);
    let (code, said) = refusal(&file, &to);
    assert_eq!(code, 12, "{said}");
    for at in [first, second] {
        let running = format!("127.0.0.1:{}", trio.nodes[at].node_port());
        assert!(said.contains(&running), "{said}");
    }
    assert!(
        !said.contains(&address) && said.contains("--force"),
        "{said}"
    );
    assert!(!new.exists());
    assert!(restore(&file, &["--dry-run"]).status.success());
    for at in [first, second] {
        trio.nodes[at].kill9();
    }
    let output = restore(&file, &to);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_new_directory_needs_an_address() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("no such file");
    let to = ["--storage-dir", dir.path().to_str().unwrap()];
    assert_eq!(refusal(&file, &to).0, 1);
    assert_eq!(refusal(&file, &[]).0, 2);
    assert_eq!(
        refusal(&file, &[&to[..], &["--mark-compacted"]].concat()).0,
        2
    );
}

#[tokio::test]
async fn users_come_with_a_snapshot() {
    for kind in [Kind::K8sDqlite, Kind::Etcd] {
        let options = Options::flags(&["--bcrypt-cost=4"]);
        let source = match kind {
            Kind::K8sDqlite => Server::start_with(kind, options).await,
            Kind::Etcd => match etcd_or_skip(options).await {
                Some(etcd) => etcd,
                None => return,
            },
        };
        let api = source.api().await;
        let permission = auth::permission(Type::Readwrite, "a", "");
        auth::add_role(&api, "role", &[permission]).await;
        auth::add_user(&api, "alice", &["role"]).await;
        let root = auth::enable(&api).await;
        let file = save_as(&source, root.clone()).await;

        let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
        let dir = server.storage_dir();
        let output = restore(&file, &["--storage-dir", dir.to_str().unwrap(), BESIDE]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        server.launch();
        let restored = until_signed_in(&server).await;
        let old = restored.with_token(root.token.as_ref().unwrap().to_str().unwrap());
        assert_eq!(auth::outcome(&old.try_ask(get("a")).await), "bad token");
        let alice = auth::sign_in(&restored, "alice").await;
        alice.put("a", "1").await;
        assert_eq!(auth::outcome(&alice.try_ask(get("b")).await), "denied");
    }
}
