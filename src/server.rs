//! Starts and stops everything, in order.

use std::{path::Path, sync::Arc, time::Duration};

use dqlite::node::{NodeError, trim_memory};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tracing::{error, info, warn};

use crate::{
    api::{self, Identity, ListenError, Listener, Services, Stopping},
    args::{ListenAddress, ListenSocket},
    compact::{self, ClientCompactions},
    config::{ConfigError, ServerConfig},
    mvcc::Commit,
    node::{Membership, RunningNode, StartError},
    ops::disk,
    store::{self, CommitObserver, OpenError, Store, StoreOptions, WriterError},
    watch::{HubSettings, Inbox, WatchHub},
};

/// How long clients may take to end their calls when the server stops.
const API_STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last writes may take.
const WRITER_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// With less free space than this on its disk, in bytes, a write that failed is the disk's fault:
/// the engine allocates its log in pieces of 8 MiB.
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
    Signals(std::io::Error),
    #[error("stopping dqlite: {0}")]
    Stop(NodeError),
    #[error("the API failed: {0}")]
    Api(tonic::transport::Error),
}

/// Serves until `stop` is ready, the disk is low and that is a reason to stop, or the engine is lost.
pub async fn run(config: ServerConfig, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
    let listener = Listener::bind(&config.listen, config.client_tls.clone()).await?;
    let metrics_listener = match &config.metrics_listen {
        Some(address) => Some(Listener::bind(address, None).await?),
        None => None,
    };
    let node = RunningNode::start(&config).await?;
    let dir = config.storage_dir.clone();
    let (store, writer) = store::open(StoreOptions {
        endpoint: node.endpoint(),
        is_disk_full: Box::new(move || is_disk_full(&dir)),
        cluster_id: rand::random(),
        member_id: node.identity.id,
        quota: config.quota,
        limits: config.limits,
    })
    .await?;
    tokio::task::spawn_blocking(trim_memory);
    let identity = Arc::new(Identity::new(
        store.cluster_id(),
        node.identity.id,
        node.term,
    ));
    let inbox = Arc::new(Inbox::default());
    let hub = start_hub(&store, inbox.clone(), &identity, config.progress_interval);
    let (stop_writer, writer_stops) = oneshot::channel::<()>();
    let mut writer = tokio::spawn(writer.run(
        Box::new(Watchers {
            inbox,
            hub: hub.clone(),
        }),
        async {
            // An error means that the sender is gone, which is the same.
            let _ = writer_stops.await;
        },
    ));
    let compactions = Arc::new(ClientCompactions::default());
    let compactor = start_compactor(&config, &store, &compactions);
    let (stop_api, stopping) = Stopping::new();
    let services = Services {
        store: store.clone(),
        identity,
        hub: hub.clone(),
        compactions,
        stopping: stopping.clone(),
        client_url: client_url(&config.listen),
        max_concurrent_streams: config.max_concurrent_streams,
        membership: Membership::new(node.endpoint(), node.identity.id, peer_scheme(&config)),
        auth: config.auth,
    };
    if let Some(listener) = metrics_listener {
        info!(listen = %listener.address(), "serving metrics");
        let serving = api::serve_metrics(services.metrics(), listener, stopping.clone().wait());
        tokio::spawn(serving);
    }
    let mut api = tokio::spawn(api::serve(services, listener, stopping.wait()));
    info!(listen = %config.listen, revision = store.revision(), "ready");

    let watched = watch_disk(&config, store.clone());
    let reason = tokio::select! {
        () = stop => Ok(()),
        () = watched => Ok(()),
        ended = &mut writer => Err(flatten(ended)),
        ended = &mut api => {
            Err(ended.expect("the API does not panic").map_err(ServerError::Api))
        }
    };
    // Streams end first, or the API would wait for their clients to leave.
    hub.stop();
    let _ = stop_api.send(true);
    if !api.is_finished() && timeout(API_STOP_TIMEOUT, &mut api).await.is_err() {
        warn!("clients still have calls open after {API_STOP_TIMEOUT:?}: cutting them off");
        api.abort();
    }
    if let Some(compactor) = compactor {
        compactor.abort();
    }
    drop(stop_writer);
    let result = match reason {
        Ok(()) => stop_writer_task(writer).await,
        Err(result) => {
            // Unless it was the writer that ended.
            if !writer.is_finished()
                && let Err(error) = stop_writer_task(writer).await
            {
                error!(%error, "the writer failed while the server stopped");
            }
            result
        }
    };
    node.stop().await.map_err(ServerError::Stop)?;
    result
}

fn flatten(
    ended: Result<Result<(), WriterError>, tokio::task::JoinError>,
) -> Result<(), ServerError> {
    Ok(ended.expect("the writer does not panic")?)
}

async fn stop_writer_task(
    mut writer: JoinHandle<Result<(), WriterError>>,
) -> Result<(), ServerError> {
    match timeout(WRITER_STOP_TIMEOUT, &mut writer).await {
        Ok(ended) => flatten(ended),
        Err(_) => {
            error!(
                "writes did not end within {WRITER_STOP_TIMEOUT:?}: their clients see them as lost"
            );
            writer.abort();
            Ok(())
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

fn start_compactor(
    config: &ServerConfig,
    store: &Store,
    compactions: &Arc<ClientCompactions>,
) -> Option<JoinHandle<()>> {
    let interval = config.tuning.compact_interval?;
    Some(tokio::spawn(compact::run(
        store.clone(),
        compactions.clone(),
        interval,
    )))
}

fn watch_disk(config: &ServerConfig, store: Store) -> impl Future<Output = ()> {
    let (watch, dir) = (config.disk_watch, config.storage_dir.clone());
    async move {
        match watch {
            Some(watch) => disk::run(watch, &dir, |is_low| store.set_disk_low(is_low)).await,
            None => std::future::pending().await,
        }
    }
}

/// Hears of commits, and tells those who watch.
struct Watchers {
    inbox: Arc<Inbox>,
    hub: Arc<WatchHub>,
}

impl CommitObserver for Watchers {
    fn committed(&mut self, commits: &[Arc<Commit>]) {
        self.inbox.publish(commits);
    }

    fn engine_lost(&mut self) {
        self.hub.lose_leader();
    }
}

fn peer_scheme(config: &ServerConfig) -> &'static str {
    if config.tls.is_some() {
        "https"
    } else {
        "http"
    }
}

/// How clients name the address of the listener.
fn client_url(listen: &ListenAddress) -> String {
    match &listen.socket {
        ListenSocket::Tcp { host, port } => {
            let host = match host.as_str() {
                "" => "127.0.0.1".to_owned(),
                host if host.contains(':') => format!("[{host}]"),
                host => host.to_owned(),
            };
            let scheme = if listen.is_tls { "https" } else { "http" };
            format!("{scheme}://{host}:{port}")
        }
        ListenSocket::Unix(_) => listen.to_string(),
    }
}

fn is_disk_full(dir: &Path) -> bool {
    disk::free_bytes(dir).is_ok_and(|free| free < FULL_DISK_BYTES)
}
