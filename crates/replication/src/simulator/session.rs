//! A session between a follower and the leader: two queues in order, and what the leader's end sends.

use etcd_state::mvcc::Revision;
use std::collections::VecDeque;

use super::{
    event::Event,
    index::Row,
    leading::Target,
    options::Mistake,
    process::{Origin, Submission},
    truth::Answer,
    world::{SLOW_US, World},
};
use crate::{
    Beginning, Feed, Flush, StoreState, View,
    feed::{self, beginning},
    intake, proofs,
    proofs::ProofId,
};

/// Rows in one message: few, so that messages are split.
const ROWS: usize = 3;

/// The time after which a connection that is cut off breaks, in microseconds.
const BREAK_US: u64 = 1_500_000;

const RETRANSMIT_US: u64 = 50_000;

pub type SessionId = u64;

/// The version of the settings: each leader has its own.
pub type Settings = u64;

pub type FromLeader = intake::Message<Row, Settings, (u64, Answer)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToLeader,
    ToFollower,
}

#[derive(Debug)]
pub enum Up {
    Hello(StoreState),
    Submissions(Vec<(u64, usize)>),
    ReadIndex {
        number: u64,
        view: View,
    },
    Confirmation {
        proof: ProofId,
        view: View,
    },
    /// The follower has closed its end: this comes after what it sent before.
    End,
}

#[derive(Debug)]
pub enum Down {
    Welcome {
        beginning: Beginning,
        revision: Revision,
        compact_revision: Revision,
    },
    Message(FromLeader),
    End,
}

pub struct Session {
    pub leader: usize,
    pub follower: usize,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    /// The times when the last messages arrive.
    last_up_us: u64,
    last_down_us: u64,
    /// Nothing that is sent arrives any more.
    is_broken: bool,
    pub leader_end: Option<LeaderEnd>,
}

pub struct LeaderEnd {
    tenure: u64,
    feed: Feed<Settings>,
    /// The rest of the whole store.
    whole: VecDeque<Vec<Row>>,
    flush: Option<(Flush, FromLeader)>,
    /// The message with which the next flush ends.
    last: FromLeader,
    is_behind: bool,
    is_scheduled: bool,
}

impl World {
    /// A follower opens a session.
    pub fn open_session(&mut self, follower: usize, leader: usize) -> SessionId {
        let id = self.next_session;
        self.next_session += 1;
        let session = Session {
            leader,
            follower,
            up: VecDeque::new(),
            down: VecDeque::new(),
            last_up_us: 0,
            last_down_us: 0,
            is_broken: false,
            leader_end: None,
        };
        self.sessions.insert(id, session);
        let hello = self.nodes[follower].process.index.told();
        self.send_up(id, Up::Hello(hello));
        id
    }

    pub fn send_up(&mut self, id: SessionId, message: Up) {
        if let Some(session) = self.open_at(id) {
            session.up.push_back(message);
            self.put_on_wire(id, Direction::ToLeader);
        }
    }

    fn send_down(&mut self, id: SessionId, message: Down) {
        if let Some(session) = self.open_at(id) {
            session.down.push_back(message);
            self.put_on_wire(id, Direction::ToFollower);
        }
    }

    fn open_at(&mut self, id: SessionId) -> Option<&mut Session> {
        let session = self.sessions.get_mut(&id);
        session.filter(|session| !session.is_broken)
    }

    fn put_on_wire(&mut self, id: SessionId, direction: Direction) {
        let (mut delay_us, sent_us) = (self.rng.delay_us(300), self.now_us);
        if self.slow_until_us > sent_us {
            delay_us += self.rng.within(0, SLOW_US);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            // One that is late holds up those behind it.
            let last_us = match direction {
                Direction::ToLeader => &mut session.last_up_us,
                Direction::ToFollower => &mut session.last_down_us,
            };
            *last_us = (*last_us).max(sent_us + delay_us);
            delay_us = *last_us - sent_us;
        }
        self.later(delay_us, Event::Arrives(id, direction, sent_us));
    }

