//! Requests about the cluster and the node.

use super::exchange::Effect;
use super::{Connection, Error};
use crate::wire::{File, MAX_MESSAGE_BYTES, NodeId, Reply, Request, Role, Server};

/// The largest dump that is accepted, in bytes: it is held in memory here and in the server, whose
/// arithmetic is not safe from 2 GiB on.
pub const MAX_DUMP_BYTES: usize = 1 << 30;

/// The answer to DESCRIBE: the failure domain and the weight of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    pub failure_domain: u64,
    pub weight: u64,
}

/// The leader, as another node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub id: NodeId,
    pub address: String,
}

/// The argument of CLUSTER that asks for the servers with their roles.
const FORMAT_WITH_ROLES: u64 = 1;

impl Connection {
    /// The leader as this node knows it. Only voters know one.
    pub async fn leader(&mut self) -> Result<Option<Leader>, Error> {
        match self.exchange.call(&Request::Leader, Effect::Reads).await? {
            Reply::Server { address, .. } if address.is_empty() => Ok(None),
            Reply::Server { id, address } => Ok(Some(Leader { id, address })),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    /// Tells the server a number for this client, which it keeps for its traces.
    pub async fn client_id(&mut self, id: u64) -> Result<(), Error> {
        match self
            .exchange
            .call(&Request::Client { id }, Effect::Reads)
            .await?
        {
            Reply::Welcome { .. } => Ok(()),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    /// The servers of the cluster, as this node knows them.
    pub async fn cluster(&mut self) -> Result<Vec<Server>, Error> {
        let request = Request::Cluster {
            format: FORMAT_WITH_ROLES,
        };
        match self.exchange.call(&request, Effect::Reads).await? {
            Reply::Servers(servers) => Ok(servers),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    /// Adds a server as a spare. Only the leader does it.
    pub async fn add(&mut self, id: NodeId, address: &str) -> Result<(), Error> {
        self.change(&Request::Add { id, address }).await
    }

    /// Gives a server a role. Only the leader does it, and answers a promotion when the server has
    /// caught up: set a long request timeout.
    pub async fn assign(&mut self, id: NodeId, role: Role) -> Result<(), Error> {
        self.change(&Request::Assign {
            id,
            role: role as u64,
        })
        .await
    }

    /// Removes a server. Only the leader does it. The removal of the last one, which aborts the
    /// server, is refused here; two clients that remove the last two at the same time are not.
    pub async fn remove(&mut self, id: NodeId) -> Result<(), Error> {
        if self.cluster().await?.len() <= 1 {
            return Err(Error::Invalid(
                "the last server of a cluster cannot be removed",
            ));
        }
        self.change(&Request::Remove { id }).await
    }

    /// Makes another voter the leader. Only the leader does it.
    pub async fn transfer(&mut self, id: NodeId) -> Result<(), Error> {
        self.change(&Request::Transfer { id }).await
    }

    pub async fn describe(&mut self) -> Result<Metadata, Error> {
        match self
            .exchange
            .call(&Request::Describe { format: 0 }, Effect::Reads)
            .await?
        {
            Reply::Metadata {
                failure_domain,
                weight,
            } => Ok(Metadata {
                failure_domain,
                weight,
            }),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    /// Sets the weight of this node, which it forgets when it stops.
    pub async fn set_weight(&mut self, weight: u64) -> Result<(), Error> {
        match self
            .exchange
            .call(&Request::Weight { weight }, Effect::Reads)
            .await?
        {
            Reply::Empty => Ok(()),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    /// A database as this node has it: the database file, and a WAL file that recent servers leave
    /// empty.
    pub async fn dump(&mut self, name: &str) -> Result<Vec<File>, Error> {
        self.exchange.max_reply_bytes = MAX_DUMP_BYTES;
        let reply = self
            .exchange
            .call(&Request::Dump { name }, Effect::Reads)
            .await;
        self.exchange.max_reply_bytes = MAX_MESSAGE_BYTES;
        match reply? {
            Reply::Files(files) => Ok(files),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    /// Does nothing useful on an idle connection, and a busy one is not read by the server before its
    /// statement is done. There for completeness; to stop a query, drop the connection.
    pub async fn interrupt(&mut self) -> Result<(), Error> {
        match self
            .exchange
            .call(&Request::Interrupt { db: 0 }, Effect::Reads)
            .await?
        {
            Reply::Empty => Ok(()),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    async fn change(&mut self, request: &Request<'_>) -> Result<(), Error> {
        match self.exchange.call(request, Effect::Writes).await? {
            Reply::Empty => Ok(()),
            other => Err(self.exchange.unexpected(&other)),
        }
    }
}
