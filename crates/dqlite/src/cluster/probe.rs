//! Asks nodes for their state, or whether they run at all.

use std::{collections::BTreeSet, time::Duration};

use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::{
    client::{ConnectOptions, Connection, Error, Leader, Metadata, Resolve},
    roles::NodeState,
    wire::Server,
};

/// A node that takes longer counts as offline; go-dqlite has the same. A paused one accepts
/// connections, and says nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Nodes that are asked at a time.
const MAX_PROBES: usize = 16;

/// Addresses at which it is tried whether a node is there: many more than a cluster has.
const MAX_ADDRESSES: usize = 64;

/// The answer of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub metadata: Metadata,
    /// The leader that this node knows; a node without a vote knows none.
    pub leader: Option<Leader>,
    /// The servers that this node knows; a spare knows none.
    pub servers: Vec<Server>,
}

#[derive(Debug)]
pub struct Probed {
    pub server: Server,
    pub answer: Result<Answer, Error>,
}

/// Asks all of them, and answers in their order.
pub async fn probe(servers: &[Server], resolve: &Resolve) -> Vec<Probed> {
    ask_each(servers.iter().cloned(), |server| {
        let resolve = resolve.clone();
        async move {
            let answer = ask(&server.address, &resolve).await;
            Probed { server, answer }
        }
    })
    .await
}

/// Returns those of the addresses, of [`MAX_ADDRESSES`] at most, at which something accepts a connection, each once.
/// Whoever does counts as a node that runs: one that hangs, or is still starting, is one too. Needs no key pair.
pub async fn listening(addresses: impl IntoIterator<Item = String>) -> Vec<String> {
    let addresses: BTreeSet<String> = addresses.into_iter().collect();
    let asked = ask_each(
        addresses.into_iter().take(MAX_ADDRESSES),
        |address: String| async move {
            let connecting = timeout(PROBE_TIMEOUT, TcpStream::connect(&address)).await;
            let accepted = connecting.ok()?.ok()?;
            (!is_with_itself(&accepted)).then_some(address)
        },
    );
    asked.await.into_iter().flatten().collect()
}

/// Returns whether the connection is with itself: on loopback the kernel may choose the free port that was
/// dialled for the caller's end.
fn is_with_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(own), Ok(peer)) if own == peer)
}

/// Asks [`MAX_PROBES`] at a time, and answers in their order.
async fn ask_each<T, A, F>(items: impl Iterator<Item = T>, ask: impl Fn(T) -> F) -> Vec<A>
where
    A: Send + 'static,
    F: Future<Output = A> + Send + 'static,
{
    let mut waiting = items.enumerate();
    let mut asked = JoinSet::new();
    let mut answers = Vec::new();
    loop {
        while asked.len() < MAX_PROBES
            && let Some((index, item)) = waiting.next()
        {
            let asking = ask(item);
            asked.spawn(async move { (index, asking.await) });
        }
        match asked.join_next().await {
            None => break,
            Some(done) => answers.push(done.expect("asking does not panic")),
        }
    }
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn ask(address: &str, resolve: &Resolve) -> Result<Answer, Error> {
    let endpoint = resolve(address);
    let options = ConnectOptions {
        connect_timeout: PROBE_TIMEOUT,
        request_timeout: PROBE_TIMEOUT,
    };
    let asking = async {
        let mut connection = Connection::connect(&endpoint, options).await?;
        Ok(Answer {
            metadata: connection.describe().await?,
            leader: connection.leader().await?,
            servers: connection.cluster().await?,
        })
    };
    let timed_out = || Error::Unreachable(std::io::ErrorKind::TimedOut.into());
    timeout(PROBE_TIMEOUT, asking)
        .await
        .unwrap_or_else(|_| Err(timed_out()))
}

impl From<Probed> for NodeState {
    fn from(Probed { server, answer }: Probed) -> Self {
        Self {
            server,
            metadata: answer.ok().map(|answer| answer.metadata),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        client::Endpoint,
        wire::{NodeId, Role},
    };

    /// `silent` is like a paused process: the kernel accepts, and nobody answers.
    #[tokio::test]
    async fn silent_and_absent_nodes_are_offline_soon_all_at_once() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let absent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut addresses = vec![silent.local_addr().unwrap().to_string(); 2 * MAX_PROBES - 1];
        addresses.push(absent.local_addr().unwrap().to_string());
        drop(absent);
        let servers = (1..).zip(addresses).map(|(id, address)| Server {
            id: NodeId::new(id),
            address,
            role: Role::Voter,
        });
        let servers: Vec<Server> = servers.collect();
        let resolve: Resolve = Arc::new(|address| Endpoint::Tcp(address.to_owned()));
        let start = Instant::now();
        let probed = probe(&servers, &resolve).await;
        assert!(start.elapsed() < 4 * PROBE_TIMEOUT, "{:?}", start.elapsed());
        assert!(probed.iter().all(|probed| probed.answer.is_err()));
        assert!(probed.iter().map(|probed| &probed.server).eq(&servers));
    }

    #[tokio::test]
    async fn a_silent_node_listens_and_an_absent_one_does_not() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let absent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let (there, gone) = (address(&silent), address(&absent));
        drop(absent);
        let asked = [there.clone(), gone, "no address".to_owned(), there.clone()];
        assert_eq!(listening(asked).await, [there]);
    }
}
