//! The dqlite node of this server: its directory, its engine, its port.

mod address;
mod members;
mod membership;
mod publisher;
mod remembered;

use std::{path::Path, sync::Arc, time::Duration};

use dqlite::{
    client::{Endpoint, Resolve},
    cluster::{
        ClusterError, HandedOver, Member, MemberOptions, MemberTask, Nodes, OwnNode, Prepare,
        peer_resolver, resolver,
    },
    cluster_id::ClusterId,
    files::{Identity, read_info, write_cluster},
    node::{Dial, DirLock, LogEnd, Node, NodeError, NodeOptions, stored_term},
    proxy::{BoundPort, LocalEngine, PeerHandler, PortError, Proxy, ProxyOptions, dialer},
    roles::RoleTargets,
    wire::{Role, Server},
};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};
use tracing::{info, warn};

pub use self::{
    membership::{Membership, MembershipError, Pauses},
    publisher::Publisher,
};
use crate::{
    cluster::peer::Dialer,
    config::{ConfigError, ServerConfig, Start, init_address, settle_pair},
};

/// One-way latency that the engine is told where tuning.yaml does not say: elections within 300 to
/// 600 ms. Below 20 ms a busy machine loses its leadership to scheduling alone.
pub const DEFAULT_NETWORK_LATENCY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(
        "could not change the address of this node, as update.yaml demands: {0}. Start again to repeat it; to keep the old address, delete update.yaml"
    )]
    Address(#[source] ClusterError),
    /// Nothing was written or changed.
    #[error("{source}: it is the address of this node in {}", file.advice())]
    Port {
        file: AddressFile,
        source: PortError,
    },
}

/// The file that has the address of this node for this start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFile {
    Init,
    Update,
    Info,
}

impl AddressFile {
    fn of(start: &Start) -> Self {
        match start {
            Start::First { .. } | Start::Join { .. } => Self::Init,
            Start::Move { .. } => Self::Update,
            Start::Again => Self::Info,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Init => "init.yaml. Nothing was written: correct it there, and start again",
            Self::Update => {
                "update.yaml. Nothing was changed: correct it there, or delete the file to keep the old address"
            }
            Self::Info => {
                "info.yaml; it gets another one by update.yaml, see docs/operations.md. If another node has this address, the \
                 file is that node's: restore it"
            }
        }
    }
}

/// A node that runs, and the tasks that serve its port and maintain its membership in the cluster.
pub struct RunningNode {
    node: Node,
    pub identity: Identity,
    /// The history that the node belongs to.
    pub cluster_id: ClusterId,
    /// The Raft term at the start: that in which this node leads, where it is the only voter.
    pub term: u64,
    member: Member,
    resolve: Resolve,
    peer_scheme: &'static str,
    /// The tasks, in the order in which they end.
    tasks: [NodeTask; 2],
}

/// A task that ends when its sender is dropped.
struct NodeTask {
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl NodeTask {
    async fn end(self) {
        drop(self.stop);
        let _ = self.task.await;
    }
}

impl RunningNode {
    /// Starts the node of a cluster of one: nobody serves other nodes.
    pub async fn start(config: &ServerConfig) -> Result<Self, StartError> {
        Self::start_with_peers(config, None).await
    }

