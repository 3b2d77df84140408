//! The daemon's phases, from its start to its end.
//!
//! Invariants: one change (bootstrap, join, reset, stop) at a time; one that fails leaves a node that can be
//! bootstrapped or joined again.

mod leave;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use hyper::Method;
use serde_json::{Value, json};
use tokio::{
    sync::{MutexGuard, Notify},
    task::JoinHandle,
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    Error,
    api::{Admission, ClusterMember, Control, EXTENSIONS, SCHEMA_INTERNAL},
    certificate::{self, PemPair, check_name, generate, has_dns_name, is_valid_at, parse},
    client::{Target, pinned},
    cluster::{Cluster, check_datastore_address, check_own_address},
    datastore::{Datastore, journal},
    failpoint::fail_at,
    peers, reconcile, recover,
    state::{DaemonFile, StateDir},
    time::now_s,
    token::JoinToken,
    trust::{TrustEntry, Truststore},
};

/// The database of a new cluster is open within a second, that of a new member when the leader has let it in. One that opens it
/// again has no limit: its cluster may be down for as long as it likes.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// One question to one member, which asks the leader.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(crate) enum Phase {
    New,
    /// Other nodes can reach the engine already, but users cannot yet.
    Opening(Arc<Cluster>),
    Open(Arc<Cluster>),
    Stopping,
}

pub struct Daemon {
    state: StateDir,
    phase: Mutex<Phase>,
    change: tokio::sync::Mutex<()>,
    looking: Mutex<Option<JoinHandle<()>>>,
    shutdown: Notify,
    /// This node was removed while it was down.
    removed: Notify,
    first: Option<Control>,
    /// The routes that it serves, to the socket and to the network.
    router: fn(Arc<Daemon>) -> Router,
}

impl Daemon {
    pub(crate) fn new(
        state: StateDir,
        first: Option<Control>,
        router: fn(Arc<Daemon>) -> Router,
    ) -> Arc<Self> {
        Arc::new(Self {
            state,
            phase: Mutex::new(Phase::New),
            change: tokio::sync::Mutex::new(()),
            looking: Mutex::new(None),
            shutdown: Notify::new(),
            removed: Notify::new(),
            first,
            router,
        })
    }

