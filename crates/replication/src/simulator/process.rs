//! The process of one node: the decisions under test, and what carries them out.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    event::{Asker, Event},
    following::Following,
    index::Index,
    leading::Tenure,
    options::Mistake,
    session::SessionId,
    truth::{Answer, Kind, Violation},
    world::World,
};
use crate::{
    View,
    coordinator::{self, Command, Coordinator, Facts, Order},
    monitor::{self, Monitor},
    reads::{Waiting, is_alone},
};

/// The pause of the simulated steps that only take time, in microseconds.
const STEP_US: u64 = 500;

/// The time after which a node that gave the leadership away in vain is told to lead on.
const LEAD_ON_US: u64 = 300_000;

/// The origin of a request, which waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Client,
    /// A follower, by the number that it gave the request in its session.
    Session(SessionId, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submission {
    pub origin: Origin,
    pub operation: usize,
}

/// Something that waits for a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    Client(usize),
    /// A request that changed nothing, evaluated by the writer. It is void if this node has not led ever since.
    Check {
        submission: Submission,
        answer: Answer,
        reign: u64,
    },
}

/// The reason why a statement was sent to the engine; each belongs to a time of leading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Open(u64),
    Batch(u64),
    Recovery(u64),
}

pub struct Process {
    pub monitor: Monitor,
    pub coordinator: Coordinator,
    /// The view that the monitor published last.
    pub view: View,
    /// The last view of the engine of this process that names a leader.
    pub named: View,
    pub is_single: bool,
    pub alone_asked: Duration,
    pub is_leader: bool,
    pub index: Index,
    pub waiting: Waiting<Read>,
    pub queue: VecDeque<Submission>,
    pub statements: BTreeMap<u64, Purpose>,
    pub opening: u64,
    pub tenure: Option<Tenure>,
    pub following: Option<Following>,
    pub is_listening: bool,
    is_halted: bool,
    orders: VecDeque<Order>,
}

impl Process {
    pub fn new(id: u64, addresses: &[String], now: Duration) -> Self {
        let others = addresses.iter().filter(|other| **other != id.to_string());
        Self {
            monitor: Monitor::new(id, others.cloned().collect(), now),
            coordinator: Coordinator::new(id),
            view: View::default(),
            named: View::default(),
            is_single: false,
            alone_asked: Duration::ZERO,
            is_leader: false,
            index: Index::default(),
            waiting: Waiting::default(),
            queue: VecDeque::new(),
            statements: BTreeMap::new(),
            opening: 0,
            tenure: None,
            following: None,
            is_listening: true,
            is_halted: false,
            orders: VecDeque::new(),
        }
    }

    pub fn is_alone(&self, now: Duration) -> bool {
        is_alone(self.is_leader, self.is_single, self.alone_asked, now)
    }
}

impl World {
    pub fn happen_to_process(&mut self, node: usize, event: Event) {
        match event {
            Event::Told(asker, view) => self.told(node, asker, view),
            Event::Testifies(session, proof) => self.testify(node, session, proof),
            Event::MonitorTicks => self.watch(node, monitor::Event::TimeToAsk),
            Event::OthersAsked(addresses) => self.ask_others(node, &addresses),
            Event::OthersTold(view) => self.watch(node, monitor::Event::OthersSaid { view }),
            Event::TimeIsUp => self.coordinate(node, coordinator::Event::TimeIsUp),
            Event::Ordered(order) => self.order(node, order),
            Event::ConversionEnds => {
                let event = match self.nodes[node].process.is_halted {
                    true => coordinator::Event::NotConverted,
                    false => coordinator::Event::Converted,
                };
                self.coordinate(node, event);
            }
            Event::GivesAway => self.give_away(node),
            Event::Executed { ticket, outcome } => self.executed(node, ticket, outcome),
            Event::TableRead { tenure } => self.read_table(node, tenure),
            Event::ReadBack { tenure } => self.read_back(node, tenure),
            Event::FenceAgain { tenure } => self.fence_again(node, tenure),
            Event::WriterTurns { tenure } => self.writer_turns(node, tenure),
            Event::ProofTimeIsUp { tenure, proof } => {
                self.prove(node, tenure, crate::proofs::Event::TimeIsUp { proof });
            }
            Event::ReadsTurn => self.reads_turn(node),
            Event::ReadsReturn(reads) => self.return_reads(node, reads),
            Event::Forward => self.forward(node),
            Event::SessionArrives(session, direction) => {
                self.session_arrives(node, session, direction);
            }
            Event::SessionTurns(session) => self.session_turns(session),
            Event::OtherEndGone(session) => self.other_end_gone(node, session),
            Event::Requested(operation) => self.requested(node, operation),
            _ => unreachable!("{event:?} happens to no process"),
        }
    }

