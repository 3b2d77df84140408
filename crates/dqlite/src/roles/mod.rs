//! Decides which node has which role; [`crate::cluster`] acts on it. Pure.
//!
//! Every decision is one change of one node, with the nodes that could take it in order of
//! preference; whoever acts looks again before the next. The behaviour is go-dqlite's
//! (app/roles.go), except for what it gets wrong:
//!
//! - an offline voter is demoted before any online one, so that no step costs the majority;
//! - the number of voters does not stay even, which tolerates no more failures than one voter less;
//! - a better spread over failure domains is reached by swaps, not by voters beyond the target;
//! - of two nodes, the one without a vote is a stand-by and has a copy of the data, where a spare
//!   has none;
//! - equal nodes are chosen among by id, so that the same cluster always gets the same decision.
//!
//! Invariants, which the tests prove on random clusters: the leader keeps its vote; no change makes
//! the online voters fewer unless there are too many; online voters that are a majority stay one;
//! repeating the decisions ends.

mod preference;
mod voters;

#[cfg(test)]
mod tests;

use crate::{
    client::Metadata,
    wire::{NodeId, Role, Server},
};

/// The number of nodes that shall have each role; all others are spares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleTargets {
    voters: usize,
    stand_bys: usize,
}

/// Fewer voters tolerate no failure.
pub const MIN_VOTERS: usize = 3;

impl RoleTargets {
    /// `None` unless `voters` is odd and at least [`MIN_VOTERS`].
    pub fn new(voters: usize, stand_bys: usize) -> Option<Self> {
        let is_valid = voters >= MIN_VOTERS && voters % 2 == 1;
        is_valid.then_some(Self { voters, stand_bys })
    }
}

impl Default for RoleTargets {
    fn default() -> Self {
        Self {
            voters: MIN_VOTERS,
            stand_bys: 3,
        }
    }
}

/// A node as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    pub server: Server,
    /// `None`: offline.
    pub metadata: Option<Metadata>,
}

/// A role to give to one of the candidates: the first that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub role: Role,
    /// Never empty.
    pub candidates: Vec<Server>,
}

/// A cluster, about which questions can be asked.
#[derive(Debug, Clone)]
pub struct Roles {
    targets: RoleTargets,
    nodes: Vec<NodeState>,
}

impl Roles {
    pub fn new(targets: RoleTargets, mut nodes: Vec<NodeState>) -> Self {
        nodes.sort_by_key(|node| node.server.id);
        Self { targets, nodes }
    }

    /// The role that a node which has just started should take, if another than it has. Nothing is
    /// taken from other nodes for it; the leader does that.
    pub fn assume(&self, id: NodeId) -> Option<Role> {
        let own = self.find(id)?;
        if own.server.role != Role::Spare || self.nodes.len() < 2 {
            return None;
        }
        let is_voter_wanted = self.nodes.len() >= MIN_VOTERS && self.wants_voter();
        let has_room = self.online(Role::StandBy).len() < self.targets.stand_bys;
        match (is_voter_wanted, has_room) {
            (true, _) => Some(Role::Voter),
            (false, true) => Some(Role::StandBy),
            (false, false) => None,
        }
    }

    /// The next change that brings the cluster closer to its targets. Only the leader asks.
    pub fn adjust(&self, leader_id: NodeId) -> Option<Change> {
        self.find(leader_id)?;
        let voters = if self.nodes.len() < MIN_VOTERS {
            self.adjust_pair(leader_id)
        } else {
            self.adjust_voters(leader_id)
        };
        voters.or_else(|| self.adjust_stand_bys())
    }

    /// Returns the node that should get the role of a node that is about to leave; `None` if there
    /// is no candidate, or no role to pass on.
    pub fn handover(&self, id: NodeId) -> Option<Change> {
        let role = self.find(id)?.server.role;
        let from: &[Role] = match role {
            Role::Voter => &[Role::StandBy, Role::Spare],
            Role::StandBy => &[Role::Spare],
            Role::Spare => return None,
        };
        let mut peers = self.online(role);
        peers.retain(|peer| peer.server.id != id);
        // Time is short, and a stand-by has the log already.
        let candidates = from.iter().flat_map(|from| {
            let mut candidates = self.online(*from);
            candidates.retain(|candidate| candidate.server.id != id);
            preference::sort_for_promotion(&mut candidates, &peers);
            candidates
        });
        change(role, candidates.collect())
    }

    /// The online voters to which a leader could pass on the leadership, the best first.
    pub fn successors(&self, leader_id: NodeId) -> Vec<Server> {
        let mut voters = self.online(Role::Voter);
        voters.retain(|voter| voter.server.id != leader_id);
        preference::sort_for_promotion(&mut voters, &[]);
        servers(voters)
    }

    /// Returns whether the other voters that are online are a majority once this node is gone.
    pub fn keeps_majority_without(&self, id: NodeId) -> bool {
        let is_other_voter =
            |node: &&NodeState| node.server.id != id && node.server.role == Role::Voter;
        let others: Vec<_> = self.nodes.iter().filter(is_other_voter).collect();
        let online = others.iter().filter(|node| node.metadata.is_some());
        online.count() * 2 > others.len()
    }

    pub fn find(&self, id: NodeId) -> Option<&NodeState> {
        self.nodes.iter().find(|node| node.server.id == id)
    }

    /// Two voters are worse than one: both would have to live. So the leader alone votes, and the
    /// other one has a copy.
    fn adjust_pair(&self, leader_id: NodeId) -> Option<Change> {
        let mut others = self.online(Role::Voter);
        others.extend(self.offline(Role::Voter));
        others.retain(|other| other.server.id != leader_id);
        let role = match self.targets.stand_bys {
            0 => Role::Spare,
            _ => Role::StandBy,
        };
        change(role, others)
    }

    fn adjust_stand_bys(&self) -> Option<Change> {
        let wanted = self.targets.stand_bys;
        let mut online = self.online(Role::StandBy);
        let mut spares = self.online(Role::Spare);
        if online.len() < wanted && !spares.is_empty() {
            preference::sort_for_promotion(&mut spares, &online);
            return change(Role::StandBy, spares);
        }
        let offline = self.offline(Role::StandBy);
        if online.len() + offline.len() > wanted && !offline.is_empty() {
            return change(Role::Spare, offline);
        }
        if online.len() > wanted {
            preference::sort_for_demotion(&mut online);
            return change(Role::Spare, online);
        }
        None
    }

    fn online(&self, role: Role) -> Vec<&NodeState> {
        self.with(role, true)
    }

    fn offline(&self, role: Role) -> Vec<&NodeState> {
        self.with(role, false)
    }

    fn with(&self, role: Role, is_online: bool) -> Vec<&NodeState> {
        let has =
            |node: &&NodeState| node.server.role == role && node.metadata.is_some() == is_online;
        self.nodes.iter().filter(has).collect()
    }
}

fn change(role: Role, candidates: Vec<&NodeState>) -> Option<Change> {
    let candidates = servers(candidates);
    (!candidates.is_empty()).then_some(Change { role, candidates })
}

fn servers(nodes: Vec<&NodeState>) -> Vec<Server> {
    nodes.into_iter().map(|node| node.server.clone()).collect()
}
