//! Requests of the writer and their replies on the way between nodes.

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, CompactionRequest, DeleteRangeRequest,
    DeleteRangeResponse, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseStatus, LeaseTimeToLiveRequest, Member,
    PutRequest, PutResponse, TxnRequest, TxnResponse,
};
use etcd_state::{
    auth::Change,
    lease::{LeaseCopy, LeaseView},
    mvcc::{LeaseId, Revision},
};
use peer_proto::{self as proto, answer::Kind as Answer, auth_change, command::Kind};

use super::rows;
use crate::store::{
    Committed, Compact, Defragment, LeaseGrant, LeaseKeepAlive, LeaseList, LeaseRevoke,
    LeaseTimeToLive, Pages, Publish, ReadPages, ReadSnapshotState, Request, SnapshotState,
};

const NOTHING: proto::Nothing = proto::Nothing {};

/// The answer without content.
const DONE: Answer = Answer::Done(proto::Done {});

/// An answer, and the revision at which the write took effect that it answers; 0 if it answers none,
/// says so itself, or is of a leader of an older version.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub revision: Revision,
    pub kind: Answer,
}

impl From<Answer> for Answered {
    fn from(kind: Answer) -> Self {
        Self {
            revision: Revision::default(),
            kind,
        }
    }
}

/// A request that a follower forwards to the leader.
pub trait Forwarded: Request {
    fn into_proto(self) -> Kind;

    fn reply_to_proto(reply: Self::Reply) -> Answered;

    /// Returns none for the answer to another request.
    fn reply_from_proto(answer: Answered) -> Option<Self::Reply>;
}

/// Implements [`Forwarded`] for a request that is sent as it is, and so is its reply.
macro_rules! forwarded_as_it_is {
    ($($request:ty => $reply:ty, $kind:ident;)+) => {
        $(impl Forwarded for $request {
            fn into_proto(self) -> Kind {
                Kind::$kind(self)
            }

            fn reply_to_proto(reply: $reply) -> Answered {
                Answer::$kind(reply).into()
            }

            fn reply_from_proto(answer: Answered) -> Option<$reply> {
                match answer.kind {
                    Answer::$kind(reply) => Some(reply),
                    _ => None,
                }
            }
        })+
    };
}

forwarded_as_it_is! {
    PutRequest => PutResponse, Put;
    DeleteRangeRequest => DeleteRangeResponse, DeleteRange;
    TxnRequest => TxnResponse, Txn;
}

/// Implements the reply's part of [`Forwarded`] for a request that is only done.
macro_rules! answered_by_done {
    () => {
        fn reply_to_proto((): ()) -> Answered {
            DONE.into()
        }

        fn reply_from_proto(answer: Answered) -> Option<()> {
            matches!(answer.kind, Answer::Done(_)).then_some(())
        }
    };
}

/// Implements the reply's part of [`Forwarded`] for a write, by the parts of what it replies with.
macro_rules! answered_with_revision {
    ($reply:ty, $to_proto:expr, $pattern:pat => $from_proto:expr) => {
        fn reply_to_proto(committed: Committed<$reply>) -> Answered {
            let to_proto: fn($reply) -> Answer = $to_proto;
            Answered {
                revision: committed.revision,
                kind: to_proto(committed.reply),
            }
        }

        fn reply_from_proto(answer: Answered) -> Option<Committed<$reply>> {
            match answer.kind {
                $pattern => Some(Committed {
                    revision: answer.revision,
                    reply: $from_proto,
                }),
                _ => None,
            }
        }
    };
}

impl Forwarded for LeaseGrant {
    fn into_proto(self) -> Kind {
        let Self { id, ttl_s } = self;
        Kind::LeaseGrant(LeaseGrantRequest {
            ttl: ttl_s,
            id: id.number(),
        })
    }

    answered_with_revision!(i64, Answer::GrantedTtlS, Answer::GrantedTtlS(ttl_s) => ttl_s);
}

