//! Linearizable reads that wait for their proof. All that arrive while one proof is under way share
//! the next one.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_state::requests::RequestError;
use replication::reads::{Waiting as WaitingReads, is_alone};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::store::{Cluster, Confirmed};

/// The role of this node in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    Unknown = 0,
    Leader = 1,
    Follower = 2,
}

pub type Waiting = oneshot::Sender<Result<(), RequestError>>;

#[derive(Debug)]
pub struct Reads {
    waiting: Mutex<WaitingReads<Waiting>>,
    arrived: Notify,
    role: AtomicU8,
    /// The number of times that this node began to lead.
    reigns: AtomicU64,
    started: Instant,
    /// Twice the milliseconds, since `started`, of the engine's last answer about the nodes, and 1 more if there is no other node.
    nodes: AtomicU64,
    leader_changes: AtomicU64,
    /// The time, since `started`, when the engine last answered.
    answered_ms: AtomicU64,
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            role: AtomicU8::new(Role::Unknown as u8),
            reigns: AtomicU64::new(0),
            started: Instant::now(),
            nodes: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
            answered_ms: AtomicU64::new(0),
        }
    }
}

impl Reads {
    pub fn note_leader_change(&self) {
        self.leader_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// The engine has answered just now.
    pub fn note_answer(&self) {
        let now_ms = self.started.elapsed().as_millis() as u64;
        self.answered_ms.store(now_ms, Ordering::Relaxed);
    }

    pub fn set_role(&self, role: Role) {
        if role == Role::Leader {
            self.reigns.fetch_add(1, Ordering::AcqRel);
        }
        self.role.store(role as u8, Ordering::Release);
    }

    /// The engine, asked at `asked`, said whether this node is the only one. Only the leader's knows. An answer to an earlier
    /// question than another one changes nothing.
    pub fn note_nodes(&self, is_alone: bool, asked: Instant) {
        let at = asked.saturating_duration_since(self.started).as_millis() as u64;
        let noted = at << 1 | u64::from(is_alone);
        let newer = |known: u64| (known >> 1 <= at).then_some(noted);
        // Fails where there is a newer one.
        let _ = self
            .nodes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, newer);
    }

    /// Waits until reads wait. Cancel safe.
    pub async fn arrived(&self) {
        loop {
            let arrived = self.arrived.notified();
            if !self.lock().is_empty() {
                return;
            }
            arrived.await;
        }
    }

    /// Takes the reads that wait now: a proof that begins after this call is one for them.
    pub fn take(&self) -> Vec<Waiting> {
        self.lock().take(Waiting::is_closed)
    }

    /// Puts reads back, to wait for another proof.
    pub fn give_back(&self, waiting: Vec<Waiting>) {
        if !waiting.is_empty() {
            self.lock().give_back(waiting);
            self.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitingReads<Waiting>> {
        self.waiting.lock().expect("no panic while it is held")
    }
}

pub fn finish(waiting: Vec<Waiting>, result: Result<(), RequestError>) {
    for waiting in waiting {
        let _ = waiting.send(result);
    }
}

impl Cluster for Reads {
    fn is_alone(&self) -> bool {
        // Before the time is read, which is compared with it.
        let nodes = self.nodes.load(Ordering::Acquire);
        let asked = Duration::from_millis(nodes >> 1);
        let is_single = nodes & 1 == 1;
        is_alone(self.leads(), is_single, asked, self.started.elapsed())
    }

    fn is_single(&self) -> bool {
        self.nodes.load(Ordering::Acquire) & 1 == 1
    }

    fn leads(&self) -> bool {
        self.role.load(Ordering::Acquire) == Role::Leader as u8
    }

    fn reign(&self) -> Option<u64> {
        let reign = self.reigns.load(Ordering::Acquire);
        self.leads().then_some(reign)
    }

    fn has_leader(&self) -> bool {
        self.role.load(Ordering::Acquire) != Role::Unknown as u8
    }

    fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    fn engine_silent_for(&self) -> Duration {
        let answered = Duration::from_millis(self.answered_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(answered)
    }

    fn confirm(&self) -> Confirmed<'_> {
        let (sender, confirmed) = oneshot::channel();
        if self.lock().add(sender, Waiting::is_closed).is_err() {
            return Box::pin(std::future::ready(Err(RequestError::TooManyRequests)));
        }
        self.arrived.notify_one();
        Box::pin(async move { confirmed.await.unwrap_or(Err(RequestError::LeaderChanged)) })
    }
}
