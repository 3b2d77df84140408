//! The Cluster service.

use std::sync::Arc;

use etcd_proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, cluster_server::Cluster,
};
use tonic::{Request, Response, Status};

use super::{Identity, maintenance::not_available};
use crate::store::Store;

pub struct ClusterService {
    pub store: Store,
    pub identity: Arc<Identity>,
    /// The name of the only member, and where its clients and its peers reach it.
    pub name: String,
    pub client_url: String,
    pub peer_url: String,
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        _: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        // etcd leaves the revision out here.
        let header = Some(self.identity.header(0));
        let member = Member {
            id: self.identity.member_id,
            name: self.name.clone(),
            peer_ur_ls: vec![self.peer_url.clone()],
            client_ur_ls: vec![self.client_url.clone()],
            is_learner: false,
        };
        Ok(Response::new(MemberListResponse {
            header,
            members: vec![member],
        }))
    }

    async fn member_add(
        &self,
        _: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        not_available("MemberAdd")
    }

    async fn member_remove(
        &self,
        _: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        not_available("MemberRemove")
    }

    async fn member_update(
        &self,
        _: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        not_available("MemberUpdate")
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        not_available("MemberPromote")
    }
}
