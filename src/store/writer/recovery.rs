//! Recovery from a failed commit: finds out what the table holds, and goes on from there.
//!
//! A lost reply says nothing about the write. So nothing is sent again; a fence waits for whatever
//! is still on its way, then the table says whether the batch is there. What was evaluated on top of
//! it never happened.

use std::{collections::HashMap, pin::Pin, sync::atomic::Ordering, time::Duration};

use etcd_state::{
    auth,
    mvcc::{Revision, RowId, Tree},
    requests::RequestError,
    settings::Settings,
};
use stopping::warn;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use crate::store::{
    batch::{Record, Write},
    command::Submission,
    database::{Database, Meta, OpenError, StoredChange, StoredLease},
    folded::{Folded, LeaseFate},
    load::restore_leases,
    writer::{Answer, Stop, Writer, WriterError, refuse},
};

/// Pause between two attempts; requests that arrive meanwhile are refused.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The longest that the engine may stay unusable before the process stops and its supervisor starts
/// it again. A full disk does not count: reads go on.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The longest that a stopping server asks for the outcome of its last commit: less than it is
/// given to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) enum Recovery {
    /// The outcome is known; goes on with a new connection.
    Done(Box<Database>),
    /// The server is to stop, and the engine does not answer.
    Stopped,
    /// Another node leads, or did so meanwhile.
    Deposed,
}

/// The content of the database beyond the index.
struct Truth {
    meta: Meta,
    leases: Vec<StoredLease>,
    settings: Settings,
    changes: Vec<StoredChange>,
}

