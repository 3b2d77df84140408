//! Decides what a leader sends to one follower: the whole store or what is missing, then all that is published, in order.
//!
//! Invariants: the rows of a session are consecutive, each sent once. What closes a message (settings, a compaction, an
//! answer, a read index) stands on rows that are in the same message or an earlier one. The session reads from the history
//! at the pace of its node: nothing is queued for a slow one.

use etcd_state::mvcc::Revision;

/// The state of a store, at one end of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreState {
    pub cluster_id: u64,
    /// [`Revision::NONE`] if the node has nothing.
    pub revision: Revision,
    pub compact_revision: Revision,
}

/// The beginning of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The follower keeps what it has, and gets what follows.
    Continues,
    /// The follower gets everything since the compaction.
    Whole,
}

/// Returns whether a follower has what this leader does not have. A follower has only what was committed, and a leader has
/// all of that; so something that was acknowledged is lost.
pub fn is_ahead(follower: StoreState, leader: StoreState) -> bool {
    follower.cluster_id == leader.cluster_id && follower.revision > leader.revision
}

/// Returns how a session begins.
pub fn beginning(follower: StoreState, leader: StoreState) -> Beginning {
    let continues = follower.cluster_id == leader.cluster_id
        && follower.revision > Revision::NONE
        && follower.revision >= leader.compact_revision
        && follower.revision <= leader.revision;
    match continues {
        true => Beginning::Continues,
        false => Beginning::Whole,
    }
}

/// The message to send next.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<S> {
    /// Only the rows that were read, and settings that are at least as new. More are to be read: call [`Feed::decide`] again
    /// with what follows them.
    SendRows { settings: Option<S> },
    /// The rows that were read, then what changed beside them, then what the caller has for the end of the message.
    SendLast {
        settings: Option<S>,
        compact_revision: Option<Revision>,
    },
}

/// The state of the leader's store while one message is made.
#[derive(Debug, Clone, Copy)]
pub struct Flush {
    /// Read before the head: a compaction is published after the commits that it is above.
    compact_revision: Revision,
    head: Revision,
}

impl Flush {
    /// Begins a flush. `compact_revision` was read before `head`.
    pub fn new(compact_revision: Revision, head: Revision) -> Self {
        Self {
            compact_revision,
            head,
        }
    }
}

/// The end of the history that a follower was sent. `S` are settings: equal if they are the same version.
#[derive(Debug)]
pub struct Feed<S> {
    sent_revision: Revision,
    sent_compact_revision: Revision,
    sent_settings: Option<S>,
}

impl<S: Clone + PartialEq> Feed<S> {
    /// Begins after the revision and the compaction that the follower has, or gets as a whole.
    pub fn new(revision: Revision, compact_revision: Revision) -> Self {
        Self {
            sent_revision: revision,
            sent_compact_revision: compact_revision,
            sent_settings: None,
        }
    }

    /// The first revision that is to be read for the next message.
    pub fn next_revision(&self) -> Revision {
        self.sent_revision.next()
    }

    /// Decides after rows from [`next_revision`](Self::next_revision) on were read, of which the last are of the revision
    /// `last`. `head` is read after them.
    pub fn decide(
        &mut self,
        flush: Flush,
        last: Option<Revision>,
        head: Revision,
        settings: impl FnOnce() -> S,
    ) -> Command<S> {
        self.sent_revision = match last {
            Some(last) => last,
            // After a conversion the newest revisions may have no rows.
            None => self.sent_revision.max(flush.head),
        };
        // They are not older than the rows of any message.
        let settings = settings();
        let is_news = self.sent_settings.as_ref() != Some(&settings);
        let settings = is_news.then_some(settings);
        if settings.is_some() {
            self.sent_settings.clone_from(&settings);
        }
        if self.sent_revision < head {
            return Command::SendRows { settings };
        }
        let compact_revision = flush.compact_revision;
        let is_news = compact_revision > self.sent_compact_revision;
        if is_news {
            self.sent_compact_revision = compact_revision;
        }
        Command::SendLast {
            settings,
            compact_revision: is_news.then_some(compact_revision),
        }
    }
}

#[cfg(test)]
mod tests;
