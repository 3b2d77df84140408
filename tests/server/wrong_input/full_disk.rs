//! A disk without space: writes are refused as etcd refuses them, reads go on, and space heals it.
//!
//! Needs root, to mount a disk of 96 MiB; without, it says so and does nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use etcd_proto::etcdserverpb::{AlarmRequest, MemberListRequest, StatusRequest};
use nix::sys::statvfs::statvfs;
use tonic::Code;

use crate::{
    harness::*,
    nodes::trio::{persist, write_init},
};

/// dqlite's log grows in pieces of 8 MiB, and it has three or four of them.
const DISK: &str = "size=96m";

struct Disk(PathBuf);

impl Disk {
    fn mount(dir: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "k8s-dqlite-test"])
            .arg(dir)
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: mounting a small disk needs root");
        }
        mounted.then(|| Self(dir.to_owned()))
    }

    /// Makes the storage directory of a server that never ran a small disk.
    fn below(server: &Server) -> Option<Self> {
        let init_yaml = server.storage_dir().join("init.yaml");
        let init = fs::read(&init_yaml).unwrap();
        let disk = Self::mount(&server.storage_dir())?;
        fs::write(&init_yaml, init).unwrap();
        Some(disk)
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let block = vec![1; 4096];
        while file.write_all(&block).is_ok() {}
    }

    /// Takes space until fewer than `bytes` are left.
    fn fill_to(&self, bytes: u64) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let block = vec![1; 64 * 1024];
        let free = || {
            let stat = statvfs(&self.0).unwrap();
            stat.blocks_available() * stat.fragment_size()
        };
        while free() >= bytes {
            file.write_all(&block).unwrap();
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server, which is stopped later, may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Returns a server that does not look at the disk before the engine finds it full.
fn unwatched() -> Server {
    let flags = ["--watch-storage-available-size-interval=0"];
    Server::prepare(Kind::K8sDqlite, Options::flags(&flags))
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let mut server = unwatched();
    let Some(disk) = Disk::below(&server) else {
        return;
    };
    server.restart().await;
    let api = server.api().await;
    api.put("before", "1").await;
    disk.fill();
    // What is allocated already takes some. Of the write that meets the end, nobody knows at first
    // whether it is done; those after it are refused.
    let value = incompressible(0, 512 * 1024);
    let mut answered = 0;
    while api
        .try_ask(put(format!("k{answered}"), value.clone()))
        .await
        .is_ok()
    {
        answered += 1;
        assert!(answered < 200, "a full disk refuses writes");
    }
    let text = "etcdserver: mvcc: database space exceeded".to_owned();
    assert_eq!(
        api.refused(put("more", "1")).await,
        (Code::ResourceExhausted, text)
    );
    assert_eq!(api.ask(get("before")).await.count, 1, "reads go on");
    assert_eq!(api.ask(get_prefix("k")).await.count, answered);
    let health = server.http("GET", "/health").await;
    assert_eq!(health.status, 503);
    assert!(health.body.contains("ALARM NOSPACE"), "{}", health.body);
    for path in [
        "/health?exclude=NOSPACE",
        "/readyz?exclude=writable",
        "/livez",
    ] {
        assert_eq!(server.http("GET", path).await.status, 200, "{path}");
    }
    let ready = server.http("GET", "/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.body);
    disk.free();
    until("writes are taken again", async || {
        api.try_ask(put("after", "1")).await.is_ok()
    })
    .await;
    let count = api.ask(get_prefix("k")).await.count;
    assert!(
        (answered..=answered + 1).contains(&count),
        "{count} of {answered}"
    );
    server.kill9();
    server.restart().await;
    let api = server.api().await;
    assert_eq!(
        api.ask(get_prefix("k")).await.count,
        count,
        "what was answered is there"
    );
    assert_eq!(api.ask(get("after")).await.count, 1);
    drop(server);
}

#[tokio::test]
async fn a_full_disk_does_not_hold_up_a_stop() {
    let mut server = unwatched();
    let Some(disk) = Disk::below(&server) else {
        return;
    };
    server.restart().await;
    let api = server.api().await;
    disk.fill();
    let value = incompressible(0, 512 * 1024);
    let mut answered = 0;
    while api
        .try_ask(put(format!("k{answered}"), value.clone()))
        .await
        .is_ok()
    {
        answered += 1;
        assert!(answered < 200, "a full disk refuses writes");
    }
    server.terminate().await;
    let output = server.output();
    assert!(!output.contains("writes did not end"), "{output}");
    disk.free();
    server.restart().await;
    let count = server.api().await.ask(get_prefix("k")).await.count;
    assert!(
        (answered..=answered + 1).contains(&count),
        "{count} of {answered}"
    );
}

#[tokio::test]
async fn a_low_disk_takes_what_can_make_room() {
    let flags = [
        "--watch-storage-available-size-interval=50ms",
        "--watch-storage-available-size-min-bytes=20000000",
    ];
    let mut server = Server::prepare(Kind::K8sDqlite, Options::flags(&flags));
    let Some(disk) = Disk::below(&server) else {
        return;
    };
    server.restart().await;
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("b", "1").await;
    disk.fill_to(20_000_000);
    let text = "etcdserver: mvcc: database space exceeded".to_owned();
    let expected = (Code::ResourceExhausted, text);
    until("growth is refused", async || {
        api.try_ask(put("c", "1")).await.is_err()
    })
    .await;
    assert_eq!(api.refused(put("c", "1")).await, expected);
    assert_eq!(api.refused(grant(100)).await, expected);
    let ready = server.http("GET", "/readyz/writable").await;
    let reason = "etcdserver: mvcc: database space exceeded (the disk is low)";
    let failed = format!("[-]writable failed: {reason}\n\n");
    assert_eq!((ready.status, ready.body), (503, failed));
    assert_eq!(server.http("GET", "/livez").await.status, 200);
    let health = server.http("GET", "/health").await;
    let ill = "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n";
    assert_eq!((health.status, health.body.as_str()), (503, ill));
    assert_eq!(api.ask(delete("a")).await.deleted, 1);
    let revision = api.revision().await;
    api.ask(compact(revision)).await;
    assert_eq!(api.ask(AlarmRequest::default()).await.alarms, []);
    disk.free();
    until("writes are taken again", async || {
        api.try_ask(put("c", "1")).await.is_ok()
    })
    .await;
    assert_eq!(server.http("GET", "/readyz").await.status, 200);
    drop(server);
}

#[tokio::test]
async fn a_leader_on_a_low_disk_gives_leadership_and_vote_away() {
    let options = Options::flags(&[
        "--low-available-storage-action=handover",
        "--watch-storage-available-size-interval=200ms",
        "--watch-storage-available-size-min-bytes=40000000",
    ]);
    let prepare = || Server::prepare(Kind::K8sDqlite, options.clone());
    let mut nodes: Vec<_> = (0..4).map(|_| prepare()).collect();
    let init = nodes[0].storage_dir().join("init.yaml");
    let text = fs::read(&init).unwrap();
    let Some(disk) = Disk::mount(&nodes[0].storage_dir()) else {
        return;
    };
    fs::write(&init, text).unwrap();
    let first = nodes[0].node_port();
    nodes[0].launch();
    nodes[0].ready().await;
    for node in &mut nodes[1..] {
        write_init(node, first);
        node.launch();
        node.ready().await;
    }
    let (low, other) = (nodes[0].api().await, nodes[1].api().await);
    let id = low.ask(StatusRequest {}).await.header.unwrap().member_id;
    // Who votes, as another node says.
    let voters = async || {
        let members = other.try_ask(MemberListRequest::default()).await;
        let members = members.map(|answer| answer.members).unwrap_or_default();
        let voting = members.into_iter().filter(|member| !member.is_learner);
        voting.map(|member| member.id).collect::<Vec<_>>()
    };
    let leader = async || other.try_ask(StatusRequest {}).await.map(|s| s.leader);
    until("three of four vote, the first leads", async || {
        let members = other.try_ask(MemberListRequest::default()).await;
        members.is_ok_and(|answer| answer.members.len() == 4)
            && voters().await.len() == 3
            && leader().await.is_ok_and(|leader| leader == id)
    })
    .await;
    disk.fill_to(36_000_000);
    until("others lead and vote", async || {
        let now = voters().await;
        now.len() == 3 && !now.contains(&id) && leader().await.is_ok_and(|l| l != id && l != 0)
    })
    .await;
    persist(async || other.try_ask(put("key", "1")).await).await;
    assert_eq!(low.ask(get("key")).await.count, 1);
}

/// The flags are the defaults, and the load fills the disk by itself.
#[tokio::test]
async fn the_engine_is_spared_the_end_of_the_disk() {
    let mut server = Server::prepare(Kind::K8sDqlite, Options::default());
    let Some(disk) = Disk::below(&server) else {
        return;
    };
    server.restart().await;
    let api = server.api().await;
    disk.fill_to(40_000_000);
    let value = incompressible(0, 256 * 1024);
    let mut written = 0;
    let refused = loop {
        match api.try_ask(put(format!("k{written}"), value.clone())).await {
            Ok(_) => written += 1,
            Err(status) => break status,
        }
        assert!(written < 1000, "it ends");
    };
    let text = "etcdserver: mvcc: database space exceeded";
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, text)
    );
    let metric = async |name: &str| {
        let page = server.http("GET", "/metrics").await.body;
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {page}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(
        metric("k8s_dqlite_commit_recoveries_total").await,
        0.0,
        "no commit failed"
    );
    assert_eq!(metric("k8s_dqlite_disk_low").await, 1.0);
    assert_eq!(metric("etcd_server_has_leader").await, 1.0);
    assert_eq!(api.ask(get_prefix("k")).await.count, written);
    assert_eq!(api.ask(delete("k0")).await.deleted, 1);
    disk.free();
    until("writes are taken again", async || {
        api.try_ask(put("after", "1")).await.is_ok()
    })
    .await;
    assert_eq!(metric("k8s_dqlite_disk_low").await, 0.0);
    assert_eq!(api.ask(get_prefix("k")).await.count, written - 1);
    assert_eq!(api.ask(AlarmRequest::default()).await.alarms, []);
}

#[tokio::test]
async fn terminate_stops_the_server_in_order_while_the_disk_is_low() {
    let flags = [
        "--low-available-storage-action=terminate",
        "--watch-storage-available-size-interval=100ms",
        "--watch-storage-available-size-min-bytes=20000000",
    ];
    let mut server = Server::prepare(Kind::K8sDqlite, Options::flags(&flags));
    let Some(disk) = Disk::below(&server) else {
        return;
    };
    server.restart().await;
    server.api().await.put("a", "1").await;
    disk.fill_to(20_000_000);
    assert_eq!(server.process().wait().await.code(), Some(0));
    server.forget_process();
    let output = server.output();
    assert!(
        output.contains("as --low-available-storage-action=terminate demands"),
        "{output}"
    );
    disk.free();
    server.restart().await;
    assert_eq!(server.api().await.ask(get("a")).await.count, 1);
    drop(server);
}
