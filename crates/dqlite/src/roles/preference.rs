//! The order in which nodes are promoted or demoted.

use std::collections::{BTreeMap, BTreeSet};

use super::NodeState;
use crate::wire::Role;

pub(super) fn domain(node: &NodeState) -> u64 {
    node.metadata.map_or(0, |metadata| metadata.failure_domain)
}

pub(super) fn weight(node: &NodeState) -> u64 {
    node.metadata.map_or(0, |metadata| metadata.weight)
}

pub(super) fn domains(nodes: &[&NodeState]) -> BTreeSet<u64> {
    nodes.iter().map(|node| domain(node)).collect()
}

/// Sorts candidates: first those in a domain without one of the `peers`, then those that have the
/// log already, then those with a low weight.
pub(super) fn sort_for_promotion(candidates: &mut [&NodeState], peers: &[&NodeState]) {
    let taken = domains(peers);
    candidates.sort_by_key(|node| {
        (
            taken.contains(&domain(node)),
            node.server.role == Role::Spare,
            weight(node),
            node.server.id,
        )
    });
}

/// Sorts candidates: first those in the most populated domain, then those with a high weight.
pub(super) fn sort_for_demotion(candidates: &mut [&NodeState]) {
    let population = population(candidates);
    sort_by_population(candidates, &population);
}

/// Sorts as above; `all` includes nodes that may not be demoted but count in their domain.
pub(super) fn sort_for_demotion_among(candidates: &mut [&NodeState], all: &[&NodeState]) {
    let population = population(all);
    sort_by_population(candidates, &population);
}

fn population(nodes: &[&NodeState]) -> BTreeMap<u64, usize> {
    let mut population = BTreeMap::new();
    for node in nodes {
        *population.entry(domain(node)).or_default() += 1;
    }
    population
}

fn sort_by_population(candidates: &mut [&NodeState], population: &BTreeMap<u64, usize>) {
    candidates.sort_by(|a, b| {
        let key = |node: &NodeState| {
            let neighbours = population.get(&domain(node)).copied().unwrap_or_default();
            (neighbours, weight(node), node.server.id)
        };
        key(b).cmp(&key(a))
    });
}
