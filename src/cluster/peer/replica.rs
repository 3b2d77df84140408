//! Leads or follows, as the engine says, and changes from one to the other.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    Dialer, EngineView, IncompatibleNodes, Reads,
    follow::{FollowError, Follower},
    lead::Tenure,
    log_ends::Remembered,
    monitor::ClusterView,
    reads::Role,
};
use crate::store::{
    Cluster, Ended, OpenError, Replica, Stop, WriterError,
    conversion::{ConversionOptions, Halt, Remedy, remedy},
};

/// The longest that a step of a take-over may take to end: it is a fraction of a second on a disk
/// that works.
const HALT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after an attempt to lead or to follow that failed. An election or a restart takes longer.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The longest that a leader that has handed over waits for the new one, before it goes on itself.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval at which the log says why this node serves nothing.
const REMIND_INTERVAL: Duration = Duration::from_secs(30);

/// A request of the server to the coordinator.
#[derive(Debug)]
pub enum Order {
    /// Commit the received requests, then write nothing until there is another leader. Answered
    /// when leadership may be given away.
    HandOver(oneshot::Sender<()>),
    /// Lead on: no node took the leadership that was to be given away.
    LeadOn,
    /// Commit the queued requests, and end.
    Stop,
}

#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Writer(#[from] WriterError),
}

pub struct Coordinator {
    pub own_id: u64,
    pub replica: Replica,
    pub engine: Arc<EngineView>,
    pub reads: Arc<Reads>,
    pub dialer: Dialer,
    pub cluster_view: watch::Receiver<ClusterView>,
    pub tenure: watch::Sender<Option<Arc<Tenure>>>,
    pub is_loaded: watch::Sender<bool>,
    pub orders: mpsc::Receiver<Order>,
    /// Set once only the queued requests are still committed.
    pub is_stopping: bool,
    pub conversion: ConversionOptions,
    /// The time when the log last said what this node waits for.
    pub reminded: Option<Instant>,
    pub remembered: Arc<Remembered>,
}

/// Tells the loop of the coordinator whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Again,
    Stop,
}

impl Coordinator {
    /// Runs until it is told to stop, or cannot go on.
    pub async fn run(mut self) -> Result<(), CoordinatorError> {
        loop {
            let view = self.cluster_view.borrow_and_update().view.clone();
            let next = match view.leader {
                Some((id, _)) if id == self.own_id => self.lead(view.term).await?,
                Some((_, address)) => self.follow(&address).await,
                None => self.wait().await,
            };
            if next == Next::Stop {
                return Ok(());
            }
        }
    }

    /// Waits for a leader.
    async fn wait(&mut self) -> Next {
        if self.is_stopping {
            return Next::Stop;
        }
        tokio::select! {
            changed = self.cluster_view.changed() => {
                if changed.is_err() { Next::Stop } else { Next::Again }
            }
            order = self.orders.recv() => self.obey_without_leading(order),
        }
    }

    fn obey_without_leading(&mut self, order: Option<Order>) -> Next {
        match order {
            Some(Order::HandOver(done)) => {
                let _ = done.send(());
                Next::Again
            }
            Some(Order::LeadOn) => Next::Again,
            Some(Order::Stop) | None => Next::Stop,
        }
    }

    async fn lead(&mut self, term: u64) -> Result<Next, CoordinatorError> {
        if !self.replica.is_loaded()
            && let Some(next) = self.convert().await?
        {
            return Ok(next);
        }
        let leading = match self.replica.become_leader().await {
            Ok(leading) => leading,
            Err(error @ OpenError::Dqlite(_)) => {
                debug!(%error, "cannot take over yet");
                return Ok(self.pause().await);
            }
            Err(error) => return Err(error.into()),
        };
        // All of it was in one term, or it is done again.
        match self.engine.view().await {
            Ok(view) if view.leader_id() == self.own_id && view.term == term => {}
            _ => return Ok(self.pause().await),
        }
        info!(term, revision = self.replica.revision(), "leading");
        let tenure = Tenure::new(self.own_id, term, self.engine.clone());
        self.reads.set_role(Role::Leader);
        self.tenure.send_replace(Some(tenure.clone()));
        self.is_loaded.send_replace(true);
        let serving = tokio::spawn(tenure.clone().serve_reads(self.reads.clone()));
        let mut handed_over = None;
        let must_stop = self.is_stopping;
        let stop = {
            let (own_id, cluster_view, orders) =
                (self.own_id, &mut self.cluster_view, &mut self.orders);
            let reads = self.reads.clone();
            let (handed_over, is_stopping) = (&mut handed_over, &mut self.is_stopping);
            async move {
                if must_stop {
                    return Stop::Close;
                }
                let is_over = |cluster_view: &ClusterView| {
                    // The only node finds out by itself what became of a write.
                    let is_this =
                        cluster_view.view.leader_id() == own_id && cluster_view.view.term == term;
                    !is_this && !reads.is_single()
                };
                let mut order = async || loop {
                    match orders.recv().await {
                        Some(Order::LeadOn) => {}
                        order => return order,
                    }
                };
                tokio::select! {
                    _ = cluster_view.wait_for(is_over) => Stop::Deposed,
                    order = order() => match order {
                        Some(Order::HandOver(done)) => {
                            *handed_over = Some(done);
                            Stop::HandOver
                        }
                        _ => {
                            *is_stopping = true;
                            Stop::Close
                        }
                    },
                }
            }
        };
        let ended = self.replica.write(leading, stop).await;
        self.reads.set_role(Role::Unknown);
        tenure.end();
        self.tenure.send_replace(None);
        serving.abort();
        if ended? == Ended::Deposed {
            info!(term, "leading no more");
        }
        if self.is_stopping {
            return Ok(Next::Stop);
        }
        if let Some(done) = handed_over {
            let _ = done.send(());
            self.wait_for_other().await;
        }
        Ok(Next::Again)
    }