impl Forwarded for LeaseRevoke {
    fn into_proto(self) -> Kind {
        Kind::LeaseRevoke(LeaseRevokeRequest {
            id: self.id.number(),
        })
    }

    answered_with_revision!((), |()| DONE, Answer::Done(_) => ());
}

impl Forwarded for LeaseKeepAlive {
    fn into_proto(self) -> Kind {
        Kind::LeaseKeepAlive(LeaseKeepAliveRequest {
            id: self.id.number(),
        })
    }

    fn reply_to_proto(ttl_s: Option<i64>) -> Answered {
        ttl_s.map_or(DONE, Answer::RenewedTtlS).into()
    }

    fn reply_from_proto(answer: Answered) -> Option<Option<i64>> {
        match answer.kind {
            Answer::RenewedTtlS(ttl_s) => Some(Some(ttl_s)),
            Answer::Done(_) => Some(None),
            _ => None,
        }
    }
}

impl Forwarded for LeaseTimeToLive {
    fn into_proto(self) -> Kind {
        Kind::LeaseTimeToLive(LeaseTimeToLiveRequest {
            id: self.id.number(),
            keys: self.with_keys,
        })
    }

    fn reply_to_proto(view: Option<LeaseView>) -> Answered {
        let lease = view.map(|view| {
            Answer::Lease(proto::Lease {
                granted_ttl_s: view.granted_ttl_s,
                remaining_s: view.remaining_s,
                keys: view.keys,
            })
        });
        lease.unwrap_or(DONE).into()
    }

    fn reply_from_proto(answer: Answered) -> Option<Option<LeaseView>> {
        match answer.kind {
            Answer::Lease(lease) => Some(Some(LeaseView {
                granted_ttl_s: lease.granted_ttl_s,
                remaining_s: lease.remaining_s,
                keys: lease.keys,
            })),
            Answer::Done(_) => Some(None),
            _ => None,
        }
    }
}

impl Forwarded for LeaseList {
    fn into_proto(self) -> Kind {
        Kind::LeaseList(LeaseLeasesRequest {})
    }

    fn reply_to_proto(ids: Vec<LeaseId>) -> Answered {
        let list = LeaseLeasesResponse {
            leases: ids
                .into_iter()
                .map(|id| LeaseStatus { id: id.number() })
                .collect(),
            ..Default::default()
        };
        Answer::LeaseList(list).into()
    }

    fn reply_from_proto(answer: Answered) -> Option<Vec<LeaseId>> {
        match answer.kind {
            Answer::LeaseList(list) => Some(
                list.leases
                    .into_iter()
                    .map(|lease| LeaseId::new(lease.id))
                    .collect(),
            ),
            _ => None,
        }
    }
}

impl Forwarded for ReadSnapshotState {
    fn into_proto(self) -> Kind {
        Kind::Copy(NOTHING)
    }

    fn reply_to_proto(state: SnapshotState) -> Answered {
        let copy = proto::Copy {
            revision: state.revision.number(),
            leases: state.leases.into_iter().map(copied_lease).collect(),
            settings: Some(rows::settings_to_proto(&state.settings)),
        };
        Answer::Copy(copy).into()
    }

    fn reply_from_proto(answer: Answered) -> Option<SnapshotState> {
        match answer.kind {
            Answer::Copy(copy) => Some(SnapshotState {
                revision: Revision::new(copy.revision),
                leases: copy.leases.into_iter().map(lease_copy).collect(),
                settings: rows::settings_from_proto(copy.settings.unwrap_or_default()),
            }),
            _ => None,
        }
    }
}

impl Forwarded for Compact {
    fn into_proto(self) -> Kind {
        let Self { revision, physical } = self;
        Kind::Compact(CompactionRequest {
            revision: revision.number(),
            physical,
        })
    }

    answered_with_revision!((), |()| DONE, Answer::Done(_) => ());
}

impl Forwarded for AlarmRequest {
    fn into_proto(self) -> Kind {
        Kind::Alarm(self)
    }

