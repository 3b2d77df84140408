//! Finding the leader among the nodes of a cluster.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{ConnectOptions, Connection, Endpoint, Error};
use crate::wire::Role;

/// Nodes that are asked at a time.
const MAX_PROBES: usize = 10;

/// Nodes that are asked in one round, with those that others name: many more than a cluster has.
const MAX_ASKED: usize = 64;

/// Asking one node, and the one that it names. Longer than two connects and two requests of healthy
/// nodes, so that it ends a probe only where a node accepts and then hangs.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

/// Pause after the first fruitless round; it doubles up to the second value. An election takes
/// some hundred ms to seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A function that returns the endpoint of the node at an address.
pub type Resolve = Arc<dyn Fn(&str) -> Endpoint + Send + Sync>;

/// Connects to the leader, whichever node that is, from the address of any node but one that has
/// always been a spare: only voters know the leader, and stand-bys know the voters.
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

    /// Asks the last leader, then all nodes, round after round until `timeout` is over.
    pub async fn connect(&mut self, timeout: Duration) -> Result<Connection, Error> {
        let deadline = Instant::now() + timeout;
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
            && let Ok(Asked::Found(address, connection)) = self.probe.ask(&last).await
        {
            return Ok((address, connection));
        }
        let mut named = self.addresses.clone();
        let mut waiting: VecDeque<_> = named.iter().cloned().collect();
        let mut probes = JoinSet::new();
        let mut last_error = None;
        loop {
            while probes.len() < MAX_PROBES
                && let Some(address) = waiting.pop_front()
            {
                let probe = self.probe.clone();
                probes.spawn(async move { probe.ask(&address).await });
            }
            match probes.join_next().await {
                None => return Err(last_error),
                Some(Ok(Ok(Asked::Found(address, connection)))) => {
                    return Ok((address, connection));
                }
                Some(Ok(Ok(Asked::Voters(voters)))) => {
                    for voter in voters {
                        if named.len() < MAX_ASKED && !named.contains(&voter) {
                            named.push(voter.clone());
                            waiting.push_back(voter);
                        }
                    }
                }
                Some(Ok(Err(error))) => last_error = Some(error),
                Some(Err(_)) => {}
            }
        }
    }
}

enum Asked {
    Found(String, Connection),
    /// It does not know the leader, but these may.
    Voters(Vec<String>),
}

impl Probe {
    /// Asks the node at `address` for the leader, and the one that it names whether it is.
    async fn ask(&self, address: &str) -> Result<Asked, Error> {
        let asked = timeout(PROBE_TIMEOUT, async {
            let (mut connection, named) = self.ask_one(address).await?;
            let Some(named) = named else {
                let servers = connection.cluster().await?.into_iter();
                let voters = servers.filter(|server| server.role == Role::Voter);
                return Ok(Asked::Voters(voters.map(|server| server.address).collect()));
            };
            if named != address {
                let (other, confirmed) = self.ask_one(&named).await?;
                if confirmed.as_deref() != Some(&*named) {
                    return Ok(Asked::Voters(Vec::new()));
                }
                connection = other;
            }
            connection.client_id(rand::random()).await?;
            Ok(Asked::Found(named, connection))
        });
        let silent = || Ok(Asked::Voters(Vec::new()));
        asked.await.unwrap_or_else(|_| silent())
    }

    async fn ask_one(&self, address: &str) -> Result<(Connection, Option<String>), Error> {
        let endpoint = (self.resolve)(address);
        let mut connection = Connection::connect(&endpoint, self.options).await?;
        let leader = connection.leader().await?;
        Ok((connection, leader.map(|leader| leader.address)))
    }
}
