//! What the checker can find.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A linearizable answer from before the call was made.
    FromThePast,
    /// An answer that is not the store at its revision.
    WrongAnswer,
    /// Acknowledged, and not in the history at its revision.
    LostWrite,
    /// In the history more than once.
    DoneTwice,
    /// In the history, and nobody asked for it.
    Unasked,
    /// In the history otherwise than it was asked for.
    DoneOtherwise,
    /// Two nodes show one revision differently.
    Divergence,
    SkippedEvent,
    RepeatedEvent,
    /// Gone before its time, or alive after it.
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
