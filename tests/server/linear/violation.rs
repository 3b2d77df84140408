//! The violations that the checker can find.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A linearizable answer from before the call was made.
    FromThePast,
    /// An answer that is not the store at its revision.
    WrongAnswer,
    /// It was acknowledged, but is not in the history at its revision.
    LostWrite,
    /// It is in the history more than once.
    DoneTwice,
    /// It is in the history, but nobody asked for it.
    Unasked,
    /// It is in the history, but differs from what was asked for.
    DoneOtherwise,
    /// Two nodes show one revision differently.
    Divergence,
    SkippedEvent,
    RepeatedEvent,
    /// A lease or its key that ended before its time, or was alive after it.
    Lease,
    /// A register that no order of its operations explains.
    NotLinearizable,
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub kind: Kind,
    text: String,
}

impl Violation {
    pub fn new(kind: Kind, text: String) -> Self {
        Self { kind, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}
