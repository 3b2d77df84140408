//! The only writer of the database: takes everything that is queued, evaluates it in order, commits
//! it as one batch, and answers and notifies all who wait. While one batch is committing the next is evaluated.
//!
//! Invariants: the index that is published (`History`) is exactly what is committed; `working` is
//! that plus the batch in flight plus the pending one. A request is answered only after everything
//! that it saw is committed. After a failed commit nothing is assumed: `recovery` reads the table.

mod admission;
mod commit;
pub(super) mod defragment;
mod in_flight;
pub(super) mod leases;
pub(super) mod recovery;
mod turn;

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use etcd_state::{
    auth,
    mvcc::{Commit, Revision},
    requests::{RequestError, evaluate::Working},
    settings::Settings,
};
use stopping::warn;
use telemetry::tracing::Timeline;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use self::in_flight::{Connection, Written};
use super::{
    Pages, Shared,
    admission::Admission,
    batch::Batch,
    command::Submission,
    compaction::{Compactions, Waiting},
    database::{Database, Layout, OpenError},
    purge::Purge,
    reply::{PreparedReply, ReplySender},
};
use crate::store::writer::leases::{CHECKPOINTS_AT_STOP, Expiry};

/// The interval at which leases are checked, as in etcd: a lease outlives its TTL by at most this.
const LEASE_TICK: Duration = Duration::from_millis(500);

/// Requests evaluated between two looks at the commit in flight.
const REQUESTS_PER_TURN: usize = 256;

/// Requests that wait for the same commit, with those that change nothing: their answers are in
/// memory, and the queue counts them no more.
const MAX_ANSWERS: usize = 1024;

/// An observer that is told what happens to the database, in order.
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

/// The answer to a client whose request is evaluated.
pub(super) enum Answer {
    /// Sent once the batch is committed.
    Reply(PreparedReply),
    /// Waits on once the batch is committed: for the history to be dropped from the index.
    Compaction(Waiting),
}

impl Answer {
    fn send(self) {
        match self {
            Self::Reply(reply) => reply.send(),
            Self::Compaction(waiting) => waiting.reply.send(),
        }
    }

    fn refuse(self, error: RequestError) {
        match self {
            Self::Reply(reply) => reply.refuse(error),
            Self::Compaction(waiting) => waiting.reply.refuse(error),
        }
    }

    fn timeline(&self) -> Option<&Timeline> {
        match self {
            Self::Reply(reply) => reply.timeline(),
            Self::Compaction(waiting) => waiting.reply.timeline(),
        }
    }
}

fn refuse(answers: Vec<Answer>, error: RequestError) {
    for answer in answers {
        answer.refuse(error);
    }
}

#[derive(Default)]
pub(super) struct Pending {
    pub batch: Batch,
    pub answers: Vec<Answer>,
    pub wants_pages: Vec<ReplySender<Pages>>,
    pub wants_vacuum: Vec<ReplySender<()>>,
}

impl Pending {
    fn refuse(self, error: RequestError) {
        refuse(self.answers, error);
        for reply in self.wants_pages {
            reply.send(Err(error));
        }
        for reply in self.wants_vacuum {
            reply.send(Err(error));
        }
    }
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: mpsc::Receiver<Submission>,
    pub(super) observer: Box<dyn CommitObserver>,
    pub(super) working: Working,
    pub(super) purge: Purge,
    compactions: Compactions,
    pub(super) pending: Pending,
    /// Requests that were received for the batch after the pending one.
    pub(super) backlog: VecDeque<Submission>,
    pub(super) expiry: Expiry,
    /// The compaction revision, including one that is not committed yet.
    pub(super) compact_revision: Revision,
    /// The settings, including changes that are not committed yet.
    pub(super) settings: Settings,
    /// The revision of users, roles and permissions in `settings`, while authentication is on.
    pub(super) enforced_auth_revision: Option<u64>,
    pub(super) admission: Admission,
    /// That of the database.
    layout: Layout,
    pub(super) is_open: bool,
    pub(super) is_stopping: bool,
}

