//! The follower's side of a session with the leader.

use std::{collections::HashMap, sync::Arc, time::Duration};

use etcd_state::{mvcc::Replay, requests::RequestError};
use peer_proto::{
    self as proto, Confirmation, FromLeader, Hello, ReadIndex, ReadIndexed, ToLeader,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    Dialer, EngineView, Reads,
    lead::{MAX_OUTSTANDING, view_to_proto},
    log_ends::{Remembered, moments_to_tell},
    reads::{Waiting, finish},
    requests::{Nonsense, Unanswered, to_leader},
    rows::{received, settings_from_proto},
};
use crate::store::{ApplyError, Replica};

/// Messages that the leader has not taken yet.
const MAX_UNSENT: usize = 4;

/// Requests in one message.
const REQUESTS_PER_MESSAGE: usize = 256;

/// The longest that the leader may take to answer a new session at all.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before a read whose proof failed is tried again.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// The reason why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("cannot reach the leader: {0}")]
    Unreachable(#[from] tonic::transport::Error),
    #[error("the leader does not answer")]
    Silent,
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    #[error("the leader closed the session")]
    Closed,
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("the leader sent something without a meaning")]
    Confused,
}

pub struct Follower<'a> {
    pub own_id: u64,
    pub replica: &'a mut Replica,
    pub engine: &'a EngineView,
    pub reads: &'a Arc<Reads>,
    pub remembered: &'a Remembered,
    /// Called once the index is that of the leader.
    pub on_loaded: &'a (dyn Fn() + Send + Sync),
}

/// The questions to the leader that it has not answered.
#[derive(Default)]
struct Outstanding {
    next: u64,
    requests: HashMap<u64, Unanswered>,
    reads: Option<(u64, Vec<Waiting>)>,
}

/// The parts of the leader's store that have arrived so far.
struct Receiving {
    replay: Replay,
    cluster_id: u64,
    until: i64,
}

