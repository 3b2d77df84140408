//! Joins the cluster.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{ClusterError, FIRST_PAUSE, MAX_PAUSE, Nodes, OwnNode, nodes::Look};
use crate::{cluster_id::ClusterId, wire::Server};

/// The time after which the log warns that this node cannot join: nodes are often started together, and the first of them
/// takes a moment.
const WARN_AFTER: Duration = Duration::from_secs(10);

/// Tries until this node is one of the cluster's, at first a spare, and returns these. Drop it to
/// give up.
///
/// If another node of the cluster has this node's address, it is an earlier one that lost its directory, since this
/// node holds the address. It is removed first, so that no vote is left that nobody can cast.
///
/// This node takes the cluster id of the leader before it asks to be added: from then on the leader's
/// engine may connect, and no other's.
pub async fn join(nodes: &mut Nodes, own: &OwnNode, cluster: Option<&ClusterId>) -> Vec<Server> {
    let mut pause = FIRST_PAUSE;
    let (began, mut reported) = (Instant::now(), (String::new(), false));
    loop {
        let error = match attempt(nodes, own, cluster).await {
            Ok(servers) => return servers,
            Err(error) => error.to_string(),
        };
        if let Some(cluster) = cluster {
            cluster.part();
        }
        let report = (error, began.elapsed() >= WARN_AFTER);
        if report != reported {
            let text = "cannot join the cluster yet; trying again";
            match &report {
                (error, false) => info!(error, "{text}"),
                (error, true) => warn!(error, "{text}"),
            }
            reported = report;
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn attempt(
    nodes: &mut Nodes,
    own: &OwnNode,
    cluster: Option<&ClusterId>,
) -> Result<Vec<Server>, ClusterError> {
    let mut look = nodes.look().await?;
    if let Some(cluster) = cluster {
        cluster.adopt(nodes.cluster_id(&look).await?)?;
    }
    if is_known(&look.servers, own)? {
        return Ok(look.servers);
    }
    let ghost = look.servers.iter().find(|s| s.address == own.address);
    if let Some(ghost) = ghost.cloned() {
        remove_ghost(&mut look, &ghost).await?;
    }
    look.leader.add(own.id, &own.address).await?;
    info!(address = own.address, "joined the cluster as a spare");
    let servers = look.leader.cluster().await?;
    match is_known(&servers, own)? {
        true => Ok(servers),
        false => Err(ClusterError::NotFound { id: own.id }),
    }
}

fn is_known(servers: &[Server], own: &OwnNode) -> Result<bool, ClusterError> {
    match servers.iter().find(|server| server.id == own.id) {
        Some(found) if found.address == own.address => Ok(true),
        Some(found) => Err(ClusterError::IdTaken {
            id: own.id,
            address: found.address.clone(),
        }),
        None => Ok(false),
    }
}

async fn remove_ghost(look: &mut Look, ghost: &Server) -> Result<(), ClusterError> {
    let (id, address) = (ghost.id, ghost.address.clone());
    if id == look.leader_id {
        return Err(ClusterError::AddressTaken { address });
    }
    if !look.roles.keeps_majority_without(id) {
        return Err(ClusterError::NoMajority { id });
    }
    warn!(
        id = format_args!("{id:x}"),
        address, "this address belonged to a node whose data is gone: removing that node"
    );
    Ok(look.leader.remove(id).await?)
}
