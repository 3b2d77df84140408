//! The commit of a batch: to the engine, and from there to the clients and observers that wait.

use std::{
    ops::ControlFlow,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use etcd_state::{
    auth::Rules,
    mvcc::{RowId, Tree},
    requests::RequestError,
    settings::Settings,
};
use stopping::warn;
use telemetry::{
    logging::slow,
    tracing::{BatchSize, batch_written},
};
use tokio::time::timeout;

use super::{
    Answer, Ended, REQUESTS_PER_TURN, Stop, Writer, WriterError,
    in_flight::{Connection, Outcome, Written, send, timelines},
};
use crate::store::{
    batch::{Record, Write},
    compaction::Waiting,
    database::Database,
    writer::recovery::Recovery,
};

/// Requests of a batch from which on the next one waits for their clients. With fewer, the wait is
/// longer than what it saves.
const GATHER_MIN_ANSWERS: usize = 8;

/// The number of turns in which everything else that is ready runs meanwhile. Measured: 32 save a tenth more CPU than 8 with
/// 64 and 256 clients, and 64 no more.
const GATHER_TURNS: usize = 32;

/// The longest time of it, where much else runs in each turn.
const GATHER_TIMEOUT: Duration = Duration::from_millis(5);

/// The longest wait for a proof that this node still leads, before a request that changed nothing
/// is answered.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

impl Writer {
    /// Sends the pending batch, or a step of the purge, to the engine, if there is something to send.
    pub(super) async fn next_write(&mut self, mut database: Database) -> Connection {
        if self.admission.quota.wants_reading() && self.pending.batch.is_empty() {
            self.read_quota(&mut database).await;
        }
        let is_purging = self.is_open && (!self.has_work() || self.purge.is_due());
        if is_purging && let Some(step) = self.purge.next_step() {
            let tree = self.shared.history.head().tree.clone();
            self.admission.quota.outdate();
            return send(database, Write::Purge(step), tree, Vec::new()).await;
        }
        if !self.has_work() {
            return Connection::Idle(database);
        }
        if !self.pending.wants_pages.is_empty() {
            self.answer_pages(&mut database).await;
        }
        if self.pending.batch.is_empty()
            && let Some(answers) = self.begin_vacuum(&mut database).await
        {
            let tree = self.shared.history.head().tree.clone();
            return send(database, Write::Vacuum, tree, answers).await;
        }
        let batch = std::mem::take(&mut self.pending.batch);
        let answers = std::mem::take(&mut self.pending.answers);
        if batch.is_empty() {
            // Nothing that these requests saw is still uncommitted.
            self.answer_confirmed(answers);
            return Connection::Idle(database);
        }
        let tree = self.working.tree.clone();
        send(database, Write::Batch(batch), tree, answers).await
    }

    /// Publishes what was written. With few clients the next batch is sent before anybody is told, so
    /// that the engine never waits. Breaks when the writer is to stop, and the engine does not answer.
    pub(super) async fn finish_write(
        &mut self,
        written: Written,
        stop: &mut Pin<&mut impl Future<Output = Stop>>,
    ) -> Result<ControlFlow<Ended, Connection>, WriterError> {
        let Written {
            outcome,
            tree,
            answers,
        } = written;
        let Outcome {
            database,
            write,
            result,
            took,
        } = outcome;
        let size = BatchSize {
            requests: answers.len(),
            rows: write.rows(),
            bytes: write.bytes(),
        };
        batch_written(timelines(&answers), size, took, result.is_ok());
        slow::commit(took, size);
        let mut done = match result {
            Ok(done) => done,
            Err(error) => {
                drop(database);
                return match self.recover(write, tree, answers, error, stop).await? {
                    Recovery::Done(database) => {
                        Ok(ControlFlow::Continue(Connection::Idle(*database)))
                    }
                    Recovery::Stopped => Ok(ControlFlow::Break(Ended::Stopped)),
                    Recovery::Deposed => Ok(ControlFlow::Break(Ended::Deposed)),
                };
            }
        };
        let metrics = &self.shared.metrics;
        metrics.committed(&write, answers.len(), done.deleted, took);
        // Before it is published: followers are told then.
        self.keep_packed(&write, std::mem::take(&mut done.packed));
        if let Write::Purge(step) = &write {
            self.purge.done(step, done, took);
        }
        self.note_purge();
        self.publish(&write, tree);
        let is_busy = answers.len() >= GATHER_MIN_ANSWERS;
        let asks_engine =
            !self.pending.wants_pages.is_empty() || !self.pending.wants_vacuum.is_empty();
        if !is_busy && !asks_engine {
            let next = self.next_write(database).await;
            self.answer(answers);
            // Two tasks that are woken at once wake another thread as well, which the few clients would wait for.
            tokio::task::yield_now().await;
            self.notify(&write);
            return Ok(ControlFlow::Continue(next));
        }
        let expected = self.pending.answers.len() + answers.len();
        // The engine is asked something else first, and may take its time.
        self.tell(&write, answers);
        if is_busy {
            self.gather(expected).await;
        }
        Ok(ControlFlow::Continue(self.next_write(database).await))
    }

    /// Lets the clients that were just answered come back with their next requests, so that these go
    /// into the next batch and not into the one after it: a batch costs the engine about the same
    /// whatever its size. Ends when `expected` requests wait, or everything else that is ready has
    /// run some times; no timer is fine enough.
    async fn gather(&mut self, expected: usize) {
        let mut received = Vec::new();
        let started = Instant::now();
        for _ in 0..GATHER_TURNS {
            if self.is_full()
                || self.pending.answers.len() >= expected
                || started.elapsed() >= GATHER_TIMEOUT
            {
                return;
            }
            tokio::task::yield_now().await;
            while received.len() < REQUESTS_PER_TURN
                && let Ok(submission) = self.queue.try_recv()
            {
                received.push(submission);
            }
            self.evaluate(&mut received);
        }
    }

    pub(in crate::store) fn tell(&mut self, write: &Write, answers: Vec<Answer>) {
        self.answer(answers);
        self.notify(write);
    }

    fn notify(&mut self, write: &Write) {
        if let Write::Batch(batch) = write
            && !batch.commits.is_empty()
        {
            self.observer.committed(&batch.commits);
        }
    }

    /// Answers requests that wrote nothing, unless another leader may have overtaken this one.
    fn answer_confirmed(&mut self, answers: Vec<Answer>) {
        if self.shared.cluster.is_alone() {
            return self.answer(answers);
        }
        let shared = self.shared.clone();
        // Another leader may have committed something between this time of leading and the next one.
        let reign = shared.cluster.reign();
        tokio::spawn(async move {
            let confirmed = timeout(CONFIRM_TIMEOUT, shared.cluster.confirm()).await;
            let is_leading = matches!(confirmed, Ok(Ok(())))
                && reign.is_some()
                && shared.cluster.reign() == reign;
            for answer in answers {
                if is_leading {
                    answer.send();
                } else {
                    answer.refuse(RequestError::LeaderChanged);
                }
            }
        });
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            match answer {
                Answer::Reply(reply) => reply.send(),
                Answer::Compaction(waiting) => self.compactions.wait(waiting),
            }
        }
    }

    fn keep_packed(&self, write: &Write, packed: Vec<Bytes>) {
        if let Write::Batch(batch) = write
            && (!self.shared.cluster.is_single() || self.shared.recent_batches.is_held())
        {
            self.shared.recent_batches.push(batch, packed);
        }
    }

    fn note_purge(&self) {
        let purge_rows = &self.shared.metrics.purge_rows;
        purge_rows.store(self.purge.pending_rows(), Ordering::Relaxed);
    }

    pub(super) fn finish_compaction(&mut self, rows: Vec<RowId>, waiting: Vec<Waiting>) {
        self.purge.add(rows);
        self.purge
            .merge_up_to(self.shared.history.compact_revision());
        self.note_purge();
        for Waiting {
            is_physical, reply, ..
        } in waiting
        {
            if is_physical {
                self.purge.wait(reply);
            } else {
                reply.send();
            }
        }
    }

    /// Makes what is committed readable.
    pub(in crate::store) fn publish(&mut self, write: &Write, tree: Tree) {
        let Write::Batch(batch) = write else {
            return;
        };
        // Before the keys that may have them.
        self.shared.granted_leases.push(&batch.records);
        // Rules before what was written under them: see `KvService::read`.
        let mut settings: Option<Settings> = None;
        for record in &batch.records {
            if let Record::Setting(change) = record {
                settings
                    .get_or_insert_with(|| Settings::clone(&self.shared.settings.load()))
                    .apply(change.clone());
            }
        }
        if let Some(settings) = settings {
            self.shared.rules.store(Arc::new(Rules::new(&settings)));
            self.shared.settings.store(Arc::new(settings));
        }
        if !batch.commits.is_empty() {
            self.shared.history.append(&batch.commits, tree);
        }
        for record in &batch.records {
            if let Record::Compacted { revision } = record {
                self.compactions.start(*revision);
            }
        }
        self.shared.published.send_replace(());
    }

    async fn answer_pages(&mut self, database: &mut Database) {
        let pages = database.pages().await.map_err(|error| {
            warn!(%error, "cannot read the size of the database");
            RequestError::TimedOut
        });
        for reply in self.pending.wants_pages.drain(..) {
            reply.send(pages);
        }
    }
}
