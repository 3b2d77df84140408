//! Watches who leads. The engine has to be asked: it reports nothing by itself.

use std::{sync::Arc, time::Duration};

use dqlite::wire::{Role, Server};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tracing::{debug, info, warn};

use super::{Dialer, EngineView, Reads, View};

/// The interval at which the engine is asked: a change of leader is noticed within this. One
/// question costs some 30 us.
const INTERVAL: Duration = Duration::from_millis(50);

/// The interval at which a node that does not lead asks its engine for the configuration:
/// cluster.yaml follows it.
const NODES_INTERVAL: Duration = Duration::from_millis(500);

/// The interval at which other nodes are asked if the engine of this one does not know the leader:
/// a spare is told by none.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// The longest that one other node may take to say who leads.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The time without a leader after which clients that want to know are told: some elections.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// The leader and the nodes, as this node knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    pub view: View,
    /// True if there has been no leader for longer than an election should take.
    pub is_lost: bool,
    /// The nodes, as the engine of this one knows them.
    pub servers: Vec<Server>,
}

pub struct Monitor {
    pub own_id: u64,
    pub engine: Arc<EngineView>,
    pub reads: Arc<Reads>,
    pub dialer: Dialer,
    /// The addresses of the other nodes in the configuration with which this node began.
    pub addresses: Vec<String>,
}

impl Monitor {
    /// Runs until it is dropped.
    pub async fn run(mut self, cluster_view: watch::Sender<ClusterView>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_leader = Instant::now();
        let mut last_asked = None::<Instant>;
        let mut servers_asked = None::<Instant>;
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            let mut view = match self.engine.view().await {
                Ok(view) => {
                    self.reads.note_answer();
                    view
                }
                Err(error) => {
                    debug!(%error, "cannot ask dqlite who leads");
                    View {
                        term: cluster_view.borrow().view.term,
                        ..View::default()
                    }
                }
            };
            let leads = view.leader_id() == self.own_id;
            let mut servers = cluster_view.borrow().servers.clone();
            if leads || servers_asked.is_none_or(|at| at.elapsed() > NODES_INTERVAL) {
                servers_asked = Some(asked);
                match self.engine.servers().await {
                    Ok(found) => {
                        if leads {
                            self.reads.note_nodes(found.len(), asked);
                            self.note(&found);
                        }
                        servers = found;
                    }
                    Err(error) => warn!(%error, "cannot ask dqlite for the nodes"),
                }
            }
            if view.leader.is_none()
                && last_leader.elapsed() > ASK_INTERVAL
                && last_asked.is_none_or(|at| at.elapsed() > ASK_INTERVAL)
            {
                last_asked = Some(asked);
                if let Some(told) = self.ask_others().await {
                    view.leader = told.leader;
                }
            }
            if view.leader.is_some() {
                last_leader = asked;
            } else if let Some(old) = &cluster_view.borrow().view.leader
                && last_asked.is_some_and(|at| at.elapsed() <= ASK_INTERVAL)
                && cluster_view.borrow().view.term == view.term
            {
                // Between two questions to others, what they said last counts.
                view.leader = Some(old.clone());
            }
            let next = ClusterView {
                view,
                is_lost: last_leader.elapsed() > LOST_AFTER,
                servers,
            };
            cluster_view.send_if_modified(|cluster_view| {
                if *cluster_view == next {
                    return false;
                }
                if cluster_view.view.leader != next.view.leader {
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
                *cluster_view = next;
                true
            });
        }
    }

    fn note(&mut self, servers: &[Server]) {
        let others = servers.iter().filter(|server| server.id != self.own_id);
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|server| server.role != Role::Voter);
        let addresses = others.iter().map(|server| server.address.clone());
        self.addresses = addresses.collect();
    }

    /// The first answer of another node that knows a leader.
    async fn ask_others(&mut self) -> Option<View> {
        if let Ok(servers) = self.engine.servers().await
            && !servers.is_empty()
        {
            self.note(&servers);
        }
        let mut asking = tokio::task::JoinSet::new();
        for address in self.addresses.clone() {
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
}
