//! Both servers, step by step through the same sequence.

use std::time::{Duration, Instant};

use etcd_proto::etcdserverpb::alarm_request::AlarmAction;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::*;

use super::answer::Answer;
use super::differences::{self, Effect};
use super::operation::{Operation, Revisions};
use super::side::Side;
use super::streams::{Log, SENTINEL_KEY, Stream};
use crate::harness::*;

/// Far more than etcd's watchers lag: it looks after them every 100 ms.
const LAG_LIMIT: Duration = Duration::from_secs(2);

pub struct Pair {
    pub ours: Side,
    pub etcd: Side,
    pub revisions: Revisions,
    pub operations: u64,
    pub accepted: std::collections::BTreeMap<&'static str, u64>,
}

/// A difference between the servers.
#[derive(Debug)]
pub struct Found {
    /// The number of the operation, or the count of all if the difference shows only at the end.
    pub step: usize,
    pub ours: String,
    pub etcd: String,
}

impl Pair {
    /// Starts both servers; none if the machine has no etcd.
    pub async fn start() -> Option<Self> {
        std::env::var_os("ETCD_BIN")?;
        let (ours, etcd) = tokio::join!(Side::start(Kind::K8sDqlite), Side::start(Kind::Etcd));
        Some(Self {
            ours,
            etcd,
            revisions: Revisions::default(),
            operations: 0,
            accepted: Default::default(),
        })
    }

    /// Brings both to the same revision, without keys, leases, alarms, watchers and history.
    pub async fn reset(&mut self) {
        for side in [&mut self.ours, &mut self.etcd] {
            side.streams.clear();
            side.end_auth().await;
            let list = AlarmRequest::default();
            for alarm in side.api.ask(list).await.alarms {
                side.api
                    .ask(AlarmRequest {
                        action: AlarmAction::Deactivate.into(),
                        member_id: alarm.member_id,
                        alarm: alarm.alarm,
                    })
                    .await;
            }
            for name in side.api.ask(AuthUserListRequest {}).await.users {
                side.api.ask(AuthUserDeleteRequest { name }).await;
            }
            for role in side.api.ask(AuthRoleListRequest {}).await.roles {
                side.api.ask(AuthRoleDeleteRequest { role }).await;
            }
            for lease in side.api.ask(LeaseLeasesRequest {}).await.leases {
                side.api.ask(revoke(lease.id)).await;
            }
            let mut everything = delete("\0");
            everything.range_end = "\0".into();
            side.api.ask(everything).await;
            side.end_waits().await;
        }
        let sentinel = || put(SENTINEL_KEY, "");
        let revision = self.ours.api.revision().await;
        let revision = revision.max(self.etcd.api.revision().await) + 2;
        for side in [&self.ours, &self.etcd] {
            while at(&side.api.ask(sentinel()).await.header) < revision {}
            side.api.ask(delete(SENTINEL_KEY)).await;
            let mut compact = compact(revision + 1);
            compact.physical = true;
            side.api.ask(compact).await;
        }
        self.revisions = Revisions {
            current: revision + 1,
            compacted: revision + 1,
            elected: 0,
        };
    }

