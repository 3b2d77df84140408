//! The Lease service.

use std::{pin::Pin, sync::Arc};

use etcd_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
};
use etcd_state::{
    auth::{AuthError, Caller},
    mvcc::LeaseId,
    requests::RequestError,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Identity, Stopping,
    access::{Access, StreamCaller},
    status::status,
};
use crate::store::Store;

pub struct LeaseService {
    pub store: Store,
    pub identity: Arc<Identity>,
    pub stopping: Stopping,
    pub access: Arc<Access>,
}

impl LeaseService {
    fn permit<T>(
        &self,
        request: &Request<T>,
        check: impl FnOnce(&Caller) -> Result<(), AuthError>,
    ) -> Result<Store, Status> {
        let store = self.access.gate(&self.store);
        self.access
            .caller(request)
            .and_then(|caller| caller.as_ref().map_or(Ok(()), check))
            .map_err(|error| status(RequestError::Auth(error)))?;
        Ok(store)
    }
}

/// Returns an id with 63 random bits: that it is taken is as likely as in etcd.
pub fn random_lease() -> LeaseId {
    LeaseId::new(rand::random_range(1..=i64::MAX))
}

fn check_renewal(store: &Store, opener: &StreamCaller, id: LeaseId) -> Result<(), AuthError> {
    let Some(caller) = opener.caller()? else {
        return Ok(());
    };
    caller.check_user()?;
    caller.check_lease_write(id, &|id| store.leased_keys(id))
}

type KeepAlives = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let store = self.permit(&request, Caller::check_user)?;
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        let id = match LeaseId::new(id) {
            LeaseId::NONE => random_lease(),
            id => id,
        };
        let granted = store.lease_grant(id, ttl).await.map_err(status)?;
        let header = Some(self.identity.header(granted.revision));
        Ok(Response::new(LeaseGrantResponse {
            header,
            id: id.number(),
            ttl: granted.reply,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let id = LeaseId::new(request.get_ref().id);
        let store = self.permit(&request, |caller| {
            caller.check_user()?;
            caller.check_lease_write(id, &|id| self.store.leased_keys(id))
        })?;
        let revoked = store.lease_revoke(id).await.map_err(status)?;
        let header = Some(self.identity.header(revoked.revision));
        Ok(Response::new(LeaseRevokeResponse { header }))
    }

    type LeaseKeepAliveStream = KeepAlives;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (metadata, extensions, requests) = request.into_parts();
        let opener = Arc::new(StreamCaller {
            access: self.access.clone(),
            metadata,
            extensions,
        });
        let (store, identity) = (self.store.clone(), self.identity.clone());
        let answers = requests.then(move |request| {
            let (store, identity) = (store.clone(), identity.clone());
            let opener = opener.clone();
            async move {
                let id = LeaseId::new(request?.id);
                let gated = opener.access.gate(&store);
                check_renewal(&store, &opener, id)
                    .map_err(|error| status(RequestError::Auth(error)))?;
                // Taken first: a lease that is alive after this revision was alive at it.
                let header = Some(identity.header(store.revision()));
                // An unknown lease is answered with a TTL of 0, not with an error.
                let ttl = gated
                    .lease_keep_alive(id)
                    .await
                    .map_err(status)?
                    .unwrap_or(0);
                Ok(LeaseKeepAliveResponse {
                    header,
                    id: id.number(),
                    ttl,
                })
            }
        });
        Ok(Response::new(self.stopping.end(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = *request.get_ref();
        let lease = LeaseId::new(id);
        let store = self.permit(&request, |caller| {
            caller.check_user()?;
            match keys {
                true => caller.check_lease_read(lease, &|id| self.store.leased_keys(id)),
                false => Ok(()),
            }
        })?;
        let view = store
            .lease_time_to_live(lease, keys)
            .await
            .map_err(status)?;
        let header = Some(self.identity.header(self.store.revision()));
        let response = match view {
            Some(view) => LeaseTimeToLiveResponse {
                header,
                id,
                ttl: view.remaining_s,
                granted_ttl: view.granted_ttl_s,
                keys: view.keys,
            },
            None => LeaseTimeToLiveResponse {
                header,
                id,
                ttl: -1,
                ..Default::default()
            },
        };
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let ids = self.store.lease_list().await.map_err(status)?;
        self.permit(&request, |caller| {
            caller.check_user()?;
            ids.iter()
                .try_for_each(|id| caller.check_lease_read(*id, &|id| self.store.leased_keys(id)))
        })?;
        let leases = ids
            .into_iter()
            .map(|id| LeaseStatus { id: id.number() })
            .collect();
        let header = Some(self.identity.header(self.store.revision()));
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}
