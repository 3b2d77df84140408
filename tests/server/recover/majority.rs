//! Two of three nodes are lost for good.

use std::path::Path;

use dqlite::files::{read_cluster, read_info};
use etcd_proto::etcdserverpb::MemberListRequest;

use super::{REFUSED, backup_of, recover, text};
use crate::harness::*;
use crate::nodes::trio::{Trio, persist, write_init};

#[tokio::test]
async fn the_node_that_is_left_becomes_a_cluster_that_others_join() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [kept, lost] = trio.others(leader);
    let api = trio.nodes[lost].api().await;
    api.put("early", "1").await;
    // What follows is in two of the logs only.
    trio.nodes[lost].kill9();
    let api = trio.nodes[kept].api().await;
    for n in 0..50 {
        persist(async || api.try_ask(put(format!("late{n:02}"), "2")).await).await;
    }
    let running = recover(&[trio.nodes[kept].storage_dir()], &["--yes"]);
    assert_eq!(running.status.code(), Some(5), "{}", text(&running.stderr));
    trio.nodes[kept].kill9();
    let [kept_dir, lost_dir] = [kept, lost].map(|at| trio.nodes[at].storage_dir());
    hangs_in_the_way(&mut trio, leader, &kept_dir);
    trio.nodes[leader].kill9();

    let stale = recover(&[&lost_dir, &kept_dir], &["--yes"]);
    assert_eq!(stale.status.code(), Some(REFUSED));
    let error = text(&stale.stderr);
    assert!(
        error.contains(": STALE") && error.contains("is not the newest"),
        "{error}"
    );
    let plan = recover(&[&kept_dir, &lost_dir], &[]);
    assert!(plan.status.success(), "{}", text(&plan.stderr));
    let plan = text(&plan.stdout);
    assert!(plan.contains("Nothing is changed yet"), "{plan}");
    assert!(backup_of(&kept_dir).is_none());
    assert_eq!(read_cluster(&kept_dir).unwrap().unwrap().len(), 3);

    let done = recover(&[&kept_dir, &lost_dir], &["--yes"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let done = text(&done.stdout);
    let first = trio.nodes[kept].node_port();
    for at in [leader, lost] {
        let init = format!(
            "    Address: 127.0.0.1:{}\n    Cluster:\n    - 127.0.0.1:{first}\n",
            trio.nodes[at].node_port()
        );
        assert!(done.contains(&init), "{done}");
    }
    let backup = backup_of(&kept_dir).unwrap();
    assert!(done.contains(backup.to_str().unwrap()), "{done}");
    assert_eq!(read_cluster(&backup).unwrap().unwrap().len(), 3);
    let own = read_info(&kept_dir).unwrap().unwrap();
    assert_eq!(read_cluster(&kept_dir).unwrap().unwrap(), [own]);

    trio.nodes[kept].restart().await;
    let api = trio.nodes[kept].api().await;
    let members = api.ask(MemberListRequest::default()).await.members;
    assert_eq!(members.len(), 1);
    assert_eq!(api.ask(get_prefix("late")).await.count, 50);
    api.put("new", "3").await;
    for at in [leader, lost] {
        let dir = trio.nodes[at].storage_dir();
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir(&dir).unwrap();
        write_init(&trio.nodes[at], first);
        trio.nodes[at].restart().await;
    }
    trio.wait_for_voters(3).await;
    for node in &trio.nodes {
        let found = persist(async || node.api().await.try_ask(get_range("\0", "\0")).await).await;
        assert_eq!(found.count, 52);
    }
    // It is three nodes again: any one may go.
    let leader = trio.leader().await;
    trio.nodes[leader].kill9();
    let near = trio.others(leader)[0];
    let api = trio.nodes[near].api().await;
    persist(async || api.try_ask(put("after", "4")).await).await;
}

/// A node that hangs would go on when it wakes.
fn hangs_in_the_way(trio: &mut Trio, hangs: usize, dir: &Path) {
    trio.pause(hangs);
    let refused = recover(&[dir], &["--yes"]);
    let error = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(REFUSED), "{error}");
    let running = format!("still run: 127.0.0.1:{}.", trio.nodes[hangs].node_port());
    assert!(error.contains(&running), "{error}");
    assert!(backup_of(dir).is_none());
    let plan = recover(&[dir], &["--force=leave-others-running"]);
    assert!(plan.status.success(), "{}", text(&plan.stderr));
}
