//! Elections and replication.

use std::{collections::BTreeSet, rc::Rc};

use super::{
    Engine, Role,
    message::{Effect, Entry, Message, Outcome, What},
};
use crate::simulator::rng::Rng;

/// The time without a message of a leader, or without answers of a majority, after which a node acts; in microseconds.
const ELECTION_US: (u64, u64) = (300_000, 600_000);

const HEARTBEAT_US: u64 = 80_000;

/// Entries in one message.
const MAX_ENTRIES: usize = 8;

impl Engine {
    pub(super) fn term_at(&self, length: usize) -> Option<u64> {
        match length {
            0 => Some(0),
            _ => self.log.get(length - 1).map(|entry| entry.term),
        }
    }

    pub(super) fn postpone(&mut self, now_us: u64, rng: &mut Rng) {
        self.act_at_us = now_us + rng.within(ELECTION_US.0, ELECTION_US.1);
    }

    fn is_voter(&self) -> bool {
        self.config.voters.contains(&self.own)
    }

    fn is_majority(&self, nodes: impl Iterator<Item = usize>) -> bool {
        nodes
            .filter(|node| self.config.voters.contains(node))
            .count()
            * 2
            > self.config.voters.len()
    }

    /// Lets time pass.
    pub fn tick(&mut self, now_us: u64, rng: &mut Rng) {
        match self.role {
            Role::Leader => {
                let heard = self.heard_us.iter();
                let recent = heard.filter(|(_, at)| **at + ELECTION_US.1 > now_us);
                let nodes = recent.map(|(node, _)| *node).chain([self.own]);
                if !self.is_majority(nodes) {
                    self.step_down(self.term, now_us, rng);
                } else if self.beat_at_us <= now_us {
                    self.beat_at_us = now_us + HEARTBEAT_US;
                    self.replicate();
                }
            }
            _ if self.is_voter() && self.act_at_us <= now_us => self.stand(now_us, rng),
            _ => {}
        }
    }

    fn stand(&mut self, now_us: u64, rng: &mut Rng) {
        self.term += 1;
        self.agreed = 0;
        self.voted_for = Some(self.own);
        self.role = Role::Candidate;
        self.leader = None;
        self.votes = BTreeSet::from([self.own]);
        self.postpone(now_us, rng);
        let last = self.last();
        for voter in self.config.voters.clone() {
            if voter != self.own {
                self.send(voter, Message::Vote { last });
            }
        }
        self.count_votes(now_us);
    }

    fn count_votes(&mut self, now_us: u64) {
        if self.role != Role::Candidate || !self.is_majority(self.votes.iter().copied()) {
            return;
        }
        self.role = Role::Leader;
        self.leader = Some(self.own);
        let config = self.config.clone();
        let others = config.voters.iter().chain(&config.stand_bys);
        let others = others.copied().filter(|other| *other != self.own);
        self.next = others
            .clone()
            .map(|other| (other, self.log.len()))
            .collect();
        self.matched.clear();
        self.heard_us = others.map(|other| (other, now_us)).collect();
        self.beat_at_us = now_us + HEARTBEAT_US;
        self.replicate();
    }

    fn step_down(&mut self, term: u64, now_us: u64, rng: &mut Rng) {
        if term > self.term {
            self.term = term;
            self.voted_for = None;
            self.agreed = 0;
        }
        self.role = Role::Follower;
        self.leader = None;
        self.postpone(now_us, rng);
        for (ticket, _) in std::mem::take(&mut self.statements) {
            let outcome = Outcome::NotLeader;
            self.effects.push(Effect::Finished { ticket, outcome });
        }
        for ticket in std::mem::take(&mut self.under_way).into_values() {
            let outcome = Outcome::Unknown;
            self.effects.push(Effect::Finished { ticket, outcome });
        }
    }

    pub(super) fn replicate(&mut self) {
        for (to, next) in self.next.clone() {
            self.append_to(to, next);
        }
    }

    fn append_to(&mut self, to: usize, next: usize) {
        let until = self.log.len().min(next + MAX_ENTRIES);
        let message = Message::Append {
            previous: (self.term_at(next).unwrap_or(0), next),
            entries: self.log[next..until].to_vec(),
            commit: self.commit,
        };
        self.send(to, message);
    }

