use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use Role::{Spare, StandBy, Voter};

/// Online, in a domain, with a weight.
fn online(id: u64, role: Role, failure_domain: u64, weight: u64) -> NodeState {
    NodeState {
        metadata: Some(Metadata {
            failure_domain,
            weight,
        }),
        ..offline(id, role)
    }
}

fn offline(id: u64, role: Role) -> NodeState {
    let address = format!("10.0.0.{id}:9000");
    let id = NodeId::new(id);
    let server = Server { id, address, role };
    NodeState {
        server,
        metadata: None,
    }
}

fn up(id: u64, role: Role) -> NodeState {
    online(id, role, 0, 0)
}

fn roles(nodes: &[NodeState]) -> Roles {
    Roles::new(RoleTargets::default(), nodes.to_vec())
}

/// Role and ids of the candidates.
fn ids(change: Option<Change>) -> Option<(Role, Vec<u64>)> {
    change.map(|change| {
        (
            change.role,
            change.candidates.iter().map(|s| s.id.number()).collect(),
        )
    })
}

/// Lets the leader adjust until nothing is left to do; `check` sees the cluster before and after each
/// step.
fn settle(mut cluster: Roles, leader_id: u64, mut check: impl FnMut(&Roles, &Roles)) -> Roles {
    // Each node changes twice at most, and each domain is won once.
    let steps_max = 3 * cluster.nodes.len() + 1;
    for _ in 0..steps_max {
        let Some(change) = cluster.adjust(NodeId::new(leader_id)) else {
            return cluster;
        };
        let mut next = cluster.clone();
        let first = change.candidates[0].id;
        let node = next.nodes.iter_mut().find(|n| n.server.id == first);
        node.unwrap().server.role = change.role;
        check(&cluster, &next);
        cluster = next;
    }
    panic!("still changing after {steps_max} steps: {cluster:?}");
}

fn count(cluster: &Roles, role: Role, is_online: bool) -> usize {
    cluster.with(role, is_online).len()
}

#[test]
fn one_node_stays_as_it_is() {
    let one = roles(&[up(1, Voter)]);
    assert_eq!(one.adjust(NodeId::new(1)), None);
    assert_eq!(one.handover(NodeId::new(1)), None);
    assert_eq!(one.assume(NodeId::new(1)), None);
}

#[test]
fn of_two_nodes_one_votes_and_the_other_stands_by() {
    assert_eq!(
        roles(&[up(1, Voter), up(2, Spare)]).assume(NodeId::new(2)),
        Some(StandBy)
    );
    let joined = roles(&[up(1, Voter), up(2, Spare)]);
    assert_eq!(ids(joined.adjust(NodeId::new(1))), Some((StandBy, vec![2])));
    let shrunk = roles(&[up(1, Voter), up(2, Voter)]);
    assert_eq!(ids(shrunk.adjust(NodeId::new(2))), Some((StandBy, vec![1])));
    assert_eq!(
        roles(&[up(1, Voter), up(2, StandBy)]).adjust(NodeId::new(1)),
        None
    );
}

#[test]
fn the_third_node_votes_and_makes_the_second_vote() {
    let third = [up(1, Voter), up(2, StandBy), up(3, Spare)];
    assert_eq!(roles(&third).assume(NodeId::new(3)), Some(Voter));
    let next = roles(&[up(1, Voter), up(2, StandBy), up(3, Voter)]);
    assert_eq!(ids(next.adjust(NodeId::new(1))), Some((Voter, vec![2])));
}

#[test]
fn a_new_node_stands_by_where_enough_vote_and_is_a_spare_beyond_that() {
    let mut nodes: Vec<_> = (1..=3).map(|id| up(id, Voter)).collect();
    nodes.push(up(4, Spare));
    assert_eq!(roles(&nodes).assume(NodeId::new(4)), Some(StandBy));
    nodes.extend((5..=7).map(|id| up(id, StandBy)));
    assert_eq!(roles(&nodes).assume(NodeId::new(4)), None);
    assert_eq!(roles(&nodes).assume(NodeId::new(5)), None, "has a role");
    assert_eq!(roles(&nodes).assume(NodeId::new(99)), None, "was removed");
}

