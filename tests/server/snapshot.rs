//! Maintenance.Snapshot: the file is one that etcd restores.
//!
//! ETCDUTL_BIN names etcd's tool for that; without it, those cases say so and do nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use etcd_proto::etcdserverpb::{
    HashKvRequest, LeaseGrantRequest, MemberListRequest, RangeRequest, SnapshotRequest,
};
use etcd_proto::mvccpb::KeyValue;

use crate::harness::*;

parity! {
    the_stream_is_pages_and_then_a_checksum,
    etcdctl_saves_it,
}

/// The blobs of a snapshot.
async fn blobs(server: &Server) -> Vec<etcd_proto::etcdserverpb::SnapshotResponse> {
    let mut api = server.api().await;
    let request = SnapshotRequest {};
    let mut stream = api
        .maintenance
        .snapshot(request)
        .await
        .unwrap()
        .into_inner();
    let mut blobs = Vec::new();
    while let Some(blob) = stream.message().await.unwrap() {
        blobs.push(blob);
    }
    blobs
}

async fn the_stream_is_pages_and_then_a_checksum(server: Server) {
    let api = server.api().await;
    for index in 0..100 {
        api.put(&format!("key {index}"), &"v".repeat(2000)).await;
    }
    api.put("large", &"v".repeat(1_000_000)).await;
    let blobs = blobs(&server).await;
    let (checksum, pages) = blobs.split_last().unwrap();
    assert_eq!((checksum.blob.len(), checksum.remaining_bytes), (32, 0));
    let mut remaining: u64 = pages.iter().map(|blob| blob.blob.len() as u64).sum();
    assert_eq!(remaining % 512, 0);
    for blob in pages {
        remaining -= blob.blob.len() as u64;
        assert_eq!(blob.remaining_bytes, remaining);
        assert_eq!(blob.version, server.storage_version());
        assert!(blob.blob.len() == 32 * 1024 || remaining == 0);
    }
    let file: Vec<u8> = pages.iter().flat_map(|blob| blob.blob.clone()).collect();
    assert_eq!(openssl::sha::sha256(&file)[..], checksum.blob);
}

fn tool(variable: &str, arguments: &[&str]) -> Option<Output> {
    let Some(binary) = std::env::var_os(variable) else {
        eprintln!("skipped: {variable} does not name a program (scripts/etcd brings it)");
        return None;
    };
    let mut command = Command::new(binary);
    command.env_remove(variable).env("ETCDCTL_API", "3");
    let output = command.args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    Some(output)
}

/// Saves a snapshot with etcdctl.
fn save(server: &Server) -> Option<PathBuf> {
    let file = server.path().join("snapshot.db");
    let endpoint = server.client_url();
    let path = file.to_str().unwrap();
    tool(
        "ETCDCTL_BIN",
        &["--endpoints", &endpoint, "snapshot", "save", path],
    )?;
    Some(file)
}

async fn etcdctl_saves_it(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    if let Some(file) = save(&server) {
        // Pages and the checksum.
        assert_eq!(std::fs::metadata(file).unwrap().len() % 512, 32);
    }
}

/// All that restoring must bring back.
pub async fn write(api: &Api) {
    for (id, ttl) in [(71, 1000), (i64::MAX, 2000), (73, 3000)] {
        api.ask(LeaseGrantRequest { id, ttl }).await;
    }
    for round in 0..30i64 {
        api.put("plain", &format!("value {round}")).await;
        let mut leased = put(format!("leased/{}", round % 3), vec![0, 255, round as u8]);
        leased.lease = if round % 2 == 0 { 71 } else { i64::MAX };
        api.ask(leased).await;
        let several = txn()
            .then(put("several/b", "1"))
            .then(put("several/a", ""))
            .then(delete_prefix("plain"));
        api.ask(several).await;
        api.delete("several/b").await;
        api.put(
            &format!("large/{round}"),
            &"v".repeat(3000 * round as usize),
        )
        .await;
    }
    api.ask(revoke(73)).await;
}

/// Every revision that can be read.
async fn states(api: &Api, from: i64, to: i64) -> Vec<Vec<KeyValue>> {
    let mut states = Vec::new();
    for revision in from..=to {
        let request = RangeRequest {
            revision,
            ..get_range("\0", "\0")
        };
        states.push(api.ask(request).await.kvs);
    }
    states
}

