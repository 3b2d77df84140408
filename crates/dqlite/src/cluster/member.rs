//! This node's membership, as the rest of the program sees it.

use std::{path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{ClusterError, HandedOver, MemberTask, Nodes, OwnNode};
use crate::{
    client::{Leader, Resolve},
    cluster_id::ClusterId,
    roles::RoleTargets,
    wire::{Role, Server},
};

/// The time between two looks at the cluster; go-dqlite has the same.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// Requests to hand over that wait: one when the disk is low, one at the end.
const MAX_COMMANDS: usize = 2;

pub struct MemberOptions {
    pub own: OwnNode,
    /// The directory with cluster.yaml.
    pub dir: PathBuf,
    /// The history that the node belongs to. A node that joins learns it from the leader.
    pub cluster_id: Option<ClusterId>,
    /// The node is not in the cluster yet.
    pub is_joining: bool,
    /// The nodes to ask for the leader.
    pub servers: Vec<Server>,
    pub resolve: Resolve,
    pub targets: RoleTargets,
    pub interval: Duration,
    /// Runs once the cluster has this node, before the flag for that is cleared. May block.
    pub on_joined: Box<dyn FnOnce() + Send>,
}

impl MemberOptions {
    pub fn new(own: OwnNode, dir: impl Into<PathBuf>, resolve: Resolve) -> Self {
        Self {
            own,
            dir: dir.into(),
            cluster_id: None,
            is_joining: false,
            servers: Vec::new(),
            resolve,
            targets: RoleTargets::default(),
            interval: DEFAULT_INTERVAL,
            on_joined: Box::new(|| {}),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemberState {
    /// The cluster has not been asked yet.
    #[default]
    Unknown,
    /// The node is not in the cluster yet.
    Joining,
    /// The node is in the cluster, and has taken the role that it should have.
    Ready,
    /// The leader's cluster does not have this node any more.
    Removed,
}

/// The cluster as it was at the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberStatus {
    pub state: MemberState,
    pub role: Option<Role>,
    pub servers: Arc<[Server]>,
    pub leader: Option<Leader>,
}

/// This node as one of the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Member {
    look_now: Arc<Notify>,
    status: watch::Receiver<MemberStatus>,
    handovers: mpsc::Sender<Handover>,
}

/// Work to do before the leadership is handed over.
pub type Prepare = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Handover {
    pub prepare: Prepare,
    /// The node stops afterwards.
    pub is_leaving: bool,
    pub reply: oneshot::Sender<Result<HandedOver, ClusterError>>,
}

impl Member {
    /// The task does the work, once it runs.
    pub fn new(options: MemberOptions) -> (Self, MemberTask) {
        let (status, seen) = watch::channel(MemberStatus::default());
        let (handovers, asked) = mpsc::channel(MAX_COMMANDS);
        let look_now = Arc::new(Notify::new());
        let nodes = Nodes::new(&options.servers, options.resolve.clone(), options.targets);
        let task = MemberTask::new(options, nodes, status, look_now.clone(), asked);
        let member = Self {
            look_now,
            status: seen,
            handovers,
        };
        (member, task)
    }

    /// Something has changed, such as the leader: look at the cluster now.
    pub fn notify(&self) {
        self.look_now.notify_one();
    }

    pub fn status(&self) -> watch::Receiver<MemberStatus> {
        self.status.clone()
    }

    /// Waits until the node is in the cluster with the role it should have.
    pub async fn ready(&self) -> Result<MemberStatus, ClusterError> {
        let mut status = self.status.clone();
        let ready = status.wait_for(|status| status.state == MemberState::Ready);
        Ok(ready.await.map_err(|_| ClusterError::Ended)?.clone())
    }

    /// Passes role and leadership on to other nodes before a stop, within a minute. After that the task only waits for
    /// its end. `prepare` is waited for just before the leadership goes, if this node has it and somebody can take it.
    pub async fn handover(&self, prepare: Prepare) -> Result<HandedOver, ClusterError> {
        self.pass_on(prepare, true).await
    }

    /// The same for a node that stays, and does not take its role back by itself.
    pub async fn step_aside(&self, prepare: Prepare) -> Result<HandedOver, ClusterError> {
        self.pass_on(prepare, false).await
    }

    async fn pass_on(
        &self,
        prepare: Prepare,
        is_leaving: bool,
    ) -> Result<HandedOver, ClusterError> {
        if self.status.borrow().role.is_none() {
            return Ok(HandedOver::default());
        }
        let (reply, result) = oneshot::channel();
        let sent = self
            .handovers
            .send(Handover {
                prepare,
                is_leaving,
                reply,
            })
            .await;
        sent.map_err(|_| ClusterError::Ended)?;
        result.await.map_err(|_| ClusterError::Ended)?
    }
}
