//! The index of a node through its changes of role: the leader writes, a follower applies what the
//! leader wrote, and the index only ever grows by what is committed.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use etcd_state::{
    auth::Rules,
    mvcc::{Commit, Replay, ReplayError, Revision, RowId},
    requests::RequestError,
    settings::Settings,
};
use stopping::warn;
use tokio::sync::mpsc;
use tracing::info;

use super::{
    OpenError, Shared,
    command::Submission,
    conversion::{self, ConversionOptions},
    database::{Database, Layout, StoredChange},
    load::{load, restore_leases},
    purge::{Purge, Sweep},
    writer::{CommitObserver, Ended, Stop, Writer, WriterError},
};

/// The part of the store that a node has whoever leads.
pub struct Replica {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: mpsc::Receiver<Submission>,
    /// Requests that were received but not evaluated.
    pub(super) backlog: VecDeque<Submission>,
    pub(super) observer: Box<dyn CommitObserver>,
    /// The database had the newest schema when this node led last.
    pub(super) is_converted: bool,
}

/// A row as the leader sends it.
pub type Row = StoredChange;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("the rows that the leader sent do not continue those of this node: {0}")]
    Replay(#[from] ReplayError),
}

impl Replica {
    /// Sets the observer, which is told of all commits from now on.
    pub fn observe(&mut self, observer: Box<dyn CommitObserver>) {
        self.observer = observer;
    }

    pub fn is_loaded(&self) -> bool {
        self.shared.is_loaded.load(Ordering::Acquire)
    }

