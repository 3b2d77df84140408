//! Starts and stops everything, in order.

use std::{
    io,
    path::Path,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    time::Duration,
};

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint},
    cluster::{ClusterError, HandedOver, Member, MemberState, MemberStatus, Prepare},
    node::{NodeError, trim_memory},
    wire::NodeId,
};
use etcd_state::mvcc::Commit;
use service_manager::Sockets;
use telemetry::{
    logging::slow,
    profiling::{self, ProfileError},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tracing::{error, info, warn};

use super::{client_urls::ClientUrls, reload::Reload, told::tell_service_manager};
use crate::{
    api::{self, Identity, ListenError, Listener, Served, Services, Sources, Stopping, WebRules},
    archive,
    backup::{self, Maker},
    cluster::{
        node::{Membership, Pauses, Publisher, RunningNode, StartError, check_free},
        peer::{ClusterView, CoordinatorError, NodeOptions, Nodes, PeerPort, Reads},
    },
    compact::{self, ClientCompactions},
    config::{ConfigError, NoTarget, ServerConfig},
    monitoring::{self, FilePaths, NodeView, Observed, ObservedOptions, ViewNow, watch_log_writes},
    process::{
        disk::{self, Change, LowStorageAction},
        signals::Hangups,
    },
    store::{
        self, Cluster, CommitObserver, Layout, OpenError, Store, StoreOptions, WriterError,
        snapshot::Origin,
    },
    top::Top,
    watch::{HubSettings, Inbox, WatchHub},
};

/// The longest that clients may take to end their calls when the server stops.
const API_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The time without a leader after which they are cut off: they wait for one in vain.
const LEADERLESS_API_STOP_TIMEOUT: Duration = Duration::from_millis(200);

/// The longest that the last writes may take.
const WRITER_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that it may take to hand role and leadership over when the server stops, and of that
/// the last commit before.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(15);
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);

/// The weight of a node whose disk is low: others are chosen first. Nodes have 0 otherwise.
const LOW_DISK_WEIGHT: u64 = 1_000_000;

/// The free space on its disk, in bytes, below which a write that failed is the disk's fault: the
/// engine allocates its log in pieces of 8 MiB.
const FULL_DISK_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Node(#[from] StartError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Writer(#[from] WriterError),
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error("stopping dqlite: {0}")]
    Stop(NodeError),
    #[error(
        "this node was removed from the cluster: delete its storage directory; with an init.yaml that names the other nodes it joins again"
    )]
    Removed,
    #[error(transparent)]
    Telemetry(#[from] NoTarget),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("the API failed: {0}")]
    Api(tonic::transport::Error),
}

impl From<CoordinatorError> for ServerError {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::Open(error) => Self::Open(error),
            CoordinatorError::Writer(error) => Self::Writer(error),
        }
    }
}

