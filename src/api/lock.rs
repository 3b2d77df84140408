//! The Lock service.

use bytes::Bytes;
use etcd_proto::{
    etcdserverpb::{DeleteRangeRequest, RangeRequest},
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse, lock_server::Lock},
};
use etcd_state::{
    mvcc::{LeaseId, Revision},
    requests::check_delete_range,
};
use tonic::{Request, Response, Status};

use super::{
    concurrency::{Entry, Prefix, RecipeError, Recipes, Session, revision_of},
    status::recipe_status,
};

pub struct LockService(pub Recipes);

impl LockService {
    async fn take(&self, request: Request<LockRequest>) -> Result<LockResponse, RecipeError> {
        let session = self.0.session(&request)?;
        let LockRequest { name, lease } = request.into_inner();
        let lease = session.lease(LeaseId::new(lease)).await?;
        let prefix = Prefix::new(&name);
        let entry = session.enter(&prefix, lease, Bytes::new()).await?;
        let revision = match wait(&session, &prefix, &entry).await {
            Ok(revision) => revision,
            Err(error) => {
                entry.delete().await;
                return Err(error);
            }
        };
        let key = entry.key.clone();
        entry.keep();
        let header = self.0.header(revision);
        Ok(LockResponse { header, key })
    }

    async fn release(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<UnlockResponse, RecipeError> {
        let delete = DeleteRangeRequest {
            key: request.get_ref().key.clone(),
            ..Default::default()
        };
        check_delete_range(&delete)?;
        let store = self.0.access.gate(&self.0.store);
        if let Some(caller) = self.0.access.caller(&request)? {
            caller.check_delete_range(&delete)?;
        }
        let response = store.delete_range(delete).await?;
        let revision = response
            .header
            .map_or(Revision::NONE, |header| Revision::new(header.revision));
        let header = self.0.header(revision);
        Ok(UnlockResponse { header })
    }
}

/// Returns the revision at which the lock is known to be held.
async fn wait(session: &Session, prefix: &Prefix, entry: &Entry) -> Result<Revision, RecipeError> {
    if entry.is_oldest {
        return Ok(entry.read_revision);
    }
    session.wait_for_turn(prefix, entry.revision).await?;
    let own = RangeRequest {
        key: entry.key.clone(),
        ..Default::default()
    };
    let own = session.read(&own).await?;
    if own.kvs.is_empty() {
        return Err(RecipeError::SessionExpired);
    }
    Ok(revision_of(&own))
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let taken = self.take(request).await;
        taken.map(Response::new).map_err(recipe_status)
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let released = self.release(request).await;
        released.map(Response::new).map_err(recipe_status)
    }
}
