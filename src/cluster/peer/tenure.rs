//! The time during which a node leads without a break, and the proof that it leads still.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dqlite::wire::{NodeId, Role};
use replication::{
    View,
    proofs::{self, ProofId, Proofs},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{EngineView, Reads, reads::finish};

/// Rounds that a follower was not asked for yet.
const MAX_ROUNDS: usize = 16;

/// Pause after a proof that failed: the nodes do not answer, or there is an election.
const PROOF_PAUSE: Duration = Duration::from_millis(50);

/// The time during which this node leads without a break.
pub struct Tenure {
    pub term: u64,
    pub own_id: NodeId,
    engine: Arc<EngineView>,
    reads: Arc<Reads>,
    started: Instant,
    proofs: Mutex<Proofs>,
    /// Told of the proofs for which nodes are asked.
    asking: Mutex<HashMap<ProofId, oneshot::Sender<()>>>,
    sessions: Mutex<HashMap<u64, mpsc::Sender<ProofId>>>,
    next_session: AtomicU64,
    ended: watch::Sender<Option<TenureEnd>>,
}

/// The way in which a node has ceased to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenureEnd {
    /// It has stopped writing, and gives the leadership away.
    HandsOver,
    /// It has lost the leadership.
    Deposed,
}

impl Tenure {
    pub fn new(own_id: NodeId, term: u64, engine: Arc<EngineView>, reads: Arc<Reads>) -> Arc<Self> {
        Arc::new(Self {
            term,
            own_id,
            engine,
            reads,
            started: Instant::now(),
            proofs: Mutex::new(Proofs::new(own_id.number(), term)),
            asking: Mutex::default(),
            sessions: Mutex::default(),
            next_session: AtomicU64::new(1),
            ended: watch::Sender::new(None),
        })
    }

    pub fn end(&self, end: TenureEnd) {
        self.ended.send_replace(Some(end));
    }

    /// Waits until this node has ceased to lead.
    pub async fn ended(self: Arc<Self>) -> TenureEnd {
        let mut ended = self.ended.subscribe();
        let end = ended.wait_for(Option::is_some).await;
        end.ok().and_then(|end| *end).unwrap_or(TenureEnd::Deposed)
    }

    /// Returns whether this node led at some moment after the call. `told` is what a node said just
    /// now.
    pub async fn prove(&self, told: Option<(u64, View)>) -> bool {
        let began = Instant::now();
        let mut event = proofs::Event::Wanted { told };
        let mut asked = None;
        loop {
            event = match self.decide(event) {
                None => return false,
                Some(proofs::Command::AskEngine { proof, and_nodes }) => {
                    if and_nodes {
                        asked = Some(self.ask_nodes(proof));
                    }
                    let view = self.engine.view().await.ok();
                    proofs::Event::EngineSaid { proof, view }
                }
                Some(proofs::Command::AskVoters { proof }) => {
                    let voters = self.voters(began).await;
                    proofs::Event::VotersAre { proof, voters }
                }
                Some(proofs::Command::AskNodes { proof, until }) => {
                    let is_proven = asked.take().unwrap_or_else(|| self.ask_nodes(proof));
                    let is_proven = timeout_at(self.started + until, is_proven).await;
                    self.asking().remove(&proof);
                    if matches!(is_proven, Ok(Ok(()))) {
                        return true;
                    }
                    proofs::Event::TimeIsUp { proof }
                }
                Some(proofs::Command::Settle { is_proven, .. }) => return is_proven,
            }
        }
    }

    /// Returns the nodes that vote. The engine was asked at `asked` and named this node.
    async fn voters(&self, asked: Instant) -> Option<Vec<u64>> {
        let servers = self.engine.servers().await.ok()?;
        let is_alone = matches!(&servers[..], [server] if server.id == self.own_id);
        self.reads.note_nodes(is_alone, asked);
        let voters = servers.iter().filter(|server| server.role == Role::Voter);
        Some(voters.map(|server| server.id.number()).collect())
    }

    fn decide(&self, event: proofs::Event) -> Option<proofs::Command> {
        let mut proofs = self.proofs.lock().expect("no panic while it is held");
        proofs.decide(event, self.started.elapsed())
    }

    /// Asks all followers. Returns what tells when they have made it a proof.
    fn ask_nodes(&self, proof: ProofId) -> oneshot::Receiver<()> {
        let (done, is_proven) = oneshot::channel();
        {
            let mut asking = self.asking();
            // Those that nobody waits for any more.
            asking.retain(|_, done| !done.is_closed());
            asking.insert(proof, done);
        }
        for session in self.sessions().values() {
            // One that is full asks for an earlier round still, and its end is near.
            let _ = session.try_send(proof);
        }
        is_proven
    }

    /// Notes whom the node `id` named when it was asked for a proof.
    pub fn confirmed(&self, id: u64, proof: ProofId, view: View) {
        let command = self.decide(proofs::Event::NodeSaid { id, proof, view });
        if let Some(proofs::Command::Settle {
            is_proven: true, ..
        }) = command
            && let Some(done) = self.asking().remove(&proof)
        {
            let _ = done.send(());
        }
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<ProofId, oneshot::Sender<()>>> {
        self.asking.lock().expect("no panic while it is held")
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<ProofId>>> {
        self.sessions.lock().expect("no panic while it is held")
    }

    /// Enters the session of a follower, which is told of the proofs to ask it for. Returns the session's number.
    pub fn enter_session(&self) -> (u64, mpsc::Receiver<ProofId>) {
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        let (confirm, confirms) = mpsc::channel(MAX_ROUNDS);
        self.sessions().insert(number, confirm);
        // This node may have been the only one until now.
        self.engine.expect_news();
        (number, confirms)
    }

    pub fn leave_session(&self, number: u64) {
        self.sessions().remove(&number);
    }

    /// Proves the reads of this node's own clients. Runs until it is dropped.
    pub async fn serve_reads(self: Arc<Self>) {
        let reads = &self.reads;
        loop {
            reads.arrived().await;
            let waiting = Returning {
                reads,
                waiting: reads.take(),
            };
            if self.prove(None).await {
                finish(waiting.take(), Ok(()));
            } else {
                drop(waiting);
                sleep(PROOF_PAUSE).await;
            }
        }
    }
}

/// Reads that stay queued when this is dropped, unless they were taken.
struct Returning<'a> {
    reads: &'a Reads,
    waiting: Vec<super::reads::Waiting>,
}

impl Returning<'_> {
    fn take(mut self) -> Vec<super::reads::Waiting> {
        std::mem::take(&mut self.waiting)
    }
}

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        self.reads.give_back(std::mem::take(&mut self.waiting));
    }
}
