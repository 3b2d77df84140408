//! etcd's API as the tests call it: one connection, every call with a deadline.

use etcd_proto::etcdserverpb::auth_client::AuthClient;
use etcd_proto::etcdserverpb::cluster_client::ClusterClient;
use etcd_proto::etcdserverpb::kv_client::KvClient;
use etcd_proto::etcdserverpb::lease_client::LeaseClient;
use etcd_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use etcd_proto::etcdserverpb::watch_client::WatchClient;
use etcd_proto::etcdserverpb::*;
use etcd_proto::v3electionpb::election_client::ElectionClient;
use etcd_proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use etcd_proto::v3lockpb::lock_client::LockClient;
use etcd_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::TIMEOUT;

#[derive(Debug, Clone)]
pub struct Api {
    pub kv: KvClient<Channel>,
    pub watch: WatchClient<Channel>,
    pub lease: LeaseClient<Channel>,
    pub cluster: ClusterClient<Channel>,
    pub maintenance: MaintenanceClient<Channel>,
    pub auth: AuthClient<Channel>,
    pub lock: LockClient<Channel>,
    pub election: ElectionClient<Channel>,
    pub channel: Channel,
    /// Shown with every request.
    pub token: Option<AsciiMetadataValue>,
}

/// A request that has one answer.
pub trait Call {
    type Answer;
    async fn send(self, api: Api) -> Result<Response<Self::Answer>, Status>;
}

macro_rules! calls {
    ($($request:ty, $client:ident.$method:ident => $answer:ty;)*) => {$(
        impl Call for $request {
            type Answer = $answer;
            async fn send(self, mut api: Api) -> Result<Response<$answer>, Status> {
                let request = api.request(self);
                api.$client.$method(request).await
            }
        }
    )*};
}

calls! {
    RangeRequest, kv.range => RangeResponse;
    PutRequest, kv.put => PutResponse;
    DeleteRangeRequest, kv.delete_range => DeleteRangeResponse;
    TxnRequest, kv.txn => TxnResponse;
    CompactionRequest, kv.compact => CompactionResponse;
    LeaseGrantRequest, lease.lease_grant => LeaseGrantResponse;
    LeaseRevokeRequest, lease.lease_revoke => LeaseRevokeResponse;
    LeaseTimeToLiveRequest, lease.lease_time_to_live => LeaseTimeToLiveResponse;
    LeaseLeasesRequest, lease.lease_leases => LeaseLeasesResponse;
    MemberListRequest, cluster.member_list => MemberListResponse;
    StatusRequest, maintenance.status => StatusResponse;
    AlarmRequest, maintenance.alarm => AlarmResponse;
    DefragmentRequest, maintenance.defragment => DefragmentResponse;
    MoveLeaderRequest, maintenance.move_leader => MoveLeaderResponse;
    DowngradeRequest, maintenance.downgrade => DowngradeResponse;
    MemberAddRequest, cluster.member_add => MemberAddResponse;
    MemberRemoveRequest, cluster.member_remove => MemberRemoveResponse;
    MemberUpdateRequest, cluster.member_update => MemberUpdateResponse;
    MemberPromoteRequest, cluster.member_promote => MemberPromoteResponse;
    HashRequest, maintenance.hash => HashResponse;
    HashKvRequest, maintenance.hash_kv => HashKvResponse;
    AuthEnableRequest, auth.auth_enable => AuthEnableResponse;
    AuthDisableRequest, auth.auth_disable => AuthDisableResponse;
    AuthStatusRequest, auth.auth_status => AuthStatusResponse;
    AuthenticateRequest, auth.authenticate => AuthenticateResponse;
    AuthUserAddRequest, auth.user_add => AuthUserAddResponse;
    AuthUserGetRequest, auth.user_get => AuthUserGetResponse;
    AuthUserListRequest, auth.user_list => AuthUserListResponse;
    AuthUserDeleteRequest, auth.user_delete => AuthUserDeleteResponse;
    AuthUserChangePasswordRequest, auth.user_change_password => AuthUserChangePasswordResponse;
    AuthUserGrantRoleRequest, auth.user_grant_role => AuthUserGrantRoleResponse;
    AuthUserRevokeRoleRequest, auth.user_revoke_role => AuthUserRevokeRoleResponse;
    AuthRoleAddRequest, auth.role_add => AuthRoleAddResponse;
    AuthRoleGetRequest, auth.role_get => AuthRoleGetResponse;
    AuthRoleListRequest, auth.role_list => AuthRoleListResponse;
    AuthRoleDeleteRequest, auth.role_delete => AuthRoleDeleteResponse;
    AuthRoleGrantPermissionRequest, auth.role_grant_permission => AuthRoleGrantPermissionResponse;
    LockRequest, lock.lock => LockResponse;
    UnlockRequest, lock.unlock => UnlockResponse;
    CampaignRequest, election.campaign => CampaignResponse;
    ProclaimRequest, election.proclaim => ProclaimResponse;
    LeaderRequest, election.leader => LeaderResponse;
    ResignRequest, election.resign => ResignResponse;
    AuthRoleRevokePermissionRequest, auth.role_revoke_permission => AuthRoleRevokePermissionResponse;
}

impl Api {
    pub async fn connect(url: &str) -> Self {
        Self::try_connect(url)
            .await
            .unwrap_or_else(|| panic!("cannot connect to {url}"))
    }

    pub async fn try_connect(url: &str) -> Option<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .unwrap()
            .connect_timeout(TIMEOUT);
        let channel = endpoint.connect().await.ok()?;
        Some(Self::over(channel))
    }

    pub fn over(channel: Channel) -> Self {
        let unlimited = usize::MAX;
        Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(unlimited),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(unlimited),
            lease: LeaseClient::new(channel.clone()).max_decoding_message_size(unlimited),
            cluster: ClusterClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            auth: AuthClient::new(channel.clone()),
            lock: LockClient::new(channel.clone()),
            election: ElectionClient::new(channel.clone()),
            token: None,
            channel,
        }
    }

    /// Returns the same connection for the user of this token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.parse().unwrap()),
            ..self.clone()
        }
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    pub async fn try_ask<C: Call>(&self, request: C) -> Result<C::Answer, Status> {
        match tokio::time::timeout(TIMEOUT, request.send(self.clone())).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => panic!("no answer within {TIMEOUT:?}"),
        }
    }

    /// The answer to a request that must succeed.
    pub async fn ask<C: Call>(&self, request: C) -> C::Answer {
        match self.try_ask(request).await {
            Ok(answer) => answer,
            Err(status) => panic!("{:?}: {}", status.code(), status.message()),
        }
    }

    /// The code and text with which a request is refused.
    pub async fn refused<C: Call>(&self, request: C) -> (Code, String) {
        match self.try_ask(request).await {
            Ok(_) => panic!("the request was not refused"),
            Err(status) => (status.code(), status.message().to_owned()),
        }
    }

    /// Puts one key and returns the revision that it got.
    pub async fn put(&self, key: &str, value: &str) -> i64 {
        self.ask(super::put(key.to_owned(), value.to_owned()))
            .await
            .header
            .unwrap()
            .revision
    }

    /// Deletes one key and returns the revision that it got.
    pub async fn delete(&self, key: &str) -> i64 {
        self.ask(super::delete(key.to_owned()))
            .await
            .header
            .unwrap()
            .revision
    }

    /// The current revision of the store.
    pub async fn revision(&self) -> i64 {
        self.ask(super::get("no such key"))
            .await
            .header
            .unwrap()
            .revision
    }
}
