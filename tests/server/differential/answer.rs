//! The answer of a server, as text in which equal servers are equal.
//!
//! Ids of members and terms are left out, because every server has its own; so is the time that a
//! lease has left. What else may differ is in `differences.rs`.

use etcd_proto::etcdserverpb::response_op::Response;
use etcd_proto::etcdserverpb::*;
use etcd_proto::v3electionpb::*;
use etcd_proto::v3lockpb::{LockResponse, UnlockResponse};
use tonic::Status;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub is_refusal: bool,
    /// The header's, if it has one.
    pub revision: Option<i64>,
}

/// The number that stands for the server's own member id.
const OWN: u64 = 1;

/// Takes out what no two servers have in common.
pub trait Mask {
    fn mask(&mut self, own_member: u64);
    fn header(&self) -> Option<&ResponseHeader>;
}

impl Answer {
    pub fn new<A: Mask + std::fmt::Debug>(answer: Result<A, Status>, own_member: u64) -> Self {
        match answer {
            Ok(mut answer) => {
                answer.mask(own_member);
                Self {
                    text: format!("{answer:?}"),
                    is_refusal: false,
                    revision: answer.header().map(|header| header.revision),
                }
            }
            Err(status) => Self::refusal(&status),
        }
    }

    /// Returns a remark of the test itself, the same for both servers.
    pub fn note(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            is_refusal: false,
            revision: None,
        }
    }

    pub fn refusal(status: &Status) -> Self {
        Self {
            text: format!("{:?}: {}", status.code(), status.message()),
            is_refusal: true,
            revision: None,
        }
    }
}

pub fn mask_header(header: &mut Option<ResponseHeader>) {
    if let Some(header) = header {
        *header = ResponseHeader {
            revision: header.revision,
            ..Default::default()
        };
    }
}

macro_rules! masks {
    ($($answer:ty),* $(,)?) => {$(
        impl Mask for $answer {
            fn mask(&mut self, _: u64) {
                mask_header(&mut self.header);
            }
            fn header(&self) -> Option<&ResponseHeader> {
                self.header.as_ref()
            }
        }
    )*};
    ($($answer:ty, |$it:ident, $own:ident| $more:block;)*) => {$(
        impl Mask for $answer {
            fn mask(&mut self, $own: u64) {
                mask_header(&mut self.header);
                let $it = self;
                $more
            }
            fn header(&self) -> Option<&ResponseHeader> {
                self.header.as_ref()
            }
        }
    )*};
}

masks! {
    RangeResponse,
    LockResponse,
    UnlockResponse,
    CampaignResponse,
    ProclaimResponse,
    LeaderResponse,
    ResignResponse,
    AuthEnableResponse,
    AuthDisableResponse,
    DefragmentResponse,
    MoveLeaderResponse,
    MemberAddResponse,
    MemberRemoveResponse,
    MemberUpdateResponse,
    MemberPromoteResponse,
    PutResponse,
    DeleteRangeResponse,
    CompactionResponse,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    HashKvResponse,
    AuthStatusResponse,
    AuthUserAddResponse,
    AuthUserGetResponse,
    AuthUserListResponse,
    AuthUserDeleteResponse,
    AuthUserChangePasswordResponse,
    AuthUserGrantRoleResponse,
    AuthUserRevokeRoleResponse,
    AuthRoleAddResponse,
    AuthRoleGetResponse,
    AuthRoleListResponse,
    AuthRoleDeleteResponse,
    AuthRoleGrantPermissionResponse,
    AuthRoleRevokePermissionResponse,
}

masks! {
    TxnResponse, |it, own| {
        for response in &mut it.responses {
            match &mut response.response {
                Some(Response::ResponseRange(inner)) => inner.mask(own),
                Some(Response::ResponsePut(inner)) => inner.mask(own),
                Some(Response::ResponseDeleteRange(inner)) => inner.mask(own),
                Some(Response::ResponseTxn(inner)) => inner.mask(own),
                None => {}
            }
        }
    };
    AuthenticateResponse, |it, _own| {
        assert!(!it.token.is_empty());
        it.token.clear();
    };
    HashResponse, |it, _own| {
        it.hash = 0;
    };
    LeaseKeepAliveResponse, |_it, _own| {};
    LeaseTimeToLiveResponse, |it, _own| {
        // A lease that is there has a time left that is above zero, and at most what was granted.
        if it.ttl > 0 && it.ttl <= it.granted_ttl {
            it.ttl = it.granted_ttl;
        }
    };
    LeaseLeasesResponse, |_it, _own| {};
    AlarmResponse, |it, own| {
        for alarm in &mut it.alarms {
            if alarm.member_id == own {
                alarm.member_id = OWN;
            }
        }
    };
    // Versions are each server's own.
    DowngradeResponse, |it, _own| {
        it.version.clear();
    };
    StatusResponse, |it, own| {
        *it = StatusResponse {
            header: it.header,
            leader: if it.leader == own { OWN } else { 0 },
            is_learner: it.is_learner,
            db_size_quota: it.db_size_quota,
            downgrade_info: it.downgrade_info.take(),
            ..Default::default()
        };
    };
    MemberListResponse, |it, own| {
        for member in &mut it.members {
            *member = Member {
                id: if member.id == own { OWN } else { 0 },
                is_learner: member.is_learner,
                ..Default::default()
            };
        }
    };
}
