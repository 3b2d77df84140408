//! The logs of three nodes: an ordinary life is without warnings, and a lost leader is one.

use etcd_proto::etcdserverpb::{MoveLeaderRequest, StatusRequest};

use super::trio::{Trio, persist};
use crate::harness::*;

const LOST: &str = "the leader was lost";
const HANDED_OVER: &str = "the leader has handed over";

/// Returns what a node has warned of since its log had this many bytes.
fn warnings_since(node: &Server, bytes: usize) -> Vec<String> {
    let output = node.output();
    let lines = output[bytes..].lines();
    let is_warning = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    lines.filter(is_warning).map(str::to_owned).collect()
}

fn lengths(trio: &Trio) -> Vec<usize> {
    trio.nodes.iter().map(|node| node.output().len()).collect()
}

fn assert_calm(trio: &Trio, since: &[usize], during: &str) {
    for (at, node) in trio.nodes.iter().enumerate() {
        let warnings = warnings_since(node, since[at]);
        assert!(warnings.is_empty(), "node {at}, {during}: {warnings:?}");
    }
}

/// Waits until each of the nodes has logged a line, and serves writes again.
async fn wait_for(trio: &Trio, nodes: &[usize], since: &[usize], line: &str) {
    for at in nodes {
        until("the line is logged", async || {
            trio.nodes[*at].output()[since[*at]..].contains(line)
        })
        .await;
        let api = trio.nodes[*at].api().await;
        persist(async || api.try_ask(put("key", "x")).await).await;
    }
}

async fn id(node: &Server) -> u64 {
    let status = node.api().await.ask(StatusRequest {}).await;
    status.header.unwrap().member_id
}

#[tokio::test]
async fn only_an_unplanned_loss_of_the_leader_is_warned_of() {
    let mut trio = Trio::start_with(&Options::flags(&["--warning-apply-duration=0"])).await;
    assert_calm(&trio, &[0; 3], "start and join");

    let since = lengths(&trio);
    let leader = trio.leader().await;
    let [next, _] = trio.others(leader);
    let target_id = id(&trio.nodes[next]).await;
    let api = trio.nodes[leader].api().await;
    api.ask(MoveLeaderRequest { target_id }).await;
    wait_for(&trio, &[0, 1, 2], &since, HANDED_OVER).await;
    assert_calm(&trio, &since, "move-leader");

    let since = lengths(&trio);
    let stopped = trio.leader().await;
    assert!(trio.nodes[stopped].terminate().await.success());
    wait_for(&trio, &trio.others(stopped), &since, HANDED_OVER).await;
    assert_calm(&trio, &since, "a planned stop of the leader");
    trio.nodes[stopped].restart().await;
    trio.wait_for_voters(3).await;
    assert_calm(&trio, &since, "a start");

    let since = lengths(&trio);
    let killed = trio.leader().await;
    trio.nodes[killed].kill9();
    let others = trio.others(killed);
    wait_for(&trio, &others, &since, LOST).await;
    for at in others {
        let warnings = warnings_since(&trio.nodes[at], since[at]);
        assert!(
            warnings.iter().all(|warning| warning.contains(LOST)),
            "{warnings:?}"
        );
    }
}
