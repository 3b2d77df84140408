//! The Election service.

mod observe;

use std::pin::Pin;

use bytes::Bytes;
use etcd_proto::{
    etcdserverpb::{PutRequest, TxnRequest, request_op},
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
        election_server::Election,
    },
};
use etcd_state::mvcc::{LeaseId, Revision};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{
    concurrency::{
        Entry, Prefix, RecipeError, Recipes, Session, delete_request, is_created_at, operation,
        revision_of,
    },
    status::recipe_status,
};

pub struct ElectionService(pub Recipes);

impl ElectionService {
    async fn run_for(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<CampaignResponse, RecipeError> {
        let session = self.0.session(&request)?;
        let CampaignRequest { name, lease, value } = request.into_inner();
        let lease = session.lease(LeaseId::new(lease)).await?;
        let prefix = Prefix::new(&name);
        let entry = session.enter(&prefix, lease, value.clone()).await?;
        if let Err(error) = win(&session, &prefix, &entry, lease, value).await {
            entry.delete().await;
            return Err(error);
        }
        let leader = LeaderKey {
            name,
            key: entry.key.clone(),
            rev: entry.revision.number(),
            lease: lease.number(),
        };
        let header = self.0.header(entry.read_revision);
        entry.keep();
        Ok(CampaignResponse {
            header,
            leader: Some(leader),
        })
    }

    async fn announce(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<ProclaimResponse, RecipeError> {
        let leader = request.get_ref().leader.clone();
        let leader = leader.ok_or(RecipeError::LeaderMissing)?;
        let session = self.0.session(&request)?;
        let lease = session.lease(LeaseId::new(leader.lease)).await?;
        let value = request.into_inner().value;
        let revision = proclaim(
            &session,
            leader.key,
            Revision::new(leader.rev),
            lease,
            value,
        )
        .await?;
        let header = self.0.header(revision);
        Ok(ProclaimResponse { header })
    }

    async fn step_down(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<ResignResponse, RecipeError> {
        let session = self.0.session(&request);
        let leader = request.into_inner().leader;
        let leader = leader.ok_or(RecipeError::LeaderMissing)?;
        let response = session?
            .txn(delete_request(leader.key, Revision::new(leader.rev)))
            .await?;
        let revision = response
            .header
            .map_or(Revision::NONE, |header| Revision::new(header.revision));
        let header = self.0.header(revision);
        Ok(ResignResponse { header })
    }

    async fn elected(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<LeaderResponse, RecipeError> {
        let prefix = Prefix::new(&request.get_ref().name);
        self.0.session(&request)?.read(&prefix.oldest()).await?;
        // By the permissions that the node has now that it has caught up.
        let oldest = self.0.session(&request)?.range(&prefix.oldest())?;
        let header = self.0.header(revision_of(&oldest));
        match oldest.kvs.into_iter().next() {
            Some(kv) => Ok(LeaderResponse {
                header,
                kv: Some(kv),
            }),
            None => Err(RecipeError::NoLeader),
        }
    }
}

async fn win(
    session: &Session,
    prefix: &Prefix,
    entry: &Entry,
    lease: LeaseId,
    value: Bytes,
) -> Result<(), RecipeError> {
    if entry.found.as_ref().is_some_and(|found| *found != value) {
        proclaim(session, entry.key.clone(), entry.revision, lease, value).await?;
    }
    if !entry.is_oldest {
        session.wait_for_turn(prefix, entry.revision).await?;
    }
    Ok(())
}

/// Returns the revision at which the value is there.
async fn proclaim(
    session: &Session,
    key: Bytes,
    created_at: Revision,
    lease: LeaseId,
    value: Bytes,
) -> Result<Revision, RecipeError> {
    let put = request_op::Request::RequestPut(PutRequest {
        key: key.clone(),
        value,
        lease: lease.number(),
        ..Default::default()
    });
    let response = session
        .txn(TxnRequest {
            compare: vec![is_created_at(key, created_at)],
            success: vec![operation(put)],
            failure: Vec::new(),
        })
        .await?;
    if !response.succeeded {
        return Err(RecipeError::NotLeader);
    }
    Ok(response
        .header
        .map_or(Revision::NONE, |header| Revision::new(header.revision)))
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let elected = self.run_for(request).await;
        elected.map(Response::new).map_err(recipe_status)
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let announced = self.announce(request).await;
        announced.map(Response::new).map_err(recipe_status)
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let elected = self.elected(request).await;
        elected.map(Response::new).map_err(recipe_status)
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let session = self.0.session(&request);
        let prefix = Prefix::new(&request.into_inner().name);
        Ok(Response::new(match session {
            Ok(session) => Box::pin(observe::leaders(self.0.clone(), session, prefix)),
            // As in etcd: what may not be read is the end of the stream.
            Err(_) => Box::pin(tokio_stream::empty()),
        }))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let resigned = self.step_down(request).await;
        resigned.map(Response::new).map_err(recipe_status)
    }
}