/// Serves until `stop` is ready, the disk is low and that is a reason to stop, or the engine is lost. `passed` are the sockets of the
/// service manager; `hangups` ask for a reload.
pub async fn run(
    config: ServerConfig,
    passed: io::Result<Sockets>,
    stop: impl Future<Output = ()>,
    hangups: Hangups,
) -> Result<(), ServerError> {
    check_free(&config.storage_dir).await?;
    let passed = passed.map_err(ListenError::Passed)?;
    let tls = config.client_tls.as_ref();
    let listeners = Listener::bind_all(&config.listen.0, tls, passed).await?;
    service_manager::status("starting dqlite").await;
    let metrics_listener = match &config.metrics_listen {
        Some(address) => Some(Listener::bind(address, None).await?),
        None => None,
    };
    let profiling_listener = match &config.profiling_listen {
        Some(address) => Some(Listener::bind(address, None).await?),
        None => None,
    };
    store::register_change_table();
    let (peer_port, peer_connections) = PeerPort::new();
    let node = RunningNode::start_with_peers(&config, Some(Arc::new(peer_port))).await?;
    let reads = Arc::new(Reads::default());
    let dir = config.storage_dir.clone();
    watch_log_writes();
    let (store, mut replica) = store::empty(StoreOptions {
        endpoint: node.endpoint(),
        is_disk_full: Box::new(move || is_disk_full(&dir)),
        cluster: reads.clone(),
        cluster_id: node.cluster_id.clone(),
        member_id: node.identity.id.number(),
        quota: config.quota,
        limits: config.limits,
        layout: Layout::NEW,
    });
    store.keep_in_memory();
    monitoring::export_metrics(&store);
    let watchers = Watchers::default();
    replica.observe(Box::new(watchers.clone()));
    let mut nodes = Nodes::start(
        NodeOptions {
            own_id: node.identity.id,
            endpoint: node.endpoint(),
            storage_dir: config.storage_dir.clone(),
            resolve: node.resolve(),
            tls: config.tls.clone(),
            cluster_id: node.cluster_id.clone(),
            addresses: other_addresses(&node),
            reads: reads.clone(),
            take_over_backup: config.take_over_backup.clone(),
            log_end: node.log_end(),
        },
        store.clone(),
        replica,
        peer_connections,
    );
    let (stop_api, stopping) = Stopping::new();
    let sources = sources(&config, &store, &node, nodes.cluster_view());
    let looking = tokio::spawn(look(&sources));
    let telling = tokio::spawn(tell_service_manager(
        store.clone(),
        nodes.cluster_view(),
        node.identity.id,
        config.listen.to_string(),
    ));
    if let Some(listener) = metrics_listener {
        info!(listen = %listener.address(), "serving metrics");
        let serving = api::serve_metrics(sources.clone(), listener, stopping.clone().wait());
        tokio::spawn(serving);
    }
    let mut stop = pin!(stop);
    let is_loaded = nodes.loaded();
    let mut is_removed = pin!(removed(node.member().clone()));
    let loaded = tokio::select! {
        biased;
        ended = nodes.ended() => Err(ServerError::from(ended)),
        () = &mut is_removed => Err(ServerError::Removed),
        () = is_loaded => Ok(true),
        () = &mut stop => Ok(false),
    };
    match loaded {
        Ok(true) => {}
        other => {
            nodes.stop(WRITER_STOP_TIMEOUT).await?;
            node.stop().await.map_err(ServerError::Stop)?;
            return other.map(drop);
        }
    }
    tokio::task::spawn_blocking(trim_memory);
    let identity = Arc::new(Identity::new(
        store.cluster_id(),
        node.identity.id.number(),
        node.term,
    ));
    let hub = start_hub(
        &store,
        watchers.inbox.clone(),
        &identity,
        config.progress_interval,
    );
    watchers.watch(hub.clone());
    let following = tokio::spawn(follow_leadership(
        nodes.cluster_view(),
        identity.clone(),
        hub.clone(),
        node.member().clone(),
    ));
    let compactions = Arc::new(ClientCompactions::default());
    let (compact_interval, interval) = watch::channel(config.tuning.compact_interval);
    let compactor = tokio::spawn(compact::run(store.clone(), compactions.clone(), interval));
    let reload = Reload {
        storage_dir: config.storage_dir.clone(),
        tls: config.client_tls.clone(),
        tuning: config.tuning.clone(),
        compact_interval,
    };
    let backups = start_backups(&config, &store, &identity, node.membership());
    let (flush, flushes) = archive::flushes();
    let making = Box::new(maker(identity.clone(), node.membership()));
    let archiving = start_archive(&config, &store, making, flushes);
    let bound: Vec<_> = listeners.iter().map(Listener::address).collect();
    let client_urls = ClientUrls::new(&config.advertised_urls, &bound, &node.identity.address);
    let publisher = Publisher {
        store: store.clone(),
        membership: node.membership(),
        client_urls: client_urls.published,
    };
    let publishing = tokio::spawn(publisher.run());
    let top = Top::new(store.clone(), hub.clone());
    // Nobody else sets it.
    let _ = sources.served.set(Served {
        hub: hub.clone(),
        top: top.clone(),
        identity: identity.clone(),
        client_urls: client_urls.own.clone(),
    });
    let services = Services {
        store: store.clone(),
        identity,
        hub: hub.clone(),
        top,
        compactions,
        stopping: stopping.clone(),
        client_urls: client_urls.own,
        cluster_view: nodes.cluster_view(),
        max_concurrent_streams: config.max_concurrent_streams,
        membership: node.membership().with_pauses(Pauses {
            pause: Box::new(nodes.hand_overs(LAST_COMMIT_TIMEOUT)),
            lead_on: Box::new(nodes.lead_on()),
        }),
        auth: config.auth.clone(),
        sources,
        web_rules: WebRules::new(config.cors.clone(), config.host_whitelist.clone()),
    };
    if let Some(listener) = profiling_listener {
        info!(listen = %listener.address(), "serving profiles");
        let rules = WebRules::own_only(listener.address().host());
        let routes = api::with_rules(profiling::routes(), rules);
        let serving = api::serve_http(routes, listener, stopping.clone().wait());
        tokio::spawn(serving);
    }
    let mut api = tokio::spawn(api::serve(services, listeners, stopping.wait()));
    info!(listen = %config.listen, revision = store.revision().number(), "ready");
    service_manager::ready().await;
    let reloading = tokio::spawn(reload.run(hangups));

    let aside = StepAside {
        member: node.member().clone(),
        endpoint: node.endpoint(),
        pause_writes: Box::new(nodes.hand_overs(LAST_COMMIT_TIMEOUT)),
    };
    let watched = watch_disk(&config, store.clone(), aside);
    let reason = tokio::select! {
        () = stop => Ok(()),
        () = watched => Ok(()),
        ended = nodes.ended() => Err(Err(ended.into())),
        () = is_removed => Err(Err(ServerError::Removed)),
        ended = &mut api => {
            Err(ended.expect("the API does not panic").map_err(ServerError::Api))
        }
    };
    let reason = match reason {
        Ok(()) => {
            // What takes long from now on, and who leads, is nothing to warn of.
            slow::set_threshold(None);
            stopping::note();
            nodes.note_stopping();
            if archiving.is_some() && !reads.is_single() {
                // Who leads next may be stopping, too.
                flush.flush().await;
            }
            hand_over(&node, &nodes, &reads).await;
            Ok(())
        }
        Err(result) => Err(result),
    };
    // Streams end first, or the API would wait for their clients to leave.
    hub.stop();
    let _ = stop_api.send(true);
    if !api.is_finished() && !ends(&mut api, nodes.cluster_view()).await {
        info!("clients still have calls open: cutting them off");
        api.abort();
    }
    if archiving.is_some() && store.leads() {
        flush.flush().await;
    }
    let others = [
        following, looking, publishing, telling, compactor, reloading,
    ];
    for task in others.into_iter().chain(backups).chain(archiving) {
        task.abort();
        let _ = task.await;
    }
    let stopped = nodes.stop(WRITER_STOP_TIMEOUT).await;
    let result = match reason {
        Ok(()) => stopped.map_err(ServerError::from),
        Err(result) => {
            if let Err(error) = stopped {
                error!(%error, "the writer failed while the server stopped");
            }
            result
        }
    };
    node.stop().await.map_err(ServerError::Stop)?;
    result
}

