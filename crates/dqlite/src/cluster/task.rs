//! The task that keeps a node in its cluster: it joins, takes the role that is missing, and adjusts the others while it
//! leads.

use std::{sync::Arc, time::Duration};

use stopping::warn;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tracing::{error, info};

use super::{
    ClusterError, HandedOver, MemberOptions, MemberState, MemberStatus, Nodes, Prepare,
    adjust::adjust,
    adjust::promote_self,
    handover::{handover, leaderless},
    join::join,
    member::Handover,
};
use crate::{
    client::Leader,
    files,
    wire::{Role, Server},
};

/// The pause after a look that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The time for which looks have failed before the log warns of them: several follow each other at once while nodes join.
const WARN_AFTER: Duration = Duration::from_secs(2);

/// The time for which a new leader leaves the roles alone: the old one may be about to hand its own
/// over, or is being started again.
const SETTLING_TIME: Duration = Duration::from_secs(5);

/// The timeout for noting the nodes before a stop. The leader answers at once if there is one.
const REMEMBER_TIMEOUT: Duration = Duration::from_secs(1);

pub struct MemberTask {
    handovers: mpsc::Receiver<Handover>,
    life: Life,
}

struct Life {
    options: MemberOptions,
    nodes: Nodes,
    status: watch::Sender<MemberStatus>,
    look_now: Arc<Notify>,
    leads_since: Option<Instant>,
    has_assumed_role: bool,
    written: Vec<Server>,
}

impl MemberTask {
    pub(super) fn new(
        options: MemberOptions,
        nodes: Nodes,
        status: watch::Sender<MemberStatus>,
        look_now: Arc<Notify>,
        handovers: mpsc::Receiver<Handover>,
    ) -> Self {
        let life = Life {
            written: options.servers.clone(),
            options,
            nodes,
            status,
            look_now,
            leads_since: None,
            has_assumed_role: false,
        };
        Self { handovers, life }
    }

    /// Runs until `stop` is ready.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            mut handovers,
            mut life,
        } = self;
        let living = async {
            loop {
                let asked = tokio::select! {
                    () = life.run() => None,
                    asked = handovers.recv() => asked,
                };
                let Some(Handover {
                    prepare,
                    is_leaving,
                    reply,
                }) = asked
                else {
                    break;
                };
                life.has_assumed_role = true;
                let own = (life.options.resolve)(&life.options.own.address);
                let done = tokio::select! {
                    biased;
                    done = life.hand_over(prepare) => done,
                    error = leaderless(own) => Err(error),
                };
                // Whoever asked may have gone.
                let _ = reply.send(done);
                if is_leaving {
                    break;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = stop => {}
            () = living => {}
        }
    }
}

/// Logs that a look at the cluster failed. One that meets an election does.
fn tell_failure(failing_for: Duration, error: &ClusterError) {
    let text = "cannot check this node's membership in the cluster; trying again";
    match failing_for < WARN_AFTER {
        true => info!(%error, "{text}"),
        false => warn!(%error, "{text}"),
    }
}

