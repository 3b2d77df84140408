//! The only writer of the database: takes everything that is queued, evaluates it in order, commits
//! it as one batch, and tells everybody. While one batch is committing the next is evaluated.
//!
//! Invariants: the index that is published (`History`) is exactly what is committed; `working` is
//! that plus the batch in flight plus the pending one. A request is answered only after everything
//! that it saw is committed. After a failed commit nothing is assumed: `recovery` reads the table.

use std::{
    collections::VecDeque,
    future::poll_fn,
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, timeout},
};
use tracing::warn;

use super::{
    RequestError, Shared,
    admission::{Admission, Decision},
    batch::{Batch, Record},
    command::{Command, Reply, ReplySender, Submission},
    compaction::{Compactions, Waiting},
    database::{Database, OpenError},
    evaluate::{Evaluation, Working},
    leases::{CHECKPOINTS_AT_STOP, Expiry},
    purge::{Purge, Step},
    recovery::Recovery,
};
use crate::{
    auth::{self, Rules},
    lease::LeaseTable,
    mvcc::{Commit, Revision, RowId, Tree},
    ops::{
        logging::slow,
        tracing::{BatchFacts, Trail, batch_sent, batch_written},
    },
    settings::{self, SettingChange, Settings, Space},
};

/// How often leases are looked at, as in etcd: a lease outlives its TTL by at most this.
const LEASE_TICK: Duration = Duration::from_millis(500);

/// Requests evaluated between two looks at the commit in flight.
const REQUESTS_PER_TURN: usize = 256;

/// Requests that wait for the same commit, with those that change nothing: their answers are in
/// memory, and the queue counts them no more.
const MAX_ANSWERS: usize = 1024;

/// Requests of a batch from which on the next one waits for their clients. With fewer, the wait is
/// longer than what it saves.
const GATHER_MIN_ANSWERS: usize = 8;

/// How often everything else that is ready runs meanwhile. Measured: 2 save half of what 6 to 20 do.
const GATHER_TURNS: usize = 8;

/// How long to wait for a proof that this node leads still, before a request that changed nothing is
/// answered.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

/// Told what happens to the database, in order.
pub trait CommitObserver: Send + Sync {
    /// The commits of a batch, which became readable.
    fn committed(&mut self, commits: &[Arc<Commit>]);

    /// The engine has been unusable for a moment: nothing is committed until further notice.
    fn engine_lost(&mut self) {}
}

impl<F: FnMut(&[Arc<Commit>]) + Send + Sync> CommitObserver for F {
    fn committed(&mut self, commits: &[Arc<Commit>]) {
        self(commits);
    }
}

/// What to tell a client once its batch is committed.
pub(super) struct Answer {
    pub reply: ReplySender,
    pub result: Result<Reply, RequestError>,
    pub when: When,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Committed,
    /// Also dropped from the index, and if `is_physical` the rows deleted.
    Compacted {
        revision: Revision,
        is_physical: bool,
    },
}

type Writing = Pin<Box<dyn Future<Output = Written> + Send>>;

struct Written {
    database: Database,
    batch: Batch,
    /// With the number of rows that a sweep deleted.
    result: Result<u64, dqlite::client::Error>,
    took: Duration,
}

/// A batch on its way to the disk.
struct InFlight {
    writing: Writing,
    /// Set if the first poll already finished it.
    written: Option<Written>,
    /// The state that it leads to.
    tree: Tree,
    answers: Vec<Answer>,
}

impl InFlight {
    /// Sends the batch before it returns; the answer of the engine is awaited by `wait`.
    async fn start(mut database: Database, batch: Batch, tree: Tree, answers: Vec<Answer>) -> Self {
        let mut writing: Writing = Box::pin(async move {
            let started = Instant::now();
            let result = database.write(&batch).await;
            Written {
                database,
                batch,
                result,
                took: started.elapsed(),
            }
        });
        batch_sent(trails(&answers));
        let written = poll_fn(|context| match writing.as_mut().poll(context) {
            Poll::Ready(written) => Poll::Ready(Some(written)),
            Poll::Pending => Poll::Ready(None),
        });
        let written = written.await;
        Self {
            writing,
            written,
            tree,
            answers,
        }
    }

