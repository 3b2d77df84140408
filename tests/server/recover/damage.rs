//! Directories that something has broken.

use std::path::Path;

use dqlite::files::read_info;
use etcd_proto::etcdserverpb::StatusRequest;

use super::{REFUSED, backup_of, recover, text};
use crate::harness::*;
use crate::nodes::trio::{Trio, persist};
use crate::status::run;

/// The first closed segment: the log begins with it, as long as there is no snapshot.
fn first_segment(dir: &Path) -> std::path::PathBuf {
    let names = std::fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let first = names.filter(|name| name.starts_with("00000")).min();
    dir.join(first.expect("the log was closed when the node stopped"))
}

fn last_segment(dir: &Path) -> std::path::PathBuf {
    let names = std::fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let last = names.filter(|name| name.starts_with("00000")).max();
    dir.join(last.expect("the log was closed when the node stopped"))
}

async fn cluster_id(server: &Server) -> u64 {
    let status = server.api().await.ask(StatusRequest {}).await;
    status.header.unwrap().cluster_id
}

async fn fails(server: &mut Server) -> String {
    server.launch();
    assert_eq!(server.process().wait().await.code(), Some(6));
    server.output()
}

#[tokio::test]
async fn damage_is_explained_before_the_engine_sees_it() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    for n in 0..20 {
        server.api().await.put(&format!("key{n}"), "value").await;
    }
    assert!(server.terminate().await.success());
    let dir = server.storage_dir();
    let segment = first_segment(&dir);
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, "").unwrap();
    let output = fails(&mut server).await;
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(output.contains(&format!("{name} has 0 bytes")), "{output}");
    assert!(output.contains("k8s-dqlite recover --reseed"), "{output}");
    // A node alone has nobody to get its data from.
    let refused = run(&["recover", "--reseed"], &dir);
    assert_eq!(refused.status.code(), Some(REFUSED));
    let error = text(&refused.stderr);
    assert!(error.contains("restore a backup"), "{error}");
    std::fs::write(&segment, bytes).unwrap();
    server.forget_process();
    server.restart().await;
    let found = server.api().await.ask(get_prefix("key")).await;
    assert_eq!(found.count, 20);
}

#[tokio::test]
async fn what_is_left_of_a_damaged_log_is_recovered_on_request_only() {
    const KEYS: usize = 40;
    let mut server = Server::start(Kind::K8sDqlite).await;
    for n in 0..KEYS {
        server.api().await.put(&format!("key{n:02}"), "value").await;
    }
    let before = cluster_id(&server).await;
    assert!(server.terminate().await.success());
    let dir = server.storage_dir();
    let whole = recover(&[&dir], &["--cut"]);
    assert_eq!(whole.status.code(), Some(REFUSED));
    assert!(text(&whole.stderr).contains("nothing to cut"));
    let segment = last_segment(&dir);
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let output = fails(&mut server).await;
    let advice = format!("`k8s-dqlite recover --cut {}`", dir.display());
    assert!(output.contains(&advice), "{output}");
    server.forget_process();

    let refused = recover(&[&dir], &["--yes"]);
    assert_eq!(refused.status.code(), Some(REFUSED));
    assert!(text(&refused.stderr).contains("--cut shows what is left"));
    let plan = recover(&[&dir], &["--cut"]);
    assert!(plan.status.success(), "{}", text(&plan.stderr));
    let plan = text(&plan.stdout);
    assert!(plan.contains("entries are given up"), "{plan}");
    assert!(plan.contains("Nothing is changed yet"), "{plan}");
    assert!(backup_of(&dir).is_none());
    fails(&mut server).await;
    server.forget_process();

    let done = recover(&[&dir], &["--cut", "--yes"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(
        backup_of(&dir)
            .unwrap()
            .join(segment.file_name().unwrap())
            .exists()
    );
    server.restart().await;
    assert_ne!(cluster_id(&server).await, before);
    let left = server.api().await.ask(get_prefix("key")).await;
    assert!((1..KEYS as i64).contains(&left.count), "{}", left.count);
    for (n, kv) in left.kvs.iter().enumerate() {
        assert_eq!(kv.key, format!("key{n:02}"));
    }
    server.api().await.put("new", "value").await;
}

#[tokio::test]
async fn a_damaged_follower_is_seeded_again() {
    let mut trio = Trio::start_with(&Options::flags(&["--enable-tls=true"])).await;
    let leader = trio.leader().await;
    let [damaged, other] = trio.others(leader);
    for n in 0..20 {
        trio.nodes[other]
            .api()
            .await
            .put(&format!("key{n}"), "value")
            .await;
    }
    let dir = trio.nodes[damaged].storage_dir();
    let running = run(&["recover", "--reseed"], &dir);
    assert_eq!(running.status.code(), Some(5), "{}", text(&running.stderr));
    assert!(trio.nodes[damaged].terminate().await.success());
    std::fs::write(first_segment(&dir), "").unwrap();
    assert!(fails(&mut trio.nodes[damaged]).await.contains("is damaged"));
    trio.nodes[damaged].forget_process();
    let before = read_info(&dir).unwrap().unwrap();

    // Without a leader among the others, this directory may be the one that is needed.
    trio.pause(leader);
    trio.pause(other);
    let refused = run(&["recover", "--reseed"], &dir);
    assert_eq!(refused.status.code(), Some(REFUSED));
    trio.wake(leader);
    trio.wake(other);
    trio.leader_of(&[leader, other]).await;
    let done = run(&["recover", "--reseed"], &dir);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let backup = backup_of(&dir).unwrap();
    assert!(backup.join("metadata1").exists() && backup.join("info.yaml").exists());
    assert!(dir.join("cluster.key").exists() && !dir.join("info.yaml").exists());

    trio.nodes[damaged].restart().await;
    trio.wait_for_voters(3).await;
    let after = read_info(&dir).unwrap().unwrap();
    assert_eq!(after.address, before.address);
    assert_ne!(after.id, before.id);
    let api = trio.nodes[damaged].api().await;
    let found = persist(async || api.try_ask(get_prefix("key")).await).await;
    assert_eq!(found.count, 20);
}
