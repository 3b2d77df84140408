//! The Maintenance service.

use std::{sync::Arc, time::Duration};

use etcd_proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, DowngradeRequest,
    DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest,
    MoveLeaderResponse, SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
    alarm_request::AlarmAction, maintenance_server::Maintenance,
};
use tokio::{sync::Mutex, time::Instant};
use tonic::{Request, Response, Status};

use super::{Identity, hash, status::status};
use crate::{
    auth::Caller,
    store::{Pages, RequestError, Store},
};

/// The etcd whose API this is. kube-apiserver switches on its consistent reads from the watch cache
/// by this number, and some clients parse each part of it as an integer, so it has no suffix.
pub const ETCD_VERSION: &str = "3.6.4";

/// The release whose features the storage has.
pub const STORAGE_VERSION: &str = "3.6.0";

/// SQLite's page size in dqlite, in bytes.
const PAGE_BYTES: u64 = 4096;

/// How long a database size stays good: Status is polled, and each reading interrupts the writer.
const PAGES_MAX_AGE: Duration = Duration::from_secs(5);

pub struct MaintenanceService {
    pub store: Store,
    pub identity: Arc<Identity>,
    pages: Mutex<Option<(Instant, Pages)>>,
}

impl MaintenanceService {
    pub fn new(store: Store, identity: Arc<Identity>) -> Self {
        Self {
            store,
            identity,
            pages: Mutex::new(None),
        }
    }

    async fn pages(&self) -> Result<Pages, Status> {
        let mut cached = self.pages.lock().await;
        if let Some((read_at, pages)) = *cached
            && read_at.elapsed() < PAGES_MAX_AGE
        {
            return Ok(pages);
        }
        let pages = self.store.pages().await.map_err(status)?;
        *cached = Some((Instant::now(), pages));
        Ok(pages)
    }
}

pub(super) fn not_available<T>(what: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!(
        "{what} is not available in this version of k8s-dqlite"
    )))
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        if request.get_ref().action() != AlarmAction::Get
            && let Some(caller) = request.extensions().get::<Caller>()
        {
            caller
                .check_admin()
                .map_err(|error| status(RequestError::Auth(error)))?;
        }
        let alarms = self
            .store
            .alarm(request.into_inner())
            .await
            .map_err(status)?;
        let header = Some(self.identity.header(self.store.revision()));
        Ok(Response::new(AlarmResponse { header, alarms }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let pages = self.pages().await?;
        let revision = self.store.revision();
        Ok(Response::new(StatusResponse {
            header: Some(self.identity.header(revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: (pages.total * PAGE_BYTES) as i64,
            db_size_in_use: (pages.total.saturating_sub(pages.free) * PAGE_BYTES) as i64,
            leader: self.identity.member_id,
            // libdqlite does not tell its Raft index; the revision moves like it.
            raft_index: revision.cast_unsigned(),
            raft_applied_index: revision.cast_unsigned(),
            raft_term: self.identity.raft_term(),
            errors: Vec::new(),
            is_learner: false,
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: 0,
            downgrade_info: None,
        }))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        not_available("Defragment")
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        hash::hash(&self.store, &self.identity).await
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        hash::hash_kv(&self.store, &self.identity, request.get_ref()).await
    }

    type SnapshotStream = tokio_stream::Empty<Result<SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        not_available("Snapshot")
    }

    async fn move_leader(
        &self,
        _: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        not_available("MoveLeader")
    }

    async fn downgrade(
        &self,
        _: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        not_available("Downgrade")
    }
}
