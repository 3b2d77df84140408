//! The engine behind the port, and the terms in which it may lead.
//!
//! Of two leaders of one term the engine aborts (dqlite: src/raft/recv_append_entries.c), and whoever has the cluster's key
//! can send what only a leader sends. So the port asks first. Messages of another term than the engine's pass at once: it
//! rejects an older one, and follows a newer one.
//!
//! Invariants: a message of a leader passes only if the engine did not lead in its term a moment before. Between other
//! nodes the question costs nothing but a comparison, and one request in [`RECHECK`]: who follows a leader of a term never
//! leads in it, unless it becomes the only voter, which leads without an election. The only voter is asked each time.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::raft::RaftViolation;
use crate::client::{ConnectOptions, Connection, Endpoint, Error, Stream};
use crate::node::{Node, StoredTerm};
use crate::wire::{NodeId, Role};

/// The engine accepts at once, unless it is hung.
pub(super) const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time for which a node that follows is not asked again.
const RECHECK: Duration = Duration::from_secs(1);

/// The engine of this process that a port is for.
#[derive(Debug, Clone)]
pub struct LocalEngine {
    pub(super) endpoint: Endpoint,
    pub(super) id: NodeId,
    pub(super) term: Arc<StoredTerm>,
}

impl LocalEngine {
    /// Returns that of a node that is started.
    pub fn of(node: &Node) -> Self {
        Self {
            endpoint: Endpoint::from_address(node.bind_address()),
            id: node.id(),
            term: Arc::new(StoredTerm::new(node.dir().to_owned())),
        }
    }

    /// Returns the endpoint at which the engine listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        timeout(ENGINE_TIMEOUT, self.endpoint.connect()).await?
    }

    /// Returns the relation of the engine to who leads.
    async fn position(&self) -> Result<Position, Error> {
        let mut connection = Connection::connect(&self.endpoint, ConnectOptions::default()).await?;
        if connection.leader().await?.map(|leader| leader.id) == Some(self.id) {
            return Ok(Position::Leads);
        }
        let servers = connection.cluster().await?;
        let mut voters = servers.iter().filter(|server| server.role == Role::Voter);
        let is_own = voters.next().is_some_and(|first| first.id == self.id);
        Ok(match voters.next() {
            None if is_own => Position::OnlyVoter,
            _ => Position::Follows,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Leads,
    /// It does not lead yet.
    OnlyVoter,
    Follows,
}

/// The answers of the engine that one link goes by.
#[derive(Debug, Default)]
pub(super) struct Link {
    follows: Option<(u64, Instant)>,
}

impl Link {
    /// Returns whether a message of a leader of this term may pass without a question.
    pub(super) fn is_known(&self, term: u64) -> bool {
        self.follows
            .is_some_and(|(known, since)| known == term && since.elapsed() < RECHECK)
    }

    /// Lets a message of a leader of this term pass, or fails.
    pub(super) async fn check(&mut self, term: u64, engine: &LocalEngine) -> io::Result<()> {
        self.follows = None;
        if engine.term.get()? != term {
            return Ok(());
        }
        let since = Instant::now();
        match engine.position().await.map_err(io::Error::other)? {
            Position::Leads => {
                let violation = RaftViolation::SecondLeader(term);
                return Err(io::Error::new(io::ErrorKind::InvalidData, violation));
            }
            Position::OnlyVoter => {}
            Position::Follows => self.follows = Some((term, since)),
        }
        Ok(())
    }
}
