//! Requests and answers of the writer on the way between nodes.

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    AlarmResponse, CompactionRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseStatus, LeaseTimeToLiveRequest,
};
use etcd_state::{
    auth::Change,
    lease::{LeaseCopy, LeaseView},
    requests::RequestError,
};
use peer_proto::{self as proto, answer, auth_change, command};

use super::{errors, rows};
use crate::store::{Command, Pages, Reply};

const NOTHING: proto::Nothing = proto::Nothing {};

/// Returns none for commands that a leader asks only of itself.
pub fn command_to_proto(command: Command) -> Option<proto::Command> {
    use command::Kind;
    let kind = match command {
        Command::Put(request) => Kind::Put(request),
        Command::DeleteRange(request) => Kind::DeleteRange(request),
        Command::Txn(request) => Kind::Txn(request),
        Command::LeaseGrant { id, ttl_s } => Kind::LeaseGrant(LeaseGrantRequest { ttl: ttl_s, id }),
        Command::LeaseRevoke { id } => Kind::LeaseRevoke(LeaseRevokeRequest { id }),
        Command::LeaseKeepAlive { id } => Kind::LeaseKeepAlive(LeaseKeepAliveRequest { id }),
        Command::LeaseTimeToLive { id, with_keys } => {
            Kind::LeaseTimeToLive(LeaseTimeToLiveRequest {
                id,
                keys: with_keys,
            })
        }
        Command::LeaseList => Kind::LeaseList(LeaseLeasesRequest {}),
        Command::Copy => Kind::Copy(NOTHING),
        Command::Compact { revision, physical } => {
            Kind::Compact(CompactionRequest { revision, physical })
        }
        Command::Alarm(request) => Kind::Alarm(request),
        Command::Auth(change) => Kind::Auth(auth_to_proto(change)),
        Command::Pages => Kind::Pages(NOTHING),
        Command::Defragment => Kind::Defragment(NOTHING),
        Command::LeaseExpire { .. } | Command::LeaseRenewed { .. } => return None,
    };
    Some(proto::Command { kind: Some(kind) })
}

/// Returns none for commands of a newer version.
pub fn command_from_proto(command: proto::Command) -> Option<Command> {
    use command::Kind;
    Some(match command.kind? {
        Kind::Put(request) => Command::Put(request),
        Kind::DeleteRange(request) => Command::DeleteRange(request),
        Kind::Txn(request) => Command::Txn(request),
        Kind::LeaseGrant(LeaseGrantRequest { ttl, id }) => Command::LeaseGrant { id, ttl_s: ttl },
        Kind::LeaseRevoke(LeaseRevokeRequest { id }) => Command::LeaseRevoke { id },
        Kind::LeaseKeepAlive(LeaseKeepAliveRequest { id }) => Command::LeaseKeepAlive { id },
        Kind::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys }) => Command::LeaseTimeToLive {
            id,
            with_keys: keys,
        },
        Kind::LeaseList(_) => Command::LeaseList,
        Kind::Copy(_) => Command::Copy,
        Kind::Compact(CompactionRequest { revision, physical }) => {
            Command::Compact { revision, physical }
        }
        Kind::Alarm(request) => Command::Alarm(request),
        Kind::Auth(change) => Command::Auth(auth_from_proto(change)?),
        Kind::Pages(_) => Command::Pages,
        Kind::Defragment(_) => Command::Defragment,
    })
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