impl Life {
    async fn run(&mut self) {
        if self.options.is_joining {
            self.join().await;
        }
        let mut failing_since = None;
        loop {
            let pause = match self.look().await {
                Ok(pause) => {
                    failing_since = None;
                    pause
                }
                Err(error) => {
                    let since = failing_since.get_or_insert_with(Instant::now);
                    tell_failure(since.elapsed(), &error);
                    RETRY_PAUSE
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.look_now.notified() => {}
            }
        }
    }

    async fn join(&mut self) {
        self.status
            .send_modify(|status| status.state = MemberState::Joining);
        let servers = join(
            &mut self.nodes,
            &self.options.own,
            self.options.cluster_id.as_ref(),
        )
        .await;
        self.nodes.set(&servers);
        let on_joined = std::mem::replace(&mut self.options.on_joined, Box::new(|| {}));
        let dir = self.options.dir.clone();
        let cleared = spawn_blocking(move || {
            files::write_cluster(&dir, &servers)?;
            on_joined();
            files::joined(&dir)
        });
        if let Err(error) = cleared.await.expect("writing files does not panic") {
            // The next start finds out that it is in the cluster.
            warn!(%error, "cannot record that this node has joined");
        }
    }

    /// One look at the cluster, with what follows from it. Returns when to look again.
    async fn look(&mut self) -> Result<Duration, ClusterError> {
        let mut connection = self.nodes.leader().await?;
        let servers = connection.cluster().await?;
        let leader = connection.leader().await?;
        drop(connection);
        let own_id = self.options.own.id;
        let Some(own) = servers.iter().find(|server| server.id == own_id) else {
            self.note_removal(servers, leader);
            return Ok(self.options.interval);
        };
        let role = own.role;
        self.nodes.set(&servers);
        self.tell_size(servers.len());
        self.save(&servers).await?;
        let is_leader = leader.as_ref().is_some_and(|leader| leader.id == own_id);
        self.leads_since = is_leader.then(|| self.leads_since.unwrap_or_else(Instant::now));
        self.show(role, servers, leader);
        if !self.has_assumed_role {
            let assumed = promote_self(&mut self.nodes, own_id).await?;
            self.has_assumed_role = true;
            if assumed.is_some() {
                // What has changed is shown and written down first.
                return Ok(Duration::ZERO);
            }
        }
        if self.status.borrow().state != MemberState::Ready {
            self.status
                .send_modify(|status| status.state = MemberState::Ready);
            info!(?role, "this node is a member of the cluster");
        }
        self.adjust().await
    }

    async fn adjust(&mut self) -> Result<Duration, ClusterError> {
        let interval = self.options.interval;
        let Some(since) = self.leads_since else {
            return Ok(interval);
        };
        let settling = SETTLING_TIME.min(interval).saturating_sub(since.elapsed());
        if !settling.is_zero() {
            return Ok(settling);
        }
        if self.status.borrow().servers.len() > 1
            && adjust(&mut self.nodes, self.options.own.id).await? > 0
        {
            // What has changed is written down at once.
            return Ok(Duration::ZERO);
        }
        Ok(interval)
    }

    /// Logs what the number of nodes means, whenever it has changed.
    fn tell_size(&self, nodes: usize) {
        if self.status.borrow().servers.len() == nodes {
            return;
        }
        match nodes {
            1 => info!("the cluster has one node: there is no other copy of the data"),
            // Most clusters are for a moment: the second node joins before the third.
            2 => info!(
                "the cluster has two nodes, which tolerate no failure: one votes, the other has a copy \
                 of the data and becomes the leader only when the first is stopped cleanly; add a third"
            ),
            _ => info!(nodes, "the cluster has several nodes"),
        }
    }

    fn show(&self, role: Role, servers: Vec<Server>, leader: Option<Leader>) {
        self.status.send_if_modified(|status| {
            let was_removed = status.state == MemberState::Removed;
            let next = MemberStatus {
                state: if was_removed {
                    MemberState::Unknown
                } else {
                    status.state
                },
                role: Some(role),
                servers: servers.into(),
                leader,
            };
            std::mem::replace(status, next.clone()) != next
        });
    }

    fn note_removal(&mut self, servers: Vec<Server>, leader: Option<Leader>) {
        self.leads_since = None;
        self.has_assumed_role = false;
        let was_removed = self.status.borrow().state == MemberState::Removed;
        if !was_removed {
            error!(
                "this node was removed from the cluster, and its data is out of date: stop it, \
                 and delete its storage directory; with an init.yaml that names the other nodes it joins again"
            );
        }
        self.status.send_replace(MemberStatus {
            state: MemberState::Removed,
            role: None,
            servers: servers.into(),
            leader,
        });
    }

    async fn hand_over(&mut self, prepare: Prepare) -> Result<HandedOver, ClusterError> {
        // The next start finds the others by it, however they change until then.
        let _ = timeout(REMEMBER_TIMEOUT, self.remember()).await;
        handover(&mut self.nodes, self.options.own.id, prepare).await
    }

    async fn remember(&mut self) -> Result<(), ClusterError> {
        let servers = self.nodes.leader().await?.cluster().await?;
        self.save(&servers).await
    }

    async fn save(&mut self, servers: &[Server]) -> Result<(), ClusterError> {
        if self.written == servers {
            return Ok(());
        }
        let (dir, text) = (self.options.dir.clone(), servers.to_vec());
        let written = spawn_blocking(move || files::write_cluster(&dir, &text));
        written.await.expect("writing a file does not panic")?;
        self.written = servers.to_vec();
        Ok(())
    }
}
