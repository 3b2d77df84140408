//! Asking every node of a cluster at the same time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite::client::{Connection, Error as ClientError, Metadata};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::servers::Servers;

/// Nodes that are asked at a time.
const MAX_ASKED: usize = 16;

/// A node that answers slower than this is of no use to a majority.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The answer of a node about itself.
pub struct Answer {
    pub address: String,
    pub asked: Result<About, String>,
}

pub struct About {
    /// The address of the leader, as this node knows it.
    pub leader: Option<String>,
    pub metadata: Metadata,
    pub round_trip: Duration,
}

/// Asks the nodes at these addresses. Returns the answers in the order of the addresses.
pub async fn survey(servers: &Servers, addresses: &[String]) -> Vec<Answer> {
    let seats = Arc::new(Semaphore::new(MAX_ASKED));
    let timeout = TIMEOUT.min(servers.options.request_timeout);
    let mut tasks = JoinSet::new();
    for (at, address) in addresses.iter().cloned().enumerate() {
        let (servers, seats) = (servers.clone(), seats.clone());
        tasks.spawn(async move {
            let _seat = seats.acquire().await;
            let asked = match tokio::time::timeout(timeout, ask(&servers, &address)).await {
                Ok(asked) => asked.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {timeout:?}")),
            };
            (at, Answer { address, asked })
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn ask(servers: &Servers, address: &str) -> Result<About, ClientError> {
    let mut connection = Connection::connect(&servers.endpoint(address), servers.options).await?;
    // The first request also carries the greeting.
    let leader = connection.leader().await?;
    let asked = Instant::now();
    let metadata = connection.describe().await?;
    Ok(About {
        leader: leader.map(|leader| leader.address),
        metadata,
        round_trip: asked.elapsed(),
    })
}
