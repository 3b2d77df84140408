//! The engine behind the port, and the terms in which it may lead.
//!
//! Of two leaders of one term the engine aborts (dqlite: src/raft/recv_append_entries.c), and whoever has the cluster's key
//! can send what only a leader sends. So the port asks first. Messages of another term than the engine's pass at once: it
//! rejects an older one, and follows a newer one.
//!
//! Invariants: a message of a leader passes only if the engine did not lead in its term a moment before. Between other
//! nodes the question costs nothing but a comparison, and one request in [`RECHECK`]: who follows a leader of a term never
//! leads in it, unless it becomes the only voter, which leads without an election. The only voter is asked each time, and
//! who follows nobody yet, as a candidate. All links ask on one connection, which takes no descriptor from then on; a
//! link whose term the engine was seen to follow in outlives a question without an answer, as to an engine that is busy
//! with a snapshot.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::raft::RaftViolation;
use crate::client::{ConnectOptions, Connection, Endpoint, Error, Stream};
use crate::node::{Node, StoredTerm};
use crate::wire::{NodeId, Role, Server};

/// The engine accepts at once, unless it is hung.
pub(super) const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);

/// The engine answers at once, unless it is busy, as with a large snapshot. Questions of other links included.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for which a node that follows is not asked again.
const RECHECK: Duration = Duration::from_secs(1);

/// The engine of this process that a port is for.
#[derive(Debug, Clone)]
pub struct LocalEngine {
    pub(super) endpoint: Endpoint,
    pub(super) id: NodeId,
    pub(super) term: Arc<StoredTerm>,
    pub(super) questions: Arc<Questions>,
}

/// The connection on which an engine is asked, after the first question, and unless one is under way.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Option<Connection>>);

impl LocalEngine {
    /// Returns that of a node that is started.
    pub fn of(node: &Node) -> Self {
        Self {
            endpoint: Endpoint::from_address(node.bind_address()),
            id: node.id(),
            term: Arc::new(StoredTerm::new(node.dir().to_owned())),
            questions: Arc::default(),
        }
    }

    /// Returns the socket of the engine.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        timeout(ENGINE_TIMEOUT, self.endpoint.connect()).await?
    }

    /// Returns the relation of the engine to who leads.
    async fn position(&self) -> io::Result<Position> {
        timeout(QUESTION_TIMEOUT, self.ask())
            .await?
            .map_err(io::Error::other)
    }

    async fn ask(&self) -> Result<Position, Error> {
        let mut kept = self.questions.0.lock().await;
        // One that is given up is not kept, and the engine may have closed one that was.
        if let Some(mut connection) = kept.take()
            && let Ok(position) = self.ask_on(&mut connection).await
        {
            *kept = Some(connection);
            return Ok(position);
        }
        let mut connection = Connection::connect(&self.endpoint, ConnectOptions::default()).await?;
        let position = self.ask_on(&mut connection).await?;
        *kept = Some(connection);
        Ok(position)
    }

    async fn ask_on(&self, connection: &mut Connection) -> Result<Position, Error> {
        let leader = connection.leader().await?.map(|leader| leader.id);
        if leader == Some(self.id) {
            return Ok(Position::Leads);
        }
        let servers = connection.cluster().await?;
        Ok(Position::behind(leader, self.id, &servers))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Leads,
    /// It does not lead yet: it follows nobody, or is the only voter.
    MayLead,
    Follows,
}

