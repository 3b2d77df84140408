//! The follower's side of a session with the leader.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use dqlite::{tls::Tls, wire::NodeId};
use etcd_state::{
    mvcc::{Replay, Revision},
    requests::RequestError,
};
use peer_proto::{self as proto, Confirmation, FromLeader, Hello, ReadIndex, ToLeader};
use replication::{
    Beginning, Forwarded, Intake,
    intake::{Command, Message},
    reads::{AskedProof, Settled},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    Dialer, EngineView, Reads,
    leader_loss::HandOvers,
    log_ends::{Remembered, moments_to_tell},
    reads::{Waiting, finish},
    requests::{Nonsense, Unanswered, to_leader},
    rows::{received, settings_from_proto},
    service::view_to_proto,
};
use crate::store::{ApplyError, BATCH_FORMAT, Replica, Row, Submission, unpack};

/// Messages that the leader has not taken yet.
const MAX_UNSENT: usize = 4;

/// Requests in one message.
const REQUESTS_PER_MESSAGE: usize = 256;

/// The longest that the leader may take to answer a new session at all.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for the answers of a leader that leads no more. One that still runs answers at once.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_millis(200);

/// The longest wait for the answers of a leader before a session is begun anew with another pair.
const RENEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before the same leader is asked again for what it has returned: it leads no more, as a rule, and the session ends
/// within the pause.
const RETURN_PAUSE: Duration = Duration::from_millis(200);

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
    #[error("this node shows another certificate from now on")]
    Renewed,
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("the leader sent a message that breaks the protocol")]
    Confused,
}

pub struct Follower<'a> {
    pub own_id: NodeId,
    pub replica: &'a mut Replica,
    pub engine: &'a EngineView,
    pub reads: &'a Arc<Reads>,
    pub remembered: &'a Remembered,
    pub hand_overs: &'a HandOvers,
    /// The pair of the nodes, if they connect with TLS. When this node shows another one, its session is begun anew.
    pub tls: Option<&'a Tls>,
    /// Called once the index is that of the leader.
    pub on_loaded: &'a (dyn Fn() + Send + Sync),
}

/// The questions to the leader that it has not answered.
#[derive(Default)]
struct Outstanding {
    requests: Forwarded<Unanswered>,
    reads: AskedProof<Waiting>,
    /// Requests that the leader has returned, for the next one, or for this one at a later moment.
    returned: Vec<Submission>,
    returned_until: Option<Instant>,
}

/// A session that has begun.
struct Opened {
    out: mpsc::Sender<ToLeader>,
    incoming: Streaming<FromLeader>,
    receiving: Receiving,
}

/// The store of this node, as the leader sends it.
struct Receiving {
    intake: Intake<Row>,
    /// The whole store, while it arrives.
    replay: Option<Replay>,
    cluster_id: u64,
}

