//! A node that follows: it applies what the leader sends, forwards requests, and asks for proofs.

use etcd_state::mvcc::Revision;

use super::{
    event::{Asker, Event},
    index::{Index, Row},
    options::Mistake,
    process::{Read, Submission},
    session::{Down, SessionId, Up},
    truth::{Answer, Violation},
    world::World,
};
use crate::{
    Forwarded, Intake, View, coordinator,
    intake::Command,
    proofs::ProofId,
    reads::{AskedProof, Settled},
};

/// Requests in one message.
const REQUESTS: usize = 4;

const READ_PAUSE_US: u64 = 50_000;

/// The usual time in which a file of some bytes is read.
const FILE_US: u64 = 10;

pub struct Following {
    session: SessionId,
    /// None before the leader's welcome.
    intake: Option<Intake<Row>>,
    welcome: (Revision, Revision),
    collected: Vec<Row>,
    forwarded: Forwarded<Submission>,
    asked: AskedProof<Read>,
}

impl Following {
    fn is_loaded(&self) -> bool {
        self.intake.as_ref().is_some_and(Intake::is_loaded)
    }
}

impl World {
    pub fn follow(&mut self, node: usize, address: &str) {
        let Some(leader) = self.node_at(address) else {
            return;
        };
        let session = self.open_session(node, leader);
        self.nodes[node].process.following = Some(Following {
            session,
            intake: None,
            welcome: (Revision::NONE, Revision::NONE),
            collected: Vec::new(),
            forwarded: Forwarded::default(),
            asked: AskedProof::default(),
        });
    }

    fn following(&mut self, node: usize, session: SessionId) -> Option<&mut Following> {
        let following = self.nodes[node].process.following.as_mut();
        following.filter(|following| following.session == session)
    }

    /// The leader has ended the session, or cannot be reached.
    pub fn session_ended(&mut self, node: usize, session: SessionId) {
        if self.following(node, session).is_some() {
            self.end_following(node);
        }
    }

    pub fn end_following(&mut self, node: usize) {
        let process = &mut self.nodes[node].process;
        let Some(following) = process.following.take() else {
            return;
        };
        process.waiting.give_back(following.asked.end());
        let session = following.session;
        // They reached the leader, for all that is known.
        let unknown = following.forwarded.end();
        if self.options.makes(Mistake::ForwardedAgain) {
            process.queue.extend(unknown);
        } else {
            for submission in unknown {
                self.answer_submission(node, submission, Answer::Unknown);
            }
        }
        self.send_up(session, Up::End);
        self.coordinate(node, coordinator::Event::SessionEnded);
    }

    pub fn take_down(&mut self, node: usize, session: SessionId, message: Down) {
        let Some(following) = self.following(node, session) else {
            return;
        };
        match message {
            Down::Welcome {
                beginning,
                revision,
                compact_revision,
            } => {
                following.intake = Some(Intake::new(beginning, revision));
                following.welcome = (revision, compact_revision);
                if following.is_loaded() {
                    self.wake_follower(node);
                }
            }
            Down::Message(message) => {
                let Some(intake) = &mut following.intake else {
                    return self.end_following(node);
                };
                for command in intake.decide(message, |row| row.revision) {
                    self.carry_out_intake(node, session, command);
                }
            }
            Down::End => {}
        }
    }

    fn wake_follower(&mut self, node: usize) {
        self.at_node(node, 1, Event::Forward);
        self.at_node(node, 1, Event::ReadsTurn);
    }

    fn carry_out_intake(
        &mut self,
        node: usize,
        session: SessionId,
        command: Command<Row, u64, (u64, Answer)>,
    ) {
        let process = &mut self.nodes[node].process;
        let Some(following) = &mut process.following else {
            return;
        };
        match command {
            Command::Collect(rows) => following.collected.extend(rows),
            Command::Replace => {
                let rows = std::mem::take(&mut following.collected);
                let (revision, compact_revision) = following.welcome;
                let whole = Index::whole(&rows, compact_revision, revision);
                self.replace(node, whole);
            }
            Command::Apply(rows) => {
                let applied = process.index.apply(&rows);
                match applied {
                    Ok(()) => self.published(node),
                    Err(reason) => self.truth.report(Violation::NotAPrefix { node, reason }),
                }
            }
            Command::ApplySettings(_) => {}
            Command::NoteLoaded => self.wake_follower(node),
            Command::ApplyCompaction(revision) => {
                process.index.compact(revision);
                self.published(node);
            }
            Command::Answer((number, answer)) => {
                if let Some(submission) = following.forwarded.answered(number) {
                    self.answer_submission(node, submission, answer);
                }
                self.at_node(node, 1, Event::Forward);
            }
            Command::SettleReads(number, revision) => self.settle_reads(node, number, revision),
            Command::Confirm(proof) => {
                let delay_us = self.rng.delay_us(FILE_US);
                self.at_node(node, delay_us, Event::Testifies(session, proof));
            }
        }
    }

