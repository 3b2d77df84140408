//! Removes a node from the cluster for good.

use std::time::Duration;

use stopping::warn;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::{
    ClusterError, FIRST_PAUSE, MAX_PAUSE, Nodes, adjust::assign_any, handover::transfer_from,
    is_passing, nodes::Look,
};
use crate::wire::{NodeId, Role, Server};

/// A promotion, a transfer and the removal itself.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(120);

/// The number of looks at the cluster, each of which leads to one change. A removal needs at most three; leaders may be
/// lost in between.
const MAX_ATTEMPTS: usize = 10;

/// Removes the node, whether it runs or not, and returns the remaining ones. Its vote goes to another node
/// first, where there is one; so does the leadership. When it is removed, its directory is to be
/// deleted: nothing can use it any more.
pub async fn remove(nodes: &mut Nodes, id: NodeId) -> Result<Vec<Server>, ClusterError> {
    timeout(REMOVE_TIMEOUT, remove_in_steps(nodes, id))
        .await
        .unwrap_or(Err(ClusterError::TimedOut(REMOVE_TIMEOUT)))
}

async fn remove_in_steps(nodes: &mut Nodes, id: NodeId) -> Result<Vec<Server>, ClusterError> {
    let mut look = nodes.look().await?;
    if look.roles.find(id).is_none() {
        return Err(ClusterError::NotFound { id });
    }
    look = replace(nodes, look, id).await?;
    let mut pause = FIRST_PAUSE;
    for _ in 0..MAX_ATTEMPTS {
        // Gone already where the outcome of an attempt was unknown.
        if look.roles.find(id).is_none() {
            return Ok(look.servers);
        }
        if let Err(error) = step(&mut look, id).await {
            if !is_passing(&error) {
                return Err(error);
            }
            warn!(%error, "the node could not be removed yet; trying again");
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        look = nodes.look().await?;
    }
    Err(ClusterError::Unsettled(MAX_ATTEMPTS))
}

/// Gives the vote of the node to another one, while the node may still help. The removal goes on if no node takes it.
async fn replace(nodes: &mut Nodes, mut look: Look, id: NodeId) -> Result<Look, ClusterError> {
    let is_voter = look
        .roles
        .find(id)
        .is_some_and(|n| n.server.role == Role::Voter);
    let Some(change) = look.roles.handover(id).filter(|_| is_voter) else {
        return Ok(look);
    };
    if let Err(error) = assign_any(&mut look.leader, &change).await {
        warn!(%error, "could not hand over the vote of the node that leaves");
    }
    Ok(nodes.look().await?)
}

async fn step(look: &mut Look, id: NodeId) -> Result<(), ClusterError> {
    if look.servers.len() < 2 {
        return Err(ClusterError::LastNode);
    }
    if !look.roles.keeps_majority_without(id) {
        return Err(ClusterError::NoMajority { id });
    }
    if look.leader_id == id {
        return transfer_from(look).await.map(|_| ());
    }
    look.leader.remove(id).await?;
    info!(
        id = format_args!("{id:x}"),
        "the node is removed from the cluster"
    );
    Ok(())
}
