//! Requests that a follower forwards to the leader: sending one and reading its answer on the one
//! side, queueing it on the other.

use std::pin::Pin;

use etcd_state::{
    mvcc::{LeaseId, Revision},
    requests::RequestError,
};
use peer_proto::{self as proto, answer, command::Kind};
use prost::Message;
use telemetry::tracing::Operation;

use super::{
    convert::{Answered, Forwarded, auth_from_proto},
    errors,
};
use crate::store::{
    Call, Command, Compact, Defragment, LeaseGrant, LeaseKeepAlive, LeaseList, LeaseRevoke,
    LeaseTimeToLive, Publish, ReadPages, ReadSnapshotState, ReplySender, Store, Submission,
};

/// An answer of the leader that does not belong to what it was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Nonsense;

/// A request that the leader has not answered, whose client waits here.
pub struct Unanswered {
    end: Box<Ending>,
    auth_revision: Option<u64>,
    weight_bytes: usize,
    returns: u8,
}

/// The number of times that leaders may return a request before its client is told: two seconds.
const MAX_RETURNS: u8 = 10;

/// The end of a forwarded request.
enum End {
    Answered(Answered),
    Refused(RequestError),
    /// The leader has not begun it, and never will.
    Returned,
}

/// Tells the client the result, if it belongs to the request, or makes the request again.
type Ending = dyn FnOnce(End) -> Result<Option<Command>, Nonsense> + Send;

impl Unanswered {
    /// Reads the answer as the reply to this request. Returns the request if the leader has returned it: it leads no more, and
    /// the next one is to be asked.
    pub fn answer(self, answer: proto::Answer) -> Result<Option<Submission>, Nonsense> {
        let proto::Answer { revision, kind, .. } = answer;
        let command = (self.end)(match kind.ok_or(Nonsense)? {
            answer::Kind::Error(number) => match errors::error_of(number) {
                RequestError::LeaderChanged if self.returns < MAX_RETURNS => End::Returned,
                error => End::Refused(error),
            },
            kind => End::Answered(Answered {
                revision: Revision::new(revision),
                kind,
            }),
        })?;
        Ok(command.map(|command| Submission {
            command,
            auth_revision: self.auth_revision,
            weight_bytes: self.weight_bytes,
            is_forwarded: false,
            returns: self.returns + 1,
        }))
    }

    pub fn refuse(self, error: RequestError) {
        // An error belongs to every request.
        let _ = (self.end)(End::Refused(error));
    }
}

fn ending<R: Forwarded>(request: R, reply: ReplySender<R::Reply>) -> Box<Ending> {
    Box::new(move |end| {
        let result = match end {
            End::Answered(answered) => Ok(R::reply_from_proto(answered).ok_or(Nonsense)?),
            End::Refused(error) => Err(error),
            End::Returned => return Ok(Some(request.into_command(reply))),
        };
        reply.send(result);
        Ok(None)
    })
}

/// Makes the message that forwards a request under a number. Returns none for a request that this
/// node asked of itself when it led: it is refused.
pub fn to_leader(submission: Submission, number: u64) -> Option<(proto::Submission, Unanswered)> {
    let (kind, traceparent, end) = match submission.command {
        Command::Put(call) => split(call),
        Command::DeleteRange(call) => split(call),
        Command::Txn(call) => split(call),
        Command::LeaseGrant(call) => split(call),
        Command::LeaseRevoke(call) => split(call),
        Command::LeaseKeepAlive(call) => split(call),
        Command::LeaseTimeToLive(call) => split(call),
        Command::LeaseList(call) => split(call),
        Command::Copy(call) => split(call),
        Command::Compact(call) => split(call),
        Command::Alarm(call) => split(call),
        Command::Auth(call) => split(call),
        Command::Publish(call) => split(call),
        Command::Pages(call) => split(call),
        Command::Defragment(call) => split(call),
        command @ (Command::LeaseExpire(_) | Command::LeaseRenewed(_)) => {
            command.refused(RequestError::LeaderChanged).send();
            return None;
        }
    };
    let message = proto::Submission {
        number,
        command: Some(proto::Command { kind: Some(kind) }),
        traceparent,
        auth_revision: submission.auth_revision.unwrap_or(0),
    };
    let unanswered = Unanswered {
        end,
        auth_revision: submission.auth_revision,
        weight_bytes: submission.weight_bytes,
        returns: submission.returns,
    };
    Some((message, unanswered))
}

