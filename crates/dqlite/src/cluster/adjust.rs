//! Assigns roles to nodes.

use stopping::warn;
use tracing::info;

use super::{ClusterError, Nodes};
use crate::{
    client::{Connection, Error},
    roles::Change,
    wire::{NodeId, Role, Server},
};

/// Changes in a row. Even a large cluster settles in fewer, and the next round goes on.
const MAX_ADJUST_STEPS: usize = 32;

/// Returns the role that this node should have from its start, if it differs from the current one. If it becomes the
/// second voter, a third one is promoted with it.
pub async fn promote_self(nodes: &mut Nodes, own_id: NodeId) -> Result<Option<Role>, ClusterError> {
    let mut look = nodes.look().await?;
    let Some(role) = look.roles.assume(own_id) else {
        return Ok(None);
    };
    look.leader.assign(own_id, role).await?;
    info!(?role, "this node has a new role");
    if role == Role::Voter {
        let mut look = nodes.look().await?;
        let next = look.roles.adjust(look.leader_id);
        if let Some(change) = next.filter(|change| change.role == Role::Voter) {
            assign_any(&mut look.leader, &change).await?;
        }
    }
    Ok(Some(role))
}

/// Brings the roles of all nodes closer to what they should be, as far as it goes. Does nothing on
/// a node that does not lead. Returns the number of changes.
pub async fn adjust(nodes: &mut Nodes, own_id: NodeId) -> Result<usize, ClusterError> {
    for steps in 0..MAX_ADJUST_STEPS {
        let mut look = nodes.look().await?;
        if look.leader_id != own_id {
            return Ok(steps);
        }
        let Some(change) = look.roles.adjust(own_id) else {
            return Ok(steps);
        };
        assign_any(&mut look.leader, &change).await?;
    }
    Ok(MAX_ADJUST_STEPS)
}

/// The first of the candidates that takes the role.
pub(super) async fn assign_any(
    leader: &mut Connection,
    change: &Change,
) -> Result<Server, ClusterError> {
    let role = change.role;
    let mut last = Error::Invalid("there is no candidate");
    for candidate in &change.candidates {
        let (address, was) = (&candidate.address, candidate.role);
        match leader.assign(candidate.id, role).await {
            Ok(()) => {
                info!(address, ?was, ?role, "a node has a new role");
                return Ok(candidate.clone());
            }
            Err(error @ Error::Sql { .. }) => {
                warn!(address, ?was, ?role, %error, "a node did not take the role that it was given");
                last = error;
            }
            // The leader is lost, busy, or still at it.
            Err(source) => return Err(ClusterError::NobodyTook { role, source }),
        }
    }
    Err(ClusterError::NobodyTook { role, source: last })
}
