//! The leader and the term, as the engine of one node tells them.

/// The leader and the term, both true at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The id and the address of the leader. None during an election, and on a node that is not told.
    pub leader: Option<(u64, String)>,
    pub term: u64,
}

impl View {
    /// Returns the id of the leader, 0 if it is not known.
    pub fn leader_id(&self) -> u64 {
        self.leader.as_ref().map_or(0, |(id, _)| *id)
    }

    /// Returns whether `id` leads, and does so in `term`.
    pub fn names(&self, id: u64, term: u64) -> bool {
        self.leader_id() == id && self.term == term
    }
}