    /// Runs a sequence from the same start on both, up to the first difference.
    pub async fn play(&mut self, sequence: &[Operation]) -> Option<Found> {
        self.reset().await;
        for (step, operation) in sequence.iter().enumerate() {
            if needs_silence(operation)
                && let Some(found) = self.compare_streams(step).await
            {
                return Some(found);
            }
            self.operations += 1;
            let (ours, etcd) = tokio::join!(
                self.ours.run(operation, &self.revisions),
                self.etcd.run(operation, &self.revisions),
            );
            if ours.text != etcd.text {
                let asked = differences::Step {
                    operation: &operation.resolved(&self.revisions, 0),
                    revisions: &self.revisions,
                    is_auth_on: self.etcd.is_auth_on,
                    ours: &ours,
                    etcd: &etcd,
                };
                match differences::find(&asked) {
                    None => return Some(found(step, ours.text, etcd.text)),
                    Some(accepted) => {
                        *self.accepted.entry(accepted.compat).or_default() += 1;
                        if accepted.effect == Effect::Diverges {
                            return None;
                        }
                    }
                }
            }
            self.follow(operation, &etcd);
            let (ours, etcd) = tokio::join!(self.ours.ended_waits(), self.etcd.ended_waits());
            if ours != etcd {
                if etcd.contains(differences::COMPACTED_WAIT) {
                    *self
                        .accepted
                        .entry(differences::COMPACTED_WAITER)
                        .or_default() += 1;
                    return None;
                }
                return Some(found(step, ours, etcd));
            }
            if self.etcd.is_auth_on {
                // Their requests would have to be permitted.
                self.ours.streams.clear();
                self.etcd.streams.clear();
            }
        }
        self.compare_streams(sequence.len()).await
    }

    fn follow(&mut self, operation: &Operation, answer: &Answer) {
        let current = &mut self.revisions.current;
        *current = answer.revision.unwrap_or(0).max(*current);
        if let Operation::Campaign(_) = operation
            && !answer.is_refusal
            && let Some(revision) = answer.revision
        {
            self.revisions.elected = revision;
        }
        if let Operation::Compact(request) = operation.resolved(&self.revisions, 0)
            && !answer.is_refusal
        {
            self.revisions.compacted = request.revision;
        }
    }

    /// Compares what all watchers got, once nothing is on its way any more.
    async fn compare_streams(&mut self, step: usize) -> Option<Found> {
        if self.ours.streams.is_empty() {
            return None;
        }
        let sentinel = put(SENTINEL_KEY, "");
        let (ours, etcd) = tokio::join!(
            self.ours.api.try_ask(sentinel.clone()),
            self.etcd.api.try_ask(sentinel),
        );
        let (Ok(ours), Ok(etcd)) = (ours, etcd) else {
            // An alarm; then nothing was written since.
            return None;
        };
        let (ours, etcd) = (at(&ours.header), at(&etcd.header));
        if ours != etcd {
            return Some(found(step, format!("at {ours}"), format!("at {etcd}")));
        }
        self.revisions.current = etcd;
        tokio::join!(self.ours.settle(etcd), self.etcd.settle(etcd));
        for (index, ours) in &self.ours.streams {
            let etcd = &self.etcd.streams[index];
            let complaints = (
                ours.complaints.lock().unwrap().join(", "),
                etcd.complaints.lock().unwrap().join(", "),
            );
            if complaints != Default::default() {
                let missing = |what| format!("missing on stream {index}: {what}");
                return Some(found(step, missing(complaints.0), missing(complaints.1)));
            }
            if let Some(broken) = ours.received.borrow().broken.clone() {
                return Some(found(step, broken, String::new()));
            }
            if let Err((ours, etcd)) = become_equal(ours, etcd).await {
                let text = |log| format!("stream {index}: {log:#?}");
                return Some(found(step, text(ours), text(etcd)));
            }
        }
        None
    }
}

/// Beside a watcher that etcd has ended there is no progress to wait for, so others may still lag.
async fn become_equal(ours: &Stream, etcd: &Stream) -> Result<(), (Log, Log)> {
    let deadline = Instant::now() + LAG_LIMIT;
    loop {
        let logs = (ours.log(), etcd.log());
        if logs.0 == logs.1 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(logs);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn found(step: usize, ours: String, etcd: String) -> Found {
    Found { step, ours, etcd }
}

/// Returns whether the operation must wait until nothing is on its way. Otherwise the responses to
/// watchers around it depend on timing.
fn needs_silence(operation: &Operation) -> bool {
    match operation {
        Operation::Compact(_) | Operation::AuthEnable(_) => true,
        Operation::Watch { request, .. } => matches!(
            request.request_union,
            Some(RequestUnion::CancelRequest(_) | RequestUnion::ProgressRequest(_))
        ),
        _ => false,
    }
}
