//! Clients: each asks for one thing at a time, of one node or another; watchers go from node to node too.

use super::{
    event::Event,
    index::{Index, KEYS},
    rng::Rng,
    truth::{Answer, Kind, Truth},
    world::World,
};
use etcd_state::mvcc::Revision;

const CLIENTS: u64 = 5;
const WATCHERS: u64 = 3;

/// The longest that a client waits, in microseconds.
const TIMEOUT_US: u64 = 1_500_000;

#[derive(Debug)]
pub struct Watcher {
    pub node: usize,
    revision: Revision,
}

impl Watcher {
    /// Reads what the index of its node has above what it has seen.
    pub fn read(&mut self, index: &Index, truth: &mut Truth) {
        if !index.is_loaded || index.state.revision <= self.revision {
            return;
        }
        let Some(rows) = index.rows_from(self.revision.next(), usize::MAX) else {
            // It is told that its revision is compacted, and begins again.
            self.revision = index.state.revision;
            return;
        };
        for row in rows {
            truth.check_watched(self.node, self.revision, row);
            self.revision = row.revision;
        }
    }
}

#[derive(Debug)]
struct Client {
    node: usize,
    /// The operation that it waits for.
    operation: Option<usize>,
    think_us: u64,
}

pub struct Clients {
    /// Of 100 operations, so many are writes. Where there are few, a leader that is none any more learns it late.
    writes_percent: u64,
    clients: Vec<Client>,
    pub watchers: Vec<Watcher>,
    /// No client asks for anything any more.
    pub are_done: bool,
}

impl Clients {
    pub fn new(rng: &mut Rng) -> Self {
        let client = |_| Client {
            node: 0,
            operation: None,
            think_us: rng.choose(&[5_000, 20_000, 60_000]),
        };
        let clients = (0..CLIENTS).map(client).collect();
        let watcher = |_| Watcher {
            node: 0,
            revision: Revision::FIRST,
        };
        Self {
            writes_percent: rng.choose(&[40, 20, 10]),
            clients,
            watchers: (0..WATCHERS).map(watcher).collect(),
            are_done: false,
        }
    }

    /// Returns the operations under way at a node.
    pub fn operations_at(&self, node: usize) -> Vec<usize> {
        let at_node = self.clients.iter().filter(|client| client.node == node);
        at_node.filter_map(|client| client.operation).collect()
    }
}

impl World {
    pub fn start_clients(&mut self) {
        for client in 0..self.clients.clients.len() {
            let first_us = self.rng.within(1, 100_000);
            self.later(first_us, Event::ClientTurns(client));
        }
    }

    /// A client hears how its operation ended, and thinks about the next one. Only the first answer counts.
    pub fn answered(&mut self, operation: usize, answer: Answer) {
        self.truth.answer(operation, answer);
        let mut clients = self.clients.clients.iter_mut();
        let waiting = clients.position(|client| client.operation == Some(operation));
        if let Some(client) = waiting {
            self.clients.clients[client].operation = None;
            let think_us = self.clients.clients[client].think_us;
            let delay_us = self.rng.within(think_us / 2, think_us + 1);
            self.later(delay_us, Event::ClientTurns(client));
        }
    }

    /// A client asks for something.
    pub fn client_turns(&mut self, client: usize) {
        if self.clients.are_done {
            return;
        }
        let node = match self.rng.chance(80) {
            true => self.clients.clients[client].node,
            false => self.rng.within(0, self.nodes.len() as u64) as usize,
        };
        let is_write = self.rng.chance(self.clients.writes_percent);
        let kind = match self.rng.within(0, 60) {
            _ if is_write => Kind::Write {
                key: self.rng.within(0, KEYS as u64) as usize,
            },
            0..15 => Kind::Check,
            15..50 => Kind::Read,
            _ => Kind::Serializable,
        };
        let operation = self.truth.begin(kind);
        self.clients.clients[client].node = node;
        self.clients.clients[client].operation = Some(operation);
        if !self.nodes[node].is_up {
            self.clients.clients[client].node =
                self.rng.within(0, self.nodes.len() as u64) as usize;
            return self.later(
                1_000,
                Event::Answered {
                    operation,
                    answer: Answer::Failed,
                },
            );
        }
        let delay_us = self.rng.delay_us(50);
        self.at_node(node, delay_us, Event::Requested(operation));
        self.later(TIMEOUT_US, Event::ClientGivesUp(operation));
        self.move_watcher();
    }

    fn move_watcher(&mut self) {
        if !self.rng.chance(2) {
            return;
        }
        let watcher = self.rng.within(0, WATCHERS) as usize;
        let node = self.rng.within(0, self.nodes.len() as u64) as usize;
        let watcher = &mut self.clients.watchers[watcher];
        watcher.node = node;
        if self.nodes[node].is_up {
            watcher.read(&self.nodes[node].process.index, &mut self.truth);
        }
    }
}