    /// Takes a message of another node, which was sent in `term`.
    pub fn receive(
        &mut self,
        from: usize,
        term: u64,
        message: Message,
        now_us: u64,
        rng: &mut Rng,
    ) {
        if term > self.term {
            self.step_down(term, now_us, rng);
        }
        let is_old = term < self.term;
        match message {
            Message::Vote { last } => {
                let may = !is_old && self.voted_for.is_none_or(|voted| voted == from);
                let is_granted = may && self.is_voter() && last >= self.last();
                if is_granted {
                    self.voted_for = Some(from);
                    self.postpone(now_us, rng);
                }
                self.send(from, Message::Voted { is_granted });
            }
            Message::Voted { is_granted } if !is_old && is_granted => {
                self.votes.insert(from);
                self.count_votes(now_us);
            }
            Message::Append { .. } if is_old => self.refuse(from),
            Message::Append {
                previous,
                entries,
                commit,
            } => {
                self.role = Role::Follower;
                self.leader = Some(from);
                self.postpone(now_us, rng);
                self.append(from, previous, entries, commit);
            }
            Message::Appended { matched, hint } if !is_old && self.is_leader() => {
                self.heard_us.insert(from, now_us);
                self.acknowledged(from, matched, hint);
            }
            Message::TimeoutNow if !is_old && self.is_voter() => self.stand(now_us, rng),
            _ => {}
        }
    }

    fn refuse(&mut self, to: usize) {
        let hint = self.log.len();
        let matched = None;
        self.send(to, Message::Appended { matched, hint });
    }

    fn append(
        &mut self,
        from: usize,
        previous: (u64, usize),
        entries: Vec<Rc<Entry>>,
        commit: usize,
    ) {
        if self.term_at(previous.1) != Some(previous.0) {
            return self.refuse(from);
        }
        let (mut at, mut is_changed) = (previous.1, false);
        for entry in entries {
            if self.log.get(at).is_none_or(|own| own.term != entry.term) {
                self.log.truncate(at);
                self.stored = self.stored.min(at);
                self.log.push(entry);
                is_changed = true;
            }
            at += 1;
        }
        self.agreed = self.agreed.max(at);
        self.advance(commit.min(at));
        if is_changed {
            let (term, length) = self.last();
            return self.effects.push(Effect::Store { length, term });
        }
        self.acknowledge(from);
    }

    fn acknowledge(&mut self, to: usize) {
        let matched = match self.acks_whole_log {
            true => self.stored,
            false => self.stored.min(self.agreed),
        };
        let hint = self.log.len();
        let matched = Some(matched);
        self.send(to, Message::Appended { matched, hint });
    }

    /// The log is on the disk up to `length`, if it still ends there in `term`.
    pub fn stored(&mut self, length: usize, term: u64) {
        if self.term_at(length) != Some(term) {
            return;
        }
        self.stored = self.stored.max(length);
        match (self.role, self.leader) {
            (Role::Leader, _) => self.count(),
            (Role::Follower, Some(leader)) => self.acknowledge(leader),
            _ => {}
        }
    }

    fn acknowledged(&mut self, from: usize, matched: Option<usize>, hint: usize) {
        let next = self.next.get(&from).copied().unwrap_or(0);
        let Some(matched) = matched else {
            let next = next.saturating_sub(1).min(hint);
            self.next.insert(from, next);
            return self.append_to(from, next);
        };
        // As libdqlite: never beyond the end of the own log.
        let matched = matched.min(self.log.len());
        let known = self.matched.entry(from).or_insert(0);
        let is_news = matched > *known;
        *known = matched.max(*known);
        self.next.insert(from, *known);
        if is_news {
            let next = *known;
            self.count();
            if self.is_leader() && next < self.log.len() {
                self.append_to(from, next);
            }
        }
    }

    /// Finds what a majority has on its disks.
    fn count(&mut self) {
        let mut lengths: Vec<_> = self
            .config
            .voters
            .iter()
            .map(|voter| match *voter == self.own {
                true => self.stored,
                false => self.matched.get(voter).copied().unwrap_or(0),
            })
            .collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let length = lengths[self.config.voters.len() / 2];
        // Only entries of the own term are counted.
        if length > self.commit && self.term_at(length) == Some(self.term) {
            self.advance(length);
            self.replicate();
            self.pump();
        }
    }

    fn advance(&mut self, until: usize) {
        let from = self.commit;
        if until <= from {
            return;
        }
        self.commit = until;
        for entry in &self.log[from..until] {
            match &entry.what {
                What::Batch(batch) => self.last_revision = batch.id(),
                What::Compact(revision) => self.compact_revision = *revision,
                What::Barrier | What::Fence => {}
            }
        }
        self.effects.push(Effect::Committed { from, until });
        while let Some(entry) = self.under_way.first_entry()
            && *entry.key() < until
        {
            let (ticket, outcome) = (entry.remove(), Outcome::Committed);
            self.effects.push(Effect::Finished { ticket, outcome });
        }
    }
}
