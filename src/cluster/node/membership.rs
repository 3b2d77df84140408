//! The nodes of the cluster as etcd's members: their list, and its changes.
//!
//! The engine is asked each time: it alone knows the configuration. What etcd refuses is refused
//! here first, in its order (`server/etcdserver/api/membership`). Changes go to the leader, wherever
//! it is.

use std::{sync::Arc, time::Duration};

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint, Error, Loss, Resolve},
    cluster::{self, ClusterError, MemberStatus, Nodes, Prepare, resolver},
    roles::RoleTargets,
    wire::{NodeId, Role, Server},
};
use stopping::warn;
use tokio::{sync::watch, time::timeout};

use crate::store::snapshot::StoredMember;

/// The longest that a change of the configuration may take: a promotion waits until the node has
/// caught up.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The limit for the engine to name the nodes for a snapshot; it answers within milliseconds.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    #[error("member not found")]
    NotFound,
    #[error("can only promote a learner member")]
    NotLearner,
    #[error("re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    #[error("given member URLs are invalid")]
    BadUrls,
    #[error("peer URLs already exist")]
    UrlsExist,
    /// Nodes join by themselves.
    #[error("a node joins by itself")]
    JoinsByItself,
    #[error("the address of a node is not changed by requests")]
    FixedAddress,
    #[error("bad leader transferee")]
    BadTransferee,
    #[error("not leader")]
    NotLeader,
    #[error("dqlite: {0}")]
    Engine(Error),
}

impl From<Error> for MembershipError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotLeader => Self::NotLeader,
            error => Self::Engine(error),
        }
    }
}

impl From<ClusterError> for MembershipError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::NotFound { .. } => Self::NotFound,
            ClusterError::LastNode
            | ClusterError::NoMajority { .. }
            | ClusterError::NoSuccessor => Self::NotEnoughStarted,
            ClusterError::Client(error) => error.into(),
            ClusterError::NobodyTook { source, .. } => source.into(),
            ClusterError::TimedOut(limit) => {
                Self::Engine(Error::OutcomeUnknown(Loss::TimedOut(limit)))
            }
            // Nothing that the calls here could meet.
            ClusterError::Unsettled(_)
            | ClusterError::File(_)
            | ClusterError::IdTaken { .. }
            | ClusterError::AddressTaken { .. }
            | ClusterError::AddressInUse { .. }
            | ClusterError::StillRuns { .. }
            | ClusterError::Leaderless(_)
            | ClusterError::Ended => Self::Engine(Error::Invalid(
                "the membership is being changed by another request",
            )),
        }
    }
}

/// The cluster as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    pub servers: Vec<Server>,
    /// None during an election.
    pub leader_id: Option<NodeId>,
}

/// The calls that pause this node's writer for a change of leader, and resume it.
pub struct Pauses {
    /// Pauses the writer. Ready when nothing is written here any more.
    pub pause: Box<dyn Fn() -> Prepare + Send + Sync>,
    /// Resumes writing, because no other node became leader.
    pub lead_on: Box<dyn Fn() -> Prepare + Send + Sync>,
}

/// Asks the engine of this node, and changes the cluster through its leader.
#[derive(Clone)]
pub struct Membership {
    endpoint: Endpoint,
    own_id: NodeId,
    /// `http` or `https`: the scheme of the traffic between nodes.
    peer_scheme: &'static str,
    resolve: Resolve,
    /// `None`: this node is the only one.
    status: Option<watch::Receiver<MemberStatus>>,
    pauses: Option<Arc<Pauses>>,
}

impl Membership {
    /// Builds a membership that asks its own node only or, without a key pair, reaches others in
    /// clear. See [`with_others`](Self::with_others) for a cluster with a key pair.
    pub fn new(endpoint: Endpoint, own_id: NodeId, peer_scheme: &'static str) -> Self {
        let resolve: Resolve = match peer_scheme {
            "http" => resolver(None),
            _ => {
                let own = endpoint.clone();
                Arc::new(move |_| own.clone())
            }
        };
        Self {
            endpoint,
            own_id,
            peer_scheme,
            resolve,
            status: None,
            pauses: None,
        }
    }

    /// Sets how the other nodes are reached, and where their state is read.
    pub fn with_others(self, resolve: Resolve, status: watch::Receiver<MemberStatus>) -> Self {
        Self {
            resolve,
            status: Some(status),
            ..self
        }
    }

    /// Sets the calls that pause and resume the writer of this node.
    pub fn with_pauses(self, pauses: Pauses) -> Self {
        Self {
            pauses: Some(Arc::new(pauses)),
            ..self
        }
    }

    pub fn own_id(&self) -> NodeId {
        self.own_id
    }

    pub fn peer_url(&self, server: &Server) -> String {
        format!("{}://{}", self.peer_scheme, server.address)
    }

    pub async fn view(&self) -> Result<View, MembershipError> {
        let mut connection = Connection::connect(&self.endpoint, ConnectOptions::default()).await?;
        let servers = connection.cluster().await?;
        let leader_id = connection.leader().await?.map(|leader| leader.id);
        let own = servers.iter().find(|server| server.id == self.own_id);
        match own.map(|own| own.role) {
            Some(Role::Voter) => Ok(View { servers, leader_id }),
            role => Ok(self.view_without_vote(servers, role)),
        }
    }

