//! Becoming one of the nodes, for the first time and again.

use dqlite::files;
use dqlite::tls::Tls;
use dqlite::wire::Role::{StandBy, Voter};

use crate::node::{Cluster, TestNode, free_address, with_role};
use crate::pair::PairFiles;

async fn three_nodes_vote(tls: Option<Tls>) {
    let mut cluster = Cluster::start(2, tls.clone()).await;
    let [a, b] = &cluster.addresses()[..] else {
        unreachable!()
    };
    cluster.nodes[0]
        .until_roles(&[(a, Voter), (b, StandBy)])
        .await;
    let c = &cluster.grow(tls).await.address.clone();
    for (node, dir) in cluster.nodes.iter().zip(&cluster.dirs) {
        let status = node
            .until_roles(&[(a, Voter), (b, Voter), (c, Voter)])
            .await;
        assert_eq!(status.leader.unwrap().id, cluster.nodes[0].id);
        assert!(!dir.path().join("join").exists());
        let written = files::read_cluster(dir.path()).unwrap().unwrap();
        assert_eq!(with_role(&written, Voter), [a, b, c]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_node_stands_by_and_with_the_third_all_vote() {
    three_nodes_vote(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_node_stands_by_and_with_the_third_all_vote_through_tls() {
    three_nodes_vote(Some(PairFiles::new(&["node1"], &[]).load())).await;
}

/// Only voters know the leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_stand_by_is_good_enough_to_join() {
    let cluster = Cluster::start(2, None).await;
    let [a, b] = &cluster.addresses()[..] else {
        unreachable!()
    };
    cluster.nodes[0]
        .until_roles(&[(a, Voter), (b, StandBy)])
        .await;
    let dir = tempfile::tempdir().unwrap();
    let c = &free_address().await;
    let third = TestNode::start(dir.path(), c, &[b], None).await;
    third
        .until_roles(&[(a, Voter), (b, Voter), (c, Voter)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_keeps_its_place() {
    let mut cluster = Cluster::start(3, None).await;
    let [a, b, c] = &cluster.addresses()[..] else {
        unreachable!()
    };
    let all = [(a.as_str(), Voter), (b, Voter), (c, Voter)];
    cluster.nodes[0].until_roles(&all).await;
    let last = cluster.nodes.pop().unwrap();
    let id = last.id;
    last.stop().await;
    let again = TestNode::start(cluster.dirs[2].path(), c, &[], None).await;
    assert_eq!(again.id, id);
    again.until_ready().await;
    again.until_roles(&all).await;
}

/// The flag is left where a crash came between joining and clearing it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_joined_already_notices_it() {
    let mut cluster = Cluster::start(2, None).await;
    let last = cluster.nodes.pop().unwrap();
    let (id, address) = (last.id, last.address.clone());
    last.stop().await;
    let dir = cluster.dirs[1].path();
    std::fs::write(dir.join("join"), "").unwrap();
    let again = TestNode::start(dir, &address, &[], None).await;
    let status = again.until_ready().await;
    assert_eq!((again.id, status.servers.len()), (id, 2));
    assert!(!dir.join("join").exists());
}

async fn a_wiped_node_comes_back_without_a_ghost(wiped: usize) {
    let mut cluster = Cluster::start(3, None).await;
    let addresses = cluster.addresses();
    let all: Vec<_> = addresses.iter().map(|a| (a.as_str(), Voter)).collect();
    cluster.nodes[0].until_roles(&all).await;
    let lost = cluster.nodes.remove(wiped);
    let (id, address) = (lost.id, lost.address.clone());
    lost.stop().await;
    let others: Vec<&str> = cluster.nodes.iter().map(|n| n.address.as_str()).collect();
    let dir = tempfile::tempdir().unwrap();
    let again = TestNode::start(dir.path(), &address, &others, None).await;
    again.until_ready().await;
    let status = again.until_roles(&all).await;
    assert!(status.servers.iter().all(|server| server.id != id));
    assert!(status.servers.iter().any(|server| server.id == again.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_was_wiped_joins_anew_in_its_own_place() {
    a_wiped_node_comes_back_without_a_ghost(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_node_joins_anew_like_any_other() {
    a_wiped_node_comes_back_without_a_ghost(0).await;
}