/// Returns the sources of the metrics and the status page.
fn sources(
    config: &ServerConfig,
    store: &Store,
    node: &RunningNode,
    cluster_view: watch::Receiver<ClusterView>,
) -> Sources {
    let paths = FilePaths {
        storage_dir: config.storage_dir.clone(),
        node_tls: config.tls.clone(),
        client_pair: config.client_tls.as_ref().map(|tls| {
            let files = tls.files();
            (files.certificate.clone(), files.key.clone())
        }),
    };
    let observed = Observed::new(ObservedOptions {
        store: store.clone(),
        paths,
        view: view(node, cluster_view),
        tls: config.tls.clone(),
    });
    Sources {
        store: store.clone(),
        observed,
        disk_low_bytes: config.disk_watch.map(|watch| watch.min_bytes),
        served: Arc::default(),
        shows_top: config.metrics_top,
    }
}

/// The engine of a spare does not know the nodes: it has them from the leader.
fn view(node: &RunningNode, cluster_view: watch::Receiver<ClusterView>) -> ViewNow {
    let (own_id, own_address) = (node.identity.id, node.identity.address.clone());
    let status = node.member().status();
    let cluster_id = node.cluster_id.clone();
    Box::new(move || {
        let cluster_view = cluster_view.borrow().clone();
        let servers = match cluster_view.servers.is_empty() {
            true => status.borrow().servers.to_vec(),
            false => cluster_view.servers,
        };
        let own = servers.iter().find(|server| server.id == own_id);
        NodeView {
            own_id,
            own_address: own_address.clone(),
            role: own.map(|own| own.role),
            leader: cluster_view
                .view
                .leader
                .map(|(id, address)| (NodeId::new(id), address)),
            term: cluster_view.view.term,
            cluster_id: cluster_id.known(),
            refused: cluster_id.refused(),
            servers,
        }
    })
}

