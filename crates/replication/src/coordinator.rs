//! Decides whether a node leads, follows or waits, and how it changes from one to the other.
//!
//! Invariants: a node writes only in the term in which it opened the database, and stops once its engine names another node
//! or another term. After it has stopped in order to hand over, it writes nothing before another node has led, or none took
//! over. Once told to stop, it commits what is queued if it leads, and begins nothing else.

use std::time::Duration;

use crate::View;

/// Pause after an attempt to lead or to follow that failed. An election or a restart takes longer.
pub const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The longest that a leader that has handed over waits for the new one, before it goes on itself.
pub const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request of the server to the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Commit the received requests, then write nothing until there is another leader.
    HandOver,
    /// Lead on: no node took the leadership that was to be given away.
    LeadOn,
    /// Commit the queued requests, and end.
    Stop,
}

/// The facts that each decision is made with, as they are now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The view that the monitor published last.
    pub view: View,
    /// There is no other node, as far as this one last knew.
    pub is_single: bool,
    /// The database is known to have the newest schema.
    pub is_converted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing is under way yet.
    Started,
    /// The facts may have changed.
    Looked,
    Ordered(Order),
    /// The time that [`Command::Wait`] named has come.
    TimeIsUp,
    /// The conversion has ended, and this node can go on.
    Converted,
    /// The conversion has stopped, or is to be tried again.
    NotConverted,
    /// The database is open on this node, and its index is up to it.
    Opened,
    /// It cannot be opened now.
    NotOpened,
    /// The own engine has answered, none if it failed.
    EngineSaid(Option<View>),
    /// The writer has ended, as it was told to or because this node leads no more.
    WriterEnded,
    /// The session with the leader has ended.
    SessionEnded,
}

/// The way in which the writer is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Commit the queued requests, and refuse later ones.
    Close,
    /// Commit the received requests, and leave later ones to the next leader.
    HandOver,
    /// This node leads no more.
    Deposed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Go on with what is under way.
    GoOn,
    /// Do nothing but wait for events, until a time if one is named.
    Wait { until: Option<Duration> },
    /// Bring the database to the newest schema. Orders and changes are events meanwhile.
    Convert,
    /// Stop the conversion after its present step.
    HaltConversion,
    /// Open the database, commit an entry in this term, and bring the index up to it. Nothing is an event meanwhile.
    Open,
    /// Ask the own engine who leads.
    AskEngine,
    /// Take writes, sessions of followers, and reads, in the term `term`.
    Write { term: u64 },
    /// Stop the writer. Nothing is an event until it has ended.
    StopWriting(Stop),
    /// Follow the leader at the address. Orders and changes are events meanwhile.
    Follow { address: String },
    /// End the session.
    StopFollowing,
    /// Tell who ordered a handover that the leadership may be given away; another command follows.
    AnswerHandOver,
    /// End.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Doing {
    Nothing,
    Waiting,
    Pausing { until: Duration },
    Converting { term: u64, halted: Option<Halted> },
    Opening { term: u64 },
    Checking { term: u64 },
    Writing { term: u64, stops: Option<Stop> },
    HandedOver { until: Duration },
    Following { address: String },
    Ended,
}

/// The reason why a conversion is halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Halted {
    Deposed,
    HandsOver,
    Stops,
}

#[derive(Debug)]
pub struct Coordinator {
    own_id: u64,
    doing: Doing,
    is_stopping: bool,
}

impl Coordinator {
    pub fn new(own_id: u64) -> Self {
        Self {
            own_id,
            doing: Doing::Nothing,
            is_stopping: false,
        }
    }

    /// Returns whether this node has handed over, and waits for another one to lead.
    pub fn waits_for_successor(&self) -> bool {
        matches!(self.doing, Doing::HandedOver { .. })
    }

