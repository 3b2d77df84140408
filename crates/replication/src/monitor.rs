//! Decides who leads, from the answers of the own engine and of other nodes. The engine has to be asked: it reports
//! nothing by itself.

use std::time::Duration;

use crate::View;

/// The interval at which the engine is asked: a change of leader is noticed within this. One question costs some 30 us.
pub const INTERVAL: Duration = Duration::from_millis(50);

/// The same for a node that leads and is the only one: nobody takes the leadership from it.
pub const ALONE_INTERVAL: Duration = Duration::from_millis(500);

/// The interval at which the engine is asked for the configuration where there are other nodes: cluster.yaml follows it.
const NODES_INTERVAL: Duration = Duration::from_millis(500);

/// The interval at which other nodes are asked if this node's engine does not know the leader: that of a spare never
/// does.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// The time without a leader after which clients that want to know are told: some elections.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// A node, as the engine knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    pub address: String,
    pub is_voter: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// [`Monitor::interval`] has passed, or something may have changed.
    TimeToAsk,
    /// The own engine has answered, none if it failed.
    EngineSaid { view: Option<View> },
    /// The own engine has told the nodes, none if it failed.
    MembersAre { members: Option<Vec<Member>> },
    /// Other nodes have answered: the first that knew a leader.
    OthersSaid { view: Option<View> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Ask the own engine who leads.
    AskEngine,
    /// Ask the own engine for the nodes.
    AskMembers { purpose: Purpose },
    /// Ask the nodes at these addresses at once who leads.
    AskOthers { addresses: Vec<String> },
    /// Note whether this node is the only one, by an answer to a question that was asked at `asked`: the leader's own, or
    /// that another node leads.
    NoteNodes { is_alone: bool, asked: Duration },
    /// Tell the other tasks.
    Publish { view: View, is_lost: bool },
}

/// The use of the nodes that the engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The configuration is told to other tasks, and followed by cluster.yaml.
    Configuration,
    /// They are asked who leads.
    Others,
}

#[derive(Debug)]
pub struct Monitor {
    own_id: u64,
    /// The addresses of other nodes, voters first.
    addresses: Vec<String>,
    /// The view that was published last.
    known: View,
    /// The time when there was a leader last, by a question that was asked then.
    last_leader: Duration,
    last_asked: Option<Duration>,
    members_asked: Option<Duration>,
    /// The time when this round of questions began.
    asked: Duration,
    /// The view as far as it is known in this round.
    view: View,
    purpose: Purpose,
    /// The engine, asked last, said that this node leads and that there is no other.
    is_alone: bool,
    /// The answer that was noted last.
    noted_alone: bool,
}

impl Monitor {
    /// Builds a monitor. `addresses` are those of the other nodes, as far as they are known before the engine is asked.
    pub fn new(own_id: u64, addresses: Vec<String>, now: Duration) -> Self {
        Self {
            own_id,
            addresses,
            known: View::default(),
            last_leader: now,
            last_asked: None,
            members_asked: None,
            asked: now,
            view: View::default(),
            purpose: Purpose::Configuration,
            is_alone: false,
            noted_alone: false,
        }
    }

    /// Returns the time from one round of questions to the next.
    pub fn interval(&self) -> Duration {
        match self.is_alone {
            true => ALONE_INTERVAL,
            false => INTERVAL,
        }
    }

    /// Decides what to do after an event at `now`. The last command is the one that leads to the next event.
    pub fn decide(&mut self, event: Event, now: Duration) -> Vec<Command> {
        match event {
            Event::TimeToAsk => {
                self.asked = now;
                vec![Command::AskEngine]
            }
            Event::EngineSaid { view } => {
                self.view = view.unwrap_or_else(|| View {
                    term: self.known.term,
                    ..View::default()
                });
                let led = self.known.leader_id() == self.own_id;
                let begins = self.leads() && !led;
                let is_due = has_passed(self.members_asked, NODES_INTERVAL, now);
                if self.is_alone || begins || is_due {
                    self.is_alone = false;
                    self.members_asked = Some(self.asked);
                    return self.ask_members(Purpose::Configuration);
                }
                self.ask_others_or_publish(now)
            }
            Event::MembersAre { members } => self.note_members(members, now),
            Event::OthersSaid { view } => {
                if let Some(told) = view {
                    self.view.leader = told.leader;
                }
                self.publish(now)
            }
        }
    }

    fn leads(&self) -> bool {
        self.view.leader_id() == self.own_id
    }

    fn note_members(&mut self, members: Option<Vec<Member>>, now: Duration) -> Vec<Command> {
        if self.purpose == Purpose::Others {
            if let Some(members) = members.filter(|members| !members.is_empty()) {
                self.note_addresses(members);
            }
            let addresses = self.addresses.clone();
            return vec![Command::AskOthers { addresses }];
        }
        let mut commands = Vec::new();
        if let Some(members) = members
            && self.leads()
        {
            // A leader that is being removed leads others until that is decided.
            self.is_alone = matches!(&members[..], [member] if member.id == self.own_id);
            commands.push(self.note_nodes(self.is_alone));
            self.note_addresses(members);
        }
        commands.extend(self.ask_others_or_publish(now));
        commands
    }

    fn note_nodes(&mut self, is_alone: bool) -> Command {
        self.noted_alone = is_alone;
        let asked = self.asked;
        Command::NoteNodes { is_alone, asked }
    }

    fn ask_members(&mut self, purpose: Purpose) -> Vec<Command> {
        self.purpose = purpose;
        vec![Command::AskMembers { purpose }]
    }

    fn note_addresses(&mut self, mut members: Vec<Member>) {
        members.retain(|member| member.id != self.own_id);
        members.sort_by_key(|member| !member.is_voter);
        self.addresses = members.into_iter().map(|member| member.address).collect();
    }

    fn ask_others_or_publish(&mut self, now: Duration) -> Vec<Command> {
        if self.view.leader.is_none()
            && has_passed(Some(self.last_leader), ASK_INTERVAL, now)
            && has_passed(self.last_asked, ASK_INTERVAL, now)
        {
            self.last_asked = Some(self.asked);
            return self.ask_members(Purpose::Others);
        }
        self.publish(now)
    }

    fn publish(&mut self, now: Duration) -> Vec<Command> {
        if self.view.leader.is_some() {
            self.last_leader = self.asked;
        } else if self.last_asked.is_some()
            && !has_passed(self.last_asked, ASK_INTERVAL, now)
            && self.known.term == self.view.term
        {
            // Between two questions to others, what they said last counts.
            self.view.leader.clone_from(&self.known.leader);
        }
        self.known.clone_from(&self.view);
        let mut commands = Vec::new();
        let leader = self.view.leader_id();
        if self.noted_alone && leader != 0 && leader != self.own_id {
            commands.push(self.note_nodes(false));
        }
        commands.push(Command::Publish {
            view: self.view.clone(),
            // A round may take longer than that, and end with a leader.
            is_lost: self.view.leader.is_none()
                && has_passed(Some(self.last_leader), LOST_AFTER, now),
        });
        commands
    }
}

/// Returns whether more than `interval` has passed since `since`, or nothing has happened yet.
fn has_passed(since: Option<Duration>, interval: Duration, now: Duration) -> bool {
    since.is_none_or(|since| now.saturating_sub(since) > interval)
}

#[cfg(test)]
mod tests;
