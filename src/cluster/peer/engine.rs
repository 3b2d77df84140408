//! Asks the engine of this node about leadership, at the moment when it matters.

use std::{path::PathBuf, time::Duration};

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint, Error},
    node::stored_term,
    wire::{NodeId, Role, Server},
};
use replication::View;
use tokio::sync::Mutex;

/// The engine answers in microseconds, unless its loop is held up by the disk.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of attempts to read a term that changes while it is read.
const MAX_ATTEMPTS: usize = 3;

/// Asks the engine through one connection.
pub struct EngineView {
    endpoint: Endpoint,
    dir: PathBuf,
    connection: Mutex<Option<Connection>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error("dqlite: {0}")]
    Engine(#[from] Error),
    #[error("cannot read the Raft term: {0}")]
    Term(#[from] std::io::Error),
    #[error("the term changed while it was read, again and again")]
    Unsettled,
}

impl EngineView {
    pub fn new(endpoint: Endpoint, dir: PathBuf) -> Self {
        Self {
            endpoint,
            dir,
            connection: Mutex::new(None),
        }
    }

    /// Returns leader and term, both true at one moment during the call. The engine stores a term
    /// before it acts in it, and forgets the leader of the term before.
    pub async fn view(&self) -> Result<View, ViewError> {
        for _ in 0..MAX_ATTEMPTS {
            let term = stored_term(&self.dir)?;
            let leader = self.leader().await?;
            if stored_term(&self.dir)? == term {
                return Ok(View { leader, term });
            }
        }
        Err(ViewError::Unsettled)
    }

    async fn leader(&self) -> Result<Option<(u64, String)>, Error> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.take(&mut slot).await?;
        let leader = connection.leader().await?;
        *slot = Some(connection);
        Ok(leader.map(|leader| (leader.id.number(), leader.address)))
    }

    /// The nodes of the cluster, as this node's engine knows them.
    pub async fn servers(&self) -> Result<Vec<Server>, Error> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.take(&mut slot).await?;
        let servers = connection.cluster().await?;
        *slot = Some(connection);
        Ok(servers)
    }

    pub async fn voters(&self) -> Result<Vec<NodeId>, Error> {
        let servers = self.servers().await?;
        let voters = servers
            .iter()
            .filter(|server| server.role == Role::Voter)
            .map(|server| server.id);
        Ok(voters.collect())
    }

    /// Takes the connection out of its slot, so that one that failed, or was given up half way, is
    /// not used again.
    async fn take(&self, slot: &mut Option<Connection>) -> Result<Connection, Error> {
        if let Some(connection) = slot.take() {
            return Ok(connection);
        }
        let options = ConnectOptions {
            request_timeout: REQUEST_TIMEOUT,
            ..Default::default()
        };
        Connection::connect(&self.endpoint, options).await
    }
}
