//! This node in its cluster: the engine, the port, and the task that maintains its membership.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::Router;
use dqlite::{
    client::{Endpoint, Resolve},
    cluster::{Member, MemberOptions, Nodes, OwnNode, peer_resolver},
    cluster_id::ClusterId,
    files::{Identity, Wanted, bootstrapped, identify, joined},
    node::{DirLock, Node, NodeError, NodeOptions},
    proxy::{BoundPort, LocalEngine, PortError, dialer},
    roles::RoleTargets,
    tls::Tls,
    wire::Server,
};
use openssl::x509::X509;
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{Notify, watch},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tracing::{info, warn};

use crate::{
    Error,
    api::ClusterMember,
    certificate,
    client::member_tls,
    database::Database,
    plan::Memory,
    server,
    state::{DaemonFile, StateDir},
    time::now_s,
    trust::{TrustEntry, Truststore},
};

pub const DATABASE_PATH: &str = "/core/internal/database";

/// Elections wait 15 to 30 times as long.
const NETWORK_LATENCY: Duration = Duration::from_millis(50);

/// The time between two looks at roles, rows and trust; microcluster has the same.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// The lock of the directory and the address are free within this time after a daemon was killed.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
const RELEASE_PAUSE: Duration = Duration::from_millis(50);

pub struct Cluster {
    pub own: DaemonFile,
    pub trust: Truststore,
    pub database: Database,
    pub tls: Tls,
    pub member: Member,
    pub engine: LocalEngine,
    pub identity: Identity,
    /// The history that the database belongs to.
    pub cluster_id: ClusterId,
    /// Held during a round of the reconciler, so that there is one at a time.
    pub rounds: tokio::sync::Mutex<()>,
    /// Held while this node carries on a removal, so that there is one at a time.
    pub removals: tokio::sync::Mutex<()>,
    /// Notified when something has changed and a round is due.
    pub asked: Notify,
    memory: Mutex<Memory>,
    /// Held from reading the rows to writing the truststore, so that older rows never replace newer ones.
    trusting: tokio::sync::Mutex<()>,
    resolve: Resolve,
    node: Mutex<Option<Node>>,
    stop: Mutex<Option<watch::Sender<()>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Cluster {
    /// Starts engine, port and tasks. `seeds`: members to join; none for the first node and for one that is a member
    /// already.
    pub async fn start(
        state: &StateDir,
        own: DaemonFile,
        seeds: Vec<String>,
        router: Router,
    ) -> Result<Self, Error> {
        let trust = Truststore::load(state)?;
        let tls = member_tls(state)?;
        let shown = certificate::load(state, "cluster")?
            .ok_or_else(|| Error::Internal("cluster.crt or cluster.key is missing".to_owned()))?;
        let listener = listen(&own.address).await?;
        let resolve = resolver(tls.clone());
        let (node, identity, cluster_id) =
            start_engine(state, &own.address, seeds, resolve.clone()).await?;
        let resolve = peer_resolver(resolve, cluster_id.clone());
        let dir = state.database();
        let (member, task) = Member::new(MemberOptions {
            cluster_id: Some(cluster_id.clone()),
            is_joining: identity.is_joining,
            servers: identity.cluster.clone(),
            interval: INTERVAL,
            on_joined: Box::new(move || {
                if let Err(error) = joined(&dir) {
                    warn!(%error, "this node has joined, but cannot record it");
                }
            }),
            ..MemberOptions::new(
                OwnNode {
                    id: identity.id,
                    address: own.address.clone(),
                },
                state.database(),
                resolve.clone(),
            )
        });
        let (stop, stopped) = watch::channel(());
        let database = Database::new(resolve.clone(), identity.cluster.clone(), member.status());
        let known = trust.clone();
        let is_member = move |shown: &X509| known.member(shown, now_s()).is_some();
        let port = server::serve_network(listener, server::tls(&shown)?, router, is_member);
        let ended = stopped.clone();
        let (watched, watching) = (trust.clone(), stopped.clone());
        let tasks = vec![
            tokio::spawn(async move {
                tokio::select! { () = watched.watch() => {}, () = until_dropped(watching) => {} }
            }),
            tokio::spawn(async move {
                tokio::select! { () = port => {}, () = until_dropped(ended) => {} }
            }),
            tokio::spawn(task.run(until_dropped(stopped))),
        ];
        Ok(Self {
            own,
            trust,
            database,
            tls,
            member,
            engine: LocalEngine::of(&node),
            identity,
            cluster_id,
            rounds: tokio::sync::Mutex::default(),
            removals: tokio::sync::Mutex::default(),
            asked: Notify::new(),
            memory: Mutex::default(),
            trusting: tokio::sync::Mutex::default(),
            resolve,
            node: Mutex::new(Some(node)),
            stop: Mutex::new(Some(stop)),
            tasks: Mutex::new(tasks),
        })
    }

    /// Returns a connector to dqlite's leader, by which its cluster can be changed.
    pub fn nodes(&self) -> Nodes {
        let seen = self.member.status().borrow().servers.clone();
        let known: &[Server] = if seen.is_empty() {
            &self.identity.cluster
        } else {
            &seen
        };
        Nodes::new(known, self.resolve.clone(), RoleTargets::default())
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no panic while locked")
    }

    /// Trusts exactly the members in the rows from now on.
    pub async fn refresh_trust(&self) -> Result<(), Error> {
        let _alone = self.trusting.lock().await;
        let members = self.database.members().await?;
        if members.iter().all(|member| member.name != self.own.name) {
            warn!("this node is not a member of its cluster any more");
            return Ok(());
        }
        let entries = members.into_iter().map(entry).collect();
        let trust = self.trust.clone();
        spawn_blocking(move || trust.replace(entries))
            .await
            .expect("writing does not panic")
    }

    /// Ready when this node stops.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let stop = self.stop.lock().expect("no panic while locked");
        let receiver = stop.as_ref().map(watch::Sender::subscribe);
        async move {
            if let Some(receiver) = receiver {
                until_dropped(receiver).await;
            }
        }
    }

