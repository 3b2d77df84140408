//! The Maintenance service.

use std::{sync::Arc, time::Duration};

use dqlite::wire::{NodeId, Role};
use etcd_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
    DowngradeInfo, DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, StatusRequest,
    StatusResponse, alarm_request::AlarmAction, maintenance_server::Maintenance,
};
use etcd_state::{auth::Caller, requests::RequestError};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::{
    Identity,
    downgrade::{CLUSTER_VERSION, downgrade},
    hash, snapshot,
    status::{downgrade_status, membership_status, status},
};
use crate::{
    cluster::node::Membership,
    store::{Pages, QuotaBytes, Store},
};

/// The etcd whose API this is. kube-apiserver switches on its consistent reads from the watch cache
/// by this number, and some clients parse each part of it as an integer, so it has no suffix.
pub const ETCD_VERSION: &str = "3.6.4";

/// The release whose features the storage has.
pub const STORAGE_VERSION: &str = "3.6.0";

/// The text that etcd lists among the errors of a status without a leader.
const NO_LEADER: &str = "etcdserver: no leader";

/// The longest wait for the leader to tell the size of the database, for a status.
const PAGES_TIMEOUT: Duration = Duration::from_secs(1);

pub struct MaintenanceService {
    pub store: Store,
    pub identity: Arc<Identity>,
    membership: Membership,
}

impl MaintenanceService {
    pub fn new(store: Store, identity: Arc<Identity>, membership: Membership) -> Self {
        Self {
            store,
            identity,
            membership,
        }
    }

    /// A status is asked for when there is trouble, so the last size is better than none.
    async fn pages(&self) -> Pages {
        match timeout(PAGES_TIMEOUT, self.store.recent_pages()).await {
            Ok(Ok(pages)) => pages,
            _ => self.store.last_pages().await.unwrap_or_default(),
        }
    }

    /// Returns the errors that Status lists: no leader, and alarms.
    fn errors(&self, has_leader: bool) -> Vec<String> {
        let no_leader = (!has_leader).then(|| NO_LEADER.to_owned());
        let alarms = self.store.settings().alarms(AlarmType::None);
        no_leader
            .into_iter()
            .chain(alarms.into_iter().map(alarm_text))
            .collect()
    }
}

/// An alarm as Go prints it: protobuf's text form, in which zeros are left out. etcd 3.7 puts one or two blanks between
/// the fields, as its build has it; here it is one.
fn alarm_text(alarm: AlarmMember) -> String {
    let member = (alarm.member_id != 0).then(|| format!("memberID:{}", alarm.member_id));
    let kind = match alarm.alarm() {
        AlarmType::None => None,
        kind => Some(format!("alarm:{}", kind.as_str_name())),
    };
    let fields: Vec<String> = member.into_iter().chain(kind).collect();
    fields.join(" ")
}

/// The quota as etcd tells it: no quota is the flag's negative number.
fn quota_bytes(quota: QuotaBytes) -> i64 {
    quota.limit_bytes().map_or(quota.0, u64::cast_signed)
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
        let header = Some(self.identity.header(alarms.revision));
        Ok(Response::new(AlarmResponse {
            header,
            alarms: alarms.reply,
        }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let pages = self.pages().await;
        // Without an engine there is no leader, which the status says.
        let view = self.membership.view().await.unwrap_or_default();
        let own = view
            .servers
            .iter()
            .find(|server| server.id.number() == self.identity.member_id);
        let revision = self.store.revision();
        Ok(Response::new(StatusResponse {
            header: Some(self.identity.header(revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: pages.total_bytes().cast_signed(),
            db_size_in_use: pages.used_bytes().cast_signed(),
            leader: view.leader_id.unwrap_or_default().number(),
            // libdqlite does not tell its Raft index; the revision moves like it.
            raft_index: revision.number().cast_unsigned(),
            raft_applied_index: revision.number().cast_unsigned(),
            raft_term: self.identity.raft_term(),
            errors: self.errors(view.leader_id.is_some()),
            is_learner: own.is_some_and(|own| own.role != Role::Voter),
            storage_version: STORAGE_VERSION.to_owned(),
            db_size_quota: quota_bytes(self.store.quota()),
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        self.store.defragment().await.map_err(status)?;
        // etcd leaves the header out.
        Ok(Response::new(DefragmentResponse { header: None }))
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

    type SnapshotStream = snapshot::SnapshotStream;

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        snapshot::snapshot(&self.store, &self.identity, &self.membership).await
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let target_id = request.into_inner().target_id;
        let moved = self.membership.move_leader(NodeId::new(target_id)).await;
        moved.map_err(membership_status)?;
        // etcd leaves the header out.
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        let DowngradeRequest { action, version } = request.into_inner();
        downgrade(action, &version).map_err(downgrade_status)?;
        Ok(Response::new(DowngradeResponse {
            header: Some(self.identity.header(self.store.revision())),
            version: CLUSTER_VERSION.to_owned(),
        }))
    }
}