/// Waits until `deadline`; without one, for ever.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Writer {
    pub(super) async fn recover(
        &mut self,
        write: Write,
        tree: Tree,
        answers: Vec<Answer>,
        error: dqlite::client::Error,
        stop: &mut Pin<&mut impl Future<Output = Stop>>,
    ) -> Result<Recovery, WriterError> {
        let is_single = self.shared.cluster.is_single();
        if !is_single && matches!(error, dqlite::client::Error::NotLeader) {
            // Refused before it was written anywhere.
            warn!("this node does not lead any more");
            refuse(answers, RequestError::LeaderChanged);
            self.abandon(Vec::new());
            return Ok(Recovery::Deposed);
        }
        if !is_single && matches!(error, dqlite::client::Error::Constraint { .. }) {
            // The same: its transaction was undone.
            warn!(%error, "another node has led meanwhile, and this write was refused");
            refuse(answers, RequestError::LeaderChanged);
            self.abandon(Vec::new());
            return Ok(Recovery::Deposed);
        }
        if let dqlite::client::Error::Corrupt { message, .. } = error {
            return Err(WriterError::Damaged(message));
        }
        warn!(%error, revision = self.working.revision.number(), "a commit failed, reading the table back");
        self.shared.metrics.recoveries.increment();
        let started = Instant::now();
        let refusal = self.refusal();
        std::mem::take(&mut self.pending).refuse(refusal);
        for submission in std::mem::take(&mut self.backlog) {
            self.refuse_submission(submission);
        }
        let mut deadline = self.is_stopping.then(|| started + STOP_TIMEOUT);
        let (database, truth) = loop {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                warn!("stopping without knowing the outcome of the last commit");
                // Whoever waits for it is told that it is not known.
                return Ok(Recovery::Stopped);
            }
            let read = tokio::select! {
                biased;
                how = stop.as_mut(), if !self.is_stopping => {
                    self.is_stopping = true;
                    match how {
                        Stop::Close => self.queue.close(),
                        Stop::HandOver => self.is_open = false,
                        Stop::Deposed => {
                            self.abandon(answers);
                            return Ok(Recovery::Deposed);
                        }
                    }
                    deadline = Some(Instant::now() + STOP_TIMEOUT);
                    continue;
                }
                () = passed(deadline) => continue,
                read = self.read_back() => read,
            };
            match read {
                Ok(truth) => break truth,
                Err(OpenError::Dqlite(dqlite::client::Error::NotLeader) | OpenError::Overtaken)
                    if !is_single =>
                {
                    warn!(
                        "this node does not lead any more, and the outcome of its last commit is unknown"
                    );
                    self.abandon(answers);
                    return Ok(Recovery::Deposed);
                }
                Err(OpenError::Damaged(reason)) => return Err(WriterError::Damaged(reason)),
                Err(error) if started.elapsed() > GIVE_UP && !(self.shared.is_disk_full)() => {
                    return Err(WriterError::EngineLost(GIVE_UP, error));
                }
                Err(error) => {
                    warn!(%error, "dqlite is not usable yet");
                    if !(self.shared.is_disk_full)() {
                        self.shared
                            .metrics
                            .is_engine_lost
                            .store(true, Ordering::Relaxed);
                        self.observer.engine_lost();
                    }
                    self.refuse_queue_for(RETRY_PAUSE).await;
                }
            }
        };
        self.shared
            .metrics
            .is_engine_lost
            .store(false, Ordering::Relaxed);
        let head: Revision = self.shared.history.head().revision;
        let Some(is_written) = is_written(&write, &truth) else {
            if is_single {
                return Err(WriterError::ForeignWriter(head.next()));
            }
            warn!("another node has led meanwhile");
            self.abandon(answers);
            return Ok(Recovery::Deposed);
        };
        info!(is_written, took = ?started.elapsed(), "the outcome of the commit is known");
        if is_written {
            self.publish(&write, tree);
        }
        self.reset(&truth);
        if is_written {
            self.tell(&write, answers);
        } else {
            if let Write::Purge(step) = write {
                self.purge.failed(step);
            }
            refuse(answers, refusal);
        }
        Ok(Recovery::Done(Box::new(database)))
    }

    /// Returns the error for a client whose request was not written.
    fn refusal(&self) -> RequestError {
        if (self.shared.is_disk_full)() {
            RequestError::NoSpace
        } else {
            RequestError::TimedOut
        }
    }

    async fn read_back(&self) -> Result<(Database, Truth), OpenError> {
        let mut database = if self.shared.cluster.is_single() {
            Database::open(&self.shared.endpoint).await?
        } else {
            Database::open_on_leader(&self.shared.endpoint).await?
        };
        database.fence().await?;
        let cluster_id = self.shared.cluster_id.load(Ordering::Relaxed);
        let meta = database
            .prepare_schema(cluster_id, self.shared.layout)
            .await?;
        let leases = database.read_leases().await?;
        let settings = database.read_settings().await?;
        let mut changes = Vec::new();
        let after = RowId::last_of(self.shared.history.head().revision);
        let read = database
            .read_changes(after, |change| {
                changes.push(change);
                Ok(())
            })
            .await;
        database.settled(read).await?;
        let truth = Truth {
            meta,
            leases,
            settings,
            changes,
        };
        Ok((database, truth))
    }

    async fn refuse_queue_for(&mut self, pause: Duration) {
        let deadline = Instant::now() + pause;
        while let Ok(Some(submission)) = timeout_at(deadline, self.queue.recv()).await {
            self.refuse_submission(submission);
        }
        tokio::time::sleep_until(deadline).await;
    }

    fn refuse_submission(&self, submission: Submission) {
        let queued_bytes = &self.shared.queued_bytes;
        queued_bytes.fetch_sub(submission.weight_bytes, Ordering::Relaxed);
        submission.command.refused(self.refusal()).send();
    }

    /// Makes the working state what is committed.
    fn reset(&mut self, truth: &Truth) {
        let head = self.shared.history.head();
        self.working.tree = head.tree.clone();
        self.working.revision = head.revision;
        self.compact_revision = truth.meta.compact_revision;
        self.settings = truth.settings.clone();
        self.enforced_auth_revision = auth::enforced_revision(&self.settings);
        self.admission.note_alarms(&self.settings);
        self.admission.quota.forget();
        let mut leases = self.shared.leases();
        let mut restored = restore_leases(&truth.leases, &head.tree, self.shared.now_ms());
        for lease in &truth.leases {
            if let Some(expires_ms) = leases.expires_ms(lease.id) {
                restored.set_expires_ms(lease.id, expires_ms);
            }
        }
        *leases = restored;
    }
}

/// Returns whether the write took effect; none if the table holds something else in its place.
/// A write that can be done again without harm counts as not done.
fn is_written(write: &Write, truth: &Truth) -> Option<bool> {
    let Write::Batch(batch) = write else {
        return truth.changes.is_empty().then_some(false);
    };
    if batch.commits.is_empty() {
        return truth
            .changes
            .is_empty()
            .then(|| !batch.records.is_empty() && all_hold(&batch.records, truth));
    }
    if truth.changes.is_empty() {
        return Some(false);
    }
    let written = batch.commits.iter().flat_map(|commit| &commit.changes);
    let is_same = written.clone().count() == truth.changes.len()
        && written
            .zip(&truth.changes)
            .all(|(ours, theirs)| *ours.kv == theirs.kv);
    is_same.then_some(true)
}

