//! This node in its cluster: the engine, the port, and the task that keeps its place.

use std::{sync::Mutex, time::Duration};

use axum::Router;
use dqlite::{
    client::{Endpoint, Resolve},
    cluster::{Member, MemberOptions, Nodes, OwnNode},
    files::{Identity, Wanted, bootstrapped, identify, joined},
    node::{DirLock, Node, NodeOptions},
    proxy::dialer_through,
    roles::RoleTargets,
    tls::Tls,
    wire::Server,
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tracing::warn;

use crate::{
    Error,
    api::ClusterMember,
    certificate,
    client::member_tls,
    database::Database,
    server,
    state::{DaemonFile, StateDir},
    trust::{TrustEntry, Truststore},
};

pub const DATABASE_PATH: &str = "/core/internal/database";

/// Elections wait 15 to 30 times as long.
const NETWORK_LATENCY: Duration = Duration::from_millis(50);

/// Between two looks at roles, rows and trust; microcluster has the same.
const INTERVAL: Duration = Duration::from_secs(10);

/// After a look that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

pub struct Cluster {
    pub own: DaemonFile,
    pub trust: Truststore,
    pub database: Database,
    pub tls: Tls,
    pub member: Member,
    /// Where the engine listens.
    pub engine: String,
    pub identity: Identity,
    resolve: Resolve,
    node: Mutex<Option<Node>>,
    stop: Mutex<Option<watch::Sender<()>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Cluster {
    /// Starts all of it. `seeds`: members to join, none for the first node and for one that is a member.
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
        let listener = TcpListener::bind(&own.address).await.map_err(|error| {
            Error::Unavailable(format!("cannot listen on {}: {error}", own.address))
        })?;
        let resolve = resolver(tls.clone());
        let (node, identity) = start_engine(state, &own.address, seeds, resolve.clone()).await?;
        let dir = state.database();
        let (member, task) = Member::new(MemberOptions {
            is_joining: identity.is_joining,
            servers: identity.cluster.clone(),
            interval: INTERVAL,
            on_joined: Box::new(move || {
                if let Err(error) = joined(&dir) {
                    warn!(%error, "this node has joined, and cannot note it");
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
        let port = server::serve_network(listener, server::tls(&shown)?, router);
        let ended = stopped.clone();
        let tasks = vec![
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
            engine: node.bind_address().to_owned(),
            identity,
            resolve,
            node: Mutex::new(Some(node)),
            stop: Mutex::new(Some(stop)),
            tasks: Mutex::new(tasks),
        })
    }

    /// The way to dqlite's leader, to change its cluster.
    pub fn nodes(&self) -> Nodes {
        let seen = self.member.status().borrow().servers.clone();
        let known: &[Server] = if seen.is_empty() {
            &self.identity.cluster
        } else {
            &seen
        };
        Nodes::new(known, self.resolve.clone(), RoleTargets::default())
    }

    /// Keeps rows and trust in step with dqlite's cluster, until it is dropped.
    pub async fn look_after(&self) {
        loop {
            let pause = match self.look().await {
                Ok(()) => INTERVAL,
                Err(error) => {
                    warn!(%error, "cannot look after the members");
                    RETRY_PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// One look: the leader notes roles, everybody learns whom to trust.
    pub async fn look(&self) -> Result<(), Error> {
        let status = self.member.status().borrow().clone();
        if status
            .leader
            .is_some_and(|leader| leader.id == self.identity.id)
        {
            self.database.heartbeat(&status.servers).await?;
        }
        let members = self.database.members().await?;
        if members.iter().all(|member| member.name != self.own.name) {
            warn!("this node is no member of its cluster any more");
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

    /// Ends everything. `hand_over`: role and leadership go to others first.
    pub async fn stop(&self, hand_over: bool) {
        if hand_over
            && let Err(error) = self.member.handover(Box::pin(std::future::ready(()))).await
        {
            warn!(%error, "this node's role is not handed over");
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

async fn start_engine(
    state: &StateDir,
    address: &str,
    seeds: Vec<String>,
    resolve: Resolve,
) -> Result<(Node, Identity), Error> {
    let (dir, address) = (state.database(), address.to_owned());
    let dial = dialer_through(Handle::current(), resolve);
    let started = spawn_blocking(move || {
        let lock = DirLock::acquire(&dir)?;
        let wanted = Wanted {
            address: Some(&address),
            cluster: &seeds,
        };
        let identity = identify(&lock, wanted)?;
        let mut options = NodeOptions::new(identity.id, &identity.address, &dir, dial);
        options.bootstrap = identity.bootstrap;
        options.network_latency = Some(NETWORK_LATENCY);
        let mut node = Node::create_locked(&options, lock)?;
        node.start()?;
        bootstrapped(&dir)?;
        Ok((node, identity))
    });
    started.await.expect("starting does not panic")
}

async fn until_dropped(mut sender: watch::Receiver<()>) {
    // Nothing is ever sent.
    while sender.changed().await.is_ok() {}
}
