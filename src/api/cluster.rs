//! The Cluster service: dqlite's nodes as etcd's members.

use std::sync::Arc;

use dqlite::wire::{NodeId, Role, Server};
use etcd_proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, ResponseHeader, cluster_server::Cluster,
};
use etcd_state::mvcc::Revision;
use tonic::{Request, Response, Status};

use super::{Identity, status::membership_status};
use crate::{cluster::node::Membership, store::Store};

pub struct ClusterService {
    pub identity: Arc<Identity>,
    pub membership: Membership,
    pub store: Store,
    /// The URLs under which clients reach this node.
    pub client_urls: Vec<String>,
}

impl ClusterService {
    /// Returns a header without a revision, as etcd does here.
    fn header(&self) -> Option<ResponseHeader> {
        Some(self.identity.header(Revision::NONE))
    }

    fn members(&self, servers: Vec<Server>) -> Vec<Member> {
        servers.iter().map(|server| self.member(server)).collect()
    }

    /// A node has no name, so it goes by its address.
    fn member(&self, server: &Server) -> Member {
        let client_urls = match server.id == self.membership.own_id() {
            true => self.client_urls.clone(),
            false => self.store.settings().client_urls(server.id.number()),
        };
        Member {
            id: server.id.number(),
            name: server.address.clone(),
            peer_ur_ls: vec![self.membership.peer_url(server)],
            client_ur_ls: client_urls,
            is_learner: server.role != Role::Voter,
        }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        _: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let view = self.membership.view().await.map_err(membership_status)?;
        Ok(Response::new(MemberListResponse {
            header: self.header(),
            members: self.members(view.servers),
        }))
    }

    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let urls = request.into_inner().peer_ur_ls;
        self.membership
            .add(&urls)
            .await
            .map_err(membership_status)?;
        Ok(Response::new(MemberAddResponse::default()))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let id = NodeId::new(request.into_inner().id);
        let servers = self
            .membership
            .remove(id)
            .await
            .map_err(membership_status)?;
        Ok(Response::new(MemberRemoveResponse {
            header: self.header(),
            members: self.members(servers),
        }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        let updated = self.membership.update(NodeId::new(id), &peer_ur_ls).await;
        Ok(Response::new(MemberUpdateResponse {
            header: self.header(),
            members: self.members(updated.map_err(membership_status)?),
        }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let id = NodeId::new(request.into_inner().id);
        let servers = self
            .membership
            .promote(id)
            .await
            .map_err(membership_status)?;
        Ok(Response::new(MemberPromoteResponse {
            header: self.header(),
            members: self.members(servers),
        }))
    }
}
