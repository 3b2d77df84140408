//! The service that other nodes call, on each node.

use std::sync::Arc;

use dqlite::{cluster_id::ClusterId, wire::NodeId};
use peer_proto::{
    self as proto, AboutRequest, AboutResponse, CertificatesRequest, CertificatesResponse,
    FromLeader, RememberedRequest, RememberedResponse, ToLeader, peer_server::Peer,
};
use replication::View;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    EngineView,
    lead::{MAX_UNSENT, Session},
    log_ends::Remembered,
    node_info::{OwnFiles, details},
    tenure::Tenure,
};
use crate::{
    cluster::certificates::{NodeCertificates, StepError},
    store::{NEWEST_SCHEMA, Store},
};

/// The service that other nodes call.
#[derive(Clone)]
pub struct PeerService {
    pub own_id: NodeId,
    pub store: Store,
    pub engine: Arc<EngineView>,
    /// None while another node leads.
    pub tenure: watch::Receiver<Option<Arc<Tenure>>>,
    pub is_loaded: watch::Receiver<bool>,
    pub own_files: OwnFiles,
    pub cluster_id: ClusterId,
    pub remembered: Arc<Remembered>,
    /// `None` if nodes connect without TLS.
    pub certificates: Option<Arc<NodeCertificates>>,
}

#[tonic::async_trait]
impl Peer for PeerService {
    type FollowStream = ReceiverStream<Result<FromLeader, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<ToLeader>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let tenure = self.tenure.borrow().clone();
        let tenure =
            tenure.ok_or_else(|| Status::failed_precondition("this node does not lead"))?;
        let (out, messages) = mpsc::channel(MAX_UNSENT);
        let (store, remembered) = (self.store.clone(), self.remembered.clone());
        let session = Session::new(store, tenure, remembered, request.into_inner(), out);
        tokio::spawn(session.run());
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn about(
        &self,
        request: Request<AboutRequest>,
    ) -> Result<Response<AboutResponse>, Status> {
        let view = self.engine.view().await.unwrap_or_default();
        let is_loaded = *self.is_loaded.borrow();
        let details = match request.into_inner().with_details {
            true => Some(details(&self.store, &self.own_files, is_loaded).await),
            false => None,
        };
        Ok(Response::new(AboutResponse {
            member_id: self.own_id.number(),
            view: Some(view_to_proto(&view)),
            revision: if is_loaded {
                self.store.revision().number()
            } else {
                0
            },
            compact_revision: self.store.history().compact_revision().number(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            details,
            cluster_id: self.cluster_id.known().unwrap_or(0),
            newest_schema: NEWEST_SCHEMA,
        }))
    }

    async fn remembered(
        &self,
        request: Request<RememberedRequest>,
    ) -> Result<Response<RememberedResponse>, Status> {
        Ok(Response::new(RememberedResponse {
            member_id: self.own_id.number(),
            log_end: self
                .remembered
                .of(NodeId::new(request.into_inner().member_id)),
        }))
    }

    async fn certificates(
        &self,
        request: Request<CertificatesRequest>,
    ) -> Result<Response<CertificatesResponse>, Status> {
        let Some(own) = self.certificates.clone() else {
            let reason = "this node speaks no TLS with other nodes (--enable-tls=false)";
            return Err(Status::failed_precondition(reason));
        };
        let made = tokio::task::spawn_blocking(move || own.make(request.into_inner()));
        let made = made.await.expect("a step does not panic");
        let told = made.map_err(|error| match error {
            StepError::Refused(_) | StepError::Pair(_) => {
                Status::failed_precondition(error.to_string())
            }
            StepError::File(_) | StepError::Read(_) | StepError::Write(_) => {
                Status::internal(error.to_string())
            }
        });
        told.map(Response::new)
    }
}

pub fn view_to_proto(view: &View) -> proto::View {
    let (leader_id, leader_address) = view.leader.clone().unwrap_or_default();
    proto::View {
        leader_id,
        leader_address,
        term: view.term,
    }
}
