//! The parameters of a schedule.

/// A mistake that is made on purpose, to see whether it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A proof answers reads that arrived after it had begun.
    LateReadsShareProof,
    /// A leader believes its own engine, and asks no other node.
    OwnEngineIsEnough,
    /// A proof does not compare the term.
    TermIgnored,
    /// A follower names the leader that its engine named last, whatever term it has stored since.
    StoredTermIgnored,
    /// Requests that a session has forwarded are forwarded again when it breaks.
    ForwardedAgain,
    /// The writer publishes and answers when it sends a batch to the engine.
    PublishedBeforeCommit,
    /// A batch whose outcome is unknown is sent again with the next revision.
    RetriedBlindly,
    /// A new leader reads the rows before an entry of its term is committed.
    NoFence,
    /// The same, and a batch is refused only if there is one with its id: not if another writer has ended its batches at
    /// other changes.
    FencedByKey,
    /// Requests that changed nothing are answered without a proof.
    ChecksUnproven,
    /// A request that changed nothing, evaluated during one time of leading, is answered by a proof of a later one.
    ChecksOutliveLeading,
    /// A session sends answers as soon as they are there, before the rows.
    AnswersOvertakeRows,
    /// A session goes on from the follower's revision although that is below the compaction.
    CompactionForgotten,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub mistake: Option<Mistake>,
    /// A node of the engine acknowledges its whole log, as libdqlite does, although the end of it may be another
    /// leader's.
    pub acks_whole_log: bool,
}

impl Options {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            mistake: None,
            acks_whole_log: false,
        }
    }

    pub fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}