fn look(sources: &Sources) -> impl Future<Output = ()> + use<> {
    let (observed, served) = (sources.observed.clone(), sources.served.clone());
    observed.run(move || served.get().map(|served| served.hub.clone()))
}

/// Hands over the leadership and the role of this node while its clients are still served.
async fn hand_over(node: &RunningNode, nodes: &Nodes, reads: &Reads) {
    if reads.is_single() {
        return;
    }
    let prepare = Box::pin(nodes.hand_over(LAST_COMMIT_TIMEOUT));
    match timeout(HAND_OVER_TIMEOUT, node.handover(prepare)).await {
        Ok(Ok(done)) => info!(?done, "handed over"),
        Ok(Err(error @ ClusterError::Leaderless(_))) => info!("{error}"),
        // Nobody can do anything about it here, and the nodes that it concerns warn of the election.
        Ok(Err(error)) => {
            info!(%error, "could not hand over the leadership: the other nodes hold an election")
        }
        Err(_) => info!("handing over takes too long: stopping without it"),
    }
}

/// Returns whether the calls of clients end in time, which they do not where they wait for a leader that there is not.
async fn ends<T>(api: &mut JoinHandle<T>, mut cluster_view: watch::Receiver<ClusterView>) -> bool {
    let leaderless = async {
        loop {
            let is_led = |known: &ClusterView| known.view.leader.is_some();
            if cluster_view.wait_for(|known| !is_led(known)).await.is_err() {
                std::future::pending().await
            }
            let led = cluster_view.wait_for(is_led);
            if timeout(LEADERLESS_API_STOP_TIMEOUT, led).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        ended = timeout(API_STOP_TIMEOUT, api) => ended.is_ok(),
        () = leaderless => false,
    }
}

/// Waits until the cluster does not have this node any more.
async fn removed(member: Member) {
    let mut status = member.status();
    let is_removed = |status: &MemberStatus| status.state == MemberState::Removed;
    if status.wait_for(is_removed).await.is_err() {
        std::future::pending().await
    }
}

/// Keeps the term in the answers, and closes the streams that ask for a leader when there is none.
async fn follow_leadership(
    mut cluster_view: watch::Receiver<ClusterView>,
    identity: Arc<Identity>,
    hub: Arc<WatchHub>,
    member: Member,
) {
    loop {
        let (term, is_lost) = {
            let cluster_view = cluster_view.borrow_and_update();
            (cluster_view.view.term, cluster_view.is_lost)
        };
        identity.set_raft_term(term);
        if is_lost {
            hub.lose_leader();
        }
        // A new leader, or other nodes.
        member.notify();
        if cluster_view.changed().await.is_err() {
            return;
        }
    }
}

fn start_hub(
    store: &Store,
    inbox: Arc<Inbox>,
    identity: &Arc<Identity>,
    progress_interval: Duration,
) -> Arc<WatchHub> {
    let identity = identity.clone();
    let hub = WatchHub::new(
        store.history().clone(),
        inbox,
        Box::new(move |revision| identity.header(revision)),
        HubSettings { progress_interval },
    );
    let running = hub.clone();
    tokio::spawn(async move { running.run().await });
    hub
}

fn start_backups(
    config: &ServerConfig,
    store: &Store,
    identity: &Arc<Identity>,
    membership: Membership,
) -> Option<JoinHandle<()>> {
    let settings = config.backups.clone()?;
    let maker = maker(identity.clone(), membership);
    let making = backup::run_scheduled(store.clone(), settings, maker);
    Some(tokio::spawn(making))
}

/// Returns who makes a backup, as it is when that begins.
fn maker(
    identity: Arc<Identity>,
    membership: Membership,
) -> impl Fn() -> Pin<Box<dyn Future<Output = Maker> + Send>> + Send + Sync + 'static {
    move || {
        let (identity, membership) = (identity.clone(), membership.clone());
        Box::pin(async move {
            Maker {
                cluster_id: identity.cluster_id,
                origin: Origin {
                    member_id: identity.member_id,
                    raft_term: identity.raft_term(),
                    members: membership.for_snapshot().await,
                },
            }
        })
    }
}

