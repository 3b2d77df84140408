//! Directories that something has broken.

use std::path::Path;

use dqlite::files::read_info;

use super::{REFUSED, backup_of, text};
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
