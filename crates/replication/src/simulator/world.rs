//! The nodes, what is on its way between them, and the time that passes for them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    rc::Rc,
    time::Duration,
};

use super::{
    client::Clients,
    engine::{Configuration, Effect, Engine, Message, Ticket},
    event::{Asker, Event},
    faults::Faults,
    options::{Mistake, Options},
    process::Process,
    rng::Rng,
    session::{Session, SessionId},
    truth::{Answer, Truth},
};

/// The time of a message between two nodes, in microseconds.
const NETWORK_US: u64 = 400;

/// The time of a write to the disk.
const DISK_US: u64 = 500;

/// The longest time of a write: what has begun before the faults end has to end before the nodes are judged.
const LONGEST_DISK_US: u64 = 1_000_000;

/// The interval at which the engine looks at its clock.
const ENGINE_TICK_US: u64 = 20_000;

/// The longest that an engine that is held up takes to answer.
const HELD_UP_US: u64 = 900_000;

/// The longest that a message takes while the network is slow.
pub const SLOW_US: u64 = 900_000;

/// Of 100 messages between engines, so many take long then: they come after those that were sent later, and after a
/// change of term.
const SLOW_PERCENT: u64 = 20;

struct Scheduled {
    at_us: u64,
    sequence: u64,
    /// The node that it happens to, in this life of its process.
    node: Option<(usize, u64)>,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.sequence).cmp(&(other.at_us, other.sequence))
    }
}

pub struct Node {
    pub is_up: bool,
    /// Counts the lives of the process.
    pub life: u64,
    /// It sleeps until then.
    pub asleep_until_us: u64,
    /// Until then its engine may take long to answer questions.
    pub held_up_until_us: u64,
    /// Until then its tasks get no turn, while its engine, whose thread is another one, goes on.
    pub starved_until_us: u64,
    /// Writes to its disk take this many times as long.
    pub disk_slowness: u64,
    pub engine: Engine,
    pub process: Process,
}

pub struct World {
    pub now_us: u64,
    pub options: Options,
    pub rng: Rng,
    pub nodes: Vec<Node>,
    pub config: Rc<Configuration>,
    pub sessions: BTreeMap<SessionId, Session>,
    /// True where messages of the engine, and of sessions, are lost from one node to another.
    pub cut: Vec<Vec<bool>>,
    /// Of 100 messages of the engine, so many are lost.
    pub loss_percent: u64,
    /// Until then messages of sessions may take long.
    pub slow_until_us: u64,
    /// Until then messages of engines may.
    pub engines_slow_until_us: u64,
    pub clients: Clients,
    pub faults: Faults,
    pub truth: Truth,
    pub events: u64,
    pub next_ticket: Ticket,
    pub next_session: SessionId,
    pub next_tenure: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    trace: bool,
}

impl World {
    pub fn new(options: Options) -> Self {
        let mut rng = Rng::new(options.seed);
        let config = Rc::new(configuration(&mut rng));
        let count = config.voters.len() + config.stand_bys.len() + config.spares.len();
        let addresses: Vec<_> = (1..=count).map(|id| id.to_string()).collect();
        let engine = |node| {
            let mut engine = Engine::new(node, config.clone(), options.acks_whole_log);
            engine.fence_is_primary_key = options.makes(Mistake::FencedByKey);
            engine
        };
        let nodes = (0..count).map(|node| Node {
            is_up: true,
            life: 0,
            asleep_until_us: 0,
            held_up_until_us: 0,
            starved_until_us: 0,
            disk_slowness: 1,
            engine: engine(node),
            process: Process::new(node as u64 + 1, &addresses, Duration::ZERO),
        });
        let mut world = Self {
            now_us: 0,
            nodes: nodes.collect(),
            config,
            sessions: BTreeMap::new(),
            cut: vec![vec![false; count]; count],
            loss_percent: match options.acks_whole_log {
                // It takes answers that are late, and leaders that are cut off.
                true => 30,
                false => rng.choose(&[0, 0, 2, 10]),
            },
            slow_until_us: 0,
            engines_slow_until_us: 0,
            clients: Clients::new(&mut rng),
            faults: Faults::new(&mut rng),
            truth: Truth::new(),
            events: 0,
            next_ticket: 1,
            next_session: 1,
            next_tenure: 1,
            queue: BinaryHeap::new(),
            sequence: 0,
            trace: std::env::var_os("SIMULATOR_TRACE").is_some(),
            rng,
            options,
        };
        for node in 0..count {
            world.start(node);
        }
        world.start_clients();
        world.later(100_000, Event::FaultTurns);
        world
    }