    /// A message has come over the network, unless that is cut.
    pub fn deliver(&mut self, id: SessionId, direction: Direction, sent_us: u64) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (from, to) = match direction {
            Direction::ToLeader => (session.follower, session.leader),
            Direction::ToFollower => (session.leader, session.follower),
        };
        if !self.cut[from][to] {
            if !self.nodes[to].is_up {
                return self.break_session(id);
            }
            return self.at_node(to, 0, Event::SessionArrives(id, direction));
        }
        if self.now_us > sent_us + BREAK_US {
            return self.break_session(id);
        }
        self.later(RETRANSMIT_US, Event::Arrives(id, direction, sent_us));
    }

    /// The connection breaks: both ends learn it, each at its time.
    pub fn break_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.is_broken = true;
        let ends = [session.leader, session.follower];
        session.up.clear();
        session.down.clear();
        for node in ends {
            let delay_us = self.rng.delay_us(2_000);
            self.at_node(node, delay_us, Event::OtherEndGone(id));
        }
    }

    pub fn other_end_gone(&mut self, node: usize, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (leader, follower) = (session.leader, session.follower);
        if leader == node {
            self.drop_leader_end(id);
        }
        if follower == node {
            self.session_ended(node, id);
        }
    }

    fn drop_leader_end(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let leader = session.leader;
        if let Some(end) = session.leader_end.take()
            && let Some(tenure) = self.tenure(leader, end.tenure)
        {
            tenure.sessions.retain(|session| *session != id);
        }
    }

    /// The leader closes its end, and the follower hears of it after what was sent before.
    pub fn close_leader_end(&mut self, id: SessionId) {
        self.drop_leader_end(id);
        self.send_down(id, Down::End);
    }

    pub fn session_arrives(&mut self, node: usize, id: SessionId, direction: Direction) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match direction {
            Direction::ToLeader => {
                if let Some(message) = session.up.pop_front() {
                    self.take_up(node, id, message);
                }
            }
            Direction::ToFollower => match session.down.pop_front() {
                None => {}
                Some(Down::End) => self.session_ended(node, id),
                Some(message) => self.take_down(node, id, message),
            },
        }
    }

    fn take_up(&mut self, node: usize, id: SessionId, message: Up) {
        let tenure = self.nodes[node]
            .process
            .tenure
            .as_ref()
            .map(|tenure| tenure.id);
        let end = self
            .sessions
            .get(&id)
            .and_then(|session| session.leader_end.as_ref());
        let follower = self
            .sessions
            .get(&id)
            .map_or(0, |session| session.follower as u64 + 1);
        match (message, tenure, end.map(|end| end.tenure)) {
            (Up::Hello(hello), Some(tenure), _) => self.welcome(node, id, hello, tenure),
            (Up::Hello(_), None, _) => self.send_down(id, Down::End),
            // Its end is closed.
            (_, _, None) => {}
            (Up::End, ..) => self.drop_leader_end(id),
            (Up::Submissions(submissions), Some(_), Some(_)) => {
                for (number, operation) in submissions {
                    let origin = Origin::Session(id, number);
                    let submission = Submission { origin, operation };
                    self.nodes[node].process.queue.push_back(submission);
                }
                self.wake_queue(node);
            }
            (Up::ReadIndex { number, view }, _, Some(tenure)) => {
                let target = Target::Follower {
                    session: id,
                    number,
                };
                self.begin_proof(node, tenure, target, Some((follower, view)));
            }
            (Up::Confirmation { proof, view }, _, Some(tenure)) => {
                let view = self.seen(node, view);
                let event = proofs::Event::NodeSaid {
                    id: follower,
                    proof,
                    view,
                };
                self.prove(node, tenure, event);
            }
            _ => {}
        }
    }

    fn welcome(&mut self, node: usize, id: SessionId, hello: StoreState, tenure: u64) {
        let index = &self.nodes[node].process.index;
        let own = index.state;
        let mut beginning = beginning(hello, own);
        if self.options.makes(Mistake::CompactionForgotten) && hello.revision > Revision::NONE {
            beginning = Beginning::Continues;
        }
        let continues = beginning == Beginning::Continues;
        let from = if continues { hello } else { own };
        let (revision, compact_revision) = (from.revision, from.compact_revision);
        let rows = if continues {
            Vec::new()
        } else {
            index.versions()
        };
        let end = LeaderEnd {
            tenure,
            feed: Feed::new(revision, compact_revision),
            whole: rows.chunks(ROWS).map(<[Row]>::to_vec).collect(),
            flush: None,
            last: FromLeader::default(),
            is_behind: true,
            is_scheduled: false,
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.leader_end = Some(end);
        }
        if let Some(tenure) = self.tenure(node, tenure) {
            tenure.sessions.push(id);
        }
        self.send_down(
            id,
            Down::Welcome {
                beginning,
                revision,
                compact_revision,
            },
        );
        self.wake_session(id);
    }

    fn leader_end(&mut self, id: SessionId) -> Option<&mut LeaderEnd> {
        self.sessions.get_mut(&id)?.leader_end.as_mut()
    }

    fn wake_session(&mut self, id: SessionId) {
        let delay_us = self.rng.delay_us(30);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let leader = session.leader;
        if let Some(end) = &mut session.leader_end
            && !std::mem::replace(&mut end.is_scheduled, true)
        {
            self.at_node(leader, delay_us, Event::SessionTurns(id));
        }
    }

    pub fn session_is_behind(&mut self, id: SessionId) {
        if let Some(end) = self.leader_end(id) {
            end.is_behind = true;
            self.wake_session(id);
        }
    }

    pub fn answer_session(&mut self, id: SessionId, number: u64, answer: Answer) {
        let overtakes = self.options.makes(Mistake::AnswersOvertakeRows);
        let Some(end) = self.leader_end(id) else {
            return;
        };
        if overtakes {
            let answers = vec![(number, answer)];
            let message = FromLeader {
                answers,
                ..FromLeader::default()
            };
            return self.send_down(id, Down::Message(message));
        }
        end.last.answers.push((number, answer));
        self.session_is_behind(id);
    }

    pub fn answer_read_index(&mut self, id: SessionId, number: u64, revision: Option<Revision>) {
        if let Some(end) = self.leader_end(id) {
            end.last.read_index = Some((number, revision));
            self.session_is_behind(id);
        }
    }

    /// Asks a follower who leads.
    pub fn ask_node(&mut self, id: SessionId, proof: ProofId) {
        let confirm = Some(proof);
        let message = FromLeader {
            confirm,
            ..FromLeader::default()
        };
        self.send_down(id, Down::Message(message));
    }

    /// The leader's end sends one message.
    pub fn session_turns(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let index = &self.nodes[session.leader].process.index;
        let Some(end) = &mut session.leader_end else {
            return;
        };
        end.is_scheduled = false;
        if let Some(rows) = end.whole.pop_front() {
            let message = FromLeader {
                rows,
                ..FromLeader::default()
            };
            self.send_down(id, Down::Message(message));
            return self.wake_session(id);
        }
        if end.flush.is_none() {
            if !std::mem::take(&mut end.is_behind) {
                return;
            }
            let flush = Flush::new(index.state.compact_revision, index.state.revision);
            end.flush = Some((flush, std::mem::take(&mut end.last)));
        }
        let Some((flush, mut last)) = end.flush.take() else {
            return;
        };
        let Some(rows) = index.rows_from(end.feed.next_revision(), ROWS) else {
            // The follower missed a compaction.
            return self.close_leader_end(id);
        };
        let newest = rows.last().map(|row| row.revision);
        let settings = || end.tenure;
        match end
            .feed
            .decide(flush, newest, index.state.revision, settings)
        {
            feed::Command::SendRows { settings } => {
                end.flush = Some((flush, last));
                let message = FromLeader {
                    rows,
                    settings,
                    ..FromLeader::default()
                };
                self.send_down(id, Down::Message(message));
                self.wake_session(id);
            }
            feed::Command::SendLast {
                settings,
                compact_revision,
            } => {
                let is_behind = end.is_behind;
                (last.rows, last.settings, last.compact_revision) =
                    (rows, settings, compact_revision);
                if last != FromLeader::default() {
                    self.send_down(id, Down::Message(last));
                }
                if is_behind {
                    self.wake_session(id);
                }
            }
        }
    }
}
