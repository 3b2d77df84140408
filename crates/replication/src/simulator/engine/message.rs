//! The entries of the log, the messages between nodes, and those from the engine to its process.

use std::rc::Rc;

use etcd_state::mvcc::Revision;

use crate::simulator::index::Row;

pub type Ticket = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An entry of no meaning: by it a new leader learns what is committed.
    Barrier,
    /// A write that changes no row.
    Fence,
    Batch(Batch),
    Compact(Revision),
}

/// Rows in one row of the table of batches, whose id is the revision of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The batch that its writer believes to be the last one; the first revision if there is none.
    pub behind: Revision,
    pub rows: Vec<Row>,
}

impl Batch {
    pub fn id(&self) -> Revision {
        self.rows.last().map_or(self.behind, |row| row.revision)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub term: u64,
    /// Of the statement; a barrier's is unique too.
    pub ticket: Ticket,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum Message {
    Vote {
        last: (u64, usize),
    },
    Voted {
        is_granted: bool,
    },
    Append {
        previous: (u64, usize),
        entries: Vec<Rc<Entry>>,
        commit: usize,
    },
    Appended {
        /// The last index that the follower has of the leader's log, or none: try an earlier one.
        matched: Option<usize>,
        hint: usize,
    },
    /// Stand for election now: the leader gives the leadership away.
    TimeoutNow,
}

/// The end of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// Refused before it was written anywhere.
    NotLeader,
    /// Another writer has appended a batch.
    Conflict,
    /// Not known.
    Unknown,
}

#[derive(Debug)]
pub enum Effect {
    Send {
        to: usize,
        term: u64,
        message: Message,
    },
    /// Store the log up to this length, whose last entry is of this term.
    Store {
        length: usize,
        term: u64,
    },
    Finished {
        ticket: Ticket,
        outcome: Outcome,
    },
    /// Entries up to here are committed, as this node knows.
    Committed {
        from: usize,
        until: usize,
    },
}

/// The nodes by their place in the configuration.
#[derive(Debug, Clone)]
pub struct Configuration {
    pub voters: Vec<usize>,
    /// They get the log, and do not vote.
    pub stand_bys: Vec<usize>,
    /// They get nothing.
    pub spares: Vec<usize>,
}
