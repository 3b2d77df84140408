//! A node that watches who leads, and answers of engines.

use super::{
    event::{Asker, Event},
    world::World,
};
use crate::{
    View, coordinator,
    monitor::{self, Member},
};

/// The usual time of a question to another node, in microseconds.
const ASK_US: u64 = 500;

impl World {
    pub fn told(&mut self, node: usize, asker: Asker, view: Option<View>) {
        if let Some(view) = view.as_ref().filter(|view| view.leader.is_some()) {
            self.nodes[node].process.named = view.clone();
        }
        match asker {
            Asker::Monitor => self.watch(node, monitor::Event::EngineSaid { view }),
            Asker::MonitorForMembers => {
                let members = view.map(|_| self.members());
                self.watch(node, monitor::Event::MembersAre { members });
            }
            Asker::Coordinator => self.coordinate(node, coordinator::Event::EngineSaid(view)),
            Asker::Proof(tenure, proof) => self.engine_said(node, tenure, proof, view),
            Asker::ProofForVoters(tenure, proof) => {
                self.voters_are(node, tenure, proof, view.is_some());
            }
            Asker::Confirmation(session, proof) => self.confirm(node, session, proof, view),
            Asker::ReadIndex(session, number) => self.ask_read_index(node, session, number, view),
        }
    }

    fn members(&self) -> Vec<Member> {
        let member = |node: usize| Member {
            id: node as u64 + 1,
            address: (node + 1).to_string(),
            is_voter: self.config.voters.contains(&node),
        };
        (0..self.nodes.len()).map(member).collect()
    }

    pub fn watch(&mut self, node: usize, event: monitor::Event) {
        let now = self.now();
        for command in self.nodes[node].process.monitor.decide(event, now) {
            match command {
                monitor::Command::AskEngine => self.ask(node, Asker::Monitor),
                monitor::Command::AskMembers { .. } => self.ask(node, Asker::MonitorForMembers),
                monitor::Command::AskOthers { addresses } => {
                    let delay_us = self.rng.delay_us(ASK_US);
                    self.at_node(node, delay_us, Event::OthersAsked(addresses));
                }
                monitor::Command::NoteNodes { is_alone, asked } => {
                    let process = &mut self.nodes[node].process;
                    (process.is_single, process.alone_asked) = (is_alone, asked);
                }
                monitor::Command::Publish { view, .. } => {
                    let process = &mut self.nodes[node].process;
                    let has_changed = process.view != view;
                    process.view = view;
                    if has_changed && process.is_listening {
                        self.coordinate(node, coordinator::Event::Looked);
                    }
                    let interval = self.nodes[node].process.monitor.interval();
                    let interval_us = interval.as_micros() as u64;
                    self.at_node(node, interval_us, Event::MonitorTicks);
                }
            }
        }
    }

    pub fn ask_others(&mut self, node: usize, addresses: &[String]) {
        let mut view = None;
        for address in addresses {
            let Some(other) = self.node_at(address) else {
                continue;
            };
            let state = &self.nodes[other];
            let is_reached = state.is_up
                && state.asleep_until_us <= self.now_us
                && !self.cut[node][other]
                && !self.cut[other][node];
            let told = state.engine.view();
            if is_reached && told.leader.is_some() {
                view = Some(told);
                break;
            }
        }
        let delay_us = self.rng.delay_us(ASK_US);
        self.at_node(node, delay_us, Event::OthersTold(view));
    }
}
