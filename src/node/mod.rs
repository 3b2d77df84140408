//! The dqlite node of this server: its directory, its engine, its port.

mod membership;

use std::time::Duration;

use dqlite::{
    client::Endpoint,
    files::{Identity, write_cluster},
    node::{Dial, DirLock, Node, NodeError, NodeOptions, stored_term},
    proxy::{Proxy, ProxyError, ProxyOptions, dialer},
    wire::{Role, Server},
};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};
use tracing::info;

pub use self::membership::{Membership, MembershipError};
use crate::config::{ConfigError, ServerConfig};

/// One-way latency that the engine is told where tuning.yaml does not say: elections within 300 to
/// 600 ms. Below 20 ms a busy machine loses its leadership to scheduling alone.
const DEFAULT_NETWORK_LATENCY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("cannot read the Raft term: {0}")]
    Term(std::io::Error),
    #[error("{0}: it is the address of this node in info.yaml (init.yaml before the first start)")]
    Port(#[from] ProxyError),
}

/// A node that runs, and the task that serves its port.
pub struct RunningNode {
    node: Node,
    pub identity: Identity,
    /// The Raft term in which this node leads.
    pub term: u64,
    stop_port: oneshot::Sender<()>,
    port: JoinHandle<()>,
}

impl RunningNode {
    /// Takes the directory over: from now on init.yaml is gone.
    pub async fn start(config: &ServerConfig) -> Result<Self, StartError> {
        let (node, identity, term) = start_engine(config).await?;
        let options = ProxyOptions {
            address: identity.address.clone(),
            engine: node.bind_address().to_owned(),
            tls: config.tls.clone(),
            peers: None,
        };
        let port = Proxy::bind(options).await?;
        config.start.finish(&config.storage_dir)?;
        let (stop_port, stopped) = oneshot::channel::<()>();
        let port = tokio::spawn(port.run(async {
            // An error means that the sender is gone, which is the same.
            let _ = stopped.await;
        }));
        Ok(Self {
            node,
            identity,
            term,
            stop_port,
            port,
        })
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::from_address(self.node.bind_address())
    }

    /// Blocks for as long as the engine needs, at most `dqlite::node::STOP_TIMEOUT`.
    pub async fn stop(self) -> Result<(), NodeError> {
        let Self {
            mut node,
            stop_port,
            port,
            ..
        } = self;
        drop(stop_port);
        let _ = port.await;
        tokio::task::spawn_blocking(move || node.stop())
            .await
            .expect("stopping does not panic")
    }
}

async fn start_engine(config: &ServerConfig) -> Result<(Node, Identity, u64), StartError> {
    let config = config.clone();
    let dial = dialer(Handle::current(), config.tls.clone());
    let started = tokio::task::spawn_blocking(move || {
        let lock = DirLock::acquire(&config.storage_dir)?;
        let identity = config.start.identify(&lock)?;
        let mut node = Node::create_locked(&node_options(&config, &identity, dial), lock)?;
        info!(
            id = format_args!("{:x}", identity.id),
            address = identity.address,
            "starting dqlite, which loads the database"
        );
        node.start()?;
        // The first start wrote the address alone; other programs look for the id here, too.
        let itself = Server {
            id: identity.id,
            address: identity.address.clone(),
            role: Role::Voter,
        };
        write_cluster(&config.storage_dir, &[itself]).map_err(ConfigError::from)?;
        // The only voter elects itself while it starts.
        let term = stored_term(&config.storage_dir).map_err(StartError::Term)?;
        Ok((node, identity, term))
    });
    started.await.expect("starting does not panic")
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
