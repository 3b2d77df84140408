//! The ends of the logs of all nodes, so that no node comes back with less and votes.
//!
//! Each node tells the leader which entry is the last on its disk; the leader passes on what it
//! knows. Every node that runs remembers it, and a node that starts asks ([`crate::cluster::node`]) before
//! its engine does. One that [`has_lost`] entries would elect a leader without them, although they
//! may be committed.
//!
//! No complete log is refused, for this reason: let a node have told that entry `i`, of term `e`, is on its disk.
//!
//! - Its log was that of the leader of term `e` up to there, which changes nothing that it has appended. So only a
//!   leader of a later term can have the node take the entry back (a conflict), and the node stores that term before
//!   it looks at the leader's message.
//! - It had stored term `e` before it took the entry, and a stored term only grows.
//!
//! Thus a log from which nothing is missing comes with a later term than `e`, or with term `e` and the entry, behind
//! which all others are of term `e` as well. What nodes have told stays true, in whatever order it arrives and
//! whoever passes it on.
//!
//! Acknowledgements of Raft would not do: the index in them covers entries of an earlier term that the present
//! leader is about to have replaced. And the leader's own log is acknowledged by nobody.
//!
//! A copy that was made after a node heard of a later term, and before it had an entry of that term, cannot be
//! distinguished from the node itself. Such moments are short: a new leader commits an entry as it begins.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use dqlite::{
    node::{LastEntry, LogEnd},
    wire::NodeId,
};
use peer_proto as proto;
use tokio::time::{Interval, MissedTickBehavior};

/// The most nodes that are remembered: more than a cluster has, with those that left while this process ran. Beyond
/// it, the one that was silent for longest is forgotten.
const MAX_NODES: usize = 64;

/// The interval at which a node reports that its log has grown: a loss of the last moments before a
/// kill may go unnoticed.
const TELL_INTERVAL: Duration = Duration::from_millis(200);

/// The term and the last entry that a node finds in its directory.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub term: u64,
    pub last: LastEntry,
}

/// Returns whether a node that once had the entry `remembered` on its disk has lost it; see the
/// head of this module.
pub fn has_lost(found: Found, remembered: LastEntry) -> bool {
    let of_log = |term, last: LastEntry| (term, last.term, last.index);
    of_log(found.term, found.last) < of_log(remembered.term, remembered)
}

/// The farthest entry that each node has told of. Pure.
#[derive(Debug, Clone, Default)]
pub struct LogEnds(Vec<(NodeId, LastEntry)>);

impl LogEnds {
    pub fn note(&mut self, id: NodeId, end: LastEntry) {
        let known = self.0.iter().position(|(known, _)| *known == id);
        let former = known.map(|at| self.0.remove(at).1);
        if self.0.len() == MAX_NODES {
            self.0.remove(0);
        }
        self.0
            .push((id, former.map_or(end, |former| former.max(end))));
    }

    pub fn of(&self, id: NodeId) -> Option<LastEntry> {
        let of_id = self.0.iter().find(|(known, _)| *known == id);
        of_id.map(|(_, end)| *end)
    }

    /// Returns what is not in `told` yet, and notes it there.
    fn news(&self, told: &mut Self) -> Vec<(NodeId, LastEntry)> {
        let is_news = |(id, end): &(NodeId, LastEntry)| told.of(*id) != Some(*end);
        let news = self.0.iter().copied().filter(is_news).collect();
        told.clone_from(self);
        news
    }
}

/// The log ends that this process remembers of all nodes, its own among them.
pub struct Remembered {
    own_id: NodeId,
    own: Option<LogEnd>,
    ends: Mutex<LogEnds>,
}

impl Remembered {
    /// Builds the memory. Without `own`, it holds only what other nodes tell.
    pub fn new(own_id: NodeId, own: Option<LogEnd>) -> Arc<Self> {
        Arc::new(Self {
            own_id,
            own,
            ends: Mutex::default(),
        })
    }

    fn ends(&self) -> MutexGuard<'_, LogEnds> {
        self.ends.lock().expect("no panic while it is held")
    }

    pub fn note(&self, told: &proto::LogEnd) {
        let (term, index) = (told.term, told.index);
        self.ends()
            .note(NodeId::new(told.member_id), LastEntry { term, index });
    }

    pub fn of(&self, id: NodeId) -> Option<proto::LogEnd> {
        self.ends().of(id).map(|end| to_proto(id, end))
    }

    /// Returns the end of this node's own log if it is not the one that was `told` last.
    pub fn own_news(&self, told: Option<&proto::LogEnd>) -> Option<proto::LogEnd> {
        let own = to_proto(self.own_id, self.own.as_ref()?.last_entry()?);
        (told != Some(&own)).then_some(own)
    }

    /// Returns what is not in `told` yet, and notes it there.
    pub fn news(&self, told: &mut LogEnds) -> Vec<proto::LogEnd> {
        let own = self.own.as_ref().and_then(LogEnd::last_entry);
        let mut ends = self.ends();
        if let Some(own) = own {
            ends.note(self.own_id, own);
        }
        let news = ends.news(told).into_iter();
        news.map(|(id, end)| to_proto(id, end)).collect()
    }
}

fn to_proto(id: NodeId, end: LastEntry) -> proto::LogEnd {
    proto::LogEnd {
        member_id: id.number(),
        term: end.term,
        index: end.index,
    }
}

/// The moments at which a session reports the log; the first is now.
pub fn moments_to_tell() -> Interval {
    let mut moments = tokio::time::interval(TELL_INTERVAL);
    moments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    moments
}

#[cfg(test)]
mod tests;
