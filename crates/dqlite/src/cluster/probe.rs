//! Asking nodes what they know.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};

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

/// What a node said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub metadata: Metadata,
    /// As this node knows it; those without a vote know none.
    pub leader: Option<Leader>,
    /// As this node knows them; a spare knows none.
    pub servers: Vec<Server>,
}

#[derive(Debug)]
pub struct Probed {
    pub server: Server,
    pub answer: Result<Answer, Error>,
}

/// Asks all of them, and answers in their order.
pub async fn probe(servers: &[Server], resolve: &Resolve) -> Vec<Probed> {
    let mut waiting = servers.iter().cloned().enumerate();
    let mut asked = JoinSet::new();
    let mut probed = Vec::with_capacity(servers.len());
    loop {
        while asked.len() < MAX_PROBES
            && let Some((index, server)) = waiting.next()
        {
            let resolve = resolve.clone();
            asked.spawn(async move {
                let answer = ask(&server.address, &resolve).await;
                (index, Probed { server, answer })
            });
        }
        match asked.join_next().await {
            None => break,
            Some(done) => probed.push(done.expect("asking does not panic")),
        }
    }
    probed.sort_by_key(|(index, _)| *index);
    probed.into_iter().map(|(_, probed)| probed).collect()
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
    use crate::{client::Endpoint, wire::Role};

    /// As a paused process: the kernel accepts, and nobody answers.
    #[tokio::test]
    async fn silent_and_absent_nodes_are_offline_soon_all_at_once() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let absent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut addresses = vec![silent.local_addr().unwrap().to_string(); 2 * MAX_PROBES - 1];
        addresses.push(absent.local_addr().unwrap().to_string());
        drop(absent);
        let servers = (1..).zip(addresses).map(|(id, address)| Server {
            id,
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
}