    answered_with_revision!(
        Vec<AlarmMember>,
        |alarms| Answer::Alarm(AlarmResponse { alarms, ..Default::default() }),
        Answer::Alarm(response) => response.alarms
    );
}

impl Forwarded for Change {
    fn into_proto(self) -> Kind {
        Kind::Auth(auth_to_proto(self))
    }

    answered_with_revision!((), |()| DONE, Answer::Done(_) => ());
}

impl Forwarded for Publish {
    fn into_proto(self) -> Kind {
        Kind::Publish(Member {
            id: self.member_id,
            client_ur_ls: self.client_urls,
            ..Default::default()
        })
    }

    answered_by_done!();
}

impl Forwarded for ReadPages {
    fn into_proto(self) -> Kind {
        Kind::Pages(NOTHING)
    }

    fn reply_to_proto(Pages { total, free }: Pages) -> Answered {
        Answer::Pages(proto::Pages { total, free }).into()
    }

    fn reply_from_proto(answer: Answered) -> Option<Pages> {
        match answer.kind {
            Answer::Pages(proto::Pages { total, free }) => Some(Pages { total, free }),
            _ => None,
        }
    }
}

impl Forwarded for Defragment {
    fn into_proto(self) -> Kind {
        Kind::Defragment(NOTHING)
    }

    answered_by_done!();
}

fn auth_to_proto(change: Change) -> proto::AuthChange {
    use auth_change::Kind;
    let kind = match change {
        Change::Enable { secret } => Kind::Enable(secret),
        Change::SetSecret { secret } => Kind::SetSecret(secret),
        Change::Disable => Kind::Disable(NOTHING),
        Change::UserAdd(request) => Kind::UserAdd(request),
        Change::UserDelete(request) => Kind::UserDelete(request),
        Change::UserChangePassword(request) => Kind::UserChangePassword(request),
        Change::UserGrantRole(request) => Kind::UserGrantRole(request),
        Change::UserRevokeRole(request) => Kind::UserRevokeRole(request),
        Change::RoleAdd(request) => Kind::RoleAdd(request),
        Change::RoleDelete(request) => Kind::RoleDelete(request),
        Change::RoleGrantPermission(request) => Kind::RoleGrantPermission(request),
        Change::RoleRevokePermission(request) => Kind::RoleRevokePermission(request),
    };
    proto::AuthChange { kind: Some(kind) }
}

pub fn auth_from_proto(change: proto::AuthChange) -> Option<Change> {
    use auth_change::Kind;
    let owned = |secret: Bytes| Bytes::copy_from_slice(&secret);
    Some(match change.kind? {
        Kind::Enable(secret) => Change::Enable {
            secret: owned(secret),
        },
        Kind::SetSecret(secret) => Change::SetSecret {
            secret: owned(secret),
        },
        Kind::Disable(_) => Change::Disable,
        Kind::UserAdd(request) => Change::UserAdd(request),
        Kind::UserDelete(request) => Change::UserDelete(request),
        Kind::UserChangePassword(request) => Change::UserChangePassword(request),
        Kind::UserGrantRole(request) => Change::UserGrantRole(request),
        Kind::UserRevokeRole(request) => Change::UserRevokeRole(request),
        Kind::RoleAdd(request) => Change::RoleAdd(request),
        Kind::RoleDelete(request) => Change::RoleDelete(request),
        Kind::RoleGrantPermission(request) => Change::RoleGrantPermission(request),
        Kind::RoleRevokePermission(request) => Change::RoleRevokePermission(request),
    })
}

fn copied_lease(lease: LeaseCopy) -> proto::CopiedLease {
    proto::CopiedLease {
        id: lease.id.number(),
        granted_ttl_s: lease.granted_ttl_s,
        remaining_s: lease.remaining_s,
    }
}

fn lease_copy(lease: proto::CopiedLease) -> LeaseCopy {
    LeaseCopy {
        id: LeaseId::new(lease.id),
        granted_ttl_s: lease.granted_ttl_s,
        remaining_s: lease.remaining_s,
    }
}

#[cfg(test)]
mod tests;
