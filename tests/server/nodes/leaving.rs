//! Nodes that go for good, or come back as others.

use etcd_proto::etcdserverpb::{MemberListRequest, MemberRemoveRequest, StatusRequest};
use tokio::time::timeout;

use super::{
    LONG_TIMEOUT,
    trio::{Trio, persist, write_init},
};
use crate::harness::*;

async fn id(node: &Server) -> u64 {
    let status = node.api().await.ask(StatusRequest {}).await;
    status.header.unwrap().member_id
}

async fn ids(node: &Server) -> Vec<u64> {
    let answer = node.api().await.ask(MemberListRequest::default()).await;
    answer.members.iter().map(|member| member.id).collect()
}

#[tokio::test]
async fn a_node_that_lost_its_disk_comes_back_and_leaves_no_ghost() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    // The leader last: the first node of a cluster among them is like any other.
    for wiped in [trio.others(leader)[0], leader] {
        let near = trio.others(wiped)[0];
        let former = id(&trio.nodes[wiped]).await;
        let api = trio.nodes[near].api().await;
        api.put("key", "before").await;
        trio.nodes[wiped].kill9();
        let dir = trio.nodes[wiped].storage_dir();
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir(&dir).unwrap();
        write_init(&trio.nodes[wiped], trio.nodes[near].node_port());
        trio.nodes[wiped].restart().await;
        let own = id(&trio.nodes[wiped]).await;
        until(
            "the cluster has the new node instead of the old one",
            async || {
                let now = ids(&trio.nodes[near]).await;
                now.contains(&own) && !now.contains(&former)
            },
        )
        .await;
        trio.wait_for_voters_at(near, 3).await;
        let found = trio.nodes[wiped].api().await.ask(get("key")).await;
        assert_eq!(found.kvs[0].value, "before");
        persist(async || api.try_ask(put("key", "after")).await).await;
    }
}

#[tokio::test]
async fn a_leader_that_is_removed_hands_over_and_ends() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [near, far] = trio.others(leader);
    let removed = id(&trio.nodes[leader]).await;
    let api = trio.nodes[near].api().await;
    let left = api.ask(MemberRemoveRequest { id: removed }).await.members;
    assert!(left.iter().all(|member| member.id != removed));
    let status = timeout(LONG_TIMEOUT, trio.nodes[leader].process().wait()).await;
    assert_eq!(status.expect("it ends").code(), Some(3));
    persist(async || api.try_ask(put("key", "1")).await).await;
    assert_eq!(ids(&trio.nodes[far]).await.len(), 2);
}

#[tokio::test]
async fn a_dead_node_is_removed_and_stays_away() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [dead, near] = trio.others(leader);
    let removed = id(&trio.nodes[dead]).await;
    trio.nodes[dead].kill9();
    let api = trio.nodes[near].api().await;
    let left = api.ask(MemberRemoveRequest { id: removed }).await.members;
    assert_eq!(left.len(), 2);
    api.put("key", "1").await;
    trio.nodes[dead].launch();
    let status = timeout(LONG_TIMEOUT, trio.nodes[dead].process().wait()).await;
    assert_eq!(status.expect("it ends").code(), Some(3));
    api.put("key", "2").await;
    assert_eq!(ids(&trio.nodes[near]).await.len(), 2);
}
