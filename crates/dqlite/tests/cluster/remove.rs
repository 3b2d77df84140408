//! Taking nodes out for good.

use dqlite::cluster::{ClusterError, MemberState, remove};
use dqlite::wire::Role::{StandBy, Voter};
use dqlite::{client::Error, wire::NodeId};

use crate::node::{Cluster, with_role};

async fn three_voters() -> Cluster {
    let cluster = Cluster::start(3, None).await;
    let addresses = cluster.addresses();
    let all: Vec<_> = addresses.iter().map(|a| (a.as_str(), Voter)).collect();
    cluster.nodes[0].until_roles(&all).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_leader_is_replaced_and_knows_that_it_is_out() {
    let cluster = three_voters().await;
    let [first, second, third] = &cluster.nodes[..] else {
        unreachable!()
    };
    let left = remove(&mut second.nodes(), first.id).await.unwrap();
    assert_eq!(left.len(), 2);
    first.until(|s| s.state == MemberState::Removed).await;
    // Two are left, of which one votes.
    let one_votes = |servers: &[_]| {
        servers.len() == 2
            && with_role(servers, Voter).len() == 1
            && with_role(servers, StandBy).len() == 1
    };
    for node in [second, third] {
        node.until(|s| one_votes(&s.servers)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_two_is_removed_and_the_other_one_carries_on() {
    let cluster = Cluster::start(2, None).await;
    let [first, second] = &cluster.nodes[..] else {
        unreachable!()
    };
    let roles = [(first.address.as_str(), Voter), (&second.address, StandBy)];
    first.until_roles(&roles).await;
    let left = remove(&mut first.nodes(), first.id).await.unwrap();
    assert_eq!(with_role(&left, Voter), [&second.address]);
    second.until_led_by(&second.address).await;
    first.until(|s| s.state == MemberState::Removed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_removed_before_a_living_one_may_go() {
    let mut cluster = three_voters().await;
    let dead = cluster.nodes.remove(2);
    let dead_id = dead.id;
    dead.stop().await;
    let [first, second] = &cluster.nodes[..] else {
        unreachable!()
    };
    // One of the two voters that are left would be no majority beside the dead one.
    let error = remove(&mut first.nodes(), second.id).await.unwrap_err();
    assert!(matches!(error, ClusterError::NoMajority { .. }), "{error}");
    let left = remove(&mut first.nodes(), dead_id).await.unwrap();
    assert_eq!(left.len(), 2);
    remove(&mut first.nodes(), second.id).await.unwrap();
    second.until(|s| s.state == MemberState::Removed).await;
    let error = remove(&mut first.nodes(), first.id).await.unwrap_err();
    let is_last = matches!(
        error,
        ClusterError::LastNode | ClusterError::Client(Error::Invalid(_))
    );
    assert!(is_last, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_node_is_not_removed() {
    let cluster = Cluster::start(1, None).await;
    let error = remove(&mut cluster.nodes[0].nodes(), NodeId::new(7))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClusterError::NotFound { id } if id == NodeId::new(7)),
        "{error}"
    );
}