#[test]
fn an_offline_voter_is_replaced_before_it_loses_its_seat() {
    let nodes = [
        up(1, Voter),
        up(2, Voter),
        offline(3, Voter),
        up(4, StandBy),
    ];
    assert_eq!(
        ids(roles(&nodes).adjust(NodeId::new(1))),
        Some((Voter, vec![4]))
    );
    let nodes = [up(1, Voter), up(2, Voter), offline(3, Voter), up(4, Voter)];
    assert_eq!(
        ids(roles(&nodes).adjust(NodeId::new(1))),
        Some((Spare, vec![3]))
    );
}

#[test]
fn an_offline_voter_without_replacement_keeps_its_seat() {
    let nodes = [up(1, Voter), up(2, Voter), offline(3, Voter)];
    assert_eq!(roles(&nodes).adjust(NodeId::new(1)), None);
}

#[test]
fn voters_beyond_the_target_go_highest_weight_first_but_never_the_leader() {
    let nodes = [
        online(1, Voter, 0, 9),
        online(2, Voter, 0, 1),
        online(3, Voter, 0, 5),
        online(4, Voter, 0, 0),
    ];
    let expected = Some((StandBy, vec![3, 2, 4]));
    assert_eq!(ids(roles(&nodes).adjust(NodeId::new(1))), expected);
}

#[test]
fn a_domain_without_voter_gets_one_from_a_domain_with_two() {
    let nodes = [
        online(1, Voter, 1, 0),
        online(2, Voter, 1, 0),
        online(3, Voter, 2, 0),
        online(4, StandBy, 3, 7),
        online(5, StandBy, 1, 0),
    ];
    let cluster = roles(&nodes);
    assert_eq!(ids(cluster.adjust(NodeId::new(1))), Some((Voter, vec![4])));
    let settled = settle(cluster, 1, |_, _| {});
    let voters: Vec<u64> = settled
        .online(Voter)
        .iter()
        .map(|n| n.server.id.number())
        .collect();
    assert_eq!(voters, [1, 3, 4]);
}

#[test]
fn a_leaving_voter_prefers_stand_bys_then_other_domains_then_low_weight() {
    let nodes = [
        online(1, Voter, 1, 0),
        online(2, Voter, 2, 0),
        online(3, StandBy, 2, 0),
        online(4, StandBy, 1, 5),
        online(5, StandBy, 3, 2),
        online(6, Spare, 4, 0),
        offline(7, StandBy),
    ];
    let cluster = roles(&nodes);
    assert_eq!(
        ids(cluster.handover(NodeId::new(1))),
        Some((Voter, vec![5, 4, 3, 6]))
    );
    assert_eq!(
        ids(cluster.handover(NodeId::new(3))),
        Some((StandBy, vec![6]))
    );
    assert_eq!(cluster.handover(NodeId::new(6)), None);
    assert_eq!(cluster.successors(NodeId::new(1))[0].id, NodeId::new(2));
}

#[test]
fn three_voters_have_nobody_to_hand_over_to() {
    let cluster = roles(&[up(1, Voter), up(2, Voter), up(3, Voter)]);
    assert_eq!(cluster.handover(NodeId::new(1)), None);
}

#[test]
fn majority_without_a_node_is_counted_among_the_others() {
    let cluster = roles(&[up(1, Voter), up(2, Voter), offline(3, Voter)]);
    assert!(cluster.keeps_majority_without(NodeId::new(3)));
    assert!(!cluster.keeps_majority_without(NodeId::new(2)));
    assert!(!roles(&[up(1, Voter)]).keeps_majority_without(NodeId::new(1)));
}

#[test]
fn targets_are_odd_and_at_least_three() {
    assert!(RoleTargets::new(3, 0).is_some());
    assert!(RoleTargets::new(5, 9).is_some());
    for voters in [0, 1, 2, 4] {
        assert!(RoleTargets::new(voters, 3).is_none(), "{voters}");
    }
}

fn any_role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Voter), Just(StandBy), Just(Spare)]
}

