//! Bytes as every request of the API, and through the checks that precede everything else.
//!
//! The first byte chooses the kind of request.

#![no_main]

use bytes::Bytes;
use etcd_proto::{etcdserverpb::*, v3electionpb::*, v3lockpb::*};
use etcd_state::requests::{check_delete_range, check_put, check_range, check_txn};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// The most operations of a transaction that etcd allows.
const MAX_TXN_OPERATIONS: usize = 128;

/// Decodes a message, and checks that its encoding decodes to the same message.
fn decode<M: Message + Default + PartialEq>(bytes: Bytes) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = M::decode(Bytes::from(message.encode_to_vec())).expect("our own encoding");
    assert!(message == again);
    Some(message)
}

macro_rules! kinds {
    ($kind:expr, $bytes:expr; $($request:ty),* $(,)?) => {{
        let decoders: &[fn(Bytes)] = &[$(|bytes| { let _ = decode::<$request>(bytes); }),*];
        decoders[usize::from(*$kind) % decoders.len()]($bytes);
    }};
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let bytes = Bytes::copy_from_slice(bytes);
    match kind {
        0 => drop(decode(bytes).map(|request| check_range(&request))),
        1 => drop(decode(bytes).map(|request| check_put(&request))),
        2 => drop(decode(bytes).map(|request| check_delete_range(&request))),
        3..=63 => drop(decode(bytes).map(|request| check_txn(&request, MAX_TXN_OPERATIONS))),
        _ => kinds!(kind, bytes;
            CompactionRequest, HashRequest, HashKvRequest, SnapshotRequest, WatchRequest,
            LeaseGrantRequest, LeaseRevokeRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest,
            LeaseLeasesRequest, MemberAddRequest, MemberRemoveRequest, MemberUpdateRequest,
            MemberListRequest, MemberPromoteRequest, DefragmentRequest, MoveLeaderRequest,
            AlarmRequest, DowngradeRequest, StatusRequest, AuthEnableRequest, AuthDisableRequest,
            AuthStatusRequest, AuthenticateRequest, AuthUserAddRequest, AuthUserGetRequest,
            AuthUserDeleteRequest, AuthUserChangePasswordRequest, AuthUserGrantRoleRequest,
            AuthUserRevokeRoleRequest, AuthUserListRequest, AuthRoleAddRequest,
            AuthRoleGetRequest, AuthRoleListRequest, AuthRoleDeleteRequest,
            AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, LockRequest,
            UnlockRequest, CampaignRequest, ProclaimRequest, LeaderRequest, ResignRequest,
        ),
    }
});
