//! Asking all nodes at once.

use std::time::Duration;

use dqlite::{
    cluster::{probe, resolver},
    wire::{Role, Server},
};
use peer_proto::AboutResponse;
use tokio::{task::JoinSet, time::timeout};

use super::Known;
use crate::peer::Dialer;

/// A node that lives answers within milliseconds, a leader whose writer is busy within a second more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// Nodes that are asked: many more than a cluster has.
const MAX_NODES: usize = 64;

/// How often nodes are asked of whom others told: those of the file, then those that joined since.
const ROUNDS: usize = 2;

/// What one node says.
#[derive(Debug, Clone)]
pub struct NodeAnswer {
    pub address: String,
    pub about: Result<AboutResponse, String>,
    /// The nodes as its engine knows them; empty on a spare.
    pub servers: Vec<Server>,
}

#[derive(Debug, Clone, Default)]
pub struct Gathered {
    pub answers: Vec<NodeAnswer>,
}

impl Gathered {
    pub fn answer(&self, address: &str) -> Option<&NodeAnswer> {
        self.answers.iter().find(|answer| answer.address == address)
    }

    /// The node that says of itself that it leads, in the highest term.
    pub fn leader(&self) -> Option<(&NodeAnswer, &AboutResponse)> {
        let abouts = self.answers.iter().filter_map(|answer| {
            let about = answer.about.as_ref().ok()?;
            let view = about.view.as_ref()?;
            (view.leader_id == about.member_id && about.member_id != 0)
                .then_some((answer, about, view.term))
        });
        let highest = abouts.max_by_key(|(_, _, term)| *term);
        highest.map(|(answer, about, _)| (answer, about))
    }

    /// The nodes of the cluster, by who knows best.
    pub fn servers(&self) -> Option<&[Server]> {
        let by_leader = self.leader().map(|(answer, _)| &answer.servers);
        let longest = || self.answers.iter().map(|answer| &answer.servers);
        let servers = by_leader
            .filter(|servers| !servers.is_empty())
            .or_else(|| longest().max_by_key(|servers| servers.len()))?;
        (!servers.is_empty()).then_some(servers)
    }
}

pub async fn gather(known: &Known) -> Gathered {
    let mut gathered = Gathered::default();
    let mut next = known.servers.clone();
    for _ in 0..ROUNDS {
        next.truncate(MAX_NODES.saturating_sub(gathered.answers.len()));
        if next.is_empty() {
            break;
        }
        gathered.answers.extend(ask(known, &next).await);
        next = told(&gathered);
    }
    gathered
}

/// Those that were not asked yet.
fn told(gathered: &Gathered) -> Vec<Server> {
    let mut next: Vec<Server> = Vec::new();
    let leaders = gathered.answers.iter().filter_map(|answer| {
        let view = answer.about.as_ref().ok()?.view.as_ref()?;
        (view.leader_id != 0).then(|| Server {
            id: view.leader_id,
            address: view.leader_address.clone(),
            role: Role::Voter,
        })
    });
    let servers = gathered.answers.iter().flat_map(|a| a.servers.clone());
    for server in servers.chain(leaders) {
        let is_listed = next.iter().any(|other| other.address == server.address);
        if !is_listed && gathered.answer(&server.address).is_none() {
            next.push(server);
        }
    }
    next
}

async fn ask(known: &Known, servers: &[Server]) -> Vec<NodeAnswer> {
    let dialer = Dialer::new(known.tls.clone());
    let mut asking = JoinSet::new();
    for (at, server) in servers.iter().enumerate() {
        let (dialer, address) = (dialer.clone(), server.address.clone());
        asking.spawn(async move {
            let asked = timeout(ANSWER_TIMEOUT, dialer.details(&address)).await;
            let silent = || Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
            (at, asked.unwrap_or_else(|_| silent()))
        });
    }
    let resolve = resolver(known.tls.clone());
    let (mut abouts, probed) = tokio::join!(asking.join_all(), probe(servers, &resolve));
    abouts.sort_by_key(|(at, _)| *at);
    let both = abouts.into_iter().zip(probed);
    both.map(|((_, about), probed)| NodeAnswer {
        address: probed.server.address,
        about,
        servers: probed
            .answer
            .map(|answer| answer.servers)
            .unwrap_or_default(),
    })
    .collect()
}
