//! The voters of three nodes and more.

use super::{Change, MIN_VOTERS, NodeState, Roles, change, preference};
use crate::wire::{NodeId, Role};

impl Roles {
    pub(super) fn adjust_voters(&self, leader_id: NodeId) -> Option<Change> {
        let online = self.online(Role::Voter);
        let offline = self.offline(Role::Voter);
        if !offline.is_empty() && self.has_spare_seats(online.len() + offline.len()) {
            // To spare: what is offline has no use for the log.
            return change(Role::Spare, offline);
        }
        if self.wants_voter() {
            let mut candidates = self.without_vote();
            preference::sort_for_promotion(&mut candidates, &online);
            return change(Role::Voter, candidates);
        }
        if offline.is_empty() && self.has_spare_seats(online.len()) && online.len() > MIN_VOTERS {
            return self.demote(leader_id, &online);
        }
        if offline.is_empty() && online.len() >= MIN_VOTERS {
            return self.spread(leader_id, &online);
        }
        None
    }

    /// Returns whether a voter is missing and a candidate exists that does not make things worse: an even number of
    /// voters has to be on the way to an odd one.
    pub(super) fn wants_voter(&self) -> bool {
        let online = self.online(Role::Voter).len();
        let offline = self.offline(Role::Voter).len();
        let candidates = self.without_vote().len();
        let is_made_odd = (online + 1) % 2 == 1 || candidates >= 2;
        candidates > 0 && online < self.targets.voters && (offline > 0 || is_made_odd)
    }

    /// Returns whether this many voters can do without one.
    fn has_spare_seats(&self, voters: usize) -> bool {
        voters > self.targets.voters || voters.is_multiple_of(2)
    }

    fn demote(&self, leader_id: NodeId, voters: &[&NodeState]) -> Option<Change> {
        let mut candidates = voters.to_vec();
        candidates.retain(|node| node.server.id != leader_id);
        preference::sort_for_demotion_among(&mut candidates, voters);
        let has_room = self.online(Role::StandBy).len() < self.targets.stand_bys;
        let role = if has_room { Role::StandBy } else { Role::Spare };
        change(role, candidates)
    }

    /// Promotes a node in a domain without a voter, where another domain has two voters. The next step demotes one of
    /// those.
    fn spread(&self, leader_id: NodeId, voters: &[&NodeState]) -> Option<Change> {
        let taken = preference::domains(voters);
        if taken.len() == voters.len() {
            return None;
        }
        debug_assert!(voters.iter().any(|voter| voter.server.id == leader_id));
        let mut candidates = self.without_vote();
        candidates.retain(|node| !taken.contains(&preference::domain(node)));
        preference::sort_for_promotion(&mut candidates, voters);
        change(Role::Voter, candidates)
    }

    fn without_vote(&self) -> Vec<&NodeState> {
        let mut nodes = self.online(Role::StandBy);
        nodes.extend(self.online(Role::Spare));
        nodes
    }
}