    /// Decides what to do after an event at `now`. The last command says what is under way from then on; before it there is
    /// at most [`Command::AnswerHandOver`]. What begins is followed by an event [`Event::Looked`].
    pub fn decide(&mut self, event: Event, facts: &Facts, now: Duration) -> Vec<Command> {
        let leads = facts.view.leader_id() == self.own_id;
        match (self.doing.clone(), event) {
            (Doing::Ended, _) => vec![Command::End],
            (Doing::Nothing, _) => vec![self.turn(facts)],
            (Doing::Waiting, Event::Looked) => vec![self.turn(facts)],
            (Doing::Waiting | Doing::Pausing { .. }, Event::Ordered(order)) => {
                self.obey(order, facts)
            }
            (Doing::Pausing { until }, Event::TimeIsUp) if now >= until => vec![self.turn(facts)],
            (Doing::Converting { term, halted }, event) => {
                self.while_converting(term, halted, event, facts, now)
            }
            (Doing::Opening { term }, Event::Opened) => {
                self.doing = Doing::Checking { term };
                vec![Command::AskEngine]
            }
            (Doing::Opening { .. }, Event::NotOpened) => vec![self.pause(now)],
            // All of it was in one term, or it is done again.
            (Doing::Checking { term }, Event::EngineSaid(view)) => {
                match view.is_some_and(|view| view.names(self.own_id, term)) {
                    true => vec![self.write(term)],
                    false => vec![self.pause(now)],
                }
            }
            (Doing::Writing { term, stops }, event) => {
                self.while_writing(term, stops, event, facts, now)
            }
            (Doing::HandedOver { .. }, Event::Looked) if !leads => vec![self.turn(facts)],
            (Doing::HandedOver { until }, Event::TimeIsUp) if now >= until => {
                vec![self.turn(facts)]
            }
            (Doing::HandedOver { .. }, Event::Ordered(order)) => match order {
                // It writes nothing already.
                Order::HandOver => vec![Command::AnswerHandOver, Command::GoOn],
                Order::LeadOn => vec![self.turn(facts)],
                Order::Stop => {
                    // What is queued meanwhile is committed here, if no other node leads.
                    self.is_stopping = true;
                    vec![self.turn(facts)]
                }
            },
            (Doing::Following { address }, event) => {
                self.while_following(&address, event, facts, now)
            }
            _ => vec![Command::GoOn],
        }
    }

    /// Leads, follows or waits.
    fn turn(&mut self, facts: &Facts) -> Command {
        match &facts.view.leader {
            Some((id, _)) if *id == self.own_id => {
                let term = facts.view.term;
                if facts.is_converted {
                    self.doing = Doing::Opening { term };
                    Command::Open
                } else {
                    self.doing = Doing::Converting { term, halted: None };
                    Command::Convert
                }
            }
            _ if self.is_stopping => self.end(),
            Some((_, address)) => {
                let address = address.clone();
                self.doing = Doing::Following {
                    address: address.clone(),
                };
                Command::Follow { address }
            }
            None => {
                self.doing = Doing::Waiting;
                Command::Wait { until: None }
            }
        }
    }

    fn end(&mut self) -> Command {
        self.doing = Doing::Ended;
        Command::End
    }

    fn pause(&mut self, now: Duration) -> Command {
        if self.is_stopping {
            return self.end();
        }
        let until = now + RETRY_PAUSE;
        self.doing = Doing::Pausing { until };
        Command::Wait { until: Some(until) }
    }

    /// Obeys an order while this node does not write.
    fn obey(&mut self, order: Order, facts: &Facts) -> Vec<Command> {
        match order {
            Order::HandOver => vec![Command::AnswerHandOver, self.turn(facts)],
            Order::LeadOn => vec![self.turn(facts)],
            Order::Stop => vec![self.end()],
        }
    }

    fn is_deposed(&self, term: Option<u64>, facts: &Facts) -> bool {
        let leader = facts.view.leader_id();
        let is_this = leader == self.own_id && term.is_none_or(|term| facts.view.term == term);
        let is_other = leader != 0 && leader != self.own_id;
        // The only node finds out by itself what became of a write; one that another node leads is not the only one.
        is_other || !(is_this || facts.is_single)
    }

