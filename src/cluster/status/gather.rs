//! Asks all nodes at once.

use std::time::Duration;

use dqlite::{
    cluster::{probe, resolver},
    wire::{NodeId, Role, Server},
};
use peer_proto::AboutResponse;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::StatusTargets;
use crate::cluster::peer::Dialer;

/// A node that runs answers within milliseconds, a leader whose writer is busy within a second more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// The time in which a node that listens takes a connection: one that does not answer was waited for already.
const LISTEN_TIMEOUT: Duration = Duration::from_millis(250);

/// Nodes that are asked: many more than a cluster has.
const MAX_NODES: usize = 64;

/// The number of rounds in which nodes are asked: first those of the file, then those of which
/// others told.
const ROUNDS: usize = 2;

/// The answer of one node.
#[derive(Debug, Clone)]
pub struct NodeAnswer {
    pub address: String,
    pub info: Result<AboutResponse, String>,
    /// True if it takes connections, whatever it makes of them.
    pub listens: bool,
    /// The nodes as its engine knows them; empty on a spare.
    pub servers: Vec<Server>,
}

impl NodeAnswer {
    /// Returns the history that the node belongs to, where it knows.
    fn cluster_id(&self) -> Option<u64> {
        let id = self.info.as_ref().ok()?.cluster_id;
        (id != 0).then_some(id)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Gathered {
    pub answers: Vec<NodeAnswer>,
    /// The history that was asked about; none where the directory does not tell.
    pub cluster_id: Option<u64>,
}

impl Gathered {
    pub fn answer(&self, address: &str) -> Option<&NodeAnswer> {
        self.answers.iter().find(|answer| answer.address == address)
    }

    /// Returns whether the node answers, and belongs to another history.
    pub fn is_foreign(&self, answer: &NodeAnswer) -> bool {
        let both = self.cluster_id.zip(answer.cluster_id());
        both.is_some_and(|(own, theirs)| own != theirs)
    }

    /// Returns the answers of the nodes that may be of this cluster.
    pub(super) fn own_answers(&self) -> impl Iterator<Item = &NodeAnswer> {
        self.answers
            .iter()
            .filter(|answer| !self.is_foreign(answer))
    }

    /// Returns the node that claims to lead in the highest term.
    pub fn leader(&self) -> Option<(&NodeAnswer, &AboutResponse)> {
        let abouts = self.own_answers().filter_map(|answer| {
            let info = answer.info.as_ref().ok()?;
            let view = info.view.as_ref()?;
            (view.leader_id == info.member_id && info.member_id != 0)
                .then_some((answer, info, view.term))
        });
        let highest = abouts.max_by_key(|(_, _, term)| *term);
        highest.map(|(answer, info, _)| (answer, info))
    }

    /// Returns whether a node has revisions that the leader does not have.
    fn is_one_ahead(&self) -> bool {
        let head = self.leader().map_or(i64::MAX, |(_, info)| info.revision);
        let infos = self.own_answers().filter_map(|a| a.info.as_ref().ok());
        infos.into_iter().any(|info| info.revision > head)
    }

    /// The nodes of the cluster, by who knows best.
    pub fn servers(&self) -> Option<&[Server]> {
        let by_leader = self.leader().map(|(answer, _)| &answer.servers);
        let longest = || self.own_answers().map(|answer| &answer.servers);
        let servers = by_leader
            .filter(|servers| !servers.is_empty())
            .or_else(|| longest().max_by_key(|servers| servers.len()))?;
        (!servers.is_empty()).then_some(servers)
    }
}

/// Asks all nodes. `own` is the answer of the node that asks, which needs no connection for it.
pub async fn gather(targets: &StatusTargets, own: Option<AboutResponse>) -> Gathered {
    let mut gathered = Gathered {
        cluster_id: targets.cluster_id,
        ..Gathered::default()
    };
    let mut next = targets.servers.clone();
    for _ in 0..ROUNDS {
        next.truncate(MAX_NODES.saturating_sub(gathered.answers.len()));
        if next.is_empty() {
            break;
        }
        gathered.answers.extend(ask(targets, &next).await);
        next = told(&gathered);
    }
    if let Some(own) = own {
        let answer = gathered.answers.iter_mut();
        if let Some(answer) = answer
            .into_iter()
            .find(|a| a.address == targets.own.address)
        {
            answer.info = Ok(own);
        }
    }
    if gathered.is_one_ahead() {
        ask_leader_again(targets, &mut gathered).await;
    }
    gathered
}

/// Asks the leader again: a node that seemed ahead of it may have been asked a moment later.
async fn ask_leader_again(targets: &StatusTargets, gathered: &mut Gathered) {
    let Some(address) = gathered.leader().map(|(answer, _)| answer.address.clone()) else {
        return;
    };
    let dialer = Dialer::new(resolver(targets.tls.clone()));
    let asked = timeout(ANSWER_TIMEOUT, dialer.details(&address)).await;
    let answer = gathered.answers.iter_mut().find(|a| a.address == address);
    if let (Ok(Ok(info)), Some(answer)) = (asked, answer) {
        answer.info = Ok(info);
    }
}

/// Returns the nodes that others told of and that were not asked yet.
fn told(gathered: &Gathered) -> Vec<Server> {
    let mut next: Vec<Server> = Vec::new();
    let leaders = gathered.own_answers().filter_map(|answer| {
        let view = answer.info.as_ref().ok()?.view.as_ref()?;
        (view.leader_id != 0).then(|| Server {
            id: NodeId::new(view.leader_id),
            address: view.leader_address.clone(),
            role: Role::Voter,
        })
    });
    let servers = gathered.own_answers().flat_map(|a| a.servers.clone());
    for server in servers.chain(leaders) {
        let is_listed = next.iter().any(|other| other.address == server.address);
        if !is_listed && gathered.answer(&server.address).is_none() {
            next.push(server);
        }
    }
    next
}

async fn ask(targets: &StatusTargets, servers: &[Server]) -> Vec<NodeAnswer> {
    let resolve = resolver(targets.tls.clone());
    let dialer = Dialer::new(resolve.clone());
    let mut asking = JoinSet::new();
    for (at, server) in servers.iter().enumerate() {
        let (dialer, address) = (dialer.clone(), server.address.clone());
        asking.spawn(async move {
            let asked = timeout(ANSWER_TIMEOUT, dialer.details(&address)).await;
            let silent = || Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
            (at, asked.unwrap_or_else(|_| silent()))
        });
    }
    let (mut abouts, probed) = tokio::join!(asking.join_all(), probe(servers, &resolve));
    abouts.sort_by_key(|(at, _)| *at);
    let mut answers = Vec::with_capacity(servers.len());
    for ((_, info), probed) in abouts.into_iter().zip(probed) {
        answers.push(NodeAnswer {
            listens: info.is_ok() || listens(&probed.server.address).await,
            address: probed.server.address,
            info,
            servers: probed
                .answer
                .map(|answer| answer.servers)
                .unwrap_or_default(),
        });
    }
    answers
}

/// Returns whether something takes connections at the address.
async fn listens(address: &str) -> bool {
    let connecting = timeout(LISTEN_TIMEOUT, TcpStream::connect(address));
    connecting.await.is_ok_and(|connected| connected.is_ok())
}