    /// Takes the directory over. A node that is to join does so from now on, until it has; see
    /// [`member`](Self::member).
    pub async fn start_with_peers(
        config: &ServerConfig,
        peers: Option<Arc<dyn PeerHandler>>,
    ) -> Result<Self, StartError> {
        // An address that cannot be listened on must not be written anywhere.
        let port = bind_port(config).await?;
        if let Start::Move { address } = &config.start {
            address::change(config, address).await?;
        }
        let Started {
            node,
            identity,
            cluster_id,
            term,
        } = start_engine(config).await?;
        let options = ProxyOptions {
            engine: LocalEngine::of(&node),
            tls: config.tls.clone(),
            peers,
            cluster_id: Some(cluster_id.clone()),
        };
        let not_listening = |source| StartError::Port {
            file: AddressFile::of(&config.start),
            source,
        };
        let port = match port {
            Some(port) => port,
            None => BoundPort::bind(&identity.address)
                .await
                .map_err(not_listening)?,
        };
        let port = Proxy::listen(port, options).map_err(not_listening)?;
        if !identity.is_joining {
            config.start.finish(&config.storage_dir)?;
        }
        let resolve = peers_of(config, &cluster_id);
        let (member, task) = member(config, &identity, &cluster_id, resolve.clone());
        let (stop_port, port_stopped) = watch::channel(());
        let (stop_member, member_stopped) = watch::channel(());
        // The member talks to the engine through the port.
        let tasks = [
            NodeTask {
                stop: stop_member,
                task: tokio::spawn(task.run(until_dropped(member_stopped))),
            },
            NodeTask {
                stop: stop_port,
                task: tokio::spawn(port.run(until_dropped(port_stopped))),
            },
        ];
        Ok(Self {
            node,
            identity,
            cluster_id,
            term,
            member,
            resolve,
            peer_scheme: if config.tls.is_some() {
                "https"
            } else {
                "http"
            },
            tasks,
        })
    }

    /// The engine of this node.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_address(self.node.bind_address())
    }

    /// Returns the end of this node's log on the disk.
    pub fn log_end(&self) -> Option<LogEnd> {
        self.node.log_end()
    }

    /// Returns the way to reach any node of the cluster at its address.
    pub fn resolve(&self) -> Resolve {
        self.resolve.clone()
    }

    /// Returns the member, which knows the state of the cluster and is told when that may have
    /// changed.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Returns the way to the leader and the other nodes, as they are known now.
    pub fn nodes(&self) -> Nodes {
        let seen = self.member.status().borrow().servers.clone();
        let known: &[Server] = match seen.is_empty() {
            true => &self.identity.cluster,
            false => &seen,
        };
        Nodes::new(known, self.resolve(), RoleTargets::default())
    }

    /// Returns the part of the node that etcd's API of members uses.
    pub fn membership(&self) -> Membership {
        Membership::new(self.endpoint(), self.identity.id, self.peer_scheme)
            .with_others(self.resolve(), self.member.status())
    }

    /// Passes on role and leadership. To be called before [`stop`](Self::stop), while the engine
    /// still serves. Takes at most a minute, and no time for a cluster of one.
    pub async fn handover(&self, prepare: Prepare) -> Result<HandedOver, ClusterError> {
        self.member.handover(prepare).await
    }

    /// Blocks for as long as the engine needs, at most `dqlite::node::STOP_TIMEOUT`.
    pub async fn stop(self) -> Result<(), NodeError> {
        let Self {
            mut node, tasks, ..
        } = self;
        for task in tasks {
            task.end().await;
        }
        tokio::task::spawn_blocking(move || node.stop())
            .await
            .expect("stopping does not panic")
    }
}

/// Fails if another process works on the directory, which may have its ports as well. Writes nothing.
pub async fn check_free(dir: &Path) -> Result<(), StartError> {
    let dir = dir.to_owned();
    let locked = tokio::task::spawn_blocking(move || DirLock::acquire_unchanged(&dir));
    drop(locked.await.expect("locking does not panic")?);
    Ok(())
}

/// Takes the port of this node, if its address is known before the engine has started.
async fn bind_port(config: &ServerConfig) -> Result<Option<BoundPort>, StartError> {
    check_free(&config.storage_dir).await?;
    let address = match &config.start {
        Start::First { address } | Start::Join { address, .. } | Start::Move { address } => {
            Some(address.to_string())
        }
        Start::Again => read_info(&config.storage_dir)
            .map_err(ConfigError::from)?
            .map(|info| info.address),
    };
    let Some(address) = address else {
        return Ok(None);
    };
    let file = AddressFile::of(&config.start);
    let bound = BoundPort::bind(&address).await;
    let port = bound.map_err(|source| StartError::Port { file, source })?;
    Ok(Some(port))
}

/// Checks that the address in init.yaml can be listened on.
pub async fn check_init(dir: &Path) -> Result<(), StartError> {
    let Some(address) = init_address(dir)? else {
        return Ok(());
    };
    let bound = BoundPort::bind(address.as_str()).await;
    bound.map(drop).map_err(|source| StartError::Port {
        file: AddressFile::Init,
        source,
    })
}