    /// The nodes as a snapshot has them. A node that cannot say leaves them out: a snapshot is worth more than its
    /// list of nodes.
    pub async fn for_snapshot(&self) -> Vec<StoredMember> {
        let view = match timeout(SNAPSHOT_TIMEOUT, self.view()).await {
            Ok(Ok(view)) => view,
            Ok(Err(error)) => {
                warn!(%error, "the nodes are not known yet: the snapshot does not list them");
                return Vec::new();
            }
            Err(_) => {
                warn!("the engine does not answer: the snapshot does not list the nodes");
                return Vec::new();
            }
        };
        let servers = view.servers.iter();
        let stored = servers.map(|server| StoredMember::new(server, self.peer_url(server)));
        stored.collect()
    }

    /// A stand-by knows no leader, and a spare nothing at all: they have what the leader said last.
    fn view_without_vote(&self, mut servers: Vec<Server>, role: Option<Role>) -> View {
        let Some(status) = &self.status else {
            let leader_id = None;
            return View { servers, leader_id };
        };
        let status = status.borrow();
        if role != Some(Role::StandBy) && !status.servers.is_empty() {
            servers = status.servers.to_vec();
        }
        let leader_id = status.leader.as_ref().map(|leader| leader.id);
        View { servers, leader_id }
    }

    /// Always refused, if only because nodes join by themselves.
    pub async fn add(&self, urls: &[String]) -> Result<(), MembershipError> {
        if urls.is_empty() || !urls.iter().all(|url| is_peer_url(url)) {
            return Err(MembershipError::BadUrls);
        }
        if self.are_taken(urls, &self.view().await?.servers) {
            return Err(MembershipError::UrlsExist);
        }
        Err(MembershipError::JoinsByItself)
    }

    /// Takes the addresses that the node has; they cannot be changed from here.
    pub async fn update(
        &self,
        id: NodeId,
        urls: &[String],
    ) -> Result<Vec<Server>, MembershipError> {
        let servers = self.view().await?.servers;
        let own = find(&servers, id)?;
        if urls == [self.peer_url(own)] {
            return Ok(servers);
        }
        let (_, others) = servers
            .into_iter()
            .partition::<Vec<_>, _>(|server| server.id == id);
        Err(if self.are_taken(urls, &others) {
            MembershipError::UrlsExist
        } else {
            MembershipError::FixedAddress
        })
    }

    /// The last node stays. Unlike etcd's, the last voter may go: a stand-by gets its vote first.
    pub async fn remove(&self, id: NodeId) -> Result<Vec<Server>, MembershipError> {
        let mut nodes = self.nodes().await?;
        Ok(cluster::remove(&mut nodes, id).await?)
    }

    pub async fn promote(&self, id: NodeId) -> Result<Vec<Server>, MembershipError> {
        let mut leader = self.nodes().await?.leader().await?;
        if find(&leader.cluster().await?, id)?.role == Role::Voter {
            return Err(MembershipError::NotLearner);
        }
        leader.assign(id, Role::Voter).await?;
        Ok(leader.cluster().await?)
    }

    /// Makes another voter the leader. As in etcd, this node must be it.
    pub async fn move_leader(&self, id: NodeId) -> Result<(), MembershipError> {
        let mut connection = self.connect().await?;
        let leader = connection.leader().await?;
        if leader.is_none_or(|leader| leader.id != self.own_id) {
            return Err(MembershipError::NotLeader);
        }
        match find(&connection.cluster().await?, id) {
            Ok(server) if server.role == Role::Voter => {}
            _ => return Err(MembershipError::BadTransferee),
        }
        if id == self.own_id {
            return Ok(());
        }
        // What is under way is committed and answered first.
        if let Some(pauses) = &self.pauses {
            (pauses.pause)().await;
        }
        let transferred = connection.transfer(id).await;
        if transferred.is_err()
            && let Some(pauses) = &self.pauses
        {
            (pauses.lead_on)().await;
        }
        Ok(transferred?)
    }

    /// The way to the leader.
    async fn nodes(&self) -> Result<Nodes, MembershipError> {
        let servers = self.view().await?.servers;
        Ok(Nodes::new(
            &servers,
            self.resolve.clone(),
            RoleTargets::default(),
        ))
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let options = ConnectOptions {
            request_timeout: CHANGE_TIMEOUT,
            ..Default::default()
        };
        Connection::connect(&self.endpoint, options).await
    }

    fn are_taken(&self, urls: &[String], servers: &[Server]) -> bool {
        servers
            .iter()
            .any(|server| urls.contains(&self.peer_url(server)))
    }
}

fn find(servers: &[Server], id: NodeId) -> Result<&Server, MembershipError> {
    let found = servers.iter().find(|server| server.id == id);
    found.ok_or(MembershipError::NotFound)
}

/// Returns whether etcd takes this as the URL of a peer (`client/pkg/types/urls.go`).
fn is_peer_url(url: &str) -> bool {
    let Some((scheme, address)) = url.trim().split_once("://") else {
        return false;
    };
    match scheme {
        "unix" | "unixs" => true,
        "http" | "https" => is_host_and_port(address),
        _ => false,
    }
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    port.bytes().all(|byte| byte.is_ascii_digit())
        && !host.contains('/')
        && (is_bracketed || !host.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_that_etcd_takes() {
        for url in [
            "http://x:1",
            "https://[::1]:1",
            "unix://a",
            "http://:1",
            " http://x:1",
        ] {
            assert!(is_peer_url(url), "{url}");
        }
        let bad = [
            "",
            "bad",
            "http://x",
            "http://x:1/p",
            "ftp://x:1",
            "http://x:b",
            "http://::1",
        ];
        for url in bad {
            assert!(!is_peer_url(url), "{url}");
        }
    }
}