impl Follower<'_> {
    /// Follows until the session ends, or `until` is ready.
    pub async fn run<T>(
        &mut self,
        dialer: &Dialer,
        address: &str,
        until: impl Future<Output = T>,
    ) -> Result<T, FollowError> {
        let mut outstanding = Outstanding::default();
        let ended = tokio::select! {
            Err(error) = self.follow(dialer, address, &mut outstanding) => Err(error),
            wanted = until => Ok(wanted),
        };
        // They reached the leader, for all that is known.
        for request in outstanding.requests.into_values() {
            request.refuse(RequestError::LeaderLost);
        }
        if let Some((_, waiting)) = outstanding.reads {
            self.reads.give_back(waiting);
        }
        ended
    }

    async fn follow(
        &mut self,
        dialer: &Dialer,
        address: &str,
        outstanding: &mut Outstanding,
    ) -> Result<std::convert::Infallible, FollowError> {
        let mut client = dialer.dial(address).await?;
        let (out, messages) = mpsc::channel(MAX_UNSENT);
        let hello = Hello {
            member_id: self.own_id,
            revision: self.replica.revision(),
            compact_revision: self.replica.compact_revision(),
            cluster_id: self.replica.cluster_id(),
        };
        let first = ToLeader {
            hello: Some(hello),
            ..Default::default()
        };
        out.try_send(first).expect("the channel is empty");
        let opening = async {
            let mut incoming = client
                .follow(ReceiverStream::new(messages))
                .await?
                .into_inner();
            let first = next(&mut incoming).await?;
            Ok::<_, FollowError>((incoming, first))
        };
        let opened = timeout(HELLO_TIMEOUT, opening).await;
        let (mut incoming, first) = opened.map_err(|_| FollowError::Silent)??;
        let welcome = first.welcome.ok_or(FollowError::Confused)?;
        let mut receiving = welcome.is_whole.then(|| Receiving {
            replay: Replay::new(welcome.compact_revision).at_least(welcome.revision),
            cluster_id: welcome.cluster_id,
            until: welcome.revision,
        });
        if receiving.is_none() {
            (self.on_loaded)();
        }
        let (mut moments, mut told) = (moments_to_tell(), None);
        loop {
            let can_ask = receiving.is_none() && outstanding.requests.len() < MAX_OUTSTANDING;
            tokio::select! {
                biased;
                _ = moments.tick() => self.tell_log_end(&out, &mut told),
                message = next(&mut incoming) => {
                    let confirm = self.take(message?, &mut receiving, outstanding).await?;
                    if let Some(round) = confirm {
                        let view = self.engine.view().await.unwrap_or_default();
                        let confirmation = Confirmation {
                            round,
                            view: Some(view_to_proto(&view)),
                        };
                        let message = ToLeader {
                            confirmation: Some(confirmation),
                            ..Default::default()
                        };
                        // A leader that takes nothing any more has no use for it.
                        let _ = out.try_send(message);
                    }
                }
                permit = reserve(&out, self.reads), if can_ask && outstanding.reads.is_none() => {
                    let permit = permit?;
                    // Before the engine is asked: its answer is a proof for these.
                    let waiting = self.reads.take();
                    outstanding.next += 1;
                    let number = outstanding.next;
                    outstanding.reads = Some((number, waiting));
                    let view = self.engine.view().await.unwrap_or_default();
                    permit.send(ToLeader {
                        read_index: Some(ReadIndex { number, view: Some(view_to_proto(&view)) }),
                        ..Default::default()
                    });
                }
                sent = forward(&out, self.replica, outstanding), if can_ask => sent?,
            }
        }
    }

    /// Tells the leader where this node's log ends, if that is news. If there is no room, the next
    /// call tells.
    fn tell_log_end(&self, out: &mpsc::Sender<ToLeader>, told: &mut Option<proto::LogEnd>) {
        let Some(log_end) = self.remembered.own_news(told.as_ref()) else {
            return;
        };
        let message = ToLeader {
            log_end: Some(log_end),
            ..Default::default()
        };
        if out.try_send(message).is_ok() {
            *told = Some(log_end);
        }
    }

    /// Applies a message, in the order of its parts. Returns the round to confirm.
    async fn take(
        &mut self,
        message: FromLeader,
        receiving: &mut Option<Receiving>,
        outstanding: &mut Outstanding,
    ) -> Result<Option<u64>, FollowError> {
        let rows = message.rows.into_iter().map(received);
        match receiving {
            None => self.replica.apply(rows)?,
            Some(whole) => {
                let mut continuing = Vec::new();
                for row in rows {
                    if row.kv.mod_revision > whole.until {
                        continuing.push(row);
                        continue;
                    }
                    whole
                        .replay
                        .row(row.kind, row.kv, row.prev_revision)
                        .map_err(ApplyError::from)?;
                }
                // The settings follow upon the rows.
                if message.settings.is_some()
                    && let Some(whole) = receiving.take()
                {
                    self.replica.replace(whole.replay, whole.cluster_id);
                    self.replica.apply(continuing)?;
                } else if !continuing.is_empty() {
                    return Err(FollowError::Confused);
                }
            }
        }
        if let Some(settings) = message.settings {
            self.replica.apply_settings(settings_from_proto(settings));
            (self.on_loaded)();
        }
        if let Some(revision) = message.compact_revision {
            self.replica.apply_compaction(revision).await;
        }
        for answer in message.answers {
            let Some(request) = outstanding.requests.remove(&answer.number) else {
                continue;
            };
            request
                .answer(answer.kind)
                .map_err(|Nonsense| FollowError::Confused)?;
        }
        for end in &message.log_ends {
            self.remembered.note(end);
        }
        if let Some(read) = message.read_index {
            self.finish_reads(read, outstanding);
        }
        Ok(message.confirm)
    }

    fn finish_reads(&self, read: ReadIndexed, outstanding: &mut Outstanding) {
        let Some((number, waiting)) = outstanding.reads.take() else {
            return;
        };
        if number != read.number {
            outstanding.reads = Some((number, waiting));
            return;
        }
        match read.revision {
            Some(revision) => {
                debug_assert!(self.replica.revision() >= revision);
                finish(waiting, Ok(()));
            }
            None => {
                let reads = self.reads.clone();
                tokio::spawn(async move {
                    sleep(READ_PAUSE).await;
                    reads.give_back(waiting);
                });
            }
        }
    }
}

/// Reserves room for a message once reads wait. Cancel safe.
async fn reserve<'a>(
    out: &'a mpsc::Sender<ToLeader>,
    reads: &Reads,
) -> Result<mpsc::Permit<'a, ToLeader>, FollowError> {
    reads.arrived().await;
    out.reserve().await.map_err(|_| FollowError::Closed)
}

/// Forwards requests of this node's clients to the leader. Cancel safe: no request is taken before
/// there is room for it.
async fn forward(
    out: &mpsc::Sender<ToLeader>,
    replica: &mut Replica,
    outstanding: &mut Outstanding,
) -> Result<(), FollowError> {
    let permit = out.reserve().await.map_err(|_| FollowError::Closed)?;
    let mut taken = Vec::new();
    replica.requests(&mut taken, REQUESTS_PER_MESSAGE).await;
    let mut submissions = Vec::with_capacity(taken.len());
    for submission in taken {
        if submission.command.is_abandoned() {
            continue;
        }
        outstanding.next += 1;
        let number = outstanding.next;
        if let Some((message, unanswered)) = to_leader(submission, number) {
            outstanding.requests.insert(number, unanswered);
            submissions.push(message);
        }
    }
    if !submissions.is_empty() {
        permit.send(ToLeader {
            submissions,
            ..Default::default()
        });
    }
    Ok(())
}

async fn next(incoming: &mut Streaming<proto::FromLeader>) -> Result<FromLeader, FollowError> {
    incoming.message().await?.ok_or(FollowError::Closed)
}
