//! One step of a sequence: a request, with numbers that may stand for a revision of the store.

use etcd_proto::etcdserverpb::compare::TargetUnion;
use etcd_proto::etcdserverpb::request_op::Request;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::*;
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

/// How far from [`CURRENT`] and [`COMPACTED`] a number still stands for one near them.
const NEAR: i64 = 1000;

macro_rules! operations {
    ($($name:ident($request:ty)),* $(,)?) => {
        #[derive(Debug, Clone, PartialEq)]
        pub enum Operation {
            $($name($request),)*
            Watch { stream: usize, request: WatchRequest },
        }

        impl Operation {
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$name(request) => request.encode_to_vec(),)*
                    Self::Watch { request, .. } => request.encode_to_vec(),
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

/// What the stand-ins stand for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Revisions {
    pub current: i64,
    pub compacted: i64,
}

impl Revisions {
    fn resolve(&self, number: &mut i64) {
        for (stand_in, revision) in [(CURRENT, self.current), (COMPACTED, self.compacted)] {
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
    /// The same with the numbers of now, as the server with this id gets it.
    pub fn resolved(&self, revisions: &Revisions, own_member: u64) -> Self {
        let mut operation = self.clone();
        match &mut operation {
            Self::Range(range) | Self::RangeStream(range) => revisions.resolve_range(range),
            Self::Txn(txn) => revisions.resolve_txn(txn),
            Self::Compact(compact) => revisions.resolve(&mut compact.revision),
            Self::HashKv(hash) => revisions.resolve(&mut hash.revision),
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
