//! The table of paths and calls (the `google.api.http` options in etcd's `rpc.proto`,
//! `v3lock.proto` and `v3election.proto`), and the messages of each call.

use std::{collections::HashMap, sync::Arc};

use etcd_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use tonic::codegen::http::uri::PathAndQuery;

/// Paths below `/v3/`, and the calls they stand for.
const PATHS: [(&str, &str); 51] = [
    ("kv/range", "etcdserverpb.KV/Range"),
    ("kv/put", "etcdserverpb.KV/Put"),
    ("kv/deleterange", "etcdserverpb.KV/DeleteRange"),
    ("kv/txn", "etcdserverpb.KV/Txn"),
    ("kv/compaction", "etcdserverpb.KV/Compact"),
    ("watch", "etcdserverpb.Watch/Watch"),
    ("lease/grant", "etcdserverpb.Lease/LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/remove", "etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "etcdserverpb.Cluster/MemberUpdate"),
    ("cluster/member/list", "etcdserverpb.Cluster/MemberList"),
    (
        "cluster/member/promote",
        "etcdserverpb.Cluster/MemberPromote",
    ),
    ("maintenance/alarm", "etcdserverpb.Maintenance/Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance/Status"),
    (
        "maintenance/defragment",
        "etcdserverpb.Maintenance/Defragment",
    ),
    ("maintenance/hash", "etcdserverpb.Maintenance/Hash"),
    ("maintenance/hashkv", "etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", "etcdserverpb.Maintenance/Snapshot"),
    (
        "maintenance/transfer-leadership",
        "etcdserverpb.Maintenance/MoveLeader",
    ),
    (
        "maintenance/downgrade",
        "etcdserverpb.Maintenance/Downgrade",
    ),
    ("auth/enable", "etcdserverpb.Auth/AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth/AuthDisable"),
    ("auth/status", "etcdserverpb.Auth/AuthStatus"),
    ("auth/authenticate", "etcdserverpb.Auth/Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth/UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth/UserGet"),
    ("auth/user/list", "etcdserverpb.Auth/UserList"),
    ("auth/user/delete", "etcdserverpb.Auth/UserDelete"),
    ("auth/user/changepw", "etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/grant", "etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth/UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth/RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth/RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth/RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth/RoleDelete"),
    ("auth/role/grant", "etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/revoke", "etcdserverpb.Auth/RoleRevokePermission"),
    ("lock/lock", "v3lockpb.Lock/Lock"),
    ("lock/unlock", "v3lockpb.Lock/Unlock"),
    ("election/campaign", "v3electionpb.Election/Campaign"),
    ("election/proclaim", "v3electionpb.Election/Proclaim"),
    ("election/leader", "v3electionpb.Election/Leader"),
    ("election/observe", "v3electionpb.Election/Observe"),
    ("election/resign", "v3electionpb.Election/Resign"),
];

/// One call.
#[derive(Debug)]
pub struct Method {
    /// The path of the call for gRPC clients.
    pub grpc_path: PathAndQuery,
    pub request: MessageDescriptor,
    pub reply: MessageDescriptor,
    pub takes_stream: bool,
    pub gives_stream: bool,
}

pub struct Methods(HashMap<&'static str, Arc<Method>>);

impl Default for Methods {
    fn default() -> Self {
        Self::new()
    }
}

impl Methods {
    pub fn new() -> Self {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("checked by a test");
        let methods = PATHS.map(|(path, name)| (path, Arc::new(find(&pool, name))));
        Self(methods.into())
    }

    pub fn paths(&self) -> Vec<&'static str> {
        let mut paths: Vec<_> = self.0.keys().copied().collect();
        paths.sort_unstable();
        paths
    }

    /// `path` is what follows `/v3/`.
    pub fn get(&self, path: &str) -> Option<&Arc<Method>> {
        self.0.get(path)
    }
}

fn find(pool: &DescriptorPool, name: &str) -> Method {
    let (service, method) = name.split_once('/').expect("a service and a method");
    let service = pool
        .get_service_by_name(service)
        .unwrap_or_else(|| panic!("no service {service}"));
    let method = service
        .methods()
        .find(|candidate| candidate.name() == method)
        .unwrap_or_else(|| panic!("no method {name}"));
    Method {
        grpc_path: format!("/{name}").parse().expect("names make a path"),
        request: method.input(),
        reply: method.output(),
        takes_stream: method.is_client_streaming(),
        gives_stream: method.is_server_streaming(),
    }
}
