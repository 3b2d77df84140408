//! Proofs that a leader leads: its own engine and a majority of the voters name it, in the term in which it began.
//!
//! A voter that names it has not voted in a later term yet, and every later leader needs the vote of one of them. So the
//! node has led at some moment after the question. No clock is involved; a deadline only gives up.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::View;

/// The longest that the nodes may take to confirm.
pub const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that the own engine may take to answer two questions: each has a deadline of 2 s where it is asked.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);

/// Identifies a proof, and the question to the nodes that belongs to it, while one node leads.
pub type ProofId = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A proof is wanted. `told` is what the engine of a node said after the reads that want it had arrived.
    Wanted { told: Option<(u64, View)> },
    /// The own engine has answered, none if it failed. It was asked after the proof was wanted.
    EngineSaid { proof: ProofId, view: Option<View> },
    /// The own engine has told the voters, none if it failed.
    VotersAre {
        proof: ProofId,
        voters: Option<Vec<u64>>,
    },
    /// The node `id` has answered the question of a proof. Its engine was asked after the question arrived.
    NodeSaid { id: u64, proof: ProofId, view: View },
    /// The time that a command named has come.
    TimeIsUp { proof: ProofId },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Ask the own engine who leads. Where the last proof needed other nodes, ask all nodes that follow meanwhile: their
    /// answers may come in any order.
    AskEngine { proof: ProofId, and_nodes: bool },
    /// Ask the own engine which nodes vote.
    AskVoters { proof: ProofId },
    /// Ask all nodes that follow, unless they are asked already; give up at `until`.
    AskNodes { proof: ProofId, until: Duration },
    /// The proof has ended.
    Settle { proof: ProofId, is_proven: bool },
}

#[derive(Debug)]
struct Proof {
    /// The nodes that have named this one, in its term.
    confirmed: BTreeSet<u64>,
    /// Empty until the engine has told them.
    voters: BTreeSet<u64>,
    gives_up_at: Duration,
}

impl Proof {
    fn has_majority(&self) -> bool {
        self.confirmed.intersection(&self.voters).count() * 2 > self.voters.len()
    }
}

/// The proofs under way during the time in which one node leads.
#[derive(Debug)]
pub struct Proofs {
    own_id: u64,
    term: u64,
    next: ProofId,
    under_way: BTreeMap<ProofId, Proof>,
    /// The last proof was none without the answers of other nodes.
    needs_nodes: bool,
}

impl Proofs {
    pub fn new(own_id: u64, term: u64) -> Self {
        Self {
            own_id,
            term,
            next: 1,
            under_way: BTreeMap::new(),
            needs_nodes: false,
        }
    }

    /// Decides what follows from an event at `now`, which only grows. Answers for proofs that have ended mean nothing.
    pub fn decide(&mut self, event: Event, now: Duration) -> Option<Command> {
        match event {
            Event::Wanted { told } => Some(self.begin(told, now)),
            Event::EngineSaid { proof, view } => {
                self.under_way.get(&proof)?;
                let leads = view.is_some_and(|view| view.names(self.own_id, self.term));
                Some(match leads {
                    true => Command::AskVoters { proof },
                    false => self.settle(proof, false),
                })
            }
            Event::VotersAre { proof, voters } => self.count(proof, voters, now),
            Event::NodeSaid { id, proof, view } => {
                let names_this = view.names(self.own_id, self.term);
                let under_way = self.under_way.get_mut(&proof)?;
                if names_this {
                    under_way.confirmed.insert(id);
                }
                let is_proven = under_way.has_majority();
                is_proven.then(|| self.settle(proof, true))
            }
            Event::TimeIsUp { proof } => {
                let is_over = self.under_way.get(&proof)?.gives_up_at <= now;
                is_over.then(|| self.settle(proof, false))
            }
        }
    }

    fn begin(&mut self, told: Option<(u64, View)>, now: Duration) -> Command {
        // Proofs that nobody waits for any more were never settled.
        self.under_way
            .retain(|_, proof| proof.gives_up_at + ROUND_TIMEOUT > now);
        let proof = self.next;
        self.next += 1;
        // Mostly, a follower that asks is majority enough.
        let and_nodes = self.needs_nodes && told.is_none();
        let named_by = told.filter(|(_, view)| view.names(self.own_id, self.term));
        let confirmed = named_by.map(|(id, _)| id).into_iter();
        self.under_way.insert(
            proof,
            Proof {
                confirmed: confirmed.collect(),
                voters: BTreeSet::new(),
                gives_up_at: now + ENGINE_TIMEOUT,
            },
        );
        Command::AskEngine { proof, and_nodes }
    }

    fn count(
        &mut self,
        proof: ProofId,
        voters: Option<Vec<u64>>,
        now: Duration,
    ) -> Option<Command> {
        let under_way = self.under_way.get_mut(&proof)?;
        let Some(voters) = voters else {
            return Some(self.settle(proof, false));
        };
        under_way.voters = voters.into_iter().collect();
        under_way.confirmed.insert(self.own_id);
        self.needs_nodes = under_way.voters.len() > 1;
        if under_way.has_majority() {
            return Some(self.settle(proof, true));
        }
        let until = now + ROUND_TIMEOUT;
        under_way.gives_up_at = until;
        Some(Command::AskNodes { proof, until })
    }

    fn settle(&mut self, proof: ProofId, is_proven: bool) -> Command {
        self.under_way.remove(&proof);
        Command::Settle { proof, is_proven }
    }
}

#[cfg(test)]
mod tests;
