//! A model of the engine of one node: a small Raft, with a table of rows above it. It does no more than the engine promises:
//! a term is stored before it is acted in, an entry counts once it is on the disk, and a leader that is cut off does not
//! know it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

pub use self::message::{Batch, Configuration, Effect, Entry, Message, Outcome, Ticket, What};
use super::{index::Row, rng::Rng};
use etcd_state::mvcc::Revision;

use crate::View;

mod message;
mod raft;
#[cfg(test)]
mod tests;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Follower,
    Candidate,
    Leader,
}

#[derive(Debug)]
pub struct Engine {
    own: usize,
    config: Rc<Configuration>,
    /// libdqlite's answer to an empty message is its last index, which may be of another leader's log.
    acks_whole_log: bool,
    /// Only the primary key refuses a batch, as where each row is one change.
    pub fence_is_primary_key: bool,
    // On the disk.
    term: u64,
    voted_for: Option<usize>,
    log: Vec<Rc<Entry>>,
    stored: usize,
    // In memory.
    /// The log up to here is that of the leader of this term.
    agreed: usize,
    role: Role,
    leader: Option<usize>,
    commit: usize,
    last_revision: Revision,
    compact_revision: Revision,
    act_at_us: u64,
    beat_at_us: u64,
    votes: BTreeSet<usize>,
    next: BTreeMap<usize, usize>,
    matched: BTreeMap<usize, usize>,
    heard_us: BTreeMap<usize, u64>,
    statements: VecDeque<(Ticket, What)>,
    under_way: BTreeMap<usize, Ticket>,
    next_barrier: Ticket,
    pub effects: Vec<Effect>,
}

impl Engine {
    pub fn new(own: usize, config: Rc<Configuration>, acks_whole_log: bool) -> Self {
        Self {
            own,
            config,
            acks_whole_log,
            fence_is_primary_key: false,
            term: 0,
            voted_for: None,
            log: Vec::new(),
            stored: 0,
            agreed: 0,
            role: Role::Follower,
            leader: None,
            commit: 0,
            last_revision: Revision::FIRST,
            compact_revision: Revision::NONE,
            act_at_us: 0,
            beat_at_us: 0,
            votes: BTreeSet::new(),
            next: BTreeMap::new(),
            matched: BTreeMap::new(),
            heard_us: BTreeMap::new(),
            statements: VecDeque::new(),
            under_way: BTreeMap::new(),
            next_barrier: (own as u64 + 1) << 48,
            effects: Vec::new(),
        }
    }

    /// Forgets what is in memory, and what has not reached the disk.
    pub fn restart(&mut self, now_us: u64, rng: &mut Rng) {
        self.log.truncate(self.stored);
        self.role = Role::Follower;
        self.leader = None;
        self.agreed = 0;
        self.commit = 0;
        self.last_revision = Revision::FIRST;
        self.compact_revision = Revision::NONE;
        self.statements.clear();
        self.under_way.clear();
        self.effects.clear();
        self.postpone(now_us, rng);
    }

    pub fn view(&self) -> View {
        let leader = self.leader;
        View {
            leader: leader.map(|leader| (leader as u64 + 1, (leader + 1).to_string())),
            term: self.term,
        }
    }

    /// Returns the term that is stored: it is so before anything is done in it.
    pub fn term(&self) -> u64 {
        self.term
    }

    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    pub fn entry(&self, index: usize) -> &Rc<Entry> {
        &self.log[index]
    }

    /// Returns the rows above a revision and the compaction revision, as far as they are applied; none if this node does not
    /// lead.
    pub fn rows_after(&self, after: Revision) -> Option<(Vec<Row>, Revision)> {
        self.is_leader().then(|| {
            let applied = self.log[..self.commit].iter().rev();
            let rows = applied.map_while(|entry| match &entry.what {
                What::Batch(batch) if batch.id() > after => Some(batch.rows.as_slice()),
                What::Batch(_) => None,
                _ => Some(&[][..]),
            });
            let mut rows: Vec<_> = rows.flat_map(|rows| rows.iter().rev().copied()).collect();
            rows.retain(|row| row.revision > after);
            rows.reverse();
            (rows, self.compact_revision)
        })
    }

    /// Executes a statement. Its end is an effect.
    pub fn execute(&mut self, ticket: Ticket, what: What) {
        if !self.is_leader() {
            let outcome = Outcome::NotLeader;
            return self.effects.push(Effect::Finished { ticket, outcome });
        }
        self.statements.push_back((ticket, what));
        self.pump();
    }

    /// Gives the leadership to a voter that has the whole log, or to this one if it does; returns whether there is one.
    pub fn transfer(&mut self, to: Option<usize>) -> bool {
        if !self.is_leader() {
            return false;
        }
        let others = self
            .config
            .voters
            .iter()
            .filter(|other| **other != self.own && to.is_none_or(|to| to == **other));
        let mut up_to_date =
            others.filter(|other| self.matched.get(other) == Some(&self.log.len()));
        let to = up_to_date.next().copied();
        if let Some(to) = to {
            self.send(to, Message::TimeoutNow);
        }
        to.is_some()
    }

    fn send(&mut self, to: usize, message: Message) {
        let term = self.term;
        self.effects.push(Effect::Send { to, term, message });
    }

    fn last(&self) -> (u64, usize) {
        (
            self.log.last().map_or(0, |entry| entry.term),
            self.log.len(),
        )
    }

    /// Executes the next statement once everything before it is applied.
    fn pump(&mut self) {
        if !self.is_leader() || self.statements.is_empty() {
            return;
        }
        if self.commit < self.log.len() {
            let is_own = self.last().0 == self.term;
            if !is_own {
                self.next_barrier += 1;
                self.push(self.next_barrier, What::Barrier);
            }
            return;
        }
        let Some((ticket, what)) = self.statements.pop_front() else {
            return;
        };
        if let What::Batch(batch) = &what
            && self.is_refused(batch)
        {
            let outcome = Outcome::Conflict;
            self.effects.push(Effect::Finished { ticket, outcome });
            return self.pump();
        }
        self.under_way.insert(self.log.len(), ticket);
        self.push(ticket, what);
    }

    /// Returns whether the statement that appends the batch fails: the fence.
    fn is_refused(&self, batch: &Batch) -> bool {
        if !self.fence_is_primary_key {
            return batch.behind != self.last_revision;
        }
        let applied = self.log[..self.commit].iter().rev();
        applied
            .filter_map(|entry| match &entry.what {
                What::Batch(applied) => Some(applied.id()),
                _ => None,
            })
            .any(|id| id == batch.id())
    }

    fn push(&mut self, ticket: Ticket, what: What) {
        let term = self.term;
        self.log.push(Rc::new(Entry { term, ticket, what }));
        let length = self.log.len();
        self.effects.push(Effect::Store { length, term });
        self.replicate();
    }
}