pub async fn assert_same_store(ours: &Api, other: &Api, compact_revision: i64) {
    let revision = ours.revision().await;
    assert_eq!(other.revision().await, revision);
    assert_eq!(
        states(ours, compact_revision.max(1), revision).await,
        states(other, compact_revision.max(1), revision).await
    );
    // At the compaction revision, an etcd that did not restart knows another hash.
    let is_known = |revision: &i64| *revision == 0 || *revision > compact_revision;
    for revision in [0, revision - 1].into_iter().filter(is_known) {
        let (ours, other) = (hash(ours, revision).await, hash(other, revision).await);
        assert_eq!(ours, other, "hash at revision {revision}");
    }
    let ids = |api: &Api| api.clone();
    for id in [71, i64::MAX] {
        let (mut ours, mut other) = (
            ids(ours).ask(time_to_live(id)).await,
            ids(other).ask(time_to_live(id)).await,
        );
        ours.keys.sort();
        other.keys.sort();
        assert_eq!(
            (ours.keys, ours.granted_ttl),
            (other.keys, other.granted_ttl)
        );
        assert!(other.ttl > 0 && other.ttl <= other.granted_ttl);
    }
    assert_eq!(other.ask(time_to_live(73)).await.ttl, -1);
}

async fn hash(api: &Api, revision: i64) -> (u32, i64, i64) {
    let found = api.ask(HashKvRequest { revision }).await;
    (found.hash, found.compact_revision, found.hash_revision)
}

/// A real etcd on a file that etcdutl restored.
pub async fn restored_etcd(file: &Path) -> Option<Server> {
    std::env::var_os("ETCD_BIN")?;
    let mut etcd = Server::prepare(Kind::Etcd, Options::default());
    let dir = etcd.storage_dir();
    std::fs::remove_dir(&dir).unwrap();
    let peer_url = format!("http://127.0.0.1:{}", etcd.node_port());
    let cluster = format!("default={peer_url}");
    let (file, dir) = (file.to_str().unwrap(), dir.to_str().unwrap());
    let arguments = [
        "snapshot",
        "restore",
        file,
        "--data-dir",
        dir,
        "--initial-cluster",
        &cluster,
        "--initial-advertise-peer-urls",
        &peer_url,
    ];
    tool("ETCDUTL_BIN", &arguments)?;
    etcd.launch();
    etcd.ready().await;
    Some(etcd)
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_to_another() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    for index in 0..20 {
        api.put(&format!("large/{index}"), &"v".repeat(1_000_000))
            .await;
    }
    let begin = async || {
        // A connection of its own, with all of its window.
        let mut api = server.api().await;
        let request = SnapshotRequest {};
        api.maintenance.snapshot(request).await
    };
    // Nobody reads these to their end.
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(begin().await.unwrap());
    }
    let refused = begin().await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: too many requests");
    streams.pop();
    until("its place is free", async || begin().await.is_ok()).await;
}

#[tokio::test]
async fn etcdutl_says_what_is_in_it() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    write(&api).await;
    api.ask(compact(40)).await;
    let Some(file) = save(&server) else { return };
    let arguments = ["snapshot", "status", file.to_str().unwrap(), "-w", "json"];
    let Some(output) = tool("ETCDUTL_BIN", &arguments) else {
        return;
    };
    let status = String::from_utf8(output.stdout).unwrap();
    let revision = api.revision().await;
    let keys = api.ask(get_range("\0", "\0")).await.count;
    // etcd counts every key that was put and not deleted since the compaction.
    for field in [
        format!("\"revision\":{revision}"),
        format!("\"totalKey\":{keys}"),
        "\"version\":\"3.6.0\"".to_owned(),
    ] {
        assert!(status.contains(&field), "{field}: {status}");
    }
}

#[tokio::test]
async fn etcd_restores_it_as_the_same_store() {
    for compact_revision in [-1, 40, 151] {
        let server = Server::start(Kind::K8sDqlite).await;
        let api = server.api().await;
        write(&api).await;
        if compact_revision > 0 {
            api.ask(compact(compact_revision)).await;
        }
        let Some(file) = save(&server) else { return };
        let Some(etcd) = restored_etcd(&file).await else {
            return;
        };
        let etcd_api = etcd.api().await;
        assert_same_store(&api, &etcd_api, compact_revision).await;
        // It goes on from there.
        assert_eq!(etcd_api.put("new", "1").await, api.put("new", "1").await);
    }
}

#[tokio::test]
async fn etcd_restores_an_empty_store() {
    let server = Server::start(Kind::K8sDqlite).await;
    let Some(file) = save(&server) else { return };
    let Some(etcd) = restored_etcd(&file).await else {
        return;
    };
    let api = etcd.api().await;
    assert_eq!(api.put("a", "1").await, 2);
    // The nodes that the snapshot lists are none of it.
    let members = api.ask(MemberListRequest::default()).await.members;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].name, "default");
}
