//! The faults: processes end and sleep, the network is cut, disks get slow, leaders are asked to give way.

use super::{event::Event, rng::Rng, truth::Answer, world::World};
use crate::coordinator::Order;

#[derive(Debug)]
pub struct Faults {
    pub count: u64,
    /// The usual time between two, in microseconds.
    interval_us: u64,
    /// Of 100 faults, so many move the leadership: in some schedules most of them.
    moves_percent: u64,
    pub are_over: bool,
}

impl Faults {
    pub fn new(rng: &mut Rng) -> Self {
        Self {
            count: 0,
            interval_us: rng.choose(&[200_000, 500_000, 1_000_000]),
            moves_percent: rng.choose(&[5, 20, 70]),
            are_over: false,
        }
    }
}

impl World {
    pub fn fault_turns(&mut self) {
        if self.faults.are_over {
            return;
        }
        let in_us = self.rng.within(1, 2 * self.faults.interval_us);
        self.later(in_us, Event::FaultTurns);
        self.faults.count += 1;
        let count = self.nodes.len() as u64;
        let any = self.rng.within(0, count) as usize;
        let leader = self.nodes.iter().position(|node| node.process.is_leader);
        // The leader is the most rewarding.
        let node = if self.rng.chance(50) {
            leader.unwrap_or(any)
        } else {
            any
        };
        let long_us = self.rng.choose(&[1_000, 100_000, 700_000, 2_000_000]);
        let for_us = self.rng.within(1, long_us);
        if self.rng.chance(self.faults.moves_percent) {
            return self.move_leadership(leader.unwrap_or(any));
        }
        match self.rng.within(0, 100) {
            0..15 => self.crash(node, for_us),
            15..20 => self.nodes[node].starved_until_us = self.now_us + for_us,
            20..40 => self.nodes[node].asleep_until_us = self.now_us + for_us,
            40..55 => self.cut_off(node, for_us),
            55..70 => {
                let other = self.rng.within(0, count) as usize;
                self.cut_link(node, other, for_us);
            }
            70..78 => {
                self.nodes[node].disk_slowness = self.rng.within(2, 200);
                self.later(for_us, Event::HealsDisk(node));
            }
            78..82 => self.nodes[node].held_up_until_us = self.now_us + for_us,
            82..85 => {
                let until_us = self.now_us + for_us;
                match self.rng.chance(50) {
                    true => self.slow_until_us = until_us,
                    false => self.engines_slow_until_us = until_us,
                }
            }
            85..90 => self.at_node(node, 1, Event::Ordered(Order::HandOver)),
            90..94 => self.at_node(node, 1, Event::Ordered(Order::Stop)),
            _ => self.break_sessions(node),
        }
    }

    /// The leadership goes to another node, as when somebody asks the engine for it, who need not ask the process; and
    /// mostly back, before the process of this one has looked, or soon after. Others may be as late to notice.
    fn move_leadership(&mut self, node: usize) {
        let others = self.config.voters.iter().filter(|other| **other != node);
        let others: Vec<_> = others.copied().collect();
        if others.is_empty() {
            return;
        }
        let to = self.rng.choose(&others);
        // Messages that are on their way for long come from before the change.
        let is_slow = self.rng.chance(50);
        let away_us = self.rng.within(1, if is_slow { 400_000 } else { 20_000 });
        // The other one finds out, and writes, within some 60 ms.
        let back_us = away_us + self.rng.within(50_000, 400_000);
        let late_us = self.rng.choose(&[50_000, 400_000]);
        let until_us = self.now_us + back_us + self.rng.within(0, late_us);
        self.at_node(node, away_us, Event::Transfers { to: Some(to) });
        if self.rng.chance(80) {
            self.at_node(to, back_us, Event::Transfers { to: Some(node) });
        }
        if is_slow {
            self.slow_until_us = self.now_us + away_us;
        }
        let are_others_late = self.rng.chance(50);
        for late in 0..self.nodes.len() {
            match self.rng.within(0, 100) {
                _ if late == to || (late != node && !are_others_late) => {}
                0..15 => self.nodes[late].starved_until_us = until_us,
                15..80 => self.later(away_us, Event::HoldsUp(late, until_us)),
                _ => {}
            }
        }
    }

    fn cut_link(&mut self, from: usize, to: usize, for_us: u64) {
        self.cut[from][to] = true;
        // Now and then in one direction only.
        if self.rng.chance(70) {
            self.cut[to][from] = true;
        }
        self.later(for_us, Event::Heals(from, to));
    }

    fn cut_off(&mut self, node: usize, for_us: u64) {
        for other in 0..self.nodes.len() {
            if other != node {
                self.cut_link(node, other, for_us);
            }
        }
    }

    fn break_sessions(&mut self, node: usize) {
        let of_node = self
            .sessions
            .iter()
            .filter(|(_, session)| session.leader == node || session.follower == node);
        for session in of_node.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.break_session(session);
        }
    }

    /// The process ends, and is started again later.
    pub fn crash(&mut self, node: usize, for_us: u64) {
        if !self.nodes[node].is_up {
            return;
        }
        self.nodes[node].is_up = false;
        self.nodes[node].process.is_leader = false;
        self.break_sessions(node);
        let ended = |_: &u64, session: &mut super::session::Session| {
            if session.leader == node {
                session.leader_end = None;
            }
            true
        };
        self.sessions.retain(ended);
        for operation in self.clients.operations_at(node) {
            let (delay_us, answer) = (self.rng.delay_us(500), Answer::Unknown);
            self.later(delay_us, Event::Answered { operation, answer });
        }
        self.later(for_us, Event::Restarts(node));
    }

    /// The process has ended as it was told to.
    pub fn stop(&mut self, node: usize) {
        let for_us = self.rng.within(1, 500_000);
        self.crash(node, for_us);
    }

    pub fn restart(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            self.start(node);
        }
    }

    /// Ends all faults: what is down comes back, and everybody can reach everybody.
    pub fn heal(&mut self) {
        self.faults.are_over = true;
        self.loss_percent = 0;
        self.slow_until_us = 0;
        self.engines_slow_until_us = 0;
        for node in 0..self.nodes.len() {
            self.nodes[node].disk_slowness = 1;
            self.nodes[node].held_up_until_us = 0;
            self.nodes[node].starved_until_us = self.nodes[node].starved_until_us.min(self.now_us);
            self.nodes[node].asleep_until_us = self.nodes[node].asleep_until_us.min(self.now_us);
            for other in 0..self.nodes.len() {
                self.cut[node][other] = false;
            }
            self.restart(node);
            // A node that waits for another one to take over does so for longer than a schedule lasts.
            self.at_node(node, 1, Event::Ordered(Order::LeadOn));
        }
    }
}
