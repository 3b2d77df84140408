//! Stopping a node, after a handover or all of a sudden.

use dqlite::wire::Role::{Spare, StandBy, Voter};

use crate::node::{Cluster, TestNode, with_role};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_voters_hands_over_the_leadership_and_keeps_its_seat() {
    let mut cluster = Cluster::start(3, None).await;
    let addresses = cluster.addresses();
    let all: Vec<_> = addresses.iter().map(|a| (a.as_str(), Voter)).collect();
    cluster.nodes[0].until_roles(&all).await;
    let first = cluster.nodes.remove(0);
    let done = first.member.handover(Box::pin(async {})).await.unwrap();
    let next = done.leadership_to.unwrap().address;
    assert!(done.role_to.is_none() && addresses[1..].contains(&next));
    first.stop().await;
    let status = cluster.nodes[0].until_led_by(&next).await;
    assert_eq!(with_role(&status.servers, Voter).len(), 3);
    // Two of three carry on.
    let mut leader = cluster.nodes[0].nodes().leader().await.unwrap();
    leader.open("test").await.unwrap();
    leader
        .exec_sql("CREATE TABLE t (n INTEGER)", &[])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_voter_gives_its_seat_to_a_stand_by() {
    let mut cluster = Cluster::start(4, None).await;
    let [a, b, c, d] = &cluster.addresses()[..] else {
        unreachable!()
    };
    let before = [(a.as_str(), Voter), (b, Voter), (c, Voter), (d, StandBy)];
    cluster.nodes[0].until_roles(&before).await;
    let first = cluster.nodes.remove(0);
    let done = first.member.handover(Box::pin(async {})).await.unwrap();
    assert_eq!(done.role_to.unwrap().address, *d);
    first.stop().await;
    let other = &cluster.nodes[0];
    other
        .until(|s| with_role(&s.servers, Voter) == [b, c, d])
        .await;
    // Back again, it stands by.
    let again = TestNode::start(cluster.dirs[0].path(), a, &[], None).await;
    let after = [(a.as_str(), StandBy), (b, Voter), (c, Voter), (d, Voter)];
    again.until_roles(&after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_either_can_be_stopped_after_a_handover() {
    let mut cluster = Cluster::start(2, None).await;
    let [a, b] = &cluster.addresses()[..] else {
        unreachable!()
    };
    cluster.nodes[0]
        .until_roles(&[(a, Voter), (b, StandBy)])
        .await;
    let first = cluster.nodes.remove(0);
    let done = first.member.handover(Box::pin(async {})).await.unwrap();
    assert_eq!(done.role_to.unwrap().address, *b);
    assert_eq!(done.leadership_to.unwrap().address, *b);
    first.stop().await;
    let second = &cluster.nodes[0];
    second.until(|s| with_role(&s.servers, Voter) == [b]).await;
    let mut leader = second.nodes().leader().await.unwrap();
    leader.open("test").await.unwrap();
    leader
        .exec_sql("CREATE TABLE t (n INTEGER)", &[])
        .await
        .unwrap();
    // With the first one back, the other one may leave.
    let first = TestNode::start(cluster.dirs[0].path(), a, &[], None).await;
    first.until_roles(&[(a, StandBy), (b, Voter)]).await;
    let done = cluster.nodes[0]
        .member
        .handover(Box::pin(async {}))
        .await
        .unwrap();
    assert_eq!(done.role_to.unwrap().address, *a);
    first.until_led_by(a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_has_nothing_to_hand_over() {
    let cluster = Cluster::start(1, None).await;
    let done = cluster.nodes[0]
        .member
        .handover(Box::pin(async {}))
        .await
        .unwrap();
    assert_eq!(done, Default::default());
    let status = cluster.nodes[0].member.status().borrow().clone();
    assert_eq!(with_role(&status.servers, Voter).len(), 1);
    assert!(with_role(&status.servers, Spare).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seat_of_a_voter_that_is_gone_moves_to_the_stand_by() {
    let mut cluster = Cluster::start(4, None).await;
    let [a, b, c, d] = &cluster.addresses()[..] else {
        unreachable!()
    };
    let before = [(a.as_str(), Voter), (b, Voter), (c, Voter), (d, StandBy)];
    cluster.nodes[0].until_roles(&before).await;
    // The leader, so that an election comes first.
    cluster.nodes.remove(0).stop().await;
    let after = [(a.as_str(), Spare), (b, Voter), (c, Voter), (d, Voter)];
    cluster.nodes[0].until_roles(&after).await;
}
