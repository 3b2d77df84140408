//! Decides how a follower applies what the leader sends, in the order of the parts of each message.
//!
//! Invariant: whatever an answer or a proof stands for is in the index before anybody hears of it.

use etcd_state::mvcc::Revision;

use crate::Beginning;

/// A message of the leader. `R` is a row, `S` all settings, `A` an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<R, S, A> {
    pub rows: Vec<R>,
    pub settings: Option<S>,
    pub compact_revision: Option<Revision>,
    pub answers: Vec<A>,
    /// The number of a proof, and the revision that its reads must see if it is one.
    pub read_index: Option<(u64, Option<Revision>)>,
    /// The number of a question who leads.
    pub confirm: Option<u64>,
}

impl<R, S, A> Default for Message<R, S, A> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            settings: None,
            compact_revision: None,
            answers: Vec::new(),
            read_index: None,
            confirm: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<R, S, A> {
    /// Collect rows for the store that is to replace this node's.
    Collect(Vec<R>),
    /// Replace the store by what was collected.
    Replace,
    /// Append rows, each revision whole.
    Apply(Vec<R>),
    ApplySettings(S),
    /// The index is that of the leader: from now on it serves clients.
    NoteLoaded,
    ApplyCompaction(Revision),
    Answer(A),
    /// Settle the reads of the proof with this number, by the revision that they must see; none if they are not proven.
    SettleReads(u64, Option<Revision>),
    /// Ask the own engine who leads, and tell the leader.
    Confirm(u64),
}

/// The receiving end of a session.
#[derive(Debug)]
pub struct Intake<R> {
    /// None once this node has the leader's store, up to some revision.
    whole: Option<Whole<R>>,
}

/// The whole store, while it arrives.
#[derive(Debug)]
struct Whole<R> {
    /// The revision up to which rows belong to it.
    until: Revision,
    /// The rows that were committed meanwhile. They may be more than one message holds, and are applied once the
    /// settings are there.
    later: Vec<R>,
}

impl<R> Intake<R> {
    /// Begins a session. `revision` is that of the welcome.
    pub fn new(beginning: Beginning, revision: Revision) -> Self {
        let whole = Whole {
            until: revision,
            later: Vec::new(),
        };
        Self {
            whole: (beginning == Beginning::Whole).then_some(whole),
        }
    }

    /// Returns whether this node has the leader's store, up to some revision.
    pub fn is_loaded(&self) -> bool {
        self.whole.is_none()
    }

    /// Decides what to do with a message, in order.
    pub fn decide<S, A>(
        &mut self,
        message: Message<R, S, A>,
        revision_of: impl Fn(&R) -> Revision,
    ) -> Vec<Command<R, S, A>> {
        let mut commands = Vec::new();
        // They go before the rows: whoever has lost a permission does not see what was written afterwards.
        let mut settings = message.settings;
        let has_settings = settings.is_some();
        match &mut self.whole {
            None => {
                commands.extend(settings.take().map(Command::ApplySettings));
                if !message.rows.is_empty() {
                    commands.push(Command::Apply(message.rows));
                }
            }
            Some(whole) => {
                let is_of_whole = |row: &R| revision_of(row) <= whole.until;
                let (rows, later): (Vec<_>, Vec<_>) =
                    message.rows.into_iter().partition(is_of_whole);
                if !rows.is_empty() {
                    commands.push(Command::Collect(rows));
                }
                whole.later.extend(later);
                // The settings follow upon the rows.
                if let Some(settings) = settings.take()
                    && let Some(whole) = self.whole.take()
                {
                    commands.push(Command::ApplySettings(settings));
                    commands.push(Command::Replace);
                    commands.push(Command::Apply(whole.later));
                }
            }
        }
        if has_settings {
            commands.push(Command::NoteLoaded);
        }
        let compaction = message.compact_revision.map(Command::ApplyCompaction);
        commands.extend(compaction);
        commands.extend(message.answers.into_iter().map(Command::Answer));
        let read_index = message.read_index;
        commands
            .extend(read_index.map(|(number, revision)| Command::SettleReads(number, revision)));
        commands.extend(message.confirm.map(Command::Confirm));
        commands
    }
}

#[cfg(test)]
mod tests;