/// Returns whether the database is as the records leave it. All or none of them were written; if it
/// was so before, there is no difference.
fn all_hold(records: &[Record], truth: &Truth) -> bool {
    let stored: HashMap<_, _> = truth.leases.iter().map(|lease| (lease.id, lease)).collect();
    let folded = Folded::new(records);
    let mut leases = folded.leases.iter();
    let mut settings = folded.settings.values();
    leases.all(|(id, lease)| holds(lease.fate, stored.get(id).copied()))
        && folded
            .compact_revision
            .is_none_or(|revision| truth.meta.compact_revision >= revision)
        && settings
            .all(|change| truth.settings.get(change.space, &change.name) == change.value.as_ref())
}

fn holds(fate: LeaseFate, stored: Option<&StoredLease>) -> bool {
    match fate {
        LeaseFate::Inserted {
            granted_ttl_s,
            remaining_s,
        } => {
            stored.is_some_and(|s| (s.granted_ttl_s, s.remaining_s) == (granted_ttl_s, remaining_s))
        }
        LeaseFate::Checkpointed { remaining_s } => {
            stored.is_some_and(|s| s.remaining_s == remaining_s)
        }
        LeaseFate::Gone => stored.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{batch::Batch, purge::Step};
    use etcd_state::mvcc::LeaseId;

    const ID: LeaseId = LeaseId::new(7);

    fn truth(compact_revision: Revision, leases: &[(LeaseId, i64)]) -> Truth {
        let leases = leases.iter().map(|(id, ttl_s)| StoredLease {
            id: *id,
            granted_ttl_s: *ttl_s,
            remaining_s: *ttl_s,
        });
        Truth {
            meta: Meta {
                compact_revision,
                cluster_id: 1,
                least_revision: Revision::NONE,
            },
            leases: leases.collect(),
            settings: Settings::default(),
            changes: Vec::new(),
        }
    }

    fn batch(records: impl IntoIterator<Item = Record>) -> Write {
        Write::Batch(Batch::of_records(records.into_iter().collect()))
    }

    #[test]
    fn the_last_record_of_a_lease_decides() {
        let granted = |granted_ttl_s| Record::LeaseGranted {
            id: ID,
            granted_ttl_s,
        };
        let removed = Record::LeaseRemoved { id: ID };
        let compacted = Record::Compacted {
            revision: Revision::new(5),
        };
        let flash = batch([granted(10), removed.clone(), compacted.clone()]);
        assert_eq!(
            is_written(&flash, &truth(Revision::new(5), &[])),
            Some(true)
        );
        assert_eq!(
            is_written(&flash, &truth(Revision::new(4), &[])),
            Some(false)
        );
        let again = batch([removed, granted(20)]);
        assert_eq!(
            is_written(&again, &truth(Revision::new(-1), &[(ID, 20)])),
            Some(true)
        );
        assert_eq!(
            is_written(&again, &truth(Revision::new(-1), &[(ID, 10)])),
            Some(false)
        );
        assert_eq!(
            is_written(&batch([granted(10)]), &truth(Revision::new(-1), &[])),
            Some(false)
        );
        let checkpoint = Record::LeaseCheckpoint {
            id: ID,
            remaining_s: 5,
        };
        let short = batch([granted(10), checkpoint]);
        assert_eq!(
            is_written(&short, &truth(Revision::new(-1), &[(ID, 10)])),
            Some(false)
        );
        let mut stored = truth(Revision::new(-1), &[(ID, 10)]);
        stored.leases[0].remaining_s = 5;
        assert_eq!(is_written(&short, &stored), Some(true));
    }

    #[test]
    fn a_purge_counts_as_not_done() {
        let purge = Write::Purge(Step::Delete(vec![
            RowId::new(Revision::new(2), 0),
            RowId::new(Revision::new(3), 0),
        ]));
        assert_eq!(
            is_written(&purge, &truth(Revision::new(5), &[])),
            Some(false)
        );
        assert_eq!(
            is_written(&Write::Vacuum, &truth(Revision::new(5), &[])),
            Some(false)
        );
    }
}