    pub fn node_at(&self, address: &str) -> Option<usize> {
        let id: usize = address.parse().ok()?;
        (1..=self.nodes.len()).contains(&id).then(|| id - 1)
    }

    fn order(&mut self, node: usize, order: Order) {
        let process = &mut self.nodes[node].process;
        if process.is_listening {
            self.coordinate(node, coordinator::Event::Ordered(order));
        } else {
            process.orders.push_back(order);
        }
    }

    /// Gives the leadership away. Where that fails, the node is told to lead on.
    fn give_away(&mut self, node: usize) {
        let is_given = self.nodes[node].engine.transfer(None);
        if !is_given || self.rng.chance(50) {
            self.at_node(node, LEAD_ON_US, Event::Ordered(Order::LeadOn));
        }
    }

    pub fn coordinate(&mut self, node: usize, event: coordinator::Event) {
        let now = self.now();
        let process = &mut self.nodes[node].process;
        let facts = Facts {
            view: process.view.clone(),
            is_single: process.is_single,
            is_converted: process.index.is_loaded,
        };
        for command in process.coordinator.decide(event, &facts, now) {
            self.carry_out_command(node, command);
        }
    }

    fn carry_out_command(&mut self, node: usize, command: Command) {
        let process = &mut self.nodes[node].process;
        match command {
            Command::GoOn => {}
            Command::Wait { until } => {
                if let Some(until) = until {
                    let in_us = (until.as_micros() as u64).saturating_sub(self.now_us);
                    self.at_node(node, in_us, Event::TimeIsUp);
                }
                self.listen(node, false);
            }
            Command::Convert => {
                process.is_halted = false;
                let delay_us = self.rng.delay_us(STEP_US);
                self.at_node(node, delay_us, Event::ConversionEnds);
                self.listen(node, true);
            }
            Command::HaltConversion => {
                process.is_halted = true;
                process.is_listening = false;
            }
            Command::Open => {
                process.is_listening = false;
                self.open(node);
            }
            Command::AskEngine => self.ask(node, Asker::Coordinator),
            Command::Write { term } => {
                self.lead(node, term);
                self.listen(node, true);
            }
            Command::StopWriting(stop) => {
                process.is_listening = false;
                self.stop_writing(node, stop);
            }
            Command::Follow { address } => {
                self.follow(node, &address);
                self.listen(node, true);
            }
            Command::StopFollowing => {
                process.is_listening = false;
                self.end_following(node);
            }
            Command::AnswerHandOver => {
                let delay_us = self.rng.delay_us(STEP_US);
                self.at_node(node, delay_us, Event::GivesAway);
            }
            Command::End => self.stop(node),
        }
    }

    /// From now on orders and changes are events; what has come meanwhile is one now.
    fn listen(&mut self, node: usize, looks: bool) {
        self.nodes[node].process.is_listening = true;
        if looks {
            self.coordinate(node, coordinator::Event::Looked);
        }
        let process = &mut self.nodes[node].process;
        if process.is_listening
            && let Some(order) = process.orders.pop_front()
        {
            self.coordinate(node, coordinator::Event::Ordered(order));
        }
    }

