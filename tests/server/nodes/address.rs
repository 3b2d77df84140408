//! Changes of a node's address by update.yaml.

use etcd_proto::etcdserverpb::{Member, MemberListRequest, MemberRemoveRequest, StatusRequest};
use tokio::time::timeout;

use super::{
    LONG_TIMEOUT, hash,
    trio::{Trio, persist},
};
use crate::{harness::*, wrong_input::certificates::make_pair};

async fn id(node: &Server) -> u64 {
    let status = node.api().await.ask(StatusRequest {}).await;
    status.header.unwrap().member_id
}

async fn members(node: &Server) -> Vec<Member> {
    let request = MemberListRequest::default();
    node.api().await.ask(request).await.members
}

fn peer_url(node: &Server) -> String {
    format!("http://127.0.0.1:{}", node.node_port())
}

fn exists(node: &Server, name: &str) -> bool {
    node.storage_dir().join(name).exists()
}

async fn until_known_as(asked: &Server, id: u64, url: &str) {
    until("the cluster knows the address", async || {
        let members = members(asked).await;
        let own = members.iter().find(|member| member.id == id);
        own.is_some_and(|own| own.peer_ur_ls == [url])
    })
    .await;
}

#[tokio::test]
async fn a_node_alone_keeps_its_data_under_another_address() {
    let mut node = Server::start(Kind::K8sDqlite).await;
    let (own, former) = (id(&node).await, node.node_port());
    node.api().await.put("key", "1").await;
    node.kill9();
    node.move_node();
    node.restart().await;
    assert!(!exists(&node, "update.yaml"));
    let kept = node.storage_dir().join("info.yaml.before-update");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(kept.contains(&format!("127.0.0.1:{former}")), "{kept}");
    for _ in 0..2 {
        assert_eq!(node.api().await.ask(get("key")).await.kvs[0].value, "1");
        let found = members(&node).await;
        assert_eq!(
            (found.len(), found[0].id, &found[0].peer_ur_ls[..]),
            (1, own, &[peer_url(&node)][..])
        );
        assert!(node.terminate().await.success());
        node.restart().await;
    }
}

/// The files are as after a crash between the log and the files.
#[tokio::test]
async fn a_change_that_was_interrupted_is_finished() {
    let mut node = Server::start(Kind::K8sDqlite).await;
    node.api().await.put("key", "1").await;
    let dir = node.storage_dir();
    let read = |name| std::fs::read(dir.join(name)).unwrap();
    let (info, cluster) = (read("info.yaml"), read("cluster.yaml"));
    assert!(node.terminate().await.success());
    node.move_node();
    let update = read("update.yaml");
    node.restart().await;
    node.kill9();
    for (name, text) in [
        ("update.yaml", &update),
        ("info.yaml", &info),
        ("cluster.yaml", &cluster),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
        node.restart().await;
        assert_eq!(node.api().await.ask(get("key")).await.kvs[0].value, "1");
        assert!(!exists(&node, "update.yaml"));
        assert_eq!(members(&node).await[0].peer_ur_ls, [peer_url(&node)]);
        node.kill9();
        std::fs::write(dir.join("update.yaml"), &update).unwrap();
    }
}

#[tokio::test]
async fn each_of_three_nodes_moves_while_the_others_serve() {
    let mut trio = Trio::start().await;
    for round in 0..3 {
        // The leader, too.
        let moved = match round {
            0 => trio.leader().await,
            _ => round % 3,
        };
        let others = trio.others(moved);
        let own = id(&trio.nodes[moved]).await;
        match round {
            0 => trio.nodes[moved].kill9(),
            _ => assert!(trio.nodes[moved].terminate().await.success()),
        }
        trio.nodes[moved].move_node();
        let api = trio.nodes[others[0]].api().await;
        persist(async || api.try_ask(put("key", format!("{round}"))).await).await;
        trio.nodes[moved].restart().await;
        until_known_as(&trio.nodes[moved], own, &peer_url(&trio.nodes[moved])).await;
        trio.wait_for_voters_at(others[0], 3).await;
        trio.wait_for_voters_at(moved, 3).await;
        for name in ["update.yaml", "move"] {
            assert!(!exists(&trio.nodes[moved], name), "{name}");
        }
        let found = trio.nodes[moved].api().await.ask(get("key")).await;
        assert_eq!(found.kvs[0].value, format!("{round}"));
    }
    // It counts as a voter again.
    let leader = trio.leader().await;
    let [near, far] = trio.others(leader);
    trio.nodes[leader].kill9();
    let api = trio.nodes[near].api().await;
    persist(async || api.try_ask(put("key", "last")).await).await;
    let revision = api.revision().await;
    assert_eq!(
        hash(&trio.nodes[near], revision).await,
        hash(&trio.nodes[far], revision).await
    );
}