/// A cluster that is led by node 1 with a majority of the voters.
fn any_cluster() -> impl Strategy<Value = Roles> {
    let node = (any_role(), prop::option::weighted(0.7, (0u64..4, 0u64..3)));
    let targets = (0usize..2, 0usize..4);
    let cluster = (targets, prop::collection::vec(node, 0..9), 0u64..4);
    let cluster = cluster.prop_map(|((voters, stand_bys), others, leader_domain)| {
        let mut nodes = vec![online(1, Voter, leader_domain, 0)];
        nodes.extend(
            (2..)
                .zip(others)
                .map(|(id, (role, metadata))| match metadata {
                    Some((domain, weight)) => online(id, role, domain, weight),
                    None => offline(id, role),
                }),
        );
        let targets = RoleTargets::new(MIN_VOTERS + 2 * voters, stand_bys).unwrap();
        Roles::new(targets, nodes)
    });
    cluster.prop_filter("led by a majority", has_majority)
}

fn has_majority(cluster: &Roles) -> bool {
    count(cluster, Voter, true) > count(cluster, Voter, false)
}

fn online_nodes(cluster: &Roles) -> usize {
    cluster
        .nodes
        .iter()
        .filter(|n| n.metadata.is_some())
        .count()
}

fn domains_of(nodes: &[&NodeState]) -> BTreeSet<u64> {
    nodes
        .iter()
        .map(|n| n.metadata.unwrap().failure_domain)
        .collect()
}

proptest! {
    #[test]
    fn each_step_is_safe(cluster in any_cluster()) {
        let targets = cluster.targets;
        settle(cluster, 1, |before, after| {
            assert!(has_majority(after), "{after:?}");
            assert_eq!(after.find(NodeId::new(1)).unwrap().server.role, Voter);
            let changed = before.nodes.iter().zip(&after.nodes).filter(|(a, b)| a != b);
            assert_eq!(changed.count(), 1);
            let (voters, fewer) = (count(before, Voter, true), count(after, Voter, true));
            let are_too_many = voters > targets.voters
                || voters.is_multiple_of(2) && (voters > MIN_VOTERS || before.nodes.len() == 2);
            assert!(fewer >= voters || are_too_many, "{before:?}");
        });
    }

    #[test]
    fn the_end_has_as_many_voters_as_there_can_be(cluster in any_cluster()) {
        let end = settle(cluster, 1, |_, _| {});
        let (voters, lost) = (count(&end, Voter, true), count(&end, Voter, false));
        if online_nodes(&end) < MIN_VOTERS {
            return Ok(());
        }
        prop_assert!(voters >= MIN_VOTERS);
        prop_assert!((voters + lost) % 2 == 1);
        let wanted = end.targets.voters.min(online_nodes(&end));
        prop_assert!(voters == wanted || voters + 1 == wanted, "{:?}", end);
        let candidates = count(&end, StandBy, true) + count(&end, Spare, true);
        prop_assert!(lost == 0 || candidates == 0, "an offline voter keeps its seat: {:?}", end);
        let spares = count(&end, Spare, true);
        prop_assert!(spares == 0 || count(&end, StandBy, true) == end.targets.stand_bys);
    }

    #[test]
    fn the_end_is_spread_over_the_failure_domains(cluster in any_cluster()) {
        let end = settle(cluster, 1, |_, _| {});
        let voters = end.online(Voter);
        if voters.len() < MIN_VOTERS || count(&end, Voter, false) > 0 {
            return Ok(());
        }
        let all: Vec<_> = end.nodes.iter().filter(|n| n.metadata.is_some()).collect();
        let reachable = domains_of(&all).len().min(voters.len());
        prop_assert_eq!(domains_of(&voters).len(), reachable);
    }

    #[test]
    fn who_starts_never_makes_the_number_of_voters_worse(cluster in any_cluster(), id in (1u64..10).prop_map(NodeId::new)) {
        if let Some(role) = cluster.assume(id) {
            let own = cluster.find(id).unwrap();
            prop_assert_eq!(own.server.role, Spare);
            prop_assert!(role != Voter || count(&cluster, Voter, true) < cluster.targets.voters);
        }
    }

    #[test]
    fn a_seat_is_handed_to_an_online_node_without_it(cluster in any_cluster(), id in (1u64..10).prop_map(NodeId::new)) {
        if let Some(change) = cluster.handover(id) {
            for candidate in &change.candidates {
                let node = cluster.find(candidate.id).unwrap();
                prop_assert!(node.metadata.is_some() && candidate.id != id);
                prop_assert!(node.server.role as u8 > change.role as u8);
            }
        }
    }
}