    pub fn now(&self) -> Duration {
        Duration::from_micros(self.now_us)
    }

    /// Lets an event happen to a node, if its process still runs by then.
    pub fn at_node(&mut self, node: usize, in_us: u64, event: Event) {
        let life = self.nodes[node].life;
        self.schedule(in_us, Some((node, life)), event);
    }

    pub fn later(&mut self, in_us: u64, event: Event) {
        self.schedule(in_us, None, event);
    }

    fn schedule(&mut self, in_us: u64, node: Option<(usize, u64)>, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled {
            at_us: self.now_us + in_us,
            sequence: self.sequence,
            node,
            event,
        }));
    }

    /// Lets time pass until `until_us`, or something is wrong.
    pub fn run(&mut self, until_us: u64) {
        while self.truth.violation.is_none()
            && let Some(Reverse(next)) = self.queue.pop()
        {
            if next.at_us > until_us {
                self.queue.push(Reverse(next));
                break;
            }
            self.now_us = next.at_us;
            self.happen(next.node, next.event);
        }
        self.now_us = self.now_us.max(until_us);
    }

    fn happen(&mut self, node: Option<(usize, u64)>, event: Event) {
        if let Some((node, life)) = node {
            let state = &self.nodes[node];
            if !state.is_up || state.life != life {
                return;
            }
            let waits_until_us = match event.is_of_engine() {
                true => state.asleep_until_us,
                false => state.asleep_until_us.max(state.starved_until_us),
            };
            if waits_until_us > self.now_us {
                let in_us = waits_until_us - self.now_us;
                return self.schedule(in_us, Some((node, life)), event);
            }
            self.events += 1;
            if self.trace {
                eprintln!("{:>10} node {node}: {event:?}", self.now_us);
            }
            self.happen_to(node, event);
            self.carry_out(node);
        } else {
            self.events += 1;
            if self.trace {
                eprintln!("{:>10} {event:?}", self.now_us);
            }
            self.happen_outside(event);
        }
    }

    fn happen_outside(&mut self, event: Event) {
        match event {
            Event::Arrives(session, direction, first_us) => {
                self.deliver(session, direction, first_us);
            }
            Event::ClientTurns(client) => self.client_turns(client),
            Event::ClientGivesUp(operation) => {
                self.answered(operation, Answer::Unknown);
            }
            Event::Answered { operation, answer } => self.answered(operation, answer),
            Event::FaultTurns => self.fault_turns(),
            Event::Restarts(node) => self.restart(node),
            Event::Heals(from, to) => {
                self.cut[from][to] = false;
                self.cut[to][from] = false;
            }
            Event::HoldsUp(node, until_us) => self.nodes[node].held_up_until_us = until_us,
            Event::HealsDisk(node) => self.nodes[node].disk_slowness = 1,
            _ => unreachable!("{event:?} happens to a node"),
        }
    }

    fn happen_to(&mut self, node: usize, event: Event) {
        let now_us = self.now_us;
        match event {
            Event::EngineTicks => {
                let Node { engine, .. } = &mut self.nodes[node];
                engine.tick(now_us, &mut self.rng);
                self.at_node(node, ENGINE_TICK_US, Event::EngineTicks);
            }
            Event::MessageArrives {
                from,
                term,
                message,
            } => {
                let Node { engine, .. } = &mut self.nodes[node];
                engine.receive(from, term, message, now_us, &mut self.rng);
            }
            Event::Stored { length, term } => self.nodes[node].engine.stored(length, term),
            Event::Transfers { to } => {
                self.nodes[node].engine.transfer(to);
            }
            Event::Asked(asker) => self.asked(node, asker),
            other => self.happen_to_process(node, other),
        }
    }

    /// The engine is asked: it answers with what is true now, which is heard later.
    fn asked(&mut self, node: usize, asker: Asker) {
        let has_failed = self.rng.chance(1);
        let view = (!has_failed).then(|| self.nodes[node].engine.view());
        let delay_us = self.rng.delay_us(20);
        self.at_node(node, delay_us, Event::Told(asker, view));
    }

    pub fn ask(&mut self, node: usize, asker: Asker) {
        let mut delay_us = self.rng.delay_us(20);
        let held_up_us = self.nodes[node]
            .held_up_until_us
            .saturating_sub(self.now_us);
        if held_up_us > 0 {
            delay_us += self.rng.within(0, held_up_us.min(HELD_UP_US));
        }
        self.at_node(node, delay_us, Event::Asked(asker));
    }

    /// Carries out what the engine of a node wants.
    fn carry_out(&mut self, node: usize) {
        loop {
            let effects = std::mem::take(&mut self.nodes[node].engine.effects);
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Send { to, term, message } => self.send(node, to, term, message),
                    Effect::Store { length, term } => {
                        let usual_us = DISK_US * self.nodes[node].disk_slowness;
                        let delay_us = self.rng.delay_us(usual_us).min(LONGEST_DISK_US);
                        self.at_node(node, delay_us, Event::Stored { length, term });
                    }
                    Effect::Finished { ticket, outcome } => {
                        let delay_us = self.rng.delay_us(30);
                        self.at_node(node, delay_us, Event::Executed { ticket, outcome });
                    }
                    Effect::Committed { from, until } => {
                        for place in from..until {
                            let entry = self.nodes[node].engine.entry(place).clone();
                            self.truth.committed(place, &entry);
                        }
                    }
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, term: u64, message: Message) {
        if self.cut[from][to] || self.rng.chance(self.loss_percent) {
            return;
        }
        let usual_us = match self.options.acks_whole_log {
            true => 50 * NETWORK_US,
            false => NETWORK_US,
        };
        let mut delay_us = self.rng.delay_us(usual_us);
        if self.engines_slow_until_us > self.now_us && self.rng.chance(SLOW_PERCENT) {
            delay_us += self.rng.within(0, SLOW_US);
        }
        let event = Event::MessageArrives {
            from,
            term,
            message,
        };
        self.at_node(to, delay_us, event);
    }

    /// Starts the process of a node, whose memory is empty.
    pub fn start(&mut self, node: usize) {
        let now = self.now();
        let addresses: Vec<_> = (1..=self.nodes.len()).map(|id| id.to_string()).collect();
        let state = &mut self.nodes[node];
        state.is_up = true;
        state.life += 1;
        state.asleep_until_us = 0;
        state.starved_until_us = 0;
        state.engine.restart(self.now_us, &mut self.rng);
        state.process = Process::new(node as u64 + 1, &addresses, now);
        let first_us = self.rng.within(1, 20_000);
        self.at_node(node, first_us, Event::EngineTicks);
        self.at_node(node, first_us, Event::MonitorTicks);
        self.coordinate(node, crate::coordinator::Event::Started);
    }
}

/// Chooses the nodes: mostly 3 that vote, with others beside them, or 5.
fn configuration(rng: &mut Rng) -> Configuration {
    let (voters, stand_bys, spares) = rng.choose(&[
        (3, 0, 0),
        (3, 0, 0),
        (3, 1, 0),
        (3, 0, 1),
        (3, 1, 1),
        (5, 0, 0),
        (1, 0, 0),
    ]);
    let until_stand_bys = voters + stand_bys;
    Configuration {
        voters: (0..voters).collect(),
        stand_bys: (voters..until_stand_bys).collect(),
        spares: (until_stand_bys..until_stand_bys + spares).collect(),
    }
}