/// Starts the task that writes the archive while this node leads.
fn start_archive(
    config: &ServerConfig,
    store: &Store,
    making: archive::MakerNow,
    flushes: archive::Flushes,
) -> Option<JoinHandle<()>> {
    let settings = config.archive.clone()?;
    let writing = archive::run(store.clone(), settings, making, flushes);
    Some(tokio::spawn(writing))
}

fn watch_disk(
    config: &ServerConfig,
    store: Store,
    aside: StepAside,
) -> impl Future<Output = ()> + use<> {
    let (watch, dir) = (config.disk_watch, config.storage_dir.clone());
    async move {
        let Some(watch) = watch else {
            return std::future::pending().await;
        };
        let (news, heard) = watch::channel(None);
        let stepping = async {
            match watch.action {
                LowStorageAction::Handover => aside.run(heard).await,
                _ => std::future::pending().await,
            }
        };
        let looking = disk::run(watch, &dir, |is_low, change| {
            store.set_disk_low(is_low);
            if change.is_some() {
                news.send_replace(change);
            }
        });
        tokio::select! {
            () = looking => {}
            () = stepping => {}
        }
    }
}

/// Gives role and leadership to other nodes while the disk here is low.
struct StepAside {
    member: Member,
    endpoint: Endpoint,
    pause_writes: Box<dyn Fn() -> Prepare + Send>,
}

impl StepAside {
    async fn run(self, mut heard: watch::Receiver<Option<Change>>) {
        while heard.changed().await.is_ok() {
            let change = *heard.borrow_and_update();
            let weight = match change {
                Some(Change::Low) => LOW_DISK_WEIGHT,
                _ => 0,
            };
            if let Err(error) = self.set_weight(weight).await {
                warn!(%error, "could not announce that the disk is low: other nodes may still choose this node for a role");
            }
            // Not before it has what it would pass on.
            if change == Some(Change::Low) && self.member.ready().await.is_ok() {
                self.step_aside().await;
            }
        }
        std::future::pending().await
    }

    async fn step_aside(&self) {
        match self.member.step_aside((self.pause_writes)()).await {
            Ok(done) if done == HandedOver::default() => {
                info!(
                    "the disk is low: this node had no role or leadership that another could take"
                );
            }
            Ok(done) => info!(?done, "the disk is low: handed over"),
            Err(error) => {
                warn!(%error, "the disk is low, and no other node took the role or the leadership")
            }
        }
    }

    async fn set_weight(&self, weight: u64) -> Result<(), dqlite::client::Error> {
        let mut own = Connection::connect(&self.endpoint, ConnectOptions::default()).await?;
        own.set_weight(weight).await
    }
}

/// Passes commits on to the watches. Those that come before there is a hub wait in the inbox.
#[derive(Clone, Default)]
struct Watchers {
    inbox: Arc<Inbox>,
    hub: Arc<OnceLock<Arc<WatchHub>>>,
}

impl Watchers {
    fn watch(&self, hub: Arc<WatchHub>) {
        let _ = self.hub.set(hub);
    }
}

impl CommitObserver for Watchers {
    fn committed(&mut self, commits: &[Arc<Commit>]) {
        self.inbox.publish(commits);
    }

    fn engine_lost(&mut self) {
        if let Some(hub) = self.hub.get() {
            hub.lose_leader();
        }
    }
}

fn is_disk_full(dir: &Path) -> bool {
    disk::free_bytes(dir).is_ok_and(|free| free < FULL_DISK_BYTES)
}

fn other_addresses(node: &RunningNode) -> Vec<String> {
    let known = node.identity.cluster.iter();
    let others = known.filter(|server| server.address != node.identity.address);
    others.map(|server| server.address.clone()).collect()
}
