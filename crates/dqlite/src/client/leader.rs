//! Finding the leader among the nodes of a cluster.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{ConnectOptions, Connection, Endpoint, Error};

/// Nodes that are asked at a time.
const MAX_PROBES: usize = 10;

/// Asking one node, and the one that it names. Longer than two connects and two requests of healthy
/// nodes, so that it ends a probe only where a node accepts and then hangs.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

/// Pause after the first fruitless round; it doubles up to the second value. An election takes
/// some hundred ms to seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How to reach the node at an address.
pub type Resolve = Arc<dyn Fn(&str) -> Endpoint + Send + Sync>;

/// Connects to the leader, whichever node that is.
///
/// A node is believed only about itself: a connection is returned when the node on it, dialled under
/// the address that the cluster knows it by, says that it leads.
#[derive(Clone)]
pub struct LeaderConnector {
    addresses: Vec<String>,
    probe: Probe,
    last: Option<String>,
}

#[derive(Clone)]
struct Probe {
    resolve: Resolve,
    options: ConnectOptions,
}

impl LeaderConnector {
    pub fn new(addresses: Vec<String>, resolve: Resolve, options: ConnectOptions) -> Self {
        LeaderConnector {
            addresses,
            probe: Probe { resolve, options },
            last: None,
        }
    }

    /// Replaces the addresses, which should be sorted by role: voters know the leader.
    pub fn set_addresses(&mut self, addresses: Vec<String>) {
        self.addresses = addresses;
    }

    /// Asks the last leader, then all nodes, round after round until `patience` is over.
    pub async fn connect(&mut self, patience: Duration) -> Result<Connection, Error> {
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        let mut last_error = None;
        loop {
            match timeout_at(deadline, self.round()).await {
                Ok(Ok((address, connection))) => {
                    self.last = Some(address);
                    return Ok(connection);
                }
                Ok(Err(error)) => last_error = error.or(last_error),
                Err(_) => return Err(self.no_leader(last_error)),
            }
            if Instant::now() + pause >= deadline {
                return Err(self.no_leader(last_error));
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn no_leader(&self, last_error: Option<Error>) -> Error {
        let addresses = self.addresses.join(", ");
        Error::NoLeader {
            addresses,
            last_error: last_error.map(Box::new),
        }
    }

    /// One round: the leader, or the last error.
    async fn round(&mut self) -> Result<(String, Connection), Option<Error>> {
        if let Some(last) = self.last.take()
            && let Ok(Some(found)) = self.probe.ask(&last).await
        {
            return Ok(found);
        }
        let mut waiting = self.addresses.iter();
        let mut probes = JoinSet::new();
        let mut last_error = None;
        loop {
            while probes.len() < MAX_PROBES
                && let Some(address) = waiting.next()
            {
                let (probe, address) = (self.probe.clone(), address.clone());
                probes.spawn(async move { probe.ask(&address).await });
            }
            match probes.join_next().await {
                None => return Err(last_error),
                Some(Ok(Ok(Some(found)))) => return Ok(found),
                Some(Ok(Err(error))) => last_error = Some(error),
                Some(Ok(Ok(None)) | Err(_)) => {}
            }
        }
    }
}

impl Probe {
    /// Asks the node at `address` for the leader, and the one that it names whether it is.
    async fn ask(&self, address: &str) -> Result<Option<(String, Connection)>, Error> {
        let asked = timeout(PROBE_TIMEOUT, async {
            let (mut connection, named) = self.ask_one(address).await?;
            let Some(named) = named else { return Ok(None) };
            if named != address {
                let (other, confirmed) = self.ask_one(&named).await?;
                if confirmed.as_deref() != Some(&*named) {
                    return Ok(None);
                }
                connection = other;
            }
            connection.client_id(rand::random()).await?;
            Ok(Some((named, connection)))
        });
        asked.await.unwrap_or(Ok(None))
    }

    async fn ask_one(&self, address: &str) -> Result<(Connection, Option<String>), Error> {
        let endpoint = (self.resolve)(address);
        let mut connection = Connection::connect(&endpoint, self.options).await?;
        let leader = connection.leader().await?;
        Ok((connection, leader.map(|leader| leader.address)))
    }
}
