//! A model of the store's writer: one batch at a time, and a look at the table when its outcome is unknown.

use etcd_state::mvcc::Revision;

use super::{
    engine::{Batch, Outcome, What},
    event::Event,
    index::Row,
    options::Mistake,
    process::{Origin, Purpose, Read, Submission},
    truth::{Answer, Kind},
    world::World,
};
use crate::coordinator::{self, Stop};

/// Requests in one batch.
const BATCH: usize = 4;

const RETRY_PAUSE_US: u64 = 200_000;

#[derive(Debug, Default)]
pub struct Writer {
    stops: Option<Stop>,
    in_flight: Option<InFlight>,
}

#[derive(Debug, Clone)]
struct InFlight {
    what: What,
    answers: Vec<(Submission, Answer)>,
}

impl World {
    fn writer(&mut self, node: usize, tenure: u64) -> Option<&mut Writer> {
        self.tenure(node, tenure).map(|tenure| &mut tenure.writer)
    }

    pub fn is_given_up(&self, submission: Submission) -> bool {
        match submission.origin {
            Origin::Client => self.truth.operation(submission.operation).answer.is_some(),
            Origin::Session(session, _) => self
                .sessions
                .get(&session)
                .is_none_or(|session| session.leader_end.is_none()),
        }
    }

    /// Takes requests, if nothing is in flight.
    pub fn writer_turns(&mut self, node: usize, tenure: u64) {
        let Some(writer) = self.writer(node, tenure) else {
            return;
        };
        let (stops, is_busy) = (writer.stops, writer.in_flight.is_some());
        if is_busy {
            return;
        }
        let is_queue_empty = self.nodes[node].process.queue.is_empty();
        match stops {
            Some(Stop::HandOver | Stop::Deposed) => return self.writer_ended(node),
            Some(Stop::Close) if is_queue_empty => return self.writer_ended(node),
            _ => {}
        }
        let state = self.nodes[node].process.index.state;
        let is_compacting =
            state.revision.since(state.compact_revision) > 12 && self.rng.chance(20);
        if is_compacting {
            let what = What::Compact(Revision::new(state.revision.number() - 4));
            return self.send_batch(
                node,
                tenure,
                InFlight {
                    what,
                    answers: Vec::new(),
                },
            );
        }
        if !is_queue_empty {
            self.evaluate(node, tenure, state.revision);
        }
    }

    fn evaluate(&mut self, node: usize, tenure: u64, mut revision: Revision) {
        let (mut rows, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            let Some(submission) = self.nodes[node].process.queue.pop_front() else {
                break;
            };
            if self.is_given_up(submission) {
                continue;
            }
            let operation = submission.operation;
            if let Kind::Write { key } = self.truth.operation(operation).kind {
                revision = revision.next();
                rows.push(Row {
                    revision,
                    key,
                    operation,
                });
            }
            answers.push((submission, Answer::At(revision)));
        }
        if rows.is_empty() {
            self.answer_confirmed(node, tenure, answers);
            return self.at_node(node, 1, Event::WriterTurns { tenure });
        }
        let behind = self.nodes[node].process.index.state.revision;
        let what = What::Batch(Batch { behind, rows });
        self.send_batch(node, tenure, InFlight { what, answers });
    }

    /// Answers requests that wrote nothing, unless another leader may have overtaken this one.
    fn answer_confirmed(&mut self, node: usize, reign: u64, answers: Vec<(Submission, Answer)>) {
        let is_alone = self.nodes[node].process.is_alone(self.now());
        if is_alone || self.options.makes(Mistake::ChecksUnproven) {
            return self.answer_all(node, answers);
        }
        let checks = answers.into_iter().map(|(submission, answer)| Read::Check {
            submission,
            answer,
            reign,
        });
        let checks = checks.collect();
        self.return_reads(node, checks);
    }

    fn answer_all(&mut self, node: usize, answers: Vec<(Submission, Answer)>) {
        for (submission, answer) in answers {
            self.answer_submission(node, submission, answer);
        }
    }

    fn send_batch(&mut self, node: usize, tenure: u64, mut batch: InFlight) {
        if self.options.makes(Mistake::PublishedBeforeCommit) {
            let answers = std::mem::take(&mut batch.answers);
            self.publish(node, &batch.what);
            self.answer_all(node, answers);
        }
        let what = batch.what.clone();
        if let Some(writer) = self.writer(node, tenure) {
            writer.in_flight = Some(batch);
            self.execute(node, what, Purpose::Batch(tenure));
        }
    }

    fn publish(&mut self, node: usize, what: &What) {
        let index = &mut self.nodes[node].process.index;
        match what {
            What::Batch(batch) => {
                let is_new = |row: &&Row| row.revision > index.state.revision;
                let rows: Vec<_> = batch.rows.iter().filter(is_new).copied().collect();
                let _ = index.apply(&rows);
            }
            What::Compact(revision) => index.compact(*revision),
            What::Barrier | What::Fence => {}
        }
        self.published(node);
    }