    /// A client's request arrives.
    fn requested(&mut self, node: usize, operation: usize) {
        let kind = self.truth.operation(operation).kind;
        let now = self.now();
        let process = &mut self.nodes[node].process;
        match kind {
            Kind::Write { .. } | Kind::Check => {
                process.queue.push_back(Submission {
                    origin: Origin::Client,
                    operation,
                });
                self.wake_queue(node);
            }
            Kind::Serializable if process.index.is_loaded => self.answer_read(node, operation),
            // Nothing is served before the node has the store.
            Kind::Serializable => self.answer_client(node, operation, Answer::Failed),
            Kind::Read if process.is_alone(now) => self.answer_read(node, operation),
            Kind::Read => {
                let never = |_: &Read| false;
                if process.waiting.add(Read::Client(operation), never).is_err() {
                    return self.answer_client(node, operation, Answer::Failed);
                }
                self.at_node(node, 1, Event::ReadsTurn);
            }
        }
    }

    /// Lets whoever takes the requests of this node look at them.
    pub fn wake_queue(&mut self, node: usize) {
        let tenure = self.nodes[node].process.tenure.as_ref();
        let event = match tenure.map(|tenure| tenure.id) {
            Some(tenure) => Event::WriterTurns { tenure },
            None => Event::Forward,
        };
        let delay_us = self.rng.delay_us(10);
        self.at_node(node, delay_us, event);
    }

    pub fn return_reads(&mut self, node: usize, reads: Vec<Read>) {
        self.nodes[node].process.waiting.give_back(reads);
        self.at_node(node, 1, Event::ReadsTurn);
    }

    /// Answers reads that are proven, from the index as it is now.
    pub fn finish_reads(&mut self, node: usize, reads: Vec<Read>) {
        for read in reads {
            match read {
                Read::Client(operation) => self.answer_read(node, operation),
                Read::Check {
                    submission,
                    answer,
                    reign,
                } => {
                    let leads_since = self.leads_since(node, reign);
                    let answer = if leads_since { answer } else { Answer::Failed };
                    self.answer_submission(node, submission, answer);
                }
            }
        }
    }

    /// Returns whether a node has led without a break since it evaluated a request.
    fn leads_since(&self, node: usize, reign: u64) -> bool {
        let process = &self.nodes[node].process;
        match self.options.makes(Mistake::ChecksOutliveLeading) {
            true => process.is_leader,
            false => process.tenure.as_ref().map(|tenure| tenure.id) == Some(reign),
        }
    }

    fn answer_read(&mut self, node: usize, operation: usize) {
        let revision = self.nodes[node].process.index.state.revision;
        self.answer_client(node, operation, Answer::At(revision));
    }

    pub fn answer_submission(&mut self, node: usize, submission: Submission, answer: Answer) {
        match submission.origin {
            Origin::Client => self.answer_client(node, submission.operation, answer),
            Origin::Session(session, number) => self.answer_session(session, number, answer),
        }
    }

    fn answer_client(&mut self, node: usize, operation: usize, answer: Answer) {
        if let Answer::At(revision) = answer
            && revision > self.nodes[node].process.index.state.revision
        {
            self.truth
                .report(Violation::AnswerBeforeRows { node, operation });
        }
        let delay_us = self.rng.delay_us(50);
        self.later(delay_us, Event::Answered { operation, answer });
    }

    /// The index of a node has changed.
    pub fn published(&mut self, node: usize) {
        let index = &self.nodes[node].process.index;
        self.truth.check_index(node, index);
        for watcher in self.clients.watchers.iter_mut().filter(|w| w.node == node) {
            watcher.read(index, &mut self.truth);
        }
        let tenure = self.nodes[node].process.tenure.as_ref();
        for session in tenure.map_or(Vec::new(), |tenure| tenure.sessions.clone()) {
            self.session_is_behind(session);
        }
    }
}
