//! Evaluates requests in order, each against all before it.

use std::sync::atomic::Ordering;

use etcd_state::{
    auth::{self, AuthError},
    lease::LeaseTable,
    mvcc::Revision,
    requests::{RequestError, evaluate::Evaluation},
    settings::{self, SettingChange, Space},
};

use super::{Answer, When, Writer};
use crate::store::{
    admission::Decision,
    batch::Record,
    command::{Command, Reply, Submission},
};

impl Writer {
    pub(super) fn evaluate(&mut self, received: &mut Vec<Submission>) {
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
                auth_revision,
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
                _ if self.is_let_in_by_old_rules(auth_revision) => {
                    Some(RequestError::Auth(AuthError::OldRevision))
                }
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
                    if let Some(timeline) = reply.timeline() {
                        let now = std::time::Instant::now();
                        timeline.evaluated(from, now);
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

    /// Returns whether a request was checked against rules that have changed since.
    fn is_let_in_by_old_rules(&self, auth_revision: Option<u64>) -> bool {
        let enforced = auth_revision.and(self.enforced_auth_revision);
        enforced.is_some() && enforced != auth_revision
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
                Ok(Reply::LeaseRevoked {
                    revision: self.working.revision,
                })
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

    pub(in crate::store) fn change(
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
    pub(in crate::store) fn set(&mut self, change: SettingChange) {
        self.settings.apply(change.clone());
        if change.space == Space::Alarm {
            self.admission.note_alarms(&self.settings);
        }
        if change.space == Space::Auth {
            self.enforced_auth_revision = auth::enforced_revision(&self.settings);
        }
        self.record(Record::Setting(change));
    }

    pub(in crate::store) fn record(&mut self, record: Record) {
        self.admission.quota.charge(1, 0);
        self.pending.batch.records.push(record);
    }
}
