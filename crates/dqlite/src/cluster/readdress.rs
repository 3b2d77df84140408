//! Changes the address of a node that is stopped.
//!
//! The engine cannot change an address: the node is removed and added. It keeps its id, its data,
//! its term and its vote; to Raft it looks like a node that was away and comes back as a spare.

use std::time::Duration;

use stopping::warn;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{ClusterError, FIRST_PAUSE, MAX_PAUSE, Nodes, OwnNode, is_passing, nodes::Look};
use crate::wire::{NodeId, Server};

/// An election, or another change in progress, takes less. After this timeout the supervisor starts the server
/// again. Signals to stop are not handled meanwhile.
const READDRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// Has the leader of the running cluster register the node under its new address, and returns the nodes as they are
/// then. The engine of the node must not run. With `was_begun`, an earlier attempt may have removed the node; without
/// it, a node that the cluster does not have is refused.
pub async fn readdress(
    nodes: &mut Nodes,
    own: &OwnNode,
    was_begun: bool,
) -> Result<Vec<Server>, ClusterError> {
    let deadline = Instant::now() + READDRESS_TIMEOUT;
    let mut pause = FIRST_PAUSE;
    let mut may_be_missing = was_begun;
    loop {
        let error = match attempt(nodes, own, &mut may_be_missing).await {
            Ok(servers) => return Ok(servers),
            Err(error) if is_passing(&error) && Instant::now() + pause < deadline => error,
            Err(error) => return Err(error),
        };
        warn!(%error, "the cluster does not have the new address yet; trying again");
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn attempt(
    nodes: &mut Nodes,
    own: &OwnNode,
    may_be_missing: &mut bool,
) -> Result<Vec<Server>, ClusterError> {
    let mut look = nodes.look().await?;
    let holder = look.servers.iter().find(|s| s.address == own.address);
    match holder {
        Some(holder) if holder.id == own.id => return Ok(look.servers),
        Some(holder) => {
            return Err(ClusterError::AddressInUse {
                id: holder.id,
                address: holder.address.clone(),
            });
        }
        None => {}
    }
    if look.roles.find(own.id).is_some() {
        let removed = remove(&mut look, own.id);
        // From the first try on its outcome may be unknown.
        *may_be_missing = true;
        removed.await?;
    } else if !*may_be_missing {
        return Err(ClusterError::NotFound { id: own.id });
    }
    look.leader.add(own.id, &own.address).await?;
    info!(
        address = own.address,
        "the cluster has the new address of this node"
    );
    Ok(look.leader.cluster().await?)
}

async fn remove(look: &mut Look, id: NodeId) -> Result<(), ClusterError> {
    let own = look.roles.find(id).expect("the caller has found it");
    if own.metadata.is_some() {
        return Err(ClusterError::StillRuns {
            address: own.server.address.clone(),
        });
    }
    if !look.roles.keeps_majority_without(id) {
        return Err(ClusterError::NoMajority { id });
    }
    Ok(look.leader.remove(id).await?)
}
