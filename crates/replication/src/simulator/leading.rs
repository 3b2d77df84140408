//! A node that leads: it opens the database, and proves that it leads.

use etcd_state::mvcc::Revision;
use std::collections::BTreeMap;

use super::{
    engine::{Outcome, What},
    event::{Asker, Event},
    index::Index,
    options::Mistake,
    process::{Purpose, Read},
    session::SessionId,
    truth::Violation,
    world::World,
    writer::Writer,
};
use crate::{
    View, coordinator,
    proofs::{self, Command, ProofId, Proofs},
};

/// Pause after a proof that failed.
const PROOF_PAUSE_US: u64 = 50_000;

/// The requester of a proof.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// The reads of this node's own clients.
    OwnReads,
    Follower {
        session: SessionId,
        number: u64,
    },
}

/// The time during which a node leads without a break.
pub struct Tenure {
    pub id: u64,
    pub term: u64,
    pub proofs: Proofs,
    pub targets: BTreeMap<ProofId, Target>,
    /// The last proof for which the nodes were asked.
    pub nodes_asked: ProofId,
    /// The reads of the proof under way.
    pub reads: Option<Vec<Read>>,
    pub reads_not_before_us: u64,
    pub sessions: Vec<SessionId>,
    pub writer: Writer,
}

impl World {
    pub fn tenure(&mut self, node: usize, id: u64) -> Option<&mut Tenure> {
        let tenure = self.nodes[node].process.tenure.as_mut();
        tenure.filter(|tenure| tenure.id == id)
    }

    /// Begins to open the database.
    pub fn open(&mut self, node: usize) {
        let tenure = self.next_tenure;
        self.next_tenure += 1;
        self.nodes[node].process.opening = tenure;
        let has_no_fence = [Mistake::NoFence, Mistake::FencedByKey];
        if has_no_fence
            .into_iter()
            .any(|mistake| self.options.makes(mistake))
        {
            return self.at_node(node, 1, Event::TableRead { tenure });
        }
        self.execute(node, What::Fence, Purpose::Open(tenure));
    }

