//! This node, and the nodes that it knows.

use dqlite::{
    tls::Tls,
    wire::{NodeId, Role, Server},
};

use peer_proto::{AboutResponse, View};

use crate::{
    cluster::{
        peer::{OwnFiles, details},
        status::StatusTargets,
    },
    store::{NEWEST_SCHEMA, Store},
};

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
    /// Returns the answer of this node, as it would tell others.
    pub async fn about(self, store: &Store, files: &OwnFiles) -> AboutResponse {
        let is_loaded = store.is_loaded();
        let history = store.history();
        let (leader_id, leader_address) = self.leader.unwrap_or_default();
        AboutResponse {
            member_id: self.own_id.number(),
            view: Some(View {
                leader_id: leader_id.number(),
                leader_address,
                term: self.term,
            }),
            revision: if is_loaded {
                store.revision().number()
            } else {
                0
            },
            compact_revision: history.compact_revision().number(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            details: Some(details(store, files, is_loaded).await),
            cluster_id: self.cluster_id.unwrap_or(0),
            newest_schema: NEWEST_SCHEMA,
        }
    }

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