async fn until_dropped(mut sender: watch::Receiver<()>) {
    // Nothing is ever sent.
    while sender.changed().await.is_ok() {}
}

/// Returns the way by which a node of this history reaches other nodes.
fn peers_of(config: &ServerConfig, cluster_id: &ClusterId) -> Resolve {
    peer_resolver(resolver(config.tls.clone()), cluster_id.clone())
}

fn member(
    config: &ServerConfig,
    identity: &Identity,
    cluster_id: &ClusterId,
    resolve: Resolve,
) -> (Member, MemberTask) {
    let own = OwnNode {
        id: identity.id,
        address: identity.address.clone(),
    };
    let (start, dir) = (config.start.clone(), config.storage_dir.clone());
    Member::new(MemberOptions {
        cluster_id: Some(cluster_id.clone()),
        is_joining: identity.is_joining,
        servers: identity.cluster.clone(),
        targets: config.roles,
        on_joined: Box::new(move || {
            if let Err(error) = start.finish(&dir) {
                warn!(%error, "this node has joined, but could not finish its first start");
            }
        }),
        ..MemberOptions::new(own, &config.storage_dir, resolve)
    })
}

/// An engine that runs.
struct Started {
    node: Node,
    identity: Identity,
    cluster_id: ClusterId,
    term: u64,
}

async fn start_engine(config: &ServerConfig) -> Result<Started, StartError> {
    let config = config.clone();
    let runtime = Handle::current();
    let started = tokio::task::spawn_blocking(move || {
        let lock = DirLock::acquire(&config.storage_dir)?;
        if config.tls.is_some() {
            settle_pair(&config.storage_dir)?;
        }
        let identity = config.start.identify(&lock)?;
        let cluster_id =
            ClusterId::of(&config.storage_dir, &identity).map_err(ConfigError::from)?;
        let dial = dialer(runtime, peers_of(&config, &cluster_id));
        let mut node = Node::create_locked(&node_options(&config, &identity, dial), lock)?;
        members::check(&config.storage_dir, &identity, node.report())?;
        let others = Dialer::new(peers_of(&config, &cluster_id));
        let asked = remembered::check(&config.storage_dir, &identity, node.report(), &others);
        Handle::current().block_on(asked)?;
        info!(
            id = format_args!("{:x}", identity.id),
            address = identity.address,
            "starting dqlite, which loads the database"
        );
        node.start()?;
        note_id(&config, &identity)?;
        // A node that is the only voter has elected itself by now.
        let term = stored_term(&config.storage_dir).map_err(|source| NodeError::Unreadable {
            path: config.storage_dir.join("metadata1"),
            source,
        })?;
        Ok(Started {
            node,
            identity,
            cluster_id,
            term,
        })
    });
    started.await.expect("starting does not panic")
}

/// The first start wrote the address alone; other programs look for the id here, too. Where there are
/// several nodes, the leader says who they are.
fn note_id(config: &ServerConfig, identity: &Identity) -> Result<(), ConfigError> {
    let is_alone = |server: &Server| server.address == identity.address;
    if identity.is_joining || !identity.cluster.iter().all(is_alone) {
        return Ok(());
    }
    let itself = Server {
        id: identity.id,
        address: identity.address.clone(),
        role: Role::Voter,
    };
    Ok(write_cluster(&config.storage_dir, &[itself])?)
}

fn node_options(config: &ServerConfig, identity: &Identity, dial: Dial) -> NodeOptions {
    let dir = &config.storage_dir;
    let mut options = NodeOptions::new(identity.id, &identity.address, dir, dial);
    options.bootstrap = identity.bootstrap;
    options.failure_domain = config.failure_domain;
    let latency = config.tuning.network_latency;
    options.network_latency = Some(latency.unwrap_or(DEFAULT_NETWORK_LATENCY));
    if let Some(snapshot) = config.tuning.snapshot {
        options.snapshot = snapshot;
    }
    options
}

#[cfg(test)]
mod tests;
