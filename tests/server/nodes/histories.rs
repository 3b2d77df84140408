//! Nodes of two histories at the addresses of one cluster.

use std::process::Command;

use etcd_proto::etcdserverpb::{MemberListRequest, StatusRequest};
use serde_json::Value;

use super::trio::{Trio, persist};
use crate::harness::*;

const DEGRADED: i32 = 10;

async fn cluster_id(node: &Server) -> u64 {
    let status = node.api().await.ask(StatusRequest {}).await;
    status.header.unwrap().cluster_id
}

fn status(node: &Server) -> (Value, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.args(["status", "--json", "--storage-dir"]);
    let output = command.arg(node.storage_dir()).output().unwrap();
    (
        serde_json::from_slice(&output.stdout).unwrap(),
        output.status.code(),
    )
}

/// The cluster is as after a restore on one member of three.
#[tokio::test]
async fn a_member_that_is_set_up_anew_stays_apart_from_the_others() {
    let mut trio = Trio::start().await;
    let anew = trio.leader().await;
    let others = trio.others(anew);
    trio.nodes[others[0]].api().await.put("before", "1").await;
    let old = cluster_id(&trio.nodes[anew]).await;
    trio.nodes[anew].kill9();
    let dir = trio.nodes[anew].storage_dir();
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let init = format!("Address: 127.0.0.1:{}\n", trio.nodes[anew].node_port());
    std::fs::write(dir.join("init.yaml"), init).unwrap();
    trio.nodes[anew].restart().await;
    assert_ne!(cluster_id(&trio.nodes[anew]).await, old);
    trio.leader_of(&others).await;

    for at in [anew, others[0], others[1]] {
        until("both sides have noticed", async || {
            let log = trio.nodes[at].output();
            log.contains("belongs to the cluster")
        })
        .await;
    }
    let api = trio.nodes[anew].api().await;
    assert_eq!(api.ask(get("before")).await.count, 0);
    api.put("new", "1").await;
    let members = api.ask(MemberListRequest::default()).await.members;
    assert_eq!(members.len(), 1);
    for at in others {
        let api = trio.nodes[at].api().await;
        persist(async || api.try_ask(put(format!("old{at}"), "1")).await).await;
        let count = async |key| persist(async || api.try_ask(get(key)).await).await.count;
        assert_eq!((count("before").await, count("new").await), (1, 0));
        assert_eq!(cluster_id(&trio.nodes[at]).await, old);
        let (report, code) = status(&trio.nodes[at]);
        assert_eq!(code, Some(DEGRADED), "{report}");
        let problems = report["problems"].to_string();
        assert!(problems.contains("belongs to another cluster"), "{report}");
        assert_eq!(report["cluster_id"], format!("{old:x}"));
    }
    assert_eq!(api.ask(get_prefix("old")).await.count, 0);
    let (report, code) = status(&trio.nodes[anew]);
    assert_eq!(code, Some(0), "{report}");
}

#[tokio::test]
async fn an_old_node_is_not_let_into_a_recovered_cluster() {
    let mut trio = Trio::start().await;
    let kept = trio.leader().await;
    let [first, second] = trio.others(kept);
    trio.nodes[kept].api().await.put("key", "1").await;
    let old = cluster_id(&trio.nodes[kept]).await;
    for at in [first, second, kept] {
        trio.nodes[at].kill9();
    }
    let recover = |at: usize| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
        command.args(["recover", "--yes"]);
        let done = command.arg(trio.nodes[at].storage_dir()).output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{errors}");
    };
    recover(kept);
    trio.nodes[kept].restart().await;
    let new = cluster_id(&trio.nodes[kept]).await;
    assert_ne!(new, old);
    trio.nodes[first].launch();
    trio.nodes[second].launch();
    let line = format!("to the cluster {new:x}");
    for at in [first, second] {
        until("the old nodes have heard of it", async || {
            trio.nodes[at].output().contains(&line)
        })
        .await;
    }
    let api = trio.nodes[kept].api().await;
    api.put("key", "2").await;
    let members = api.ask(MemberListRequest::default()).await.members;
    assert_eq!(members.len(), 1);
    trio.nodes[kept].kill9();
    // The id is that of the database, too.
    trio.nodes[kept].restart().await;
    assert_eq!(cluster_id(&trio.nodes[kept]).await, new);
}