impl Position {
    /// Returns that of a node that does not lead.
    fn behind(leader: Option<NodeId>, own: NodeId, servers: &[Server]) -> Self {
        let is_voter = |server: &&Server| server.role == Role::Voter;
        let mut voters = servers.iter().filter(is_voter).map(|server| server.id);
        let is_only_voter = voters.next() == Some(own) && voters.next().is_none();
        match leader {
            Some(leader) if !leader.is_unknown() && !is_only_voter => Self::Follows,
            _ => Self::MayLead,
        }
    }
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
        let has_followed = self.follows.take().is_some_and(|(known, _)| known == term);
        if engine.term.get()? != term {
            return Ok(());
        }
        let since = Instant::now();
        match engine.position().await {
            Ok(Position::Leads) => {
                let violation = RaftViolation::SecondLeader(term);
                return Err(io::Error::new(io::ErrorKind::InvalidData, violation));
            }
            Ok(Position::MayLead) => {}
            Ok(Position::Follows) => self.follows = Some((term, since)),
            Err(error) if has_followed => {
                tracing::debug!(%error, "the engine does not say whom it follows");
                self.follows = Some((term, Instant::now()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;
    use crate::node::{BOOTSTRAP_ID, NodeOptions};

    fn server(id: u64, role: Role) -> Server {
        let address = format!("10.0.0.{id}:9000");
        let id = NodeId::new(id);
        Server { id, address, role }
    }

    #[test]
    fn only_who_follows_another_node_and_is_not_the_only_voter_does_not_lead_soon() {
        let three = [1, 2, 3].map(|id| server(id, Role::Voter));
        let alone = [server(1, Role::Voter), server(2, Role::Spare)];
        let spare = [server(1, Role::Spare), server(2, Role::Voter)];
        for (leader, servers, expected) in [
            (Some(2), &three[..], Position::Follows),
            (Some(2), &spare, Position::Follows),
            // A candidate knows no leader.
            (None, &three, Position::MayLead),
            (Some(0), &three, Position::MayLead),
            (Some(2), &alone, Position::MayLead),
            (None, &alone, Position::MayLead),
        ] {
            let position = Position::behind(leader.map(NodeId::new), NodeId::new(1), servers);
            assert_eq!(position, expected, "{leader:?} {servers:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_questions_are_asked_on_one_connection_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let dial = Arc::new(|_: &str| Err(io::ErrorKind::ConnectionRefused.into()));
        let mut options = NodeOptions::new(BOOTSTRAP_ID, "10.1.2.3:9000", dir.path(), dial);
        options.bootstrap = true;
        let mut node = Node::create(&options).unwrap();
        node.start().unwrap();
        let engine = LocalEngine::of(&node);
        let unreachable = LocalEngine {
            endpoint: Endpoint::Unix(dir.path().join("none")),
            ..engine.clone()
        };
        assert!(unreachable.position().await.is_err());
        assert_eq!(engine.position().await.unwrap(), Position::Leads);
        assert_eq!(unreachable.position().await.unwrap(), Position::Leads);
        // One that was given up is replaced by the next question.
        engine.questions.0.lock().await.take();
        assert!(unreachable.position().await.is_err());
        assert_eq!(engine.position().await.unwrap(), Position::Leads);
        tokio::task::block_in_place(|| node.stop().unwrap());
        assert!(engine.position().await.is_err());
    }

    #[tokio::test]
    async fn a_link_outlives_an_engine_that_does_not_answer_in_a_term_in_which_it_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine");
        // Nobody listens any more.
        drop(UnixListener::bind(&path).unwrap());
        let engine = LocalEngine {
            endpoint: Endpoint::Unix(path),
            id: NodeId::new(1),
            term: Arc::new(StoredTerm::new(dir.path().to_owned())),
            questions: Arc::default(),
        };
        // A directory without a term.
        let term = engine.term.get().unwrap();
        let long_ago = Instant::now().checked_sub(2 * RECHECK).unwrap();
        for (known, passes) in [(Some(term), true), (Some(term + 1), false), (None, false)] {
            let follows = known.map(|known| (known, long_ago));
            let mut link = Link { follows };
            assert!(!link.is_known(term));
            assert_eq!(link.check(term, &engine).await.is_ok(), passes, "{known:?}");
            assert_eq!(link.is_known(term), passes);
        }
    }
}