impl Follower<'_> {
    /// Follows until the session ends, or `until` is ready.
    pub async fn run<T>(
        &mut self,
        dialer: &Dialer,
        address: &str,
        until: impl Future<Output = T>,
    ) -> Result<T, FollowError> {
        let mut until = pin!(until);
        let replaced = self.tls.map(Tls::replaced);
        let mut renewed = pin!(async {
            match replaced {
                Some(replaced) => replaced.await,
                None => pending().await,
            }
        });
        let session = tokio::select! {
            opened = self.open(dialer, address) => opened?,
            wanted = &mut until => return Ok(wanted),
        };
        let mut outstanding = Outstanding::default();
        let (close, closing) = watch::channel(false);
        let mut following = Box::pin(self.follow(session, &mut outstanding, closing));
        let ended = tokio::select! {
            Err(error) = &mut following => Err(error),
            wanted = until => {
                close.send_replace(true);
                // The leader, if it still can, answers what it has begun, and returns the rest.
                let _ = timeout(LAST_ANSWERS_TIMEOUT, &mut following).await;
                Ok(wanted)
            }
            () = &mut renewed => {
                close.send_replace(true);
                let _ = timeout(RENEW_TIMEOUT, &mut following).await;
                Err(FollowError::Renewed)
            }
        };
        drop(following);
        // They reached the leader, for all that is known.
        for request in outstanding.requests.end() {
            request.refuse(RequestError::LeaderLost);
        }
        self.replica.give_back(outstanding.returned);
        self.reads.give_back(outstanding.reads.end());
        ended
    }

    /// Begins a session.
    async fn open(&self, dialer: &Dialer, address: &str) -> Result<Opened, FollowError> {
        let mut client = dialer.dial(address).await?;
        let (out, messages) = mpsc::channel(MAX_UNSENT);
        let hello = Hello {
            member_id: self.own_id.number(),
            revision: self.replica.revision().number(),
            compact_revision: self.replica.compact_revision().number(),
            cluster_id: self.replica.cluster_id(),
            batch_format: BATCH_FORMAT,
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
        let (incoming, first) = opened.map_err(|_| FollowError::Silent)??;
        let welcome = first.welcome.ok_or(FollowError::Confused)?;
        self.hand_overs.forget();
        let beginning = match welcome.is_whole {
            true => Beginning::Whole,
            false => Beginning::Continues,
        };
        let revision = Revision::new(welcome.revision);
        let compact_revision = Revision::new(welcome.compact_revision);
        let receiving = Receiving {
            intake: Intake::new(beginning, revision),
            replay: welcome
                .is_whole
                .then(|| Replay::new(compact_revision).at_least(revision)),
            cluster_id: welcome.cluster_id,
        };
        Ok(Opened {
            out,
            incoming,
            receiving,
        })
    }

    /// Follows until the session ends, or all requests are answered once `closing` says so.
    async fn follow(
        &mut self,
        session: Opened,
        outstanding: &mut Outstanding,
        mut closing: watch::Receiver<bool>,
    ) -> Result<std::convert::Infallible, FollowError> {
        let Opened {
            out,
            mut incoming,
            mut receiving,
        } = session;
        if receiving.intake.is_loaded() {
            (self.on_loaded)();
        }
        let (mut moments, mut told) = (moments_to_tell(), None);
        loop {
            let is_closing = *closing.borrow();
            if is_closing && outstanding.requests.is_empty() {
                return Err(FollowError::Closed);
            }
            let can_ask =
                receiving.intake.is_loaded() && outstanding.requests.has_room() && !is_closing;
            let returned_until = outstanding.returned_until;
            tokio::select! {
                biased;
                _ = moments.tick() => self.tell_log_end(&out, &mut told),
                _ = closing.changed(), if !is_closing => {}
                message = next(&mut incoming) => {
                    let confirm = self.take(message?, &mut receiving, outstanding).await?;
                    if let Some(round) = confirm {
                        let view = self.engine.testimony().await;
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
                permit = reserve(&out, self.reads), if can_ask && !outstanding.reads.is_under_way() => {
                    let permit = permit?;
                    // Before the engine is asked: its answer is a proof for these.
                    let number = outstanding.reads.begin(self.reads.take());
                    let view = self.engine.testimony().await;
                    permit.send(ToLeader {
                        read_index: Some(ReadIndex { number, view: Some(view_to_proto(&view)) }),
                        ..Default::default()
                    });
                }
                () = moment(returned_until), if returned_until.is_some() => {
                    outstanding.returned_until = None;
                    self.replica.give_back(outstanding.returned.drain(..));
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
        receiving: &mut Receiving,
        outstanding: &mut Outstanding,
    ) -> Result<Option<u64>, FollowError> {
        let read_index = message.read_index;
        let mut rows: Vec<_> = message.rows.into_iter().map(received).collect();
        for batch in &message.batches {
            rows.extend(unpack(batch).map_err(|_| FollowError::Confused)?);
        }
        let parts = Message {
            rows,
            settings: message.settings,
            compact_revision: message.compact_revision.map(Revision::new),
            answers: message.answers,
            read_index: read_index.map(|read| (read.number, read.revision.map(Revision::new))),
            confirm: message.confirm,
        };
        let mut confirm = None;
        for command in receiving.intake.decide(parts, |row| row.kv.mod_revision) {
            match command {
                Command::Collect(rows) => {
                    let replay = receiving.replay.as_mut().ok_or(FollowError::Confused)?;
                    for row in rows {
                        replay
                            .row(row.kind, row.kv, row.prev_revision)
                            .map_err(ApplyError::from)?;
                    }
                }
                Command::Replace => {
                    let replay = receiving.replay.take().ok_or(FollowError::Confused)?;
                    self.replica.replace(replay, receiving.cluster_id);
                }
                Command::Apply(rows) => self.replica.apply(rows)?,
                Command::ApplySettings(settings) => {
                    self.replica.apply_settings(settings_from_proto(settings));
                }
                Command::NoteLoaded => (self.on_loaded)(),
                Command::ApplyCompaction(revision) => self.replica.apply_compaction(revision).await,
                Command::Answer(answer) => {
                    let Some(request) = outstanding.requests.answered(answer.number) else {
                        continue;
                    };
                    let returned = request
                        .answer(answer)
                        .map_err(|Nonsense| FollowError::Confused)?;
                    if let Some(request) = returned {
                        outstanding.returned.push(request);
                        let due = Instant::now() + RETURN_PAUSE;
                        outstanding.returned_until.get_or_insert(due);
                    }
                }
                Command::SettleReads(number, revision) => {
                    debug_assert!(revision.is_none_or(|it| self.replica.revision() >= it));
                    self.settle(outstanding.reads.settle(number, revision.is_some()));
                }
                Command::Confirm(round) => confirm = Some(round),
            }
        }
        if message.hands_over != 0 {
            self.hand_overs.note(message.hands_over);
        }
        for end in &message.log_ends {
            self.remembered.note(end);
        }
        Ok(confirm)
    }

    fn settle(&self, settled: Settled<Waiting>) {
        match settled {
            Settled::Answer(waiting) => finish(waiting, Ok(())),
            Settled::TryAgain(waiting) => {
                let reads = self.reads.clone();
                tokio::spawn(async move {
                    sleep(READ_PAUSE).await;
                    reads.give_back(waiting);
                });
            }
            Settled::Unknown => {}
        }
    }
}

/// Waits for a moment, if there is one.
async fn moment(until: Option<Instant>) {
    if let Some(until) = until {
        sleep_until(until).await;
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
        let message = outstanding
            .requests
            .forward(|number| to_leader(submission, number));
        submissions.extend(message);
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
