//! One step of a sequence: a request, with numbers that may stand for a revision of the store.

use etcd_proto::etcdserverpb::compare::TargetUnion;
use etcd_proto::etcdserverpb::request_op::Request;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::*;
use etcd_proto::v3electionpb::{CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest};
use etcd_proto::v3lockpb::{LockRequest, UnlockRequest};
use prost::Message;

/// Stands for the current revision. Near it, for one near that.
///
/// A sequence keeps its sense when steps before are taken away, because revisions are named by what
/// they are at that step. No real revision is this large.
pub const CURRENT: i64 = 1 << 50;

/// Stands for the revision of the last compaction.
pub const COMPACTED: i64 = 1 << 51;

/// Stands for the server's member id.
pub const OWN_MEMBER: u64 = 1 << 50;

/// Stands for the revision at which the last leader was elected.
pub const ELECTED: i64 = 1 << 52;

/// The distance from [`CURRENT`] and its like up to which a number stands for one near them.
const NEAR: i64 = 1000;

macro_rules! operations {
    ($($name:ident($request:ty)),* $(,)?) => {
        #[derive(Debug, Clone, PartialEq)]
        pub enum Operation {
            $($name($request),)*
            Watch { stream: usize, request: WatchRequest },
            /// Changes the caller of the operations that follow: one of
            /// [`CALLERS`](super::callers::CALLERS).
            Become { caller: usize },
        }

        impl Operation {
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$name(request) => request.encode_to_vec(),)*
                    Self::Watch { request, .. } => request.encode_to_vec(),
                    Self::Become { .. } => Vec::new(),
                }
            }

            /// An operation of the same kind with another request; none if that is no request.
            pub fn with(&self, bytes: &[u8]) -> Option<Self> {
                Some(match self {
                    $(Self::$name(_) => Self::$name(<$request>::decode(bytes).ok()?),)*
                    Self::Watch { stream, .. } => Self::Watch {
                        stream: *stream,
                        request: WatchRequest::decode(bytes).ok()?,
                    },
                    Self::Become { .. } => return None,
                })
            }
        }
    };
}

operations! {
    Range(RangeRequest),
    RangeStream(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    LeaseGrant(LeaseGrantRequest),
    LeaseRevoke(LeaseRevokeRequest),
    LeaseTimeToLive(LeaseTimeToLiveRequest),
    LeaseLeases(LeaseLeasesRequest),
    LeaseKeepAlive(LeaseKeepAliveRequest),
    HashKv(HashKvRequest),
    Alarm(AlarmRequest),
    Status(StatusRequest),
    MemberList(MemberListRequest),
    MemberAdd(MemberAddRequest),
    MemberRemove(MemberRemoveRequest),
    MemberUpdate(MemberUpdateRequest),
    MemberPromote(MemberPromoteRequest),
    MoveLeader(MoveLeaderRequest),
    Downgrade(DowngradeRequest),
    Defragment(DefragmentRequest),
    Hash(HashRequest),
    Snapshot(SnapshotRequest),
    Lock(LockRequest),
    Unlock(UnlockRequest),
    Campaign(CampaignRequest),
    Proclaim(ProclaimRequest),
    Leader(LeaderRequest),
    Observe(LeaderRequest),
    Resign(ResignRequest),
    AuthEnable(AuthEnableRequest),
    AuthDisable(AuthDisableRequest),
    Authenticate(AuthenticateRequest),
    AuthStatus(AuthStatusRequest),
    UserAdd(AuthUserAddRequest),
    UserGet(AuthUserGetRequest),
    UserList(AuthUserListRequest),
    UserDelete(AuthUserDeleteRequest),
    UserChangePassword(AuthUserChangePasswordRequest),
    UserGrantRole(AuthUserGrantRoleRequest),
    UserRevokeRole(AuthUserRevokeRoleRequest),
    RoleAdd(AuthRoleAddRequest),
    RoleGet(AuthRoleGetRequest),
    RoleList(AuthRoleListRequest),
    RoleDelete(AuthRoleDeleteRequest),
    RoleGrantPermission(AuthRoleGrantPermissionRequest),
    RoleRevokePermission(AuthRoleRevokePermissionRequest),
}

/// The values of the stand-ins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Revisions {
    pub current: i64,
    pub compacted: i64,
    pub elected: i64,
}

impl Revisions {
    fn resolve(&self, number: &mut i64) {
        let known = [
            (CURRENT, self.current),
            (COMPACTED, self.compacted),
            (ELECTED, self.elected),
        ];
        for (stand_in, revision) in known {
            if (stand_in - NEAR..=stand_in + NEAR).contains(number) {
                *number += revision - stand_in;
                return;
            }
        }
    }

    fn resolve_range(&self, range: &mut RangeRequest) {
        self.resolve(&mut range.revision);
        self.resolve(&mut range.min_mod_revision);
        self.resolve(&mut range.max_mod_revision);
        self.resolve(&mut range.min_create_revision);
        self.resolve(&mut range.max_create_revision);
    }

    fn resolve_txn(&self, txn: &mut TxnRequest) {
        for compare in &mut txn.compare {
            if let Some(TargetUnion::ModRevision(number) | TargetUnion::CreateRevision(number)) =
                &mut compare.target_union
            {
                self.resolve(number);
            }
        }
        for operation in txn.success.iter_mut().chain(&mut txn.failure) {
            match &mut operation.request {
                Some(Request::RequestRange(range)) => self.resolve_range(range),
                Some(Request::RequestTxn(txn)) => self.resolve_txn(txn),
                _ => {}
            }
        }
    }
}

impl Operation {
    /// Returns the operation with the present numbers, as the server with this id gets it.
    pub fn resolved(&self, revisions: &Revisions, own_member: u64) -> Self {
        let mut operation = self.clone();
        match &mut operation {
            Self::Range(range) | Self::RangeStream(range) => revisions.resolve_range(range),
            Self::Txn(txn) => revisions.resolve_txn(txn),
            Self::Compact(compact) => revisions.resolve(&mut compact.revision),
            Self::HashKv(hash) => revisions.resolve(&mut hash.revision),
            Self::Proclaim(ProclaimRequest {
                leader: Some(leader),
                ..
            })
            | Self::Resign(ResignRequest {
                leader: Some(leader),
            }) => revisions.resolve(&mut leader.rev),
            Self::MoveLeader(it) if it.target_id == OWN_MEMBER => it.target_id = own_member,
            Self::MemberRemove(it) if it.id == OWN_MEMBER => it.id = own_member,
            Self::MemberPromote(it) if it.id == OWN_MEMBER => it.id = own_member,
            Self::Alarm(alarm) if alarm.member_id == OWN_MEMBER => alarm.member_id = own_member,
            Self::Watch { request, .. } => {
                if let Some(RequestUnion::CreateRequest(create)) = &mut request.request_union {
                    revisions.resolve(&mut create.start_revision);
                }
            }
            _ => {}
        }
        operation
    }
}