fn split<R: Forwarded>(mut call: Call<R>) -> (Kind, String, Box<Ending>) {
    let traceparent = call.reply.note_forwarded();
    let kind = call.request.clone().into_proto();
    (kind, traceparent, ending(call.request, call.reply))
}

/// An answer to come, for a follower.
pub type Answer = Pin<Box<dyn Future<Output = proto::Answer> + Send>>;

/// Queues a request of a follower before it returns.
pub fn serve(store: &Store, submission: proto::Submission) -> Answer {
    let size_bytes = submission.encoded_len();
    let store = match submission.auth_revision {
        0 => store.clone(),
        auth_revision => store.let_in_at(auth_revision),
    };
    let asked = Asked {
        number: submission.number,
        traceparent: submission.traceparent,
        size_bytes,
        store,
    };
    match submission.command.and_then(|command| command.kind) {
        Some(kind) => asked.kind(kind),
        None => asked.unknown(),
    }
}

/// A request of a follower but for its content.
struct Asked {
    number: u64,
    traceparent: String,
    size_bytes: usize,
    store: Store,
}

impl Asked {
    fn kind(self, kind: Kind) -> Answer {
        match kind {
            Kind::Put(request) => self.queue(request),
            Kind::DeleteRange(request) => self.queue(request),
            Kind::Txn(request) => self.queue(request),
            Kind::LeaseGrant(request) => self.queue(LeaseGrant {
                id: LeaseId::new(request.id),
                ttl_s: request.ttl,
            }),
            Kind::LeaseRevoke(request) => self.queue(LeaseRevoke {
                id: LeaseId::new(request.id),
            }),
            Kind::LeaseKeepAlive(request) => self.queue(LeaseKeepAlive {
                id: LeaseId::new(request.id),
            }),
            Kind::LeaseTimeToLive(request) => self.queue(LeaseTimeToLive {
                id: LeaseId::new(request.id),
                with_keys: request.keys,
            }),
            Kind::LeaseList(_) => self.queue(LeaseList),
            Kind::Copy(_) => self.queue(ReadSnapshotState),
            Kind::Compact(request) => self.queue(Compact {
                revision: Revision::new(request.revision),
                physical: request.physical,
            }),
            Kind::Alarm(request) => self.queue(request),
            Kind::Auth(change) => match auth_from_proto(change) {
                Some(change) => self.queue(change),
                None => self.unknown(),
            },
            Kind::Publish(member) => self.queue(Publish {
                member_id: member.id,
                client_urls: member.client_ur_ls,
            }),
            Kind::Pages(_) => self.queue(ReadPages),
            Kind::Defragment(_) => self.queue(Defragment),
        }
    }

    fn queue<R: Forwarded>(self, request: R) -> Answer {
        let number = self.number;
        let operation = Operation::continued(R::NAME, &self.traceparent);
        let timeline = operation.timeline().cloned();
        let queued = self
            .store
            .enqueue_forwarded(request, self.size_bytes, timeline);
        Box::pin(async move {
            let result = match queued {
                Ok(reply) => reply.await.unwrap_or(Err(RequestError::LeaderLost)),
                Err(error) => Err(error),
            };
            drop(operation);
            answer(number, result.map(R::reply_to_proto))
        })
    }

    /// Answers a request of a newer version: it is not done, since it is not known.
    fn unknown(self) -> Answer {
        let answer = answer(self.number, Err(RequestError::LeaderChanged));
        Box::pin(std::future::ready(answer))
    }
}

fn answer(number: u64, result: Result<Answered, RequestError>) -> proto::Answer {
    let answered = result.unwrap_or_else(|error| {
        let number = errors::number_of(error);
        answer::Kind::Error(number).into()
    });
    proto::Answer {
        number,
        revision: answered.revision.number(),
        kind: Some(answered.kind),
    }
}

/// Answers a request that is not begun here.
pub fn returned(submission: &proto::Submission) -> proto::Answer {
    answer(submission.number, Err(RequestError::LeaderChanged))
}