    /// Returns whether this node has seen, when it led, that the database has the newest schema.
    pub fn is_converted(&self) -> bool {
        self.is_converted
    }

    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster_id.load(Ordering::Acquire)
    }

    /// The newest revision of this node, 0 if it has nothing at all.
    pub fn revision(&self) -> Revision {
        if self.is_loaded() {
            self.shared.history.head().revision
        } else {
            Revision::NONE
        }
    }

    pub fn compact_revision(&self) -> Revision {
        self.shared.history.compact_revision()
    }

    /// Receives the writes that clients of this node ask for, at most `limit`. Cancel safe.
    pub async fn requests(&mut self, received: &mut Vec<Submission>, limit: usize) {
        if !self.backlog.is_empty() {
            let count = self.backlog.len().min(limit);
            received.extend(self.backlog.drain(..count));
        } else {
            self.queue.recv_many(received, limit).await;
        }
        for submission in received.iter() {
            self.note_left_queue(submission);
        }
        // They came while this node ceased to lead.
        for submission in received.extract_if(.., |submission| submission.is_forwarded) {
            submission
                .command
                .refused(RequestError::LeaderChanged)
                .send();
        }
    }

    /// Refuses the queued requests of other nodes, which nobody has begun: these nodes ask the next leader.
    pub fn refuse_forwarded(&mut self) {
        let mut queued = std::mem::take(&mut self.backlog);
        while let Ok(submission) = self.queue.try_recv() {
            queued.push_back(submission);
        }
        for submission in queued {
            if submission.is_forwarded {
                self.note_left_queue(&submission);
                submission
                    .command
                    .refused(RequestError::LeaderChanged)
                    .send();
            } else {
                self.backlog.push_back(submission);
            }
        }
    }

    /// Takes back requests that were not evaluated.
    pub fn give_back(&mut self, submissions: impl IntoIterator<Item = Submission>) {
        for submission in submissions {
            let weight = submission.weight_bytes;
            self.shared
                .queued_bytes
                .fetch_add(weight, Ordering::Relaxed);
            self.backlog.push_back(submission);
        }
    }

    fn note_left_queue(&self, submission: &Submission) {
        let weight = submission.weight_bytes;
        self.shared
            .queued_bytes
            .fetch_sub(weight, Ordering::Relaxed);
    }

    /// Brings the database of this node, which must lead, to the newest schema, if all nodes know it.
    pub async fn convert(
        &self,
        options: &ConversionOptions,
        others: &impl conversion::Others,
        halt: &conversion::Halt,
    ) -> Result<(), OpenError> {
        let shared = &self.shared;
        let node = conversion::Node {
            member_id: shared.member_id,
            cluster_id: shared.cluster_id.load(Ordering::Acquire),
            is_loaded: self.is_loaded(),
        };
        conversion::run(
            &shared.endpoint,
            options,
            &node,
            others,
            &shared.metrics,
            halt,
        )
        .await
    }

    /// Opens the database on this node, which must lead, and brings the index up to it. `Overtaken` is worth another attempt.
    pub async fn become_leader(&mut self) -> Result<Leading, OpenError> {
        let shared = self.shared.clone();
        shared.recent_batches.clear();
        let mut database = if shared.cluster.is_single() {
            Database::open(&shared.endpoint).await?
        } else {
            Database::open_on_leader(&shared.endpoint).await?
        };
        let cluster_id = shared.cluster_id.load(Ordering::Acquire);
        let mut meta = database.prepare_schema(cluster_id, shared.layout).await?;
        meta.cluster_id = database.settle(meta.cluster_id, &shared.history_id).await?;
        // Commits an entry in this node's term: after it nothing of an earlier term changes.
        database.fence().await?;
        // What was read before may have changed until then.
        meta.compact_revision = database.read_meta().await?.compact_revision;
        self.is_converted = database.layout() == Layout::Batches;
        let head = shared.history.head();
        let (mut garbage, mut sweep) = (Vec::new(), None);
        if !self.is_loaded() || head.revision < meta.compact_revision {
            let loaded = load(&mut database, meta).await;
            let loaded = database.settled(loaded).await?;
            garbage = loaded.1;
            shared.history.replace(loaded.0);
        } else {
            self.catch_up(&mut database, meta.compact_revision).await?;
            // Only the table knows what other leaders left. A row that is forgotten would come back to
            // life once the tombstone above it is purged.
            let history = shared.history.clone();
            let rows = tokio::task::spawn_blocking(move || history.rows_to_compaction());
            let (compact_revision, rows) = rows.await.expect("the index is whole");
            sweep = Sweep::new(compact_revision, rows);
        }
        let stored = database.read_leases().await?;
        let settings = database.read_settings().await;
        let settings = database.settled(settings).await?;
        let head = shared.history.head();
        *shared.leases() = restore_leases(&stored, &head.tree, shared.now_ms());
        self.apply_settings(settings);
        self.loaded(meta.cluster_id);
        info!(
            revision = head.revision.number(),
            compact_revision = meta.compact_revision.number(),
            keys = head.tree.len(),
            leases = stored.len(),
            "this node leads and takes writes"
        );
        let mut purge = Purge::new(garbage, sweep);
        purge.merge_up_to(meta.compact_revision);
        Ok(Leading { database, purge })
    }

    /// Reads what the index does not have yet.
    async fn catch_up(
        &mut self,
        database: &mut Database,
        compact_revision: Revision,
    ) -> Result<(), OpenError> {
        let head = self.shared.history.head();
        let mut replay = Replay::after(&head, self.compact_revision());
        let after = RowId::last_of(head.revision);
        let damaged = |error: ReplayError| OpenError::Damaged(error.to_string());
        let read = database
            .read_changes(after, |change| {
                replay
                    .row(change.kind, change.kv, change.prev_revision)
                    .map_err(damaged)
            })
            .await;
        database.settled(read).await?;
        let (commits, tree) = replay.finish_commits();
        self.append(&commits, tree);
        self.apply_compaction(compact_revision).await;
        Ok(())
    }

    /// Writes until `stop`, or until this node leads no more.
    pub async fn write(
        &mut self,
        leading: Leading,
        stop: impl Future<Output = Stop>,
    ) -> Result<Ended, WriterError> {
        let (_, placeholder) = mpsc::channel(1);
        let queue = std::mem::replace(&mut self.queue, placeholder);
        let observer = std::mem::replace(&mut self.observer, Box::new(|_: &[Arc<Commit>]| {}));
        let Leading { database, purge } = leading;
        let mut writer = Writer::new(self.shared.clone(), queue, purge, database.layout());
        writer.backlog = std::mem::take(&mut self.backlog);
        let returned = writer.run(database, observer, stop).await;
        self.queue = returned.queue;
        self.backlog = returned.backlog;
        self.observer = returned.observer;
        returned.ended
    }

    /// Applies rows that continue what this node has, each revision whole.
    pub fn apply(&mut self, rows: impl IntoIterator<Item = Row>) -> Result<(), ApplyError> {
        let head = self.shared.history.head();
        let mut replay = Replay::after(&head, self.compact_revision());
        for row in rows {
            replay.row(row.kind, row.kv, row.prev_revision)?;
        }
        let (commits, tree) = replay.finish_commits();
        self.append(&commits, tree);
        Ok(())
    }

    fn append(&mut self, commits: &[Arc<Commit>], tree: etcd_state::mvcc::Tree) {
        if commits.is_empty() {
            return;
        }
        self.shared.history.append(commits, tree);
        self.shared.published.send_replace(());
        self.observer.committed(commits);
    }

    /// Forgets what this node has, and takes `replay` instead: everything since its compaction.
    pub fn replace(&mut self, replay: Replay, cluster_id: u64) {
        // The leader sends no superfluous rows.
        let (history, _) = replay.finish();
        let head = history.head();
        info!(
            revision = head.revision.number(),
            keys = head.tree.len(),
            "received the store from the leader"
        );
        self.shared.history.replace(history);
        self.loaded(cluster_id);
        self.observer.committed(&[]);
    }

    fn loaded(&self, cluster_id: u64) {
        // The leader has proven its history, if it could.
        if let Err(error) = self.shared.history_id.settle(cluster_id) {
            warn!(%error, "the leader's database is of another cluster");
        }
        self.shared.cluster_id.store(cluster_id, Ordering::Release);
        self.shared.is_loaded.store(true, Ordering::Release);
        self.shared.published.send_replace(());
    }

    pub fn apply_settings(&self, settings: Settings) {
        self.shared.rules.store(Arc::new(Rules::new(&settings)));
        self.shared.settings.store(Arc::new(settings));
        self.shared.published.send_replace(());
    }

    pub async fn apply_compaction(&mut self, revision: Revision) {
        let history = self.shared.history.clone();
        if revision <= history.compact_revision() {
            return;
        }
        let compacting = tokio::task::spawn_blocking(move || history.compact(revision));
        match compacting.await.expect("compacting does not panic") {
            // The leader deletes the rows, or the next one finds them.
            Ok(_) => (),
            Err(error) => {
                let revision = revision.number();
                warn!(%error, revision, "a compaction of the leader was not applied");
            }
        }
    }
}

/// The database, opened by the node that leads.
pub struct Leading {
    pub(super) database: Database,
    /// The rows that earlier leaders have not deleted.
    pub(super) purge: Purge,
}