/// A request to the writer to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Commit the queued requests, and refuse later ones.
    Close,
    /// Commit the received requests, and leave later ones to the next leader.
    HandOver,
    /// This node leads no more.
    Deposed,
}

/// The way in which the writer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was told to, with every request answered.
    Stopped,
    /// This node leads no more.
    Deposed,
}

/// The parts that were lent to the writer, and how it ended.
pub(super) struct Returned {
    pub queue: mpsc::Receiver<Submission>,
    /// Requests that were received but not evaluated.
    pub backlog: VecDeque<Submission>,
    pub observer: Box<dyn CommitObserver>,
    pub ended: Result<Ended, WriterError>,
}

/// The reason why the writer, and with it the server, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    #[error("dqlite did not recover within {0:?}: {1}")]
    EngineLost(Duration, OpenError),
    #[error(
        "somebody else wrote revision {0}: another program has this database open for writing; \
         stop it and start again"
    )]
    ForeignWriter(Revision),
    /// SQLite reports damage. Nothing is written any more.
    #[error("the database is damaged: {0}")]
    Damaged(String),
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Submission>,
        purge: Purge,
        layout: Layout,
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
            purge,
            compactions,
            pending: Pending::default(),
            backlog: VecDeque::new(),
            expiry: Expiry::default(),
            compact_revision,
            enforced_auth_revision: auth::enforced_revision(&settings),
            settings,
            admission,
            layout,
            is_open: true,
            is_stopping: false,
        }
    }

    /// Runs until `stop` says how to end, or this node leads no more.
    pub async fn run(
        mut self,
        database: Database,
        observer: Box<dyn CommitObserver>,
        stop: impl Future<Output = Stop>,
    ) -> Returned {
        self.observer = observer;
        let ended = self.serve(database, pin!(stop)).await;
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
        database: Database,
        mut stop: Pin<&mut impl Future<Output = Stop>>,
    ) -> Result<Ended, WriterError> {
        let mut ticks = tokio::time::interval(LEASE_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = Connection::Idle(database);
        let mut received = Vec::with_capacity(REQUESTS_PER_TURN);
        let database = loop {
            connection = match connection {
                Connection::Idle(database) if self.is_done() => break database,
                going_on => going_on,
            };
            if self.is_open {
                self.expire_leases();
            }
            received.extend(self.backlog.drain(..));
            self.evaluate(&mut received);
            if let Connection::Idle(database) = connection {
                connection = self.next_write(database).await;
                if !self.backlog.is_empty() {
                    continue;
                }
            }
            tokio::select! {
                biased;
                written = connection.written(), if connection.is_writing() => {
                    match self.finish_write(written, &mut stop).await? {
                        ControlFlow::Continue(next) => connection = next,
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
                            self.abandon(connection.into_answers());
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
        };
        self.checkpoint_leases(1, CHECKPOINTS_AT_STOP);
        if let Connection::Writing(mut last) = self.next_write(database).await {
            let Written { outcome, .. } = last.wait().await;
            if let Err(error) = outcome.result {
                warn!(%error, "the remaining TTL of leases was not stored: they will live longer");
            }
        }
        Ok(Ended::Stopped)
    }

    /// Answers all waiting requests: the outcome of a batch in flight is unknown, and whatever was
    /// evaluated on top of it never happens.
    pub(super) fn abandon(&mut self, in_flight: Vec<Answer>) {
        refuse(in_flight, RequestError::LeaderLost);
        std::mem::take(&mut self.pending).refuse(RequestError::LeaderChanged);
    }

    /// Returns whether the next request must wait for the next batch.
    pub(super) fn is_full(&self) -> bool {
        self.pending.batch.is_full()
            || self.pending.answers.len() >= MAX_ANSWERS
            || self.admission.quota.wants_reading()
    }

    fn is_done(&self) -> bool {
        !(self.is_open || self.has_work() || self.compactions.is_running())
    }

    fn has_work(&self) -> bool {
        !self.backlog.is_empty()
            || !self.pending.batch.is_empty()
            || !self.pending.wants_pages.is_empty()
            || !self.pending.wants_vacuum.is_empty()
            || !self.pending.answers.is_empty()
    }
}