    /// Stops everything. `hand_over`: role and leadership are handed over first.
    pub async fn stop(&self, hand_over: bool) {
        if hand_over
            && let Err(error) = self.member.handover(Box::pin(std::future::ready(()))).await
        {
            info!(%error, "could not hand over this node's role");
        }
        self.stop.lock().expect("no panic while locked").take();
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("no panic while locked"));
        for task in tasks {
            let _ = task.await;
        }
        let node = self.node.lock().expect("no panic while locked").take();
        let stopped = spawn_blocking(move || node.map(|mut node| node.stop()));
        if let Some(Err(error)) = stopped.await.expect("stopping does not panic") {
            warn!(%error, "dqlite did not stop cleanly");
        }
    }
}

pub fn entry(member: ClusterMember) -> TrustEntry {
    TrustEntry {
        name: member.name,
        address: member.address,
        certificate: member.certificate,
    }
}

fn resolver(tls: Tls) -> Resolve {
    std::sync::Arc::new(move |address: &str| Endpoint::Upgraded {
        address: address.to_owned(),
        path: DATABASE_PATH.to_owned(),
        tls: tls.clone(),
    })
}

/// Checks that other members can be told this address of the node, and that it can be listened on. `ip:port`, or a name.
pub async fn check_own_address(address: &str) -> Result<(), Error> {
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    loop {
        match BoundPort::bind(address).await {
            Ok(_) => return Ok(()),
            Err(PortError::Occupied { .. }) if Instant::now() < deadline => {
                sleep(RELEASE_PAUSE).await;
            }
            Err(error @ PortError::Occupied { .. }) => {
                return Err(Error::Unavailable(error.to_string()));
            }
            Err(error) => {
                return Err(Error::Invalid(format!(
                    "{error}: give one of this machine, which other members can reach"
                )));
            }
        }
    }
}

/// The same for the datastore's address, where its node may run already.
pub async fn check_datastore_address(address: &str) -> Result<(), Error> {
    match BoundPort::bind(address).await {
        Ok(_) | Err(PortError::Occupied { .. }) => Ok(()),
        Err(error) => Err(Error::Invalid(format!(
            "datastore: {error}: give one of this machine, which other nodes can reach"
        ))),
    }
}

async fn listen(address: &str) -> Result<TcpListener, Error> {
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    loop {
        match TcpListener::bind(address).await {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline =>
            {
                sleep(RELEASE_PAUSE).await;
            }
            bound => {
                return bound.map_err(|error| {
                    Error::Listen(format!("cannot listen on {address}: {error}"))
                });
            }
        }
    }
}

/// Blocks.
fn lock(dir: &std::path::Path) -> Result<DirLock, NodeError> {
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    loop {
        match DirLock::acquire(dir) {
            Err(NodeError::DirectoryHeld { .. }) if Instant::now() < deadline => {
                std::thread::sleep(RELEASE_PAUSE);
            }
            acquired => return acquired,
        }
    }
}

async fn start_engine(
    state: &StateDir,
    address: &str,
    seeds: Vec<String>,
    resolve: Resolve,
) -> Result<(Node, Identity, ClusterId), Error> {
    let (dir, address) = (state.database(), address.to_owned());
    let runtime = Handle::current();
    let started = spawn_blocking(move || {
        let lock = lock(&dir)?;
        let wanted = Wanted {
            address: Some(&address),
            cluster: &seeds,
        };
        let identity = identify(&lock, wanted)?;
        let cluster_id = ClusterId::of(&dir, &identity)?;
        let dial = dialer(runtime, peer_resolver(resolve, cluster_id.clone()));
        let mut options = NodeOptions::new(identity.id, &identity.address, &dir, dial);
        options.bootstrap = identity.bootstrap;
        options.network_latency = Some(NETWORK_LATENCY);
        let mut node = Node::create_locked(&options, lock)?;
        node.start()?;
        bootstrapped(&dir)?;
        Ok((node, identity, cluster_id))
    });
    started.await.expect("starting does not panic")
}

async fn until_dropped(mut sender: watch::Receiver<()>) {
    // Nothing is ever sent.
    while sender.changed().await.is_ok() {}
}
