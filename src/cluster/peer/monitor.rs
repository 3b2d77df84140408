//! Watches who leads. The engine has to be asked: it reports nothing by itself.

use std::{sync::Arc, time::Duration};

use dqlite::wire::{NodeId, Role, Server};
use replication::{
    View,
    monitor::{Command, Event, Member, Monitor as Decisions, Purpose},
};
use stopping::warn;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{debug, info};

use super::{
    Dialer, EngineView, Reads,
    leader_loss::{HandOvers, LeaderEnd, Losses},
};

/// The longest that one other node may take to say who leads.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The leader and the nodes, as this node knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    pub view: View,
    /// True if there has been no leader for longer than an election should take.
    pub is_lost: bool,
    /// The nodes, as this node's engine knows them.
    pub servers: Vec<Server>,
}

pub struct Monitor {
    pub own_id: NodeId,
    pub engine: Arc<EngineView>,
    pub reads: Arc<Reads>,
    pub dialer: Dialer,
    /// The addresses of the other nodes in the configuration with which this node began.
    pub addresses: Vec<String>,
    pub hand_overs: Arc<HandOvers>,
}

impl Monitor {
    /// Runs until it is dropped.
    pub async fn run(mut self, cluster_view: watch::Sender<ClusterView>) {
        let started = Instant::now();
        let addresses = std::mem::take(&mut self.addresses);
        let mut decisions = Decisions::new(self.own_id.number(), addresses, Duration::ZERO);
        let (mut servers, mut losses) = (Vec::new(), Losses::default());
        loop {
            let began = Instant::now();
            let mut next = Some(Event::TimeToAsk);
            while let Some(event) = next.take() {
                for command in decisions.decide(event, started.elapsed()) {
                    next = match command {
                        Command::AskEngine => Some(self.ask_engine().await),
                        Command::AskMembers { purpose } => {
                            Some(self.ask_members(purpose, &mut servers).await)
                        }
                        Command::AskOthers { addresses } => {
                            let view = self.ask_others(addresses).await;
                            Some(Event::OthersSaid { view })
                        }
                        Command::NoteNodes { is_alone, asked } => {
                            self.reads.note_nodes(is_alone, started + asked);
                            None
                        }
                        Command::Publish { view, is_lost } => {
                            let servers = servers.clone();
                            let next = ClusterView {
                                view,
                                is_lost,
                                servers,
                            };
                            let known = cluster_view.borrow().view.clone();
                            let now = started.elapsed();
                            let end = losses.look(&known, &next.view, now, &self.hand_overs);
                            self.publish(&cluster_view, next);
                            if let Some(end) = end {
                                tell(&end);
                            }
                            None
                        }
                    };
                }
            }
            tokio::select! {
                () = sleep_until(began + decisions.interval()) => {}
                () = self.engine.has_news() => {}
            }
        }
    }

    async fn ask_engine(&self) -> Event {
        let view = match self.engine.view().await {
            Ok(view) => {
                self.reads.note_answer();
                Some(view)
            }
            Err(error) => {
                debug!(%error, "cannot ask dqlite who leads");
                None
            }
        };
        Event::EngineSaid { view }
    }

    async fn ask_members(&self, purpose: Purpose, servers: &mut Vec<Server>) -> Event {
        let found = self.engine.servers().await;
        let members = match &found {
            Ok(found) => Some(found.iter().map(member).collect()),
            Err(_) => None,
        };
        match (purpose, found) {
            (Purpose::Configuration, Ok(found)) => *servers = found,
            (Purpose::Configuration, Err(error)) => {
                warn!(%error, "cannot ask dqlite for the nodes");
            }
            (Purpose::Others, _) => {}
        }
        Event::MembersAre { members }
    }

    /// Returns the first answer of another node that knows a leader.
    async fn ask_others(&self, addresses: Vec<String>) -> Option<View> {
        let mut asking = tokio::task::JoinSet::new();
        for address in addresses {
            let dialer = self.dialer.clone();
            asking.spawn(async move {
                tokio::time::timeout(ASK_TIMEOUT, dialer.about(&address))
                    .await
                    .ok()
                    .flatten()
            });
        }
        while let Some(told) = asking.join_next().await {
            let view = told.ok().flatten().and_then(|about| about.view);
            if let Some(view) = view.filter(|view| view.leader_id != 0) {
                return Some(View {
                    leader: Some((view.leader_id, view.leader_address)),
                    term: view.term,
                });
            }
        }
        None
    }

    fn publish(&self, cluster_view: &watch::Sender<ClusterView>, next: ClusterView) {
        cluster_view.send_if_modified(|known| {
            if *known == next {
                return false;
            }
            if known.view.leader != next.view.leader {
                match &next.view.leader {
                    Some((id, address)) => {
                        self.reads.note_leader_change();
                        info!(
                            id = format_args!("{id:x}"),
                            address,
                            term = next.view.term,
                            "the cluster has a leader"
                        );
                    }
                    None => info!(term = next.view.term, "the cluster has no leader"),
                }
            }
            *known = next;
            true
        });
    }
}

fn tell(end: &LeaderEnd) {
    let (id, address) = (format_args!("{:x}", end.id), &end.address);
    match end.is_planned {
        true => info!(id, address, "the leader has handed over"),
        false => warn!(id, address, "the leader was lost without handing over"),
    }
}

fn member(server: &Server) -> Member {
    Member {
        id: server.id.number(),
        address: server.address.clone(),
        is_voter: server.role == Role::Voter,
    }
}