    fn while_converting(
        &mut self,
        term: u64,
        halted: Option<Halted>,
        event: Event,
        facts: &Facts,
        now: Duration,
    ) -> Vec<Command> {
        let reason = match (halted, event) {
            (None, Event::Converted) => {
                self.doing = Doing::Opening { term };
                return vec![Command::Open];
            }
            (None, Event::NotConverted) => return vec![self.pause(now)],
            (Some(Halted::Deposed), Event::Converted | Event::NotConverted) => {
                return vec![self.turn(facts)];
            }
            (Some(Halted::HandsOver), Event::Converted | Event::NotConverted) => {
                return vec![Command::AnswerHandOver, self.turn(facts)];
            }
            (Some(Halted::Stops), Event::Converted | Event::NotConverted) => {
                return vec![self.end()];
            }
            (None, Event::Looked) if self.is_deposed(None, facts) => Halted::Deposed,
            (None, Event::Ordered(Order::LeadOn)) => Halted::Deposed,
            (None, Event::Ordered(Order::HandOver)) => Halted::HandsOver,
            (None, Event::Ordered(Order::Stop)) => Halted::Stops,
            _ => return vec![Command::GoOn],
        };
        let halted = Some(reason);
        self.doing = Doing::Converting { term, halted };
        vec![Command::HaltConversion]
    }

    fn write(&mut self, term: u64) -> Command {
        self.doing = Doing::Writing { term, stops: None };
        Command::Write { term }
    }

    fn while_writing(
        &mut self,
        term: u64,
        stops: Option<Stop>,
        event: Event,
        facts: &Facts,
        now: Duration,
    ) -> Vec<Command> {
        let stop = match event {
            Event::WriterEnded => return self.after_writing(stops, facts, now),
            _ if stops.is_some() => return vec![Command::GoOn],
            Event::Looked if self.is_stopping => Stop::Close,
            Event::Looked if self.is_deposed(Some(term), facts) => Stop::Deposed,
            Event::Ordered(Order::HandOver) => Stop::HandOver,
            Event::Ordered(Order::Stop) => {
                self.is_stopping = true;
                Stop::Close
            }
            _ => return vec![Command::GoOn],
        };
        self.doing = Doing::Writing {
            term,
            stops: Some(stop),
        };
        vec![Command::StopWriting(stop)]
    }

    fn after_writing(&mut self, stops: Option<Stop>, facts: &Facts, now: Duration) -> Vec<Command> {
        if self.is_stopping {
            return vec![self.end()];
        }
        if stops != Some(Stop::HandOver) {
            return vec![self.turn(facts)];
        }
        let next = if facts.view.leader_id() == self.own_id {
            let until = now + HAND_OVER_TIMEOUT;
            self.doing = Doing::HandedOver { until };
            Command::Wait { until: Some(until) }
        } else {
            self.turn(facts)
        };
        vec![Command::AnswerHandOver, next]
    }

    fn while_following(
        &mut self,
        address: &str,
        event: Event,
        facts: &Facts,
        now: Duration,
    ) -> Vec<Command> {
        let leader = facts.view.leader.as_ref();
        match event {
            Event::SessionEnded => vec![self.pause(now)],
            Event::Looked if leader.is_some_and(|(_, other)| other != address) => {
                vec![Command::StopFollowing]
            }
            // It writes nothing anyway, and the answers to its clients come by the session.
            Event::Ordered(Order::HandOver) => vec![Command::AnswerHandOver, Command::GoOn],
            Event::Ordered(Order::Stop) => {
                self.is_stopping = true;
                vec![Command::StopFollowing]
            }
            _ => vec![Command::GoOn],
        }
    }
}

#[cfg(test)]
mod tests;