    pub fn batch_executed(&mut self, node: usize, tenure: u64, outcome: Outcome) {
        let makes_it_again = self.options.makes(Mistake::RetriedBlindly);
        let Some(writer) = self.writer(node, tenure) else {
            return;
        };
        match outcome {
            Outcome::Committed => self.finish(node, tenure),
            // Refused before it was written anywhere.
            Outcome::NotLeader => {
                let answers = writer.in_flight.take().map(|batch| batch.answers);
                self.refuse(node, answers.unwrap_or_default());
                self.writer_ended(node);
            }
            Outcome::Conflict | Outcome::Unknown if makes_it_again => {
                let Some(mut batch) = writer.in_flight.take() else {
                    return;
                };
                if let What::Batch(again) = &mut batch.what {
                    let count = again.rows.len() as i64;
                    let later = |revision: Revision| Revision::new(revision.number() + count);
                    again.behind = later(again.behind);
                    for row in &mut again.rows {
                        row.revision = later(row.revision);
                    }
                    batch.answers.clear();
                }
                self.send_batch(node, tenure, batch);
            }
            Outcome::Conflict | Outcome::Unknown => {
                let queue = std::mem::take(&mut self.nodes[node].process.queue);
                let answers = queue
                    .into_iter()
                    .map(|submission| (submission, Answer::Failed));
                self.refuse(node, answers.collect());
                self.execute(node, What::Fence, Purpose::Recovery(tenure));
            }
        }
    }

    fn finish(&mut self, node: usize, tenure: u64) {
        let batch = self
            .writer(node, tenure)
            .and_then(|writer| writer.in_flight.take());
        if let Some(batch) = batch {
            self.publish(node, &batch.what);
            self.answer_all(node, batch.answers);
        }
        self.writer_turns(node, tenure);
    }

    fn refuse(&mut self, node: usize, answers: Vec<(Submission, Answer)>) {
        for (submission, _) in answers {
            self.answer_submission(node, submission, Answer::Failed);
        }
    }

    pub fn fence_executed(&mut self, node: usize, tenure: u64, outcome: Outcome) {
        if self.writer(node, tenure).is_none() {
            return;
        }
        match outcome {
            Outcome::Committed => {
                let delay_us = self.rng.delay_us(200);
                self.at_node(node, delay_us, Event::ReadBack { tenure });
            }
            Outcome::NotLeader => self.abandon(node),
            Outcome::Conflict | Outcome::Unknown => {
                self.at_node(node, RETRY_PAUSE_US, Event::FenceAgain { tenure });
            }
        }
    }

    pub fn fence_again(&mut self, node: usize, tenure: u64) {
        if self.writer(node, tenure).is_some() {
            self.execute(node, What::Fence, Purpose::Recovery(tenure));
        }
    }

    /// Finds out what became of the batch.
    pub fn read_back(&mut self, node: usize, tenure: u64) {
        let head = self.nodes[node].process.index.state.revision;
        let Some(writer) = self.writer(node, tenure) else {
            return;
        };
        let batch = writer.in_flight.clone();
        let Some((found, compact_revision)) = self.nodes[node].engine.rows_after(head) else {
            return self.abandon(node);
        };
        let (Some(batch), Some(writer)) = (batch, self.writer(node, tenure)) else {
            return;
        };
        let is_written = match &batch.what {
            What::Batch(batch) if batch.rows == found => true,
            What::Compact(revision) if found.is_empty() => compact_revision >= *revision,
            _ if found.is_empty() => false,
            // Another node has led meanwhile.
            _ => return self.abandon(node),
        };
        if is_written {
            return self.finish(node, tenure);
        }
        writer.in_flight = None;
        self.refuse(node, batch.answers);
        self.writer_turns(node, tenure);
    }

    pub fn stop_writing(&mut self, node: usize, stop: Stop) {
        if stop == Stop::Deposed {
            return self.abandon(node);
        }
        let Some(tenure) = &mut self.nodes[node].process.tenure else {
            return;
        };
        tenure.writer.stops = Some(stop);
        let tenure = tenure.id;
        self.at_node(node, 1, Event::WriterTurns { tenure });
    }

    /// Leads no more: what is in flight has an unknown outcome.
    fn abandon(&mut self, node: usize) {
        let tenure = self.nodes[node].process.tenure.as_mut();
        let batch = tenure.and_then(|tenure| tenure.writer.in_flight.take());
        for (submission, _) in batch.into_iter().flat_map(|batch| batch.answers) {
            self.answer_submission(node, submission, Answer::Unknown);
        }
        self.writer_ended(node);
    }

    fn writer_ended(&mut self, node: usize) {
        self.end_tenure(node);
        self.coordinate(node, coordinator::Event::WriterEnded);
    }
}
