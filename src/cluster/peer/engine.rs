//! Asks the engine of this node about leadership, at the moment when it matters.

use std::{path::PathBuf, time::Duration};

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint, Error},
    node::StoredTerm,
    wire::Server,
};
use replication::View;
use tokio::sync::{Mutex, Notify};

/// The engine answers in microseconds, unless its loop is held up by the disk.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of attempts to read a term that changes while it is read.
const MAX_ATTEMPTS: usize = 3;

/// Asks the engine through one connection.
pub struct EngineView {
    endpoint: Endpoint,
    term: StoredTerm,
    connection: Mutex<Option<Connection>>,
    /// The last view with a leader.
    named: std::sync::Mutex<View>,
    news: Notify,
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
            term: StoredTerm::new(dir),
            connection: Mutex::new(None),
            named: std::sync::Mutex::default(),
            news: Notify::new(),
        }
    }

    /// Has the monitor ask the engine now: what it said last may not be true any more.
    pub fn expect_news(&self) {
        self.news.notify_one();
    }

    /// Waits for [`expect_news`](Self::expect_news). For one task. Cancel safe.
    pub async fn has_news(&self) {
        self.news.notified().await;
    }

    /// Returns leader and term, both true at one moment during the call. The engine stores a term
    /// before it acts in it, and forgets the leader of the term before.
    pub async fn view(&self) -> Result<View, ViewError> {
        for _ in 0..MAX_ATTEMPTS {
            let term = self.term.get()?;
            let leader = self.leader().await?;
            if self.term.get()? == term {
                let view = View { leader, term };
                if view.leader.is_some() {
                    *self.named() = view.clone();
                }
                return Ok(view);
            }
        }
        Err(ViewError::Unsettled)
    }

    /// Returns what this node has to say in a proof that the leader leads: the leader of the newest term in which it can
    /// have voted. Mostly without the engine, since a term has one leader: as long as the stored term is the one in which
    /// the engine named it, this node has voted for no other.
    pub async fn testimony(&self) -> View {
        let named = self.named().clone();
        match self.term.get() {
            Ok(term) if term == named.term && named.leader.is_some() => named,
            _ => self.view().await.unwrap_or_default(),
        }
    }

    fn named(&self) -> std::sync::MutexGuard<'_, View> {
        self.named.lock().expect("no panic while it is held")
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
