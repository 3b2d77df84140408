//! The tasks of a node in a cluster of several.

use std::{path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use dqlite::{
    client::{Endpoint, Resolve},
    cluster_id::ClusterId,
    node::LogEnd,
    tls::Tls,
    wire::NodeId,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tracing::error;

use super::{
    Dialer, EngineView, Reads,
    decisions::Decisions,
    leader_loss::HandOvers,
    log_ends::Remembered,
    monitor::{ClusterView, Monitor},
    node_info::OwnFiles,
    replica::{Coordinator, CoordinatorError, Order, REMIND_AFTER},
    serve::{PeerConnections, serve},
    service::PeerService,
};
use crate::{
    cluster::certificates::NodeCertificates,
    store::{
        Replica, Store,
        conversion::{BackupTo, ConversionOptions},
    },
};

pub struct NodeOptions {
    pub own_id: NodeId,
    /// The endpoint of the engine.
    pub endpoint: Endpoint,
    pub storage_dir: PathBuf,
    /// The way to reach other nodes.
    pub resolve: Resolve,
    /// `None` if nodes connect without TLS.
    pub tls: Option<Tls>,
    /// The history that this node belongs to.
    pub cluster_id: ClusterId,
    /// The addresses of the other nodes, as far as they are known.
    pub addresses: Vec<String>,
    pub reads: Arc<Reads>,
    pub take_over_backup: BackupTo,
    /// The end of this node's log.
    pub log_end: Option<LogEnd>,
}

/// The tasks of this node, and the handles to them.
pub struct Nodes {
    coordinator: JoinHandle<Result<(), CoordinatorError>>,
    monitor: JoinHandle<()>,
    serving: JoinHandle<()>,
    orders: mpsc::Sender<Order>,
    cluster_view: watch::Receiver<ClusterView>,
    is_loaded: watch::Receiver<bool>,
    hand_overs: Arc<HandOvers>,
}

impl Nodes {
    pub fn start(
        options: NodeOptions,
        store: Store,
        replica: Replica,
        connections: PeerConnections,
    ) -> Self {
        let NodeOptions {
            own_id,
            endpoint,
            storage_dir,
            resolve,
            tls,
            cluster_id,
            addresses,
            reads,
            take_over_backup,
            log_end,
        } = options;
        let remembered = Remembered::new(own_id, log_end);
        let conversion = ConversionOptions {
            storage_dir: storage_dir.clone(),
            backup: take_over_backup,
        };
        let engine = Arc::new(EngineView::new(endpoint, storage_dir.clone()));
        let own_files = OwnFiles {
            dir: storage_dir.clone(),
            tls: tls.clone(),
        };
        let dialer = Dialer::new(resolve);
        let certificates = tls.clone().map(|tls| {
            let certificates = NodeCertificates::new(own_id, storage_dir, tls);
            Arc::new(certificates)
        });
        let (view_sender, cluster_view) = watch::channel(ClusterView::default());
        let (tenure_sender, tenure) = watch::channel(None);
        let (loaded_sender, is_loaded) = watch::channel(false);
        let (orders, orders_receiver) = mpsc::channel(1);
        let hand_overs = Arc::new(HandOvers::default());
        let monitor = Monitor {
            own_id,
            engine: engine.clone(),
            reads: reads.clone(),
            dialer: dialer.clone(),
            addresses,
            hand_overs: hand_overs.clone(),
        };
        let service = PeerService {
            own_id,
            store,
            engine: engine.clone(),
            tenure,
            is_loaded: is_loaded.clone(),
            own_files,
            cluster_id,
            remembered: remembered.clone(),
            certificates,
        };
        let decisions =
            Decisions::new(own_id, cluster_view.clone(), orders_receiver, reads.clone());
        let coordinator = Coordinator {
            own_id,
            decisions,
            replica,
            engine,
            reads,
            dialer,
            tenure: tenure_sender,
            is_loaded: loaded_sender,
            conversion,
            reminds_at: Instant::now() + REMIND_AFTER,
            remembered,
            hand_overs: hand_overs.clone(),
            tls,
        };
        let serving = async move {
            if let Err(error) = serve(service, connections).await {
                error!(%error, "the peer service has ended");
            }
        };
        Self {
            coordinator: tokio::spawn(coordinator.run()),
            monitor: tokio::spawn(monitor.run(view_sender)),
            serving: tokio::spawn(serving),
            orders,
            cluster_view,
            is_loaded,
            hand_overs,
        }
    }

    /// Notes that this node stops: from now on the log does not warn of a lost leader.
    pub fn note_stopping(&self) {
        self.hand_overs.note_stopping();
    }

    /// Returns what this node knows of the leader and the nodes.
    pub fn cluster_view(&self) -> watch::Receiver<ClusterView> {
        self.cluster_view.clone()
    }

    /// Waits until this node has the store.
    pub fn loaded(&self) -> impl Future<Output = ()> + use<> {
        let mut is_loaded = self.is_loaded.clone();
        async move {
            if is_loaded.wait_for(|is_loaded| *is_loaded).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Waits until this node cannot go on.
    pub async fn ended(&mut self) -> CoordinatorError {
        match (&mut self.coordinator).await.expect("it does not panic") {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    /// Writes nothing more here until another node leads. Ready when leadership may be given away, or
    /// after `timeout`: the last commit takes long.
    pub fn hand_over(&self, timeout: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.hand_overs(timeout)()
    }

    /// Like [`hand_over`](Self::hand_over), for callers that may do so more than once.
    pub fn hand_overs(
        &self,
        timeout: Duration,
    ) -> impl Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + use<> {
        let orders = self.orders.clone();
        move || Box::pin(pause_writes(orders.clone(), timeout))
    }

    /// Takes writes again after a handover that failed, if this node leads still.
    pub fn lead_on(
        &self,
    ) -> impl Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync + use<> {
        let orders = self.orders.clone();
        move || {
            let orders = orders.clone();
            // The coordinator has ended otherwise.
            Box::pin(async move { drop(orders.send(Order::LeadOn).await) })
        }
    }

    /// Ends after everything that was queued is committed, if this node leads, or after `timeout`.
    pub async fn stop(mut self, timeout: Duration) -> Result<(), CoordinatorError> {
        self.note_stopping();
        self.serving.abort();
        let result = if self.coordinator.is_finished() {
            Ok(())
        } else {
            let stopping = async {
                let _ = self.orders.send(Order::Stop).await;
                (&mut self.coordinator).await.expect("it does not panic")
            };
            match tokio::time::timeout(timeout, stopping).await {
                Ok(ended) => ended,
                Err(_) => {
                    error!(
                        "writes did not end within {timeout:?}: their outcome is unknown to their clients"
                    );
                    self.coordinator.abort();
                    Ok(())
                }
            }
        };
        for task in [self.serving, self.monitor] {
            task.abort();
            // Until it is gone it may ask the engine, which stops next, and warn that it does not answer.
            let _ = task.await;
        }
        result
    }
}

/// Waits until this node's writer takes no more requests.
async fn pause_writes(orders: mpsc::Sender<Order>, timeout: Duration) {
    let (done, is_done) = oneshot::channel();
    let paused = async {
        if orders.send(Order::HandOver(done)).await.is_ok() {
            let _ = is_done.await;
        }
    };
    // Then the last commit has an unknown outcome for its clients.
    let _ = tokio::time::timeout(timeout, paused).await;
}