    pub fn execute(&mut self, node: usize, what: What, purpose: Purpose) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let state = &mut self.nodes[node];
        state.process.statements.insert(ticket, purpose);
        state.engine.execute(ticket, what);
        // The connection breaks before the answer.
        if self.rng.chance(1) {
            let (delay_us, outcome) = (self.rng.within(1, 50_000), Outcome::Unknown);
            self.at_node(node, delay_us, Event::Executed { ticket, outcome });
        }
    }

    pub fn executed(&mut self, node: usize, ticket: u64, outcome: Outcome) {
        let purpose = self.nodes[node].process.statements.remove(&ticket);
        match purpose {
            None => {}
            Some(Purpose::Open(tenure)) if outcome == Outcome::Committed => {
                let delay_us = self.rng.delay_us(200);
                self.at_node(node, delay_us, Event::TableRead { tenure });
            }
            Some(Purpose::Open(_)) => self.coordinate(node, coordinator::Event::NotOpened),
            Some(Purpose::Batch(tenure)) => self.batch_executed(node, tenure, outcome),
            Some(Purpose::Recovery(tenure)) => self.fence_executed(node, tenure, outcome),
        }
    }

    /// Brings the index up to the table.
    pub fn read_table(&mut self, node: usize, tenure: u64) {
        let state = &mut self.nodes[node];
        let index = &mut state.process.index;
        let after = if index.is_loaded {
            index.state.revision
        } else {
            Revision::NONE
        };
        let Some((rows, compact_revision)) = state.engine.rows_after(after) else {
            return self.coordinate(node, coordinator::Event::NotOpened);
        };
        debug_assert_eq!(state.process.opening, tenure);
        let result = if index.is_loaded && after >= compact_revision {
            let result = index.apply(&rows);
            index.compact(compact_revision);
            result
        } else {
            let (rows, _) = state.engine.rows_after(Revision::NONE).unwrap_or_default();
            let until = rows.last().map_or(Revision::FIRST, |row| row.revision);
            Index::whole(&rows, compact_revision, until).map(|whole| *index = whole)
        };
        if let Err(reason) = result {
            return self.truth.report(Violation::NotAPrefix { node, reason });
        }
        self.published(node);
        self.coordinate(node, coordinator::Event::Opened);
    }

    /// Begins to write, to answer followers, and to prove reads.
    pub fn lead(&mut self, node: usize, term: u64) {
        let process = &mut self.nodes[node].process;
        let id = process.opening;
        process.is_leader = true;
        process.tenure = Some(Tenure {
            id,
            term,
            proofs: Proofs::new(node as u64 + 1, term),
            targets: BTreeMap::new(),
            nodes_asked: 0,
            reads: None,
            reads_not_before_us: 0,
            sessions: Vec::new(),
            writer: Writer::default(),
        });
        self.at_node(node, 1, Event::WriterTurns { tenure: id });
        self.at_node(node, 1, Event::ReadsTurn);
    }

    /// Leads no more.
    pub fn end_tenure(&mut self, node: usize) {
        let process = &mut self.nodes[node].process;
        process.is_leader = false;
        let Some(tenure) = process.tenure.take() else {
            return;
        };
        process
            .waiting
            .give_back(tenure.reads.into_iter().flatten());
        for session in tenure.sessions {
            self.close_leader_end(session);
        }
    }

    /// Begins a proof for the reads that wait, if none is under way.
    pub fn reads_turn(&mut self, node: usize) {
        let now_us = self.now_us;
        let process = &mut self.nodes[node].process;
        let Some(tenure) = &mut process.tenure else {
            return self.follower_reads_turn(node);
        };
        if tenure.reads.is_some() || process.waiting.is_empty() {
            return;
        }
        if tenure.reads_not_before_us > now_us {
            let in_us = tenure.reads_not_before_us - now_us;
            return self.at_node(node, in_us, Event::ReadsTurn);
        }
        tenure.reads = Some(process.waiting.take(|_| false));
        let id = tenure.id;
        self.begin_proof(node, id, Target::OwnReads, None);
    }

    pub fn begin_proof(
        &mut self,
        node: usize,
        tenure: u64,
        target: Target,
        told: Option<(u64, View)>,
    ) {
        let now = self.now();
        let told = told.map(|(id, view)| (id, self.seen(node, view)));
        let Some(state) = self.tenure(node, tenure) else {
            return;
        };
        let command = state.proofs.decide(proofs::Event::Wanted { told }, now);
        if let Some(Command::AskEngine { proof, .. }) = command {
            state.targets.insert(proof, target);
        }
        self.carry_out_proof(node, tenure, command);
    }

    pub fn prove(&mut self, node: usize, tenure: u64, event: proofs::Event) {
        let now = self.now();
        if let Some(state) = self.tenure(node, tenure) {
            let command = state.proofs.decide(event, now);
            self.carry_out_proof(node, tenure, command);
        }
    }

    pub fn engine_said(&mut self, node: usize, tenure: u64, proof: ProofId, view: Option<View>) {
        let view = view.map(|view| self.seen(node, view));
        self.prove(node, tenure, proofs::Event::EngineSaid { proof, view });
    }

    pub fn voters_are(&mut self, node: usize, tenure: u64, proof: ProofId, is_told: bool) {
        let voters = match self.options.makes(Mistake::OwnEngineIsEnough) {
            true => vec![node],
            false => self.config.voters.clone(),
        };
        let ids = voters.into_iter().map(|voter| voter as u64 + 1).collect();
        let voters = is_told.then_some(ids);
        self.prove(node, tenure, proofs::Event::VotersAre { proof, voters });
    }

    /// The view as a proof of this node sees it.
    pub fn seen(&self, node: usize, mut view: View) -> View {
        let tenure = self.nodes[node].process.tenure.as_ref();
        if self.options.makes(Mistake::TermIgnored)
            && let Some(tenure) = tenure
        {
            view.term = tenure.term;
        }
        view
    }

    fn carry_out_proof(&mut self, node: usize, tenure: u64, command: Option<Command>) {
        match command {
            None => {}
            Some(Command::AskEngine { proof, and_nodes }) => {
                if and_nodes {
                    self.ask_nodes(node, tenure, proof);
                }
                self.ask(node, Asker::Proof(tenure, proof));
            }
            Some(Command::AskVoters { proof }) => {
                self.ask(node, Asker::ProofForVoters(tenure, proof));
            }
            Some(Command::AskNodes { proof, until }) => {
                self.ask_nodes(node, tenure, proof);
                let in_us = (until.as_micros() as u64).saturating_sub(self.now_us);
                self.at_node(node, in_us, Event::ProofTimeIsUp { tenure, proof });
            }
            Some(Command::Settle { proof, is_proven }) => {
                let target = self
                    .tenure(node, tenure)
                    .and_then(|tenure| tenure.targets.remove(&proof));
                self.settle(node, target, is_proven);
            }
        }
    }

    fn ask_nodes(&mut self, node: usize, tenure: u64, proof: ProofId) {
        let Some(tenure) = self.tenure(node, tenure) else {
            return;
        };
        if tenure.nodes_asked >= proof {
            return;
        }
        tenure.nodes_asked = proof;
        for session in tenure.sessions.clone() {
            self.ask_node(session, proof);
        }
    }

    fn settle(&mut self, node: usize, target: Option<Target>, is_proven: bool) {
        let now_us = self.now_us;
        let shares = self.options.makes(Mistake::LateReadsShareProof);
        let process = &mut self.nodes[node].process;
        match (target, &mut process.tenure) {
            (Some(Target::OwnReads), Some(tenure)) => {
                let mut reads = tenure.reads.take().unwrap_or_default();
                if is_proven {
                    if shares {
                        reads.extend(process.waiting.take(|_| false));
                    }
                    self.finish_reads(node, reads);
                } else {
                    tenure.reads_not_before_us = now_us + PROOF_PAUSE_US;
                    process.waiting.give_back(reads);
                }
                self.at_node(node, 1, Event::ReadsTurn);
            }
            (Some(Target::Follower { session, number }), Some(_)) => {
                let revision = process.index.state.revision;
                self.answer_read_index(session, number, is_proven.then_some(revision));
            }
            _ => {}
        }
    }
}
