//! This node, and the nodes that it knows.

use dqlite::{
    tls::Tls,
    wire::{NodeId, Role, Server},
};

use crate::cluster::status::StatusTargets;

/// The node's view of the cluster at this moment.
#[derive(Debug, Clone, Default)]
pub struct NodeView {
    pub own_id: NodeId,
    pub own_address: String,
    /// None before it is known.
    pub role: Option<Role>,
    pub leader: Option<(NodeId, String)>,
    pub term: u64,
    /// None before it is known.
    pub cluster_id: Option<u64>,
    /// Connections with nodes of other histories.
    pub refused: u64,
    pub servers: Vec<Server>,
}

/// Returns the view at this moment.
pub type ViewNow = Box<dyn Fn() -> NodeView + Send + Sync>;

impl NodeView {
    /// Returns the nodes to ask, this one too.
    pub fn status_targets(self, tls: Option<Tls>) -> StatusTargets {
        let own = Server {
            id: self.own_id,
            address: self.own_address,
            role: self.role.unwrap_or(Role::Spare),
        };
        let mut servers = self.servers;
        if servers.iter().all(|server| server.id != own.id) {
            servers.push(own.clone());
        }
        StatusTargets {
            own,
            servers,
            tls,
            cluster_id: self.cluster_id,
            certificate_expires_s: None,
        }
    }
}
