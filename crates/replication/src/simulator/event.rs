//! The events that happen to nodes, and outside of them.

use super::{
    engine::{Message, Outcome, Ticket},
    process::Read,
    session::{Direction, SessionId},
    truth::Answer,
};
use crate::{View, coordinator::Order, proofs::ProofId};

/// The asker of an engine.
#[derive(Debug, Clone)]
pub enum Asker {
    Monitor,
    MonitorForMembers,
    Proof(u64, ProofId),
    ProofForVoters(u64, ProofId),
    Coordinator,
    Confirmation(SessionId, ProofId),
    ReadIndex(SessionId, u64),
}

#[derive(Debug, Clone)]
pub enum Event {
    EngineTicks,
    MessageArrives {
        from: usize,
        term: u64,
        message: Message,
    },
    Stored {
        length: usize,
        term: u64,
    },
    Executed {
        ticket: Ticket,
        outcome: Outcome,
    },
    Asked(Asker),
    /// The engine gives the leadership away, and its process is not told.
    Transfers {
        to: Option<usize>,
    },
    Told(Asker, Option<View>),
    /// A follower has read the term that its engine has stored.
    Testifies(SessionId, ProofId),
    MonitorTicks,
    OthersAsked(Vec<String>),
    OthersTold(Option<View>),
    /// The coordinator has waited long enough.
    TimeIsUp,
    ConversionEnds,
    TableRead {
        tenure: u64,
    },
    ReadBack {
        tenure: u64,
    },
    FenceAgain {
        tenure: u64,
    },
    WriterTurns {
        tenure: u64,
    },
    ProofTimeIsUp {
        tenure: u64,
        proof: ProofId,
    },
    ReadsTurn,
    ReadsReturn(Vec<Read>),
    Forward,
    Ordered(Order),
    /// The leadership may be given away.
    GivesAway,
    SessionArrives(SessionId, Direction),
    SessionTurns(SessionId),
    /// One end of a session learns that the other has gone.
    OtherEndGone(SessionId),
    /// A client's request arrives.
    Requested(usize),
    // What follows happens to no node.
    Arrives(SessionId, Direction, u64),
    ClientTurns(usize),
    ClientGivesUp(usize),
    Answered {
        operation: usize,
        answer: Answer,
    },
    FaultTurns,
    Restarts(usize),
    Heals(usize, usize),
    HealsDisk(usize),
    /// The engine of a node may take long to answer questions, until a time.
    HoldsUp(usize, u64),
}

impl Event {
    /// Returns whether the engine's own thread does it.
    pub fn is_of_engine(&self) -> bool {
        matches!(
            self,
            Self::EngineTicks
                | Self::MessageArrives { .. }
                | Self::Stored { .. }
                | Self::Asked(_)
                | Self::Transfers { .. }
        )
    }
}
