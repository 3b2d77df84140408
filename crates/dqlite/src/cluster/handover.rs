//! Hands the role and the leadership of a node to others before it stops.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use super::{ClusterError, FIRST_PAUSE, Nodes, adjust::assign_any, nodes::Look};
use crate::{
    client::{ConnectOptions, Connection, Endpoint, Error},
    wire::{NodeId, Role, Server},
};

/// A stop must not hang where a majority is gone; go-dqlite has the same.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(60);

/// The time that the next holder of the role has to catch up: a stand-by needs milliseconds. It leaves most of the time
/// for the handover of the leadership, which matters more.
const SEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// The time without a leader after which a node that stops gives up handing over. The engine names none while votes are
/// counted, which takes less; where there is no majority all further waiting is in vain.
const LEADERLESS_TIMEOUT: Duration = Duration::from_millis(500);

/// The interval at which the own engine is asked for the leader meanwhile.
const LEADER_INTERVAL: Duration = Duration::from_millis(50);

/// The nodes that the role and the leadership of this node went to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandedOver {
    pub role_to: Option<Server>,
    pub leadership_to: Option<Server>,
}

/// Passes on the role of this node to one that has a lower one, and the leadership to another voter. If there is nobody
/// to pass the role on to, this node keeps it while it is away. A cluster of one node does nothing. If this node leads,
/// `prepare` is waited for before the leadership goes.
pub async fn handover(
    nodes: &mut Nodes,
    own_id: NodeId,
    prepare: impl Future<Output = ()>,
) -> Result<HandedOver, ClusterError> {
    timeout(HANDOVER_TIMEOUT, hand_over(nodes, own_id, prepare))
        .await
        .unwrap_or(Err(ClusterError::TimedOut(HANDOVER_TIMEOUT)))
}

/// Waits until the engine at `own` has named no leader for [`LEADERLESS_TIMEOUT`]. The engine is asked, rather than
/// other nodes: it steps down by itself without a majority, and a busy machine delays its answer, but does not change it.
pub(super) async fn leaderless(own: Endpoint) -> ClusterError {
    let mut since = Instant::now();
    let mut connection = None;
    while since.elapsed() < LEADERLESS_TIMEOUT {
        if knows_leader(&own, &mut connection).await {
            since = Instant::now();
        }
        sleep(LEADER_INTERVAL).await;
    }
    ClusterError::Leaderless(LEADERLESS_TIMEOUT)
}

/// Returns whether the engine names a leader. One that does not answer may know one.
async fn knows_leader(own: &Endpoint, connection: &mut Option<Connection>) -> bool {
    let asked = async {
        let mut asked = match connection.take() {
            Some(asked) => asked,
            None => Connection::connect(own, ConnectOptions::default()).await?,
        };
        let leader = asked.leader().await?;
        *connection = Some(asked);
        Ok::<_, Error>(leader)
    };
    !matches!(asked.await, Ok(None))
}

async fn hand_over(
    nodes: &mut Nodes,
    own_id: NodeId,
    prepare: impl Future<Output = ()>,
) -> Result<HandedOver, ClusterError> {
    let mut done = HandedOver::default();
    let mut look = nodes.look().await?;
    if look.servers.len() < 2 || look.roles.find(own_id).is_none() {
        return Ok(done);
    }
    if let Some(change) = look.roles.handover(own_id) {
        look.leader.set_request_timeout(SEAT_TIMEOUT);
        match assign_any(&mut look.leader, &change).await {
            Ok(server) => done.role_to = Some(server),
            Err(error) => info!(%error, "could not hand over the role of this node"),
        }
        look = nodes.look().await?;
    }
    if look.leader_id == own_id {
        prepare.await;
        done.leadership_to = transfer_from(&mut look).await.map(Some).or_else(|error| {
            match error {
                // As in a cluster of two, whose other node is down.
                ClusterError::NoSuccessor => Ok(None),
                error => Err(error),
            }
        })?;
    }
    if done.role_to.is_some() {
        become_spare(nodes, own_id).await;
    }
    Ok(done)
}

/// A new leader takes a moment until it accepts changes. The caller sets the limit.
async fn become_spare(nodes: &mut Nodes, own_id: NodeId) {
    loop {
        match try_become_spare(nodes, own_id).await {
            Ok(()) => return,
            Err(error) => info!(%error, "this node keeps its old role for now"),
        }
        sleep(FIRST_PAUSE).await;
    }
}

async fn try_become_spare(nodes: &mut Nodes, own_id: NodeId) -> Result<(), ClusterError> {
    let mut leader = nodes.leader().await?;
    let servers = leader.cluster().await?;
    match servers.iter().find(|server| server.id == own_id) {
        Some(own) if own.role != Role::Spare => Ok(leader.assign(own_id, Role::Spare).await?),
        _ => Ok(()),
    }
}

/// Makes another online voter the leader, the first that can: whichever node leads now.
pub(super) async fn transfer_from(look: &mut Look) -> Result<Server, ClusterError> {
    let mut last = ClusterError::NoSuccessor;
    for successor in look.roles.successors(look.leader_id) {
        match look.leader.transfer(successor.id).await {
            Ok(()) => {
                info!(address = successor.address, "handed over the leadership");
                return Ok(successor);
            }
            Err(error) => {
                info!(address = successor.address, %error, "a voter did not take the leadership");
                let is_lost = look.leader.is_poisoned();
                last = error.into();
                if is_lost {
                    break;
                }
            }
        }
    }
    Err(last)
}