    fn replace(&mut self, node: usize, whole: Result<Index, String>) {
        match whole {
            Ok(index) => {
                self.nodes[node].process.index = index;
                self.published(node);
            }
            Err(reason) => self.truth.report(Violation::NotAPrefix { node, reason }),
        }
    }

    fn settle_reads(&mut self, node: usize, number: u64, revision: Option<Revision>) {
        let process = &mut self.nodes[node].process;
        let Some(following) = &mut process.following else {
            return;
        };
        let own = process.index.state.revision;
        match following.asked.settle(number, revision.is_some()) {
            Settled::Answer(reads) => {
                if revision.is_some_and(|revision| revision > own) {
                    let reason = format!("a read index above {own}");
                    self.truth.report(Violation::NotAPrefix { node, reason });
                }
                self.finish_reads(node, reads);
            }
            Settled::TryAgain(reads) => {
                self.at_node(node, READ_PAUSE_US, Event::ReadsReturn(reads));
            }
            Settled::Unknown => {}
        }
        self.at_node(node, 1, Event::ReadsTurn);
    }

    /// Asks for a proof, if reads wait and none is under way.
    pub fn follower_reads_turn(&mut self, node: usize) {
        let process = &mut self.nodes[node].process;
        let Some(following) = &mut process.following else {
            return;
        };
        if !following.is_loaded()
            || following.asked.is_under_way()
            || !following.forwarded.has_room()
            || process.waiting.is_empty()
        {
            return;
        }
        // Before the engine is asked: its answer is a proof for these.
        let number = following.asked.begin(process.waiting.take(|_| false));
        let session = following.session;
        self.ask(node, Asker::ReadIndex(session, number));
    }

    pub fn ask_read_index(
        &mut self,
        node: usize,
        session: SessionId,
        number: u64,
        view: Option<View>,
    ) {
        if self.following(node, session).is_some() {
            let view = view.unwrap_or_default();
            self.send_up(session, Up::ReadIndex { number, view });
        }
    }

    /// Names the leader of the newest term in which the engine can have voted: without it, if it has named one in the term that
    /// it has stored.
    pub fn testify(&mut self, node: usize, session: SessionId, proof: ProofId) {
        let named = self.nodes[node].process.named.clone();
        let is_newest = self.nodes[node].engine.term() == named.term;
        let is_believed = is_newest || self.options.makes(Mistake::StoredTermIgnored);
        if named.leader.is_some() && is_believed {
            self.confirm(node, session, proof, Some(named));
        } else {
            self.ask(node, Asker::Confirmation(session, proof));
        }
    }

    pub fn confirm(&mut self, node: usize, session: SessionId, proof: ProofId, view: Option<View>) {
        if self.following(node, session).is_some() {
            let view = view.unwrap_or_default();
            self.send_up(session, Up::Confirmation { proof, view });
        }
    }

    /// Forwards requests that wait.
    pub fn forward(&mut self, node: usize) {
        let process = &mut self.nodes[node].process;
        let Some(following) = &mut process.following else {
            return;
        };
        if !following.is_loaded() || !following.forwarded.has_room() {
            return;
        }
        let count = process.queue.len().min(REQUESTS);
        let taken: Vec<_> = process.queue.drain(..count).collect();
        let mut submissions = Vec::new();
        for submission in taken {
            if self.is_given_up(submission) {
                continue;
            }
            if let Some(following) = &mut self.nodes[node].process.following {
                let message = |number| Some(((number, submission.operation), submission));
                submissions.extend(following.forwarded.forward(message));
            }
        }
        let session = self.nodes[node]
            .process
            .following
            .as_ref()
            .map(|following| following.session);
        if let Some(session) = session
            && !submissions.is_empty()
        {
            self.send_up(session, Up::Submissions(submissions));
        }
        if !self.nodes[node].process.queue.is_empty() {
            self.at_node(node, 100, Event::Forward);
        }
    }
}