#[tokio::test]
async fn the_log_is_asked_where_cluster_yaml_is_old() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [moved, near] = trio.others(leader);
    let own = id(&trio.nodes[moved]).await;
    trio.nodes[moved].kill9();
    let dir = trio.nodes[moved].storage_dir();
    let info = std::fs::read_to_string(dir.join("info.yaml")).unwrap();
    let alone = format!("- {}\n", info.trim_end().replace('\n', "\n  "));
    std::fs::write(dir.join("cluster.yaml"), alone).unwrap();
    trio.nodes[moved].move_node();
    trio.nodes[moved].restart().await;
    until_known_as(&trio.nodes[near], own, &peer_url(&trio.nodes[moved])).await;
    trio.wait_for_voters_at(moved, 3).await;
}

#[tokio::test]
async fn a_node_that_was_removed_moves_only_if_it_was_moving() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [moved, near] = trio.others(leader);
    let own = id(&trio.nodes[moved]).await;
    trio.nodes[moved].kill9();
    let request = MemberRemoveRequest { id: own };
    let api = trio.nodes[near].api().await;
    assert_eq!(api.ask(request).await.members.len(), 2);
    trio.nodes[moved].move_node();
    trio.nodes[moved].launch();
    let status = timeout(LONG_TIMEOUT, trio.nodes[moved].process().wait()).await;
    assert_eq!(status.expect("it ends").code(), Some(7));
    let output = trio.nodes[moved].output();
    assert!(
        output.contains("no node of the cluster has the id"),
        "{output}"
    );
    trio.nodes[moved].forget();
    std::fs::write(trio.nodes[moved].storage_dir().join("move"), "").unwrap();
    trio.nodes[moved].restart().await;
    trio.wait_for_voters_at(near, 3).await;
    assert_eq!(id(&trio.nodes[moved]).await, own);
}

#[tokio::test]
async fn nothing_is_changed_where_nobody_leads_or_the_node_runs_still() {
    let mut trio = Trio::start_with(&Options::flags(&["--enable-tls=true"])).await;
    let leader = trio.leader().await;
    let [moved, near] = trio.others(leader);
    // A copy of the directory, while the node runs.
    let dir = trio.nodes[moved].storage_dir();
    let mut copy = Server::prepare(Kind::K8sDqlite, Options::flags(&["--enable-tls=true"]));
    make_pair(&copy.storage_dir());
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        let to = copy.storage_dir().join(entry.file_name());
        std::fs::copy(entry.path(), to).unwrap();
    }
    std::fs::remove_file(copy.storage_dir().join("init.yaml")).unwrap();
    copy.move_node();
    copy.launch();
    let status = timeout(LONG_TIMEOUT, copy.process().wait()).await;
    assert_eq!(status.expect("it ends").code(), Some(7));
    assert!(copy.output().contains("this node is still running"));
    assert_eq!(members(&trio.nodes[near]).await.len(), 3);

    trio.nodes[near].kill9();
    trio.nodes[moved].kill9();
    trio.nodes[moved].move_node();
    trio.nodes[moved].launch();
    let status = timeout(LONG_TIMEOUT, trio.nodes[moved].process().wait()).await;
    assert_eq!(status.expect("it ends").code(), Some(7));
    assert!(trio.nodes[moved].output().contains("delete update.yaml"));
    assert!(exists(&trio.nodes[moved], "update.yaml"));
    trio.nodes[moved].forget();
    trio.nodes[near].restart().await;
    trio.nodes[moved].restart().await;
    trio.wait_for_voters_at(near, 3).await;
}