fn auth_from_proto(change: proto::AuthChange) -> Option<Change> {
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

pub fn answer_to_proto(number: u64, result: Result<Reply, RequestError>) -> proto::Answer {
    use answer::Kind;
    let kind = match result {
        Err(error) => Kind::Error(errors::number_of(error)),
        Ok(Reply::Put(response)) => Kind::Put(response),
        Ok(Reply::DeleteRange(response)) => Kind::DeleteRange(response),
        Ok(Reply::Txn(response)) => Kind::Txn(response),
        Ok(Reply::LeaseGranted { ttl_s }) => Kind::GrantedTtlS(ttl_s),
        Ok(Reply::LeaseRevoked { revision }) => Kind::Done(proto::Done { revision }),
        Ok(Reply::LeaseKept(Some(ttl_s))) => Kind::RenewedTtlS(ttl_s),
        Ok(Reply::LeaseTimeToLive(Some(view))) => Kind::Lease(proto::Lease {
            granted_ttl_s: view.granted_ttl_s,
            remaining_s: view.remaining_s,
            keys: view.keys,
        }),
        Ok(Reply::LeaseList(ids)) => Kind::LeaseList(LeaseLeasesResponse {
            leases: ids.into_iter().map(|id| LeaseStatus { id }).collect(),
            ..Default::default()
        }),
        Ok(Reply::Alarm(alarms)) => Kind::Alarm(AlarmResponse {
            alarms,
            ..Default::default()
        }),
        Ok(Reply::Pages(pages)) => Kind::Pages(proto::Pages {
            total: pages.total,
            free: pages.free,
        }),
        Ok(Reply::Copy {
            revision,
            leases,
            settings,
        }) => Kind::Copy(proto::Copy {
            revision,
            leases: leases.into_iter().map(copied_lease).collect(),
            settings: Some(rows::settings_to_proto(&settings)),
        }),
        Ok(
            Reply::LeaseKept(None)
            | Reply::LeaseTimeToLive(None)
            | Reply::LeaseRenewed
            | Reply::Compacted
            | Reply::AuthChanged
            | Reply::Defragmented,
        ) => Kind::Done(proto::Done::default()),
    };
    proto::Answer {
        number,
        kind: Some(kind),
    }
}

fn copied_lease(lease: LeaseCopy) -> proto::CopiedLease {
    proto::CopiedLease {
        id: lease.id,
        granted_ttl_s: lease.granted_ttl_s,
        remaining_s: lease.remaining_s,
    }
}

/// The kind of command that was asked, on which the meaning of `done` depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    KeepAlive,
    TimeToLive,
    Revoke,
    Compact,
    Auth,
    Defragment,
    /// A command that is never answered by `done`.
    Other,
}

impl Asked {
    pub fn of(command: &Command) -> Self {
        match command {
            Command::LeaseKeepAlive { .. } => Self::KeepAlive,
            Command::LeaseTimeToLive { .. } => Self::TimeToLive,
            Command::LeaseRevoke { .. } => Self::Revoke,
            Command::Compact { .. } => Self::Compact,
            Command::Auth(_) => Self::Auth,
            Command::Defragment => Self::Defragment,
            _ => Self::Other,
        }
    }
}

/// Returns none for answers that make no sense.
pub fn answer_from_proto(
    asked: Asked,
    kind: Option<answer::Kind>,
) -> Option<Result<Reply, RequestError>> {
    use answer::Kind;
    Some(Ok(match kind? {
        Kind::Error(number) => return Some(Err(errors::error_of(number))),
        Kind::Put(response) => Reply::Put(response),
        Kind::DeleteRange(response) => Reply::DeleteRange(response),
        Kind::Txn(response) => Reply::Txn(response),
        Kind::GrantedTtlS(ttl_s) => Reply::LeaseGranted { ttl_s },
        Kind::RenewedTtlS(ttl_s) => Reply::LeaseKept(Some(ttl_s)),
        Kind::Lease(lease) => Reply::LeaseTimeToLive(Some(LeaseView {
            granted_ttl_s: lease.granted_ttl_s,
            remaining_s: lease.remaining_s,
            keys: lease.keys,
        })),
        Kind::LeaseList(response) => {
            Reply::LeaseList(response.leases.into_iter().map(|lease| lease.id).collect())
        }
        Kind::Alarm(response) => Reply::Alarm(response.alarms),
        Kind::Pages(proto::Pages { total, free }) => Reply::Pages(Pages { total, free }),
        Kind::Copy(copy) => Reply::Copy {
            revision: copy.revision,
            leases: copy.leases.into_iter().map(lease_copy).collect(),
            settings: rows::settings_from_proto(copy.settings.unwrap_or_default()),
        },
        Kind::Done(proto::Done { revision }) => match asked {
            Asked::KeepAlive => Reply::LeaseKept(None),
            Asked::TimeToLive => Reply::LeaseTimeToLive(None),
            Asked::Revoke => Reply::LeaseRevoked { revision },
            Asked::Compact => Reply::Compacted,
            Asked::Auth => Reply::AuthChanged,
            Asked::Defragment => Reply::Defragmented,
            Asked::Other => return None,
        },
    }))
}

fn lease_copy(lease: proto::CopiedLease) -> LeaseCopy {
    LeaseCopy {
        id: lease.id,
        granted_ttl_s: lease.granted_ttl_s,
        remaining_s: lease.remaining_s,
    }
}
