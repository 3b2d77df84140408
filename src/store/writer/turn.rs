//! Evaluates requests in order, each against all before it.

use std::sync::atomic::Ordering;

use etcd_state::{
    auth::{self, AuthError},
    lease::LeaseTable,
    requests::{RequestError, evaluate::Evaluation},
    settings::{self, SettingChange, Space},
};

use super::{Answer, Writer};
use crate::store::{
    admission::Decision,
    batch::Record,
    command::{
        Call, Command, Compact, LeaseExpire, LeaseGrant, LeaseKeepAlive, LeaseList, LeaseRenewed,
        LeaseRevoke, LeaseTimeToLive, Publish, ReadSnapshotState, SnapshotState, Submission,
    },
    compaction::Waiting,
    database::Layout,
    reply::Committed,
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
                weight_bytes,
                ..
            } = submission;
            shared
                .queued_bytes
                .fetch_sub(weight_bytes, Ordering::Relaxed);
            if command.is_abandoned() {
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
                let answer = Answer::Reply(command.refused(error));
                self.pending.answers.push(answer);
                continue;
            }
            let Some(answer) = self.evaluate_one(command, &mut leases) else {
                continue;
            };
            if let Some(timeline) = answer.timeline() {
                let now = std::time::Instant::now();
                timeline.evaluated(from, now);
                from = now;
            }
            self.pending.answers.push(answer);
        }
        self.backlog.extend(received);
    }

    /// Returns whether a request was checked against rules that have changed since.
    fn is_let_in_by_old_rules(&self, auth_revision: Option<u64>) -> bool {
        let enforced = auth_revision.and(self.enforced_auth_revision);
        enforced.is_some() && enforced != auth_revision
    }

    /// Returns none if the engine is to be asked first.
    fn evaluate_one(&mut self, command: Command, leases: &mut LeaseTable) -> Option<Answer> {
        let reply = match command {
            Command::Pages(call) => {
                self.pending.wants_pages.push(call.reply);
                return None;
            }
            Command::Defragment(call) => {
                self.pending.wants_vacuum.push(call.reply);
                return None;
            }
            Command::Compact(call) => return Some(self.compact(call)),
            Command::Put(call) => {
                call.answer(|request| self.change(leases, |evaluation| evaluation.put(&request)))
            }
            Command::DeleteRange(call) => call.answer(|request| {
                self.change(leases, |evaluation| evaluation.delete_range(&request))
            }),
            Command::Txn(call) => {
                call.answer(|request| self.change(leases, |evaluation| evaluation.txn(&request)))
            }
            Command::LeaseGrant(call) => {
                call.answer(|LeaseGrant { id, ttl_s }| self.grant(leases, id, ttl_s))
            }
            Command::LeaseRevoke(call) => call.answer(|LeaseRevoke { id }| self.revoke(leases, id)),
            Command::LeaseExpire(call) => call.answer(|LeaseExpire { id }| {
                if self.admission.is_corrupt() {
                    // The lease stays until the alarm is lowered.
                    return Err(RequestError::Corrupt);
                }
                self.expire(leases, id);
                Ok(())
            }),
            Command::LeaseKeepAlive(call) => {
                call.answer(|LeaseKeepAlive { id }| self.keep_alive(leases, id))
            }
            Command::LeaseRenewed(call) => call.answer(|LeaseRenewed { id, ttl_s }| {
                if leases.contains(id) {
                    leases.checkpoint(id, ttl_s);
                    self.record(Record::LeaseCheckpoint {
                        id,
                        remaining_s: ttl_s,
                    });
                }
                Ok(())
            }),
            Command::LeaseTimeToLive(call) => call.answer(|LeaseTimeToLive { id, with_keys }| {
                Ok(leases.view(id, with_keys, self.shared.now_ms()))
            }),
            Command::LeaseList(call) => call.answer(|LeaseList| Ok(leases.ids())),
            Command::Alarm(call) => call.answer(|request| {
                let (change, alarms) = settings::change_alarm(&self.settings, &request);
                change.into_iter().for_each(|change| self.set(change));
                Ok(self.committed(alarms))
            }),
            Command::Auth(call) => call.answer(|change| {
                for change in auth::change(&self.settings, &change)? {
                    self.set(change);
                }
                Ok(self.committed(()))
            }),
            Command::Publish(call) => call.answer(|request| {
                self.set_client_urls(&request);
                Ok(())
            }),
            Command::Copy(call) => call.answer(|ReadSnapshotState| {
                Ok(SnapshotState {
                    revision: self.working.revision,
                    leases: leases.copies(self.shared.now_ms()),
                    settings: self.settings.clone(),
                })
            }),
        };
        Some(Answer::Reply(reply))
    }

    /// Returns the reply to a write that was evaluated just now. It is sent when that is committed.
    pub(super) fn committed<T>(&self, reply: T) -> Committed<T> {
        Committed {
            revision: self.working.revision,
            reply,
        }
    }

    pub(in crate::store) fn change<T>(
        &mut self,
        leases: &mut LeaseTable,
        evaluate: impl FnOnce(&mut Evaluation<'_>) -> T,
    ) -> T {
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

    fn compact(&mut self, call: Call<Compact>) -> Answer {
        let Compact { revision, physical } = call.request;
        let refusal = if revision <= self.compact_revision {
            Some(RequestError::Compacted)
        } else if revision > self.working.revision {
            Some(RequestError::FutureRevision)
        } else {
            None
        };
        if let Some(error) = refusal {
            return Answer::Reply(call.answer(|_| Err(error)));
        }
        self.compact_revision = revision;
        self.record(Record::Compacted { revision });
        let committed = self.committed(());
        Answer::Compaction(Waiting {
            revision,
            is_physical: physical,
            reply: call.answer(|_| Ok(committed)),
        })
    }

    /// Earlier versions, which open a database of schema 2.1, would take the setting for damage.
    fn set_client_urls(&mut self, request: &Publish) {
        if self.layout == Layout::Batches {
            let Publish {
                member_id,
                client_urls,
            } = request;
            let change = settings::change_client_urls(&self.settings, *member_id, client_urls);
            change.into_iter().for_each(|change| self.set(change));
        }
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