    /// Nobody changes the state directory before the daemon is started.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, ()> {
        self.change.lock().await
    }

    /// Goes on from the state in which an earlier daemon left the directory.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), Error> {
        match self.state.read_daemon()? {
            Some(own) => tokio::select! {
                opened = self.open_again(own) => opened,
                () = self.removed.notified() => self.forget().await,
            },
            None => self.give_up_join().await,
        }
    }

    pub(crate) async fn asked_to_shut_down(&self) {
        self.shutdown.notified().await;
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.lock().expect("no panic while locked").clone()
    }

    fn set(&self, phase: Phase) {
        *self.phase.lock().expect("no panic while locked") = phase;
    }

    /// The cluster whose database is open.
    pub(crate) fn cluster(&self) -> Result<Arc<Cluster>, Error> {
        match self.phase() {
            Phase::Open(cluster) => Ok(cluster),
            Phase::New => Err(Error::Unavailable(
                "Database is not yet initialized".to_owned(),
            )),
            Phase::Opening(_) => Err(Error::Unavailable("Database is still starting".to_owned())),
            Phase::Stopping => Err(Error::Unavailable("Daemon is shutting down".to_owned())),
        }
    }

    /// Returns the cluster's key pair, whose certificate every member shows.
    pub(crate) fn cluster_pair(&self) -> Result<PemPair, Error> {
        certificate::load(&self.state, "cluster")?
            .ok_or_else(|| Error::Internal("cluster.crt or cluster.key is missing".to_owned()))
    }

    pub(crate) fn ask_shutdown(&self) {
        self.shutdown.notify_one();
    }

    /// Begins the cluster that the daemon's flags ask for, unless it is a member of one.
    pub(crate) async fn begin_if_new(self: &Arc<Self>) -> Result<(), Error> {
        match (self.phase(), &self.first) {
            (Phase::New, Some(first)) => self.control(first.clone()).await,
            _ => Ok(()),
        }
    }

    /// Begins a new cluster, or joins one.
    pub(crate) async fn control(self: &Arc<Self>, control: Control) -> Result<(), Error> {
        let _changing = self.change.lock().await;
        if !matches!(self.phase(), Phase::New) {
            return Err(Error::Conflict(
                "Unable to initialize cluster: Database is online".to_owned(),
            ));
        }
        check_name(&control.name)?;
        let address: SocketAddr = control.address.parse().map_err(|_| {
            Error::Invalid(format!(
                "Invalid address {:?}: it must be ip:port",
                control.address
            ))
        })?;
        if address.ip().is_unspecified() || address.port() == 0 {
            return Err(Error::Invalid(format!(
                "Invalid address {address}: other members cannot reach it"
            )));
        }
        // An address that is not this machine's must not be told to anybody.
        check_own_address(&address.to_string()).await?;
        // What an attempt left that was killed would be taken for somebody's.
        journal::withdraw(&self.state)?;
        let datastore = control.datastore.map(Datastore::look).transpose()?;
        if datastore.is_some() {
            check_datastore_address(&address_of(datastore.as_ref())).await?;
        }
        let own = DaemonFile {
            name: control.name,
            address: address.to_string(),
            servers: Default::default(),
        };
        let done = match (control.bootstrap, control.join_token.as_str()) {
            (true, "") => self.bootstrap(own, datastore).await,
            (false, token) if !token.is_empty() => {
                self.join(own, JoinToken::decode(token)?, datastore).await
            }
            _ => Err(Error::Invalid(
                "Either bootstrap or a join token is needed".to_owned(),
            )),
        };
        if let Err(error) = &done {
            warn!(%error, "the node could not become a member");
            self.end(false).await;
            if let Err(error) = journal::withdraw(&self.state) {
                warn!(%error, "cannot remove what was written for the datastore; the next attempt will");
            }
            self.state.reset()?;
            self.set(Phase::New);
        }
        done
    }

    async fn bootstrap(
        self: &Arc<Self>,
        own: DaemonFile,
        datastore: Option<Datastore>,
    ) -> Result<(), Error> {
        self.state.reset()?;
        let pair = self.own_pair(&own.name)?;
        certificate::save(&self.state, "cluster", &generate(&own.name, now_s())?)?;
        let member = ClusterMember {
            name: own.name.clone(),
            address: own.address.clone(),
            certificate: pair.certificate,
            datastore_address: address_of(datastore.as_ref()),
            ..ClusterMember::default()
        };
        let store = Truststore::load(&self.state)?;
        store.add(crate::cluster::entry(member.clone()))?;
        let pair = match &datastore {
            Some(datastore) => Some(datastore.pair(&own.name, now_s()).await?),
            None => None,
        };
        self.start(own.clone(), Vec::new(), Some(member)).await?;
        if let (Some(datastore), Some(pair)) = (datastore, pair) {
            self.cluster()?.database.put_datastore_pair(&pair).await?;
            datastore.begin(&pair)?.write(&self.state).await?;
        }
        fail_at("bootstrapped");
        // Last: from here on the directory is that of a member.
        self.state.write_daemon(&own)?;
        info!(
            name = own.name,
            address = own.address,
            "a new cluster has begun"
        );
        Ok(())
    }

    async fn join(
        self: &Arc<Self>,
        own: DaemonFile,
        token: JoinToken,
        datastore: Option<Datastore>,
    ) -> Result<(), Error> {
        self.state.reset()?;
        if let Some(datastore) = &datastore {
            datastore.check_joins().await?;
        }
        let pair = self.own_pair(&own.name)?;
        let context = pinned(&pair, &token.fingerprint)?;
        let member = ClusterMember {
            name: own.name.clone(),
            address: own.address.clone(),
            certificate: pair.certificate.clone(),
            schema_internal_version: SCHEMA_INTERNAL,
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
            secret: token.secret.clone(),
            datastore_address: address_of(datastore.as_ref()),
            ..ClusterMember::default()
        };
        let body = serde_json::to_value(&member).map_err(|e| Error::Internal(e.to_string()))?;
        let mut last = Error::Unavailable("no member is reachable".to_owned());
        // An answer was lost.
        let mut is_perhaps_in = false;
        let targets = token.join_addresses.into_iter().map(|address| {
            let context = context.clone();
            Target::Pinned { address, context }
        });
        let targets: Vec<Target> = targets.collect();
        for target in &targets {
            let path = "/core/internal/cluster";
            let asked = target
                .call::<Admission>(Method::POST, path, Some(&body), ASK_TIMEOUT)
                .await;
            match asked {
                Ok(admission) => {
                    let done = self.enter(own.clone(), pair, admission, datastore).await;
                    if done.is_err() {
                        leave::be_forgotten(&targets, &own.name).await;
                    }
                    return done;
                }
                // It was heard, and others would say the same.
                Err(
                    refused @ Error::Refused {
                        status: 400..=499, ..
                    },
                ) => {
                    last = refused;
                    break;
                }
                Err(error) => {
                    is_perhaps_in = true;
                    last = error;
                }
            }
        }
        if is_perhaps_in {
            leave::be_forgotten(&targets, &own.name).await;
        }
        Err(last)
    }

    async fn enter(
        self: &Arc<Self>,
        own: DaemonFile,
        pair: PemPair,
        admission: Admission,
        datastore: Option<Datastore>,
    ) -> Result<(), Error> {
        if !is_valid_at(&parse(&admission.cluster_cert)?, now_s()) {
            return Err(Error::Unavailable(
                "The certificate of the cluster is not valid now: do the clocks agree?".to_owned(),
            ));
        }
        let cluster_pair = PemPair {
            certificate: admission.cluster_cert,
            key: admission.cluster_key,
        };
        certificate::save(&self.state, "cluster", &cluster_pair)?;
        fail_at("admitted");
        let store = Truststore::load(&self.state)?;
        store.add(TrustEntry {
            name: own.name.clone(),
            address: own.address.clone(),
            certificate: pair.certificate,
        })?;
        let mut seeds = Vec::new();
        for peer in admission.cluster_members {
            if peer.name == own.name {
                continue;
            }
            seeds.push(peer.address.clone());
            store.add(TrustEntry {
                name: peer.name,
                address: peer.address,
                certificate: peer.certificate,
            })?;
        }
        let plan = datastore.map(|datastore| datastore.enter(admission.datastore));
        let plan = plan.transpose()?;
        fail_at("trusting");
        self.start(own.clone(), seeds, None).await?;
        if let Some(plan) = plan {
            plan.write(&self.state).await?;
        }
        fail_at("entered");
        self.state.write_daemon(&own)?;
        info!(
            name = own.name,
            address = own.address,
            "this node has joined the cluster"
        );
        if let Phase::Open(cluster) = self.phase() {
            // The leader confirms it in a round.
            tokio::spawn(async move {
                let path = peers::HEARTBEAT_PATH;
                peers::tell_others(&cluster, Method::POST, path, json!({})).await;
            });
        }
        Ok(())
    }

    /// Returns the node's own key pair. It is made again if its certificate is not for this name, or not valid at this
    /// time.
    fn own_pair(&self, name: &str) -> Result<PemPair, Error> {
        if let Some(pair) = certificate::load(&self.state, "server")?
            && let certificate = parse(&pair.certificate)?
            && has_dns_name(&certificate, name)
            && is_valid_at(&certificate, now_s())
        {
            return Ok(pair);
        }
        let pair = generate(name, now_s())?;
        certificate::save(&self.state, "server", &pair)?;
        Ok(pair)
    }

    /// Starts a new member and returns when the database is open. `first` is the member that begins the cluster.
    async fn start(
        self: &Arc<Self>,
        own: DaemonFile,
        seeds: Vec<String>,
        first: Option<ClusterMember>,
    ) -> Result<(), Error> {
        let cluster = self.start_engine(own, seeds).await?;
        let opened = timeout(OPEN_TIMEOUT, open(&cluster, first));
        opened.await.unwrap_or_else(|_| {
            Err(Error::Unavailable(format!(
                "the database was not open after {} s",
                OPEN_TIMEOUT.as_secs()
            )))
        })?;
        self.serve(cluster).await
    }

    /// Like [`Daemon::start`], of a node that is a member already: waits for a majority for as long as that takes.
    async fn open_again(self: &Arc<Self>, own: DaemonFile) -> Result<(), Error> {
        let cluster = self.start_engine(own, Vec::new()).await?;
        open(&cluster, None).await?;
        self.serve(cluster).await
    }

    async fn start_engine(
        self: &Arc<Self>,
        own: DaemonFile,
        seeds: Vec<String>,
    ) -> Result<Arc<Cluster>, Error> {
        let router = (self.router)(self.clone());
        let cluster = Arc::new(Cluster::start(&self.state, own, seeds, router).await?);
        self.set(Phase::Opening(cluster.clone()));
        Ok(cluster)
    }

    async fn serve(&self, cluster: Arc<Cluster>) -> Result<(), Error> {
        recover::apply_patch(&self.state, &cluster.database).await?;
        self.set(Phase::Open(cluster.clone()));
        let looking = tokio::spawn(async move { reconcile::run(&cluster).await });
        *self.looking.lock().expect("no panic while locked") = Some(looking);
        Ok(())
    }

    pub(crate) async fn end(&self, hand_over: bool) {
        let phase = self.phase();
        self.set(Phase::Stopping);
        if let Some(looking) = self.looking.lock().expect("no panic while locked").take() {
            looking.abort();
        }
        match phase {
            Phase::Open(cluster) => {
                if hand_over {
                    // Others still reach the engine meanwhile.
                    self.set(Phase::Opening(cluster.clone()));
                }
                cluster.stop(hand_over).await;
            }
            Phase::Opening(cluster) => cluster.stop(false).await,
            Phase::New | Phase::Stopping => {}
        }
        self.set(Phase::Stopping);
    }
}

async fn open(cluster: &Cluster, first: Option<ClusterMember>) -> Result<(), Error> {
    if first.is_none() && cluster.identity.is_joining {
        cluster.member.ready().await?;
    }
    if let Some(first) = first {
        cluster.database.create().await?;
        cluster.database.add_member(&first, None).await?;
        reconcile::round(cluster).await.map(drop)
    } else {
        loop {
            match cluster.database.check_version().await {
                // The others may be starting, too.
                Err(Error::Client(error)) => {
                    tracing::debug!(%error, "the database is not available yet");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                done => return done,
            }
        }
    }
}

fn address_of(datastore: Option<&Datastore>) -> String {
    datastore.map_or_else(String::new, |datastore| datastore.address().to_owned())
}

/// Returns the answer of a member about itself.
pub(crate) fn about(own: &DaemonFile) -> Value {
    json!({"name": own.name, "address": own.address, "version": env!("CARGO_PKG_VERSION"),
        "ready": true, "extensions": EXTENSIONS})
}
