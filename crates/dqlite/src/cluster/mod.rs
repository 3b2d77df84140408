//! The membership of a node in its cluster: joining, taking a role, adjusting the roles of others, leaving.
//!
//! Owns the conversations with the leader, wherever it is, and with the other nodes. Which role goes
//! to whom is [`crate::roles`]' decision; the engine's Raft makes it so. go-dqlite: app/app.go.
//!
//! Invariants: the cluster is read again before each change; a change of unknown outcome is looked
//! up, never sent again blindly; no change leaves online voters that are no majority; every wait ends
//! by a named limit, except that a node tries to join until it is told to stop. Futures may be
//! dropped at any point: what was asked for may then still happen, and the next look shows it. No
//! database is opened on these connections: the engine does not clean up after one whose connection
//! goes away during a change (dqlite: src/gateway.c, `raftChangeCb`).

mod adjust;
mod error;
mod handover;
mod join;
mod member;
mod nodes;
mod probe;
mod readdress;
mod remove;
mod task;

use std::time::Duration;

pub use adjust::{adjust, promote_self};
pub use error::ClusterError;
pub use handover::{HandedOver, handover};
pub use join::join;
pub use member::{Member, MemberOptions, MemberState, MemberStatus, Prepare};
pub use nodes::{Nodes, peer_resolver, resolver};
pub use probe::{Answer, Probed, listening, probe};
pub use readdress::readdress;
pub use remove::remove;
pub use task::MemberTask;

use crate::{client::Error, wire::NodeId};

/// A change of the configuration: a promotion waits until the node has caught up with the log, or
/// has received the whole database. The engine gives up on one that is silent for 50 s, and refuses
/// other changes meanwhile (dqlite: src/server.c).
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause before the cluster is looked at again after a change failed; it doubles up to the second
/// value. Another change in progress takes milliseconds, an election some hundred.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Returns whether another attempt may succeed.
fn is_passing(error: &ClusterError) -> bool {
    matches!(
        error,
        ClusterError::Client(
            Error::NotLeader
                | Error::Busy { .. }
                | Error::OutcomeUnknown(_)
                | Error::Disconnected(_)
                | Error::Unreachable(_)
        )
    )
}

/// The id and the address of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNode {
    pub id: NodeId,
    pub address: String,
}
