//! Changes the address of this node, as update.yaml says.
//!
//! It runs before the engine serves, and with nobody else in the directory. Alone, the node changes
//! the configuration in its log; as one of several, it has the leader change it. Where cluster.yaml
//! names no other node, the engine decides which of the two it is: that file may be older than the
//! log.
//!
//! Invariant: update.yaml goes last, and each step before it may be repeated.

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint},
    cluster::{self, ClusterError, Nodes, OwnNode},
    cluster_id::ClusterId,
    files::{
        CLUSTER_FILE, INFO_FILE, Identity, begin_move, end_move, is_moving, keep_copy, remove_file,
        write_cluster, write_info,
    },
    node::{DirLock, Node, NodeError, recover},
    proxy::dialer,
    roles::RoleTargets,
    wire::{Role, Server},
};
use tokio::{runtime::Handle, task::spawn_blocking};
use tracing::{info, warn};

use super::{StartError, node_options, peers_of};
use crate::{
    address::NodeAddress,
    config::{ConfigError, ServerConfig, Start, UPDATE},
};

/// info.yaml as it was before the address changed.
pub const FORMER_INFO: &str = "info.yaml.before-update";

/// The files that are replaced, and the names under which the former ones stay.
const KEPT: [(&str, &str); 2] = [
    (INFO_FILE, FORMER_INFO),
    (CLUSTER_FILE, "cluster.yaml.before-update"),
];

/// Changes the address. Returns when the change is on the disk.
pub async fn change(config: &ServerConfig, address: &NodeAddress) -> Result<(), StartError> {
    let lock = acquire(config).await?;
    let identity = Start::Again.identify(&lock)?;
    let former = Server {
        id: identity.id,
        address: identity.address.clone(),
        role: Role::Voter,
    };
    let own = OwnNode {
        id: former.id,
        address: address.to_string(),
    };
    info!(
        old = former.address,
        new = own.address,
        "update.yaml: changing the address of this node"
    );
    warn_of_certificate(config, address);
    if former.address != own.address {
        for (name, copy) in KEPT {
            keep_copy(&config.storage_dir.join(name), copy).map_err(ConfigError::from)?;
        }
    }
    let is_other = |server: &Server| server.id != own.id && server.address != former.address;
    let (mut servers, lock) = match identity.cluster.iter().any(is_other) {
        true => (identity.cluster.clone(), lock),
        false => configuration(config, &identity, lock).await?,
    };
    // The directory stays locked until all is written.
    let (servers, _lock) = if servers.iter().any(is_other) {
        servers.retain(is_other);
        (tell_others(config, &own, &servers).await?, lock)
    } else {
        change_alone(config, &own, &servers, lock).await?
    };
    write(config, &own, &servers)
}

/// Returns the configuration in the log, of which cluster.yaml may hold only an earlier state.
async fn configuration(
    config: &ServerConfig,
    identity: &Identity,
    lock: DirLock,
) -> Result<(Vec<Server>, DirLock), StartError> {
    let cluster_id = ClusterId::of(&config.storage_dir, identity).map_err(ConfigError::from)?;
    let dial = dialer(Handle::current(), peers_of(config, &cluster_id));
    let options = node_options(config, identity, dial);
    let started = spawn_blocking(move || {
        let mut node = Node::create_locked(&options, lock)?;
        node.start()?;
        Ok::<_, NodeError>(node)
    });
    let mut node = started.await.expect("starting does not panic")?;
    let endpoint = Endpoint::from_address(node.bind_address());
    let asked = async {
        let mut connection = Connection::connect(&endpoint, ConnectOptions::default()).await?;
        connection.cluster().await
    };
    let servers = asked.await;
    let stopped = spawn_blocking(move || node.stop());
    stopped.await.expect("stopping does not panic")?;
    let servers = servers.map_err(|error| StartError::Address(error.into()))?;
    Ok((servers, acquire(config).await?))
}

async fn tell_others(
    config: &ServerConfig,
    own: &OwnNode,
    others: &[Server],
) -> Result<Vec<Server>, StartError> {
    let dir = &config.storage_dir;
    let cluster_id = ClusterId::open(dir).map_err(ConfigError::from)?;
    let resolve = peers_of(config, &cluster_id);
    let mut nodes = Nodes::new(others, resolve, RoleTargets::default());
    let was_begun = is_moving(dir).map_err(ConfigError::from)?;
    begin_move(dir).map_err(ConfigError::from)?;
    let told = cluster::readdress(&mut nodes, own, was_begun).await;
    if let Err(ClusterError::NotFound { .. }) = told {
        end_move(dir).map_err(ConfigError::from)?;
    }
    told.map_err(StartError::Address)
}

async fn change_alone(
    config: &ServerConfig,
    own: &OwnNode,
    configuration: &[Server],
    lock: DirLock,
) -> Result<(Vec<Server>, DirLock), StartError> {
    let alone = vec![Server {
        id: own.id,
        address: own.address.clone(),
        role: Role::Voter,
    }];
    if configuration == alone {
        return Ok((alone, lock));
    }
    let servers = alone.clone();
    let recovered = spawn_blocking(move || recover(lock, &servers));
    recovered.await.expect("recovering does not panic")?;
    Ok((alone, acquire(config).await?))
}

/// Writes info.yaml after cluster.yaml: from then on the old address is forgotten.
fn write(config: &ServerConfig, own: &OwnNode, servers: &[Server]) -> Result<(), StartError> {
    let dir = &config.storage_dir;
    let info = Server {
        id: own.id,
        address: own.address.clone(),
        role: Role::Voter,
    };
    let written = write_cluster(dir, servers)
        .and_then(|()| write_info(dir, &info))
        .and_then(|()| end_move(dir))
        .and_then(|()| remove_file(&dir.join(UPDATE)));
    Ok(written.map_err(ConfigError::from)?)
}

async fn acquire(config: &ServerConfig) -> Result<DirLock, NodeError> {
    let dir = config.storage_dir.clone();
    let acquired = spawn_blocking(move || DirLock::acquire(&dir));
    acquired.await.expect("locking does not panic")
}

fn warn_of_certificate(config: &ServerConfig, address: &NodeAddress) {
    if let Some(tls) = &config.tls
        && !tls.covers(address.host())
    {
        warn!(
            "cluster.crt has no DNS name and is not for {}: other nodes will not connect; make a pair with \
             a DNS name, or with this address in its subjectAltName, and copy it to all nodes",
            address.host()
        );
    }
}