    /// Converts what a Go k8s-dqlite has left, which may take minutes. None when this node can go on.
    async fn convert(&mut self) -> Result<Option<Next>, CoordinatorError> {
        let incompatible = IncompatibleNodes {
            own_id: self.own_id,
            engine: &self.engine,
            dialer: &self.dialer,
        };
        let (own_id, reads) = (self.own_id, &self.reads);
        let is_over = |cluster_view: &ClusterView| {
            cluster_view.view.leader_id() != own_id && !reads.is_single()
        };
        let (cluster_view, orders) = (&mut self.cluster_view, &mut self.orders);
        let until = async {
            tokio::select! {
                _ = cluster_view.wait_for(is_over) => None,
                order = orders.recv() => Some(order),
            }
        };
        let halt = Halt::default();
        let mut converting = Box::pin(self.replica.convert(&self.conversion, &incompatible, &halt));
        let ended = tokio::select! {
            converted = &mut converting => Ok(converted),
            ended = until => {
                halt.ask();
                if timeout(HALT_TIMEOUT, &mut converting).await.is_err() {
                    warn!("a step of the take-over has not ended within {HALT_TIMEOUT:?}");
                }
                Err(ended)
            }
        };
        drop(converting);
        let converted = match ended {
            Ok(converted) => converted,
            Err(Some(order)) => return Ok(Some(self.obey_without_leading(order))),
            Err(None) => return Ok(Some(Next::Again)),
        };
        match converted {
            Ok(()) => Ok(None),
            Err(error) => {
                match remedy(&error) {
                    Remedy::Again => debug!(%error, "cannot look into the database yet"),
                    Remedy::AgainAloud => {
                        if self.is_reminder_due() {
                            warn!(%error, "taking over the data of a Go k8s-dqlite: trying again");
                        }
                    }
                    Remedy::None => return Err(error.into()),
                }
                Ok(Some(self.pause().await))
            }
        }
    }

    /// Waits until another node leads, or goes on here after [`HAND_OVER_TIMEOUT`].
    async fn wait_for_other(&mut self) {
        let own_id = self.own_id;
        let mut deadline = pin!(sleep(HAND_OVER_TIMEOUT));
        loop {
            tokio::select! {
                _ = self.cluster_view.wait_for(|cluster_view| cluster_view.view.leader_id() != own_id) => return,
                order = self.orders.recv() => match order {
                    // It writes nothing already.
                    Some(Order::HandOver(done)) => drop(done.send(())),
                    Some(Order::LeadOn) => return,
                    // What is queued meanwhile is committed here.
                    Some(Order::Stop) | None => {
                        self.is_stopping = true;
                        return;
                    }
                },
                () = &mut deadline => {
                    warn!("no other node took over within {HAND_OVER_TIMEOUT:?}: leading on");
                    return;
                }
            }
        }
    }

    /// Says why nothing is served, for as long as this node has nothing.
    fn remind(&mut self, address: &str, reason: &FollowError) {
        if !self.replica.is_loaded() && self.is_reminder_due() {
            warn!(%reason, leader = address, "nothing is served before this node has the store from the leader");
        }
    }

    fn is_reminder_due(&mut self) -> bool {
        let is_due = self
            .reminded
            .is_none_or(|at| at.elapsed() > REMIND_INTERVAL);
        if is_due {
            self.reminded = Some(Instant::now());
        }
        is_due
    }

    async fn pause(&mut self) -> Next {
        if self.is_stopping {
            return Next::Stop;
        }
        tokio::select! {
            order = self.orders.recv() => self.obey_without_leading(order),
            () = sleep(RETRY_PAUSE) => Next::Again,
        }
    }

    async fn follow(&mut self, address: &str) -> Next {
        if self.is_stopping {
            return Next::Stop;
        }
        self.reads.set_role(Role::Follower);
        let is_loaded = self.is_loaded.clone();
        let on_loaded = move || {
            is_loaded.send_replace(true);
        };
        let mut follower = Follower {
            own_id: self.own_id,
            replica: &mut self.replica,
            engine: &self.engine,
            reads: &self.reads,
            remembered: &self.remembered,
            on_loaded: &on_loaded,
        };
        let is_other = |cluster_view: &ClusterView| {
            let leader = cluster_view.view.leader.as_ref();
            leader.is_some_and(|(_, other)| other != address)
        };
        let (cluster_view, orders) = (&mut self.cluster_view, &mut self.orders);
        let until = async {
            tokio::select! {
                _ = cluster_view.wait_for(is_other) => None,
                order = orders.recv() => Some(order),
            }
        };
        let order = match follower.run(&self.dialer, address, until).await {
            Ok(order) => order,
            Err(reason) => {
                debug!(%reason, address, "not following any more");
                self.remind(address, &reason);
                None
            }
        };
        match order {
            Some(order) => self.obey_without_leading(order),
            None => self.pause().await,
        }
    }
}