    async fn wait(&mut self) -> Written {
        match self.written.take() {
            Some(written) => written,
            None => self.writing.as_mut().await,
        }
    }
}

#[derive(Default)]
pub(super) struct Pending {
    pub batch: Batch,
    pub answers: Vec<Answer>,
    pub wants_pages: Vec<ReplySender>,
    pub wants_vacuum: Vec<ReplySender>,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: mpsc::Receiver<Submission>,
    pub(super) observer: Box<dyn CommitObserver>,
    pub(super) working: Working,
    pub(super) database: Option<Database>,
    pub(super) purge: Purge,
    compactions: Compactions,
    pub(super) pending: Pending,
    /// Received, but for the batch after the pending one.
    pub(super) backlog: VecDeque<Submission>,
    pub(super) expiry: Expiry,
    /// With what is not committed yet.
    pub(super) compact_revision: Revision,
    /// With what is not committed yet.
    pub(super) settings: Settings,
    pub(super) admission: Admission,
    pub(super) is_open: bool,
    pub(super) is_stopping: bool,
}

/// What the writer is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Commit what is queued, and refuse what comes.
    Close,
    /// Commit what was received, and leave what comes to the next leader.
    HandOver,
    /// This node leads no more.
    Deposed,
}

/// How the writer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was told to, with everything answered.
    Stopped,
    /// This node leads no more.
    Deposed,
}

/// What the writer was lent, and how it ended.
pub(super) struct Returned {
    pub queue: mpsc::Receiver<Submission>,
    /// Received, but not evaluated.
    pub backlog: VecDeque<Submission>,
    pub observer: Box<dyn CommitObserver>,
    pub ended: Result<Ended, WriterError>,
}

/// Why the writer, and with it the server, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    #[error("dqlite did not recover within {0:?}: {1}")]
    EngineLost(Duration, OpenError),
    #[error(
        "somebody else wrote revision {0}: another program has this database open for writing; \
         stop it and start again"
    )]
    ForeignWriter(Revision),
}

fn trails(answers: &[Answer]) -> impl Iterator<Item = &Trail> + Clone {
    answers.iter().filter_map(|answer| answer.reply.trail())
}

