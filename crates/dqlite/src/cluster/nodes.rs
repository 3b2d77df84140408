//! Connections to the nodes of a cluster.

use std::{sync::Arc, time::Duration};

use super::{CHANGE_TIMEOUT, probe};
use crate::{
    client::{ConnectOptions, Connection, Endpoint, Error, LeaderConnector, Resolve},
    cluster_id::ClusterId,
    roles::{RoleTargets, Roles},
    tls::Tls,
    wire::{NodeId, Server},
};

/// The timeout of a search for the leader: an election at a latency of 200 ms, twice.
const LEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// A healthy node connects and answers within milliseconds; one that is paused never does.
const FIND_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns a function that reaches nodes at `host:port`: with the cluster's key pair, or in clear
/// if there is none.
pub fn resolver(tls: Option<Tls>) -> Resolve {
    Arc::new(move |address: &str| match &tls {
        Some(tls) => Endpoint::Tls {
            address: address.to_owned(),
            tls: tls.clone(),
        },
        None => Endpoint::Tcp(address.to_owned()),
    })
}

/// Returns the same for a node of this cluster, which introduces itself first.
pub fn peer_resolver(resolve: Resolve, cluster: ClusterId) -> Resolve {
    Arc::new(move |address: &str| Endpoint::Peer {
        endpoint: Box::new(resolve(address)),
        cluster: cluster.clone(),
    })
}

/// The known nodes, and how to connect to them.
#[derive(Clone)]
pub struct Nodes {
    connector: LeaderConnector,
    resolve: Resolve,
    targets: RoleTargets,
}

impl Nodes {
    pub fn new(servers: &[Server], resolve: Resolve, targets: RoleTargets) -> Self {
        let options = ConnectOptions {
            connect_timeout: FIND_TIMEOUT,
            request_timeout: FIND_TIMEOUT,
        };
        Self {
            connector: LeaderConnector::new(addresses(servers), resolve.clone(), options),
            resolve,
            targets,
        }
    }

    /// Replaces the known nodes; from now on the leader is looked for among these.
    pub fn set(&mut self, servers: &[Server]) {
        self.connector.set_addresses(addresses(servers));
    }

    /// Connects to the leader, with a timeout for requests that is long enough for changes.
    pub async fn leader(&mut self) -> Result<Connection, Error> {
        let mut leader = self.connector.connect(LEADER_TIMEOUT).await?;
        leader.set_request_timeout(CHANGE_TIMEOUT);
        Ok(leader)
    }

    /// Returns the id of the history of the leader in `look`.
    pub(super) async fn cluster_id(&self, look: &Look) -> Result<Option<u64>, Error> {
        let leader = look.servers.iter().find(|s| s.id == look.leader_id);
        let leader = leader.ok_or(Error::NotLeader)?;
        let asked = (self.resolve)(&leader.address).cluster_id().await;
        asked.map_err(Error::Unreachable)
    }

    /// The leader, the cluster as it knows it, and who of that is online.
    pub(super) async fn look(&mut self) -> Result<Look, Error> {
        let mut leader = self.leader().await?;
        let servers = leader.cluster().await?;
        self.set(&servers);
        let leader_id = leader.leader().await?.ok_or(Error::NotLeader)?.id;
        let nodes = probe(&servers, &self.resolve).await;
        let nodes = nodes.into_iter().map(Into::into).collect();
        Ok(Look {
            leader,
            leader_id,
            roles: Roles::new(self.targets, nodes),
            servers,
        })
    }
}

/// The state of the cluster at one moment, and the connection to change it.
pub(super) struct Look {
    pub leader: Connection,
    pub leader_id: NodeId,
    pub servers: Vec<Server>,
    pub roles: Roles,
}

/// Voters first: they know the leader.
fn addresses(servers: &[Server]) -> Vec<String> {
    let mut servers: Vec<&Server> = servers.iter().collect();
    servers.sort_by_key(|server| server.role as u8);
    servers
        .iter()
        .map(|server| server.address.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Role;

    #[test]
    fn voters_are_asked_for_the_leader_first() {
        let server = |id: u64, role| Server {
            id: NodeId::new(id),
            address: format!("10.0.0.{id}:9000"),
            role,
        };
        let servers = [
            server(1, Role::Spare),
            server(2, Role::Voter),
            server(3, Role::StandBy),
            server(4, Role::Voter),
        ];
        let expected = [
            "10.0.0.2:9000",
            "10.0.0.4:9000",
            "10.0.0.3:9000",
            "10.0.0.1:9000",
        ];
        assert_eq!(addresses(&servers), expected);
    }
}