async fn wait(in_flight: &mut Option<InFlight>) -> Written {
    match in_flight {
        Some(in_flight) => in_flight.wait().await,
        None => std::future::pending().await,
    }
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Submission>,
        database: Database,
        purge: Purge,
    ) -> Self {
        let head = shared.history.head();
        let working = Working {
            tree: head.tree.clone(),
            revision: head.revision,
        };
        let compact_revision = shared.history.compact_revision();
        let settings = Settings::clone(&shared.settings.load());
        let admission = Admission::new(shared.quota, &settings);
        let compactions = Compactions::new(shared.history.clone());
        Self {
            shared,
            queue,
            observer: Box::new(|_: &[Arc<Commit>]| {}),
            working,
            database: Some(database),
            purge,
            compactions,
            pending: Pending::default(),
            backlog: VecDeque::new(),
            expiry: Expiry::default(),
            compact_revision,
            settings,
            admission,
            is_open: true,
            is_stopping: false,
        }
    }

    /// Runs until `stop` says how to end, or this node leads no more.
    pub async fn run(
        mut self,
        observer: Box<dyn CommitObserver>,
        stop: impl Future<Output = Stop>,
    ) -> Returned {
        self.observer = observer;
        let ended = self.serve(pin!(stop)).await;
        // Nobody waits for the rows any more: whoever does is told that the server stopped.
        self.compactions.join().await;
        Returned {
            queue: self.queue,
            backlog: self.backlog,
            observer: self.observer,
            ended,
        }
    }

    async fn serve(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = Stop>>,
    ) -> Result<Ended, WriterError> {
        let mut ticks = tokio::time::interval(LEASE_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_flight: Option<InFlight> = None;
        let mut received = Vec::with_capacity(REQUESTS_PER_TURN);
        while self.is_open
            || in_flight.is_some()
            || self.has_work()
            || self.compactions.is_running()
        {
            if self.is_open {
                self.expire_leases();
            }
            received.extend(self.backlog.drain(..));
            self.evaluate(&mut received);
            if in_flight.is_none() {
                in_flight = self.next_write().await;
                if !self.backlog.is_empty() {
                    continue;
                }
            }
            tokio::select! {
                biased;
                written = wait(&mut in_flight), if in_flight.is_some() => {
                    let InFlight { tree, answers, .. } = in_flight.take().expect("just written");
                    match self.finish_write(written, tree, answers, &mut stop).await? {
                        ControlFlow::Continue(next) => in_flight = next,
                        ControlFlow::Break(ended) => return Ok(ended),
                    }
                }
                // Before the queue, which may never be empty.
                how = &mut stop, if !self.is_stopping => {
                    self.is_stopping = true;
                    match how {
                        Stop::Close => self.queue.close(),
                        Stop::HandOver => self.is_open = false,
                        Stop::Deposed => {
                            self.abandon(in_flight.map(|in_flight| in_flight.answers));
                            return Ok(Ended::Deposed);
                        }
                    }
                }
                _ = ticks.tick(), if self.is_open => self.tend_leases(),
                (rows, waiting) = self.compactions.finished(), if self.compactions.is_running() => {
                    self.finish_compaction(rows, waiting);
                    self.shared.published.send_replace(());
                }
                count = self.queue.recv_many(&mut received, REQUESTS_PER_TURN),
                    if self.is_open && self.backlog.is_empty() && !self.is_full() =>
                {
                    self.is_open = count > 0;
                    self.evaluate(&mut received);
                }
                else => {}
            }
        }
        self.checkpoint_leases(1, CHECKPOINTS_AT_STOP);
        if let Some(mut last) = self.next_write().await {
            let Written { result, .. } = last.wait().await;
            if let Err(error) = result {
                warn!(%error, "the remaining TTL of leases was not stored: they will live longer");
            }
        }
        Ok(Ended::Stopped)
    }

    /// Nobody knows what becomes of a batch that is on its way, and what was evaluated on top of it
    /// never happens.
    pub(super) fn abandon(&mut self, in_flight: Option<Vec<Answer>>) {
        let Pending {
            answers,
            wants_pages,
            wants_vacuum,
            ..
        } = std::mem::take(&mut self.pending);
        for answer in in_flight.into_iter().flatten() {
            let _ = answer.reply.send(Err(RequestError::LeaderLost));
        }
        let later = answers.into_iter().map(|answer| answer.reply);
        for reply in later.chain(wants_pages).chain(wants_vacuum) {
            let _ = reply.send(Err(RequestError::LeaderChanged));
        }
    }

    /// Whether the next request must wait for the next batch.
    pub(super) fn is_full(&self) -> bool {
        self.pending.batch.is_full()
            || self.pending.answers.len() >= MAX_ANSWERS
            || self.admission.quota.wants_reading()
    }

    fn has_work(&self) -> bool {
        !self.backlog.is_empty()
            || !self.pending.batch.is_empty()
            || !self.pending.wants_pages.is_empty()
            || !self.pending.wants_vacuum.is_empty()
            || !self.pending.answers.is_empty()
    }

    /// Sends the pending batch, or a step of the purge, to the engine.
    async fn next_write(&mut self) -> Option<InFlight> {
        if self.admission.quota.wants_reading() && self.pending.batch.is_empty() {
            let mut database = self.database.take()?;
            self.read_quota(&mut database).await;
            self.database = Some(database);
        }
        let is_purging = self.is_open && (!self.has_work() || self.purge.is_due());
        if is_purging && let Some(step) = self.purge.next_step() {
            let batch = match step {
                Step::Delete(rows) => Batch::purge(rows),
                Step::Sweep(step) => Batch::sweep(step),
            };
            let database = self.database.take()?;
            let tree = self.shared.history.head().tree.clone();
            self.admission.quota.outdate();
            return Some(InFlight::start(database, batch, tree, Vec::new()).await);
        }
        if !self.has_work() {
            return None;
        }
        let mut database = self.database.take()?;
        if !self.pending.wants_pages.is_empty() {
            self.answer_pages(&mut database).await;
        }
        if self.pending.batch.is_empty()
            && let Some(answers) = self.begin_vacuum(&mut database).await
        {
            let tree = self.shared.history.head().tree.clone();
            return Some(InFlight::start(database, Batch::vacuum(), tree, answers).await);
        }
        let batch = std::mem::take(&mut self.pending.batch);
        let answers = std::mem::take(&mut self.pending.answers);
        if batch.is_empty() {
            // Nothing that these requests saw is still uncommitted.
            self.database = Some(database);
            self.answer_confirmed(answers);
            return None;
        }
        Some(InFlight::start(database, batch, self.working.tree.clone(), answers).await)
    }

    /// Publishes what was written. With few clients the next batch is sent before anybody is told, so
    /// that the engine never waits. Breaks when the writer is to stop, and the engine does not answer.
    async fn finish_write(
        &mut self,
        written: Written,
        tree: Tree,
        answers: Vec<Answer>,
        stop: &mut Pin<&mut impl Future<Output = Stop>>,
    ) -> Result<ControlFlow<Ended, Option<InFlight>>, WriterError> {
        let Written {
            database,
            batch,
            result,
            took,
        } = written;
        let facts = BatchFacts {
            requests: answers.len(),
            rows: batch.rows(),
            bytes: batch.bytes(),
        };
        batch_written(trails(&answers), facts, took, result.is_ok());
        slow::commit(took, facts);
        let swept = match result {
            Ok(swept) => swept,
            Err(error) => {
                drop(database);
                return match self.recover(batch, tree, answers, error, stop).await? {
                    Recovery::Done => Ok(ControlFlow::Continue(None)),
                    Recovery::Stopped => Ok(ControlFlow::Break(Ended::Stopped)),
                    Recovery::Deposed => Ok(ControlFlow::Break(Ended::Deposed)),
                };
            }
        };
        self.database = Some(database);
        let metrics = &self.shared.metrics;
        metrics.committed(&batch, answers.len(), swept, took);
        if !batch.purge.is_empty() {
            self.purge.finished(took);
        }
        if let Some(step) = &batch.sweep {
            self.purge.swept(step, swept, took);
        }
        self.note_purge();
        self.publish(&batch, tree);
        let is_busy = answers.len() >= GATHER_MIN_ANSWERS;
        let asks_engine =
            !self.pending.wants_pages.is_empty() || !self.pending.wants_vacuum.is_empty();
        if !is_busy && !asks_engine {
            let next = self.next_write().await;
            self.tell(batch, answers);
            return Ok(ControlFlow::Continue(next));
        }
        let expected = self.pending.answers.len() + answers.len();
        // The engine is asked something else first, and may take its time.
        self.tell(batch, answers);
        if is_busy {
            self.gather(expected).await;
        }
        Ok(ControlFlow::Continue(self.next_write().await))
    }

    /// Lets the clients that were just answered come back with their next requests, so that these go
    /// into the next batch and not into the one after it: a batch costs the engine about the same
    /// whatever its size. Ends when `expected` requests wait, or everything else that is ready has
    /// run some times; no timer is fine enough.
    async fn gather(&mut self, expected: usize) {
        let mut received = Vec::new();
        for _ in 0..GATHER_TURNS {
            if self.is_full() || self.pending.answers.len() >= expected {
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

    pub(super) fn tell(&mut self, batch: Batch, answers: Vec<Answer>) {
        self.answer(answers);
        if !batch.commits.is_empty() {
            self.observer.committed(&batch.commits);
        }
    }

    /// Answers what nothing was written for, which another leader may have overtaken.
    fn answer_confirmed(&mut self, answers: Vec<Answer>) {
        if self.shared.cluster.is_alone() {
            return self.answer(answers);
        }
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let confirmed = timeout(CONFIRM_TIMEOUT, shared.cluster.confirm()).await;
            let is_leading = matches!(confirmed, Ok(Ok(()))) && shared.cluster.leads();
            for Answer { reply, result, .. } in answers {
                let _ = reply.send(if is_leading {
                    result
                } else {
                    Err(RequestError::LeaderChanged)
                });
            }
        });
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        for Answer {
            reply,
            result,
            when,
        } in answers
        {
            match when {
                // The client may have gone.
                When::Committed => _ = reply.send(result),
                When::Compacted {
                    revision,
                    is_physical,
                } => {
                    self.compactions.wait(Waiting {
                        revision,
                        is_physical,
                        reply,
                    });
                }
            }
        }
    }

    fn note_purge(&self) {
        let purge_rows = &self.shared.metrics.purge_rows;
        purge_rows.store(self.purge.pending_rows(), Ordering::Relaxed);
    }

    fn finish_compaction(&mut self, rows: Vec<RowId>, waiting: Vec<Waiting>) {
        self.purge.add(rows);
        self.note_purge();
        for Waiting {
            is_physical, reply, ..
        } in waiting
        {
            if is_physical {
                self.purge.wait(reply);
            } else {
                let _ = reply.send(Ok(Reply::Compacted));
            }
        }
    }

    /// Makes a committed batch readable.
    pub(super) fn publish(&mut self, batch: &Batch, tree: Tree) {
        if !batch.commits.is_empty() {
            self.shared.history.append(&batch.commits, tree);
        }
        let mut settings: Option<Settings> = None;
        for record in &batch.records {
            match record {
                Record::Compacted { revision } => self.compactions.start(*revision),
                Record::Setting(change) => settings
                    .get_or_insert_with(|| Settings::clone(&self.shared.settings.load()))
                    .apply(change.clone()),
                _ => {}
            }
        }
        if let Some(settings) = settings {
            self.shared.rules.store(Arc::new(Rules::new(&settings)));
            self.shared.settings.store(Arc::new(settings));
        }
        self.shared.published.send_replace(());
    }

    fn evaluate(&mut self, received: &mut Vec<Submission>) {
        if received.is_empty() {
            return;
        }
        self.expiry.request_came();
        let shared = self.shared.clone();
        let mut leases = shared.leases();
        let mut received = received.drain(..);
        let mut from = std::time::Instant::now();
        while !self.is_full()
            && let Some(submission) = received.next()
        {
            let is_disk_low = shared.is_disk_low.load(Ordering::Relaxed);
            let decision = self.admission.decide(&submission.command, is_disk_low);
            if decision == Decision::Wait {
                self.backlog.push_back(submission);
                break;
            }
            let Submission {
                command,
                reply,
                weight_bytes,
            } = submission;
            shared
                .queued_bytes
                .fetch_sub(weight_bytes, Ordering::Relaxed);
            if reply.is_closed() {
                // Its client has given up: after a stall there may be thousands of these.
                continue;
            }
            let refusal = match decision {
                Decision::Take | Decision::Wait => None,
                Decision::Refuse(error) => Some(error),
                Decision::QuotaExceeded => {
                    self.raise_no_space();
                    Some(RequestError::NoSpace)
                }
            };
            if let Some(error) = refusal {
                shared.metrics.refused(&error);
                self.pending.answers.push(Answer {
                    reply,
                    result: Err(error),
                    when: When::Committed,
                });
                continue;
            }
            match command {
                Command::Pages => self.pending.wants_pages.push(reply),
                Command::Defragment => self.pending.wants_vacuum.push(reply),
                Command::Compact { revision, physical } => {
                    let result = self.compact(revision);
                    let when = match result {
                        Ok(_) => When::Compacted {
                            revision,
                            is_physical: physical,
                        },
                        Err(_) => When::Committed,
                    };
                    self.pending.answers.push(Answer {
                        reply,
                        result,
                        when,
                    });
                }
                command => {
                    let result = self.evaluate_one(command, &mut leases);
                    if let Some(trail) = reply.trail() {
                        let now = std::time::Instant::now();
                        trail.evaluated(from, now);
                        from = now;
                    }
                    self.pending.answers.push(Answer {
                        reply,
                        result,
                        when: When::Committed,
                    });
                }
            }
        }
        self.backlog.extend(received);
    }

    fn evaluate_one(
        &mut self,
        command: Command,
        leases: &mut LeaseTable,
    ) -> Result<Reply, RequestError> {
        match command {
            Command::Put(request) => self.change(leases, |evaluation| {
                Ok(Reply::Put(evaluation.put(&request)?))
            }),
            Command::DeleteRange(request) => self.change(leases, |evaluation| {
                Ok(Reply::DeleteRange(evaluation.delete_range(&request)?))
            }),
            Command::Txn(request) => self.change(leases, |evaluation| {
                Ok(Reply::Txn(evaluation.txn(&request)?))
            }),
            Command::LeaseGrant { id, ttl_s } => self.grant(leases, id, ttl_s),
            Command::LeaseRevoke { id } => self.revoke(leases, id),
            Command::LeaseExpire { id } => {
                if self.admission.is_corrupt() {
                    // The lease stays until the alarm is lowered.
                    return Err(RequestError::Corrupt);
                }
                self.expire(leases, id);
                Ok(Reply::LeaseRevoked)
            }
            Command::LeaseKeepAlive { id } => Ok(Reply::LeaseKept(self.keep_alive(leases, id)?)),
            Command::LeaseRenewed { id, ttl_s } => {
                if leases.contains(id) {
                    leases.checkpoint(id, ttl_s);
                    self.record(Record::LeaseCheckpoint {
                        id,
                        remaining_s: ttl_s,
                    });
                }
                Ok(Reply::LeaseRenewed)
            }
            Command::LeaseTimeToLive { id, with_keys } => Ok(Reply::LeaseTimeToLive(leases.view(
                id,
                with_keys,
                self.shared.now_ms(),
            ))),
            Command::Alarm(request) => {
                let (change, alarms) = settings::change_alarm(&self.settings, &request);
                change.into_iter().for_each(|change| self.set(change));
                Ok(Reply::Alarm(alarms))
            }
            Command::Auth(change) => {
                for change in auth::change(&self.settings, &change)? {
                    self.set(change);
                }
                Ok(Reply::AuthChanged)
            }
            Command::LeaseList => Ok(Reply::LeaseList(leases.ids())),
            Command::Copy => Ok(Reply::Copy {
                revision: self.working.revision,
                leases: leases.copies(self.shared.now_ms()),
                settings: self.settings.clone(),
            }),
            Command::Compact { .. } | Command::Pages | Command::Defragment => {
                unreachable!("handled by the caller")
            }
        }
    }

    pub(super) fn change(
        &mut self,
        leases: &mut LeaseTable,
        evaluate: impl FnOnce(&mut Evaluation<'_>) -> Result<Reply, RequestError>,
    ) -> Result<Reply, RequestError> {
        let mut evaluation = Evaluation::new(&mut self.working, leases, &self.shared.history);
        let reply = evaluate(&mut evaluation);
        self.shared.metrics.evaluated(evaluation.operations());
        if let Some(commit) = evaluation.finish() {
            let batch = &mut self.pending.batch;
            let (rows, bytes) = (batch.rows(), batch.bytes());
            batch.push(commit);
            self.admission
                .quota
                .charge(batch.rows() - rows, batch.bytes() - bytes);
        }
        reply
    }

    fn compact(&mut self, revision: Revision) -> Result<Reply, RequestError> {
        if revision <= self.compact_revision {
            return Err(RequestError::Compacted);
        }
        if revision > self.working.revision {
            return Err(RequestError::FutureRevision);
        }
        self.compact_revision = revision;
        self.record(Record::Compacted { revision });
        Ok(Reply::Compacted)
    }

    /// Changes a setting with the batch.
    pub(super) fn set(&mut self, change: SettingChange) {
        self.settings.apply(change.clone());
        if change.space == Space::Alarm {
            self.admission.note_alarms(&self.settings);
        }
        self.record(Record::Setting(change));
    }

    pub(super) fn record(&mut self, record: Record) {
        self.admission.quota.charge(1, 0);
        self.pending.batch.records.push(record);
    }

    async fn answer_pages(&mut self, database: &mut Database) {
        let pages = database.pages().await.map_err(|error| {
            warn!(%error, "cannot read the size of the database");
            RequestError::TimedOut
        });
        for reply in self.pending.wants_pages.drain(..) {
            let _ = reply.send(pages.map(Reply::Pages));
        }
    }
}
