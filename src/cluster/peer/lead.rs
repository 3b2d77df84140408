//! The leader's side: one session for each follower, and the proof that this node leads still.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dqlite::cluster_id::ClusterId;
use etcd_state::{mvcc::Revision, settings::Settings};
use peer_proto::{
    self as proto, AboutRequest, AboutResponse, FromLeader, Hello, ReadIndexed, RememberedRequest,
    RememberedResponse, ToLeader, Welcome, peer_server::Peer,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error, info};

use super::{
    EngineView, Reads, View,
    log_ends::{LogEnds, Remembered, moments_to_tell},
    node_info::{OwnFiles, details},
    reads::finish,
    requests::serve,
    rows::{Transfer, row_of_change, settings_to_proto},
};
use crate::store::Store;

/// Messages that a follower has not taken yet: beyond this its session waits, and the history keeps
/// what comes.
const MAX_UNSENT: usize = 4;

/// Changes in one message.
const CHANGES_PER_MESSAGE: usize = 1024;

/// Rounds that a follower was not asked for yet.
const MAX_ROUNDS: usize = 16;

/// The longest that the nodes may take to confirm.
const ROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause after a proof that failed: the nodes do not answer, or there is an election.
const PROOF_PAUSE: Duration = Duration::from_millis(50);

/// Answers that a follower waits for; it forwards no more requests before it has some.
pub const MAX_OUTSTANDING: usize = 4096;

/// The time during which this node leads without a break.
pub struct Tenure {
    pub term: u64,
    own_id: u64,
    engine: Arc<EngineView>,
    rounds: Mutex<HashMap<u64, Round>>,
    sessions: Mutex<HashMap<u64, mpsc::Sender<u64>>>,
    next: AtomicU64,
    ended: watch::Sender<bool>,
}

/// A question to all nodes who leads.
struct Round {
    voters: HashSet<u64>,
    confirmed: HashSet<u64>,
    done: Option<oneshot::Sender<()>>,
}

impl Round {
    fn has_majority(&self) -> bool {
        self.confirmed.intersection(&self.voters).count() * 2 > self.voters.len()
    }
}

impl Tenure {
    pub fn new(own_id: u64, term: u64, engine: Arc<EngineView>) -> Arc<Self> {
        Arc::new(Self {
            term,
            own_id,
            engine,
            rounds: Mutex::default(),
            sessions: Mutex::default(),
            next: AtomicU64::new(1),
            ended: watch::Sender::new(false),
        })
    }

    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    fn is_this(&self, view: &View) -> bool {
        view.leader_id() == self.own_id && view.term == self.term
    }

    /// Returns whether this node led at some moment after the call: a majority of the voters named
    /// it, in its term, and a voter that names it has not elected another leader yet. `told` is
    /// what a node said just now.
    async fn prove(&self, told: Option<(u64, View)>) -> bool {
        let Ok(view) = self.engine.view().await else {
            return false;
        };
        if !self.is_this(&view) {
            return false;
        }
        let Ok(voters) = self.engine.voters().await else {
            return false;
        };
        let mut round = Round {
            voters: voters.into_iter().collect(),
            confirmed: HashSet::from([self.own_id]),
            done: None,
        };
        if let Some((id, view)) = told
            && self.is_this(&view)
        {
            round.confirmed.insert(id);
        }
        if round.has_majority() {
            return true;
        }
        let (done, has_majority) = oneshot::channel();
        round.done = Some(done);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.rounds().insert(number, round);
        for session in self.sessions().values() {
            // One that is full asks for an earlier round still, and its end is near.
            let _ = session.try_send(number);
        }
        let proven = timeout(ROUND_TIMEOUT, has_majority).await;
        self.rounds().remove(&number);
        matches!(proven, Ok(Ok(())))
    }

    fn confirmed(&self, id: u64, number: u64, view: &View) {
        if !self.is_this(view) {
            return;
        }
        if let Some(round) = self.rounds().get_mut(&number) {
            round.confirmed.insert(id);
            if round.has_majority()
                && let Some(done) = round.done.take()
            {
                let _ = done.send(());
            }
        }
    }

    fn rounds(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Round>> {
        self.rounds.lock().expect("no panic while it is held")
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<u64, mpsc::Sender<u64>>> {
        self.sessions.lock().expect("no panic while it is held")
    }

    /// Proves the reads of this node's own clients. Runs until it is dropped.
    pub async fn serve_reads(self: Arc<Self>, reads: Arc<Reads>) {
        loop {
            reads.arrived().await;
            let waiting = Returning {
                reads: &reads,
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

/// Reads that wait on, unless they are taken.
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

/// The service that other nodes call.
#[derive(Clone)]
pub struct PeerService {
    pub own_id: u64,
    pub store: Store,
    pub engine: Arc<EngineView>,
    /// None while another node leads.
    pub tenure: watch::Receiver<Option<Arc<Tenure>>>,
    pub is_loaded: watch::Receiver<bool>,
    pub own_files: OwnFiles,
    pub cluster_id: ClusterId,
    pub remembered: Arc<Remembered>,
}

#[tonic::async_trait]
impl Peer for PeerService {
    type FollowStream = ReceiverStream<Result<FromLeader, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<ToLeader>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let tenure = self.tenure.borrow().clone();
        let tenure =
            tenure.ok_or_else(|| Status::failed_precondition("this node does not lead"))?;
        let (out, messages) = mpsc::channel(MAX_UNSENT);
        let session = Session {
            store: self.store.clone(),
            tenure,
            incoming: request.into_inner(),
            out,
            sent_revision: 0,
            sent_compact_revision: 0,
            sent_settings: None,
            remembered: self.remembered.clone(),
            sent_log_ends: LogEnds::default(),
            answers: JoinSet::new(),
            proofs: JoinSet::new(),
        };
        tokio::spawn(session.run());
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn about(
        &self,
        request: Request<AboutRequest>,
    ) -> Result<Response<AboutResponse>, Status> {
        let view = self.engine.view().await.unwrap_or_default();
        let is_loaded = *self.is_loaded.borrow();
        let details = match request.into_inner().with_details {
            true => Some(details(&self.store, &self.own_files, is_loaded).await),
            false => None,
        };
        Ok(Response::new(AboutResponse {
            member_id: self.own_id,
            view: Some(view_to_proto(&view)),
            revision: if is_loaded { self.store.revision() } else { 0 },
            compact_revision: self.store.history().compact_revision(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            details,
            cluster_id: self.cluster_id.known().unwrap_or(0),
        }))
    }

    async fn remembered(
        &self,
        request: Request<RememberedRequest>,
    ) -> Result<Response<RememberedResponse>, Status> {
        Ok(Response::new(RememberedResponse {
            member_id: self.own_id,
            log_end: self.remembered.of(request.into_inner().member_id),
        }))
    }
}

pub fn view_to_proto(view: &View) -> proto::View {
    let (leader_id, leader_address) = view.leader.clone().unwrap_or_default();
    proto::View {
        leader_id,
        leader_address,
        term: view.term,
    }
}

fn view_from_proto(view: proto::View) -> View {
    View {
        leader: (view.leader_id != 0).then_some((view.leader_id, view.leader_address)),
        term: view.term,
    }
}

/// The session with one follower.
struct Session {
    store: Store,
    tenure: Arc<Tenure>,
    incoming: Streaming<ToLeader>,
    out: mpsc::Sender<Result<FromLeader, Status>>,
    sent_revision: Revision,
    sent_compact_revision: Revision,
    sent_settings: Option<Arc<Settings>>,
    remembered: Arc<Remembered>,
    sent_log_ends: LogEnds,
    answers: JoinSet<proto::Answer>,
    proofs: JoinSet<ReadIndexed>,
}

/// The reason why a session ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the node is gone")]
    Gone,
    #[error("{0}")]
    Broken(#[from] Status),
    #[error("the node missed a compaction")]
    Compacted,
    #[error("this node leads no more")]
    Deposed,
}

async fn end_of(tenure: Arc<Tenure>) {
    // An error means that the sender is gone, which is the same.
    let _ = tenure.ended.subscribe().wait_for(|ended| *ended).await;
}

impl Session {
    async fn run(mut self) {
        let Ok(hello) = self.hello().await else {
            return;
        };
        let number = self.tenure.next.fetch_add(1, Ordering::Relaxed);
        let (confirm, confirms) = mpsc::channel(MAX_ROUNDS);
        self.tenure.sessions().insert(number, confirm);
        let id = hello.member_id;
        let end = self.serve(hello, confirms).await;
        self.tenure.sessions().remove(&number);
        let Err(end) = end;
        debug!(id = format_args!("{id:x}"), reason = %end, "a follower's session has ended");
        let status = match end {
            End::Gone => return,
            End::Broken(status) => status,
            End::Compacted => Status::aborted("compacted"),
            End::Deposed => Status::failed_precondition("this node leads no more"),
        };
        let _ = self.out.send(Err(status)).await;
    }

    async fn hello(&mut self) -> Result<Hello, End> {
        let first = self.incoming.message().await?.ok_or(End::Gone)?;
        let hello = first.hello;
        Ok(hello.ok_or_else(|| Status::invalid_argument("the first message says hello"))?)
    }

    async fn serve(
        &mut self,
        hello: Hello,
        mut confirms: mpsc::Receiver<u64>,
    ) -> Result<std::convert::Infallible, End> {
        let id = hello.member_id;
        let mut published = self.store.published();
        let mut end = pin!(end_of(self.tenure.clone()));
        published.borrow_and_update();
        self.welcome(hello).await?;
        self.flush(FromLeader::default()).await?;
        let mut moments = moments_to_tell();
        loop {
            tokio::select! {
                biased;
                () = &mut end => return Err(End::Deposed),
                _ = moments.tick() => self.tell_log_ends().await?,
                message = self.incoming.message(), if self.answers.len() < MAX_OUTSTANDING => {
                    let message = message?.ok_or(End::Gone)?;
                    self.take(id, message);
                }
                Some(number) = confirms.recv() => {
                    let confirm = Some(number);
                    self.send(FromLeader { confirm, ..Default::default() }).await?;
                }
                Some(answer) = self.answers.join_next() => {
                    let mut message = FromLeader::default();
                    message.answers.extend(answer.ok());
                    while let Some(answer) = self.answers.try_join_next() {
                        message.answers.extend(answer.ok());
                    }
                    self.flush(message).await?;
                }
                Some(proof) = self.proofs.join_next() => {
                    let read_index = proof.ok();
                    self.flush(FromLeader { read_index, ..Default::default() }).await?;
                }
                changed = published.changed() => {
                    changed.map_err(|_| End::Deposed)?;
                    self.flush(FromLeader::default()).await?;
                }
            }
        }
    }

    /// A follower has only what was committed, and a leader has all of that.
    fn check_is_not_ahead(&self, hello: &Hello, head: Revision) {
        if hello.cluster_id == self.store.cluster_id() && hello.revision > head {
            self.store.metrics().nodes_ahead.increment();
            error!(
                id = format_args!("{:x}", hello.member_id),
                revision = hello.revision,
                own_revision = head,
                "a node has revisions that this leader does not have: what was acknowledged is lost, since an old copy \
                 of a directory came back; the node forgets them"
            );
        }
    }

    async fn tell_log_ends(&mut self) -> Result<(), End> {
        let log_ends = self.remembered.news(&mut self.sent_log_ends);
        if log_ends.is_empty() {
            return Ok(());
        }
        self.send(FromLeader {
            log_ends,
            ..Default::default()
        })
        .await
    }

    /// Sends everything that the follower needs to be where the leader is now.
    async fn welcome(&mut self, hello: Hello) -> Result<(), End> {
        let history = self.store.history().clone();
        let (head, compact) = (self.store.revision(), history.compact_revision());
        self.check_is_not_ahead(&hello, head);
        let continues = hello.cluster_id == self.store.cluster_id()
            && hello.revision > 0
            && hello.revision >= compact
            && hello.revision <= head;
        let mut welcome = Welcome {
            cluster_id: self.store.cluster_id(),
            term: self.tenure.term,
            is_whole: !continues,
            compact_revision: hello.compact_revision,
            revision: hello.revision,
        };
        if continues {
            self.sent_revision = hello.revision;
            self.sent_compact_revision = hello.compact_revision;
            return self.send_welcome(welcome).await;
        }
        let collecting = tokio::task::spawn_blocking(move || history.versions(0));
        let versions = collecting.await.expect("collecting does not panic");
        let mut transfer = Transfer::new(versions.map_err(|_| End::Compacted)?);
        welcome.revision = transfer.revision();
        welcome.compact_revision = transfer.compact_revision();
        self.sent_revision = welcome.revision;
        self.sent_compact_revision = welcome.compact_revision;
        info!(
            id = format_args!("{:x}", hello.member_id),
            revision = welcome.revision,
            "sending the whole store to a node"
        );
        self.send_welcome(welcome).await?;
        while let Some(rows) = transfer.next() {
            self.send(FromLeader {
                rows,
                ..Default::default()
            })
            .await?;
        }
        Ok(())
    }

    async fn send_welcome(&mut self, welcome: Welcome) -> Result<(), End> {
        let welcome = Some(welcome);
        self.send(FromLeader {
            welcome,
            ..Default::default()
        })
        .await
    }

    /// Sends what was published, with `last` in the last message: it may rely on all of that.
    async fn flush(&mut self, last: FromLeader) -> Result<(), End> {
        // First: a compaction is published after the commits that it is above.
        let compact_revision = self.store.history().compact_revision();
        let head = self.store.revision();
        loop {
            let from = self.sent_revision + 1;
            let commits = self
                .store
                .history()
                .commits_from(from, CHANGES_PER_MESSAGE)
                .map_err(|_| End::Compacted)?;
            let changes = commits.iter().flat_map(|commit| &commit.changes);
            let rows: Vec<_> = changes.map(row_of_change).collect();
            match commits.last() {
                Some(commit) => self.sent_revision = commit.revision,
                // After a conversion the newest revisions may have no commits.
                None => self.sent_revision = self.sent_revision.max(head),
            }
            let is_last = self.sent_revision >= self.store.revision();
            if is_last {
                return self.flush_last(rows, compact_revision, last).await;
            }
            self.send(FromLeader {
                rows,
                ..Default::default()
            })
            .await?;
        }
    }

    async fn flush_last(
        &mut self,
        rows: Vec<proto::Row>,
        compact_revision: Revision,
        mut message: FromLeader,
    ) -> Result<(), End> {
        message.rows = rows;
        let settings = self.store.settings();
        let is_sent = |sent: &Arc<Settings>| Arc::ptr_eq(sent, &settings);
        if !self.sent_settings.as_ref().is_some_and(is_sent) {
            message.settings = Some(settings_to_proto(&settings));
            self.sent_settings = Some(settings);
        }
        if compact_revision > self.sent_compact_revision {
            self.sent_compact_revision = compact_revision;
            message.compact_revision = Some(compact_revision);
        }
        if message == FromLeader::default() {
            return Ok(());
        }
        self.send(message).await
    }

    async fn send(&mut self, message: FromLeader) -> Result<(), End> {
        self.out.send(Ok(message)).await.map_err(|_| End::Gone)
    }

    fn take(&mut self, id: u64, message: ToLeader) {
        if let Some(end) = &message.log_end {
            self.remembered.note(end);
        }
        if let Some(confirmation) = message.confirmation {
            let view = view_from_proto(confirmation.view.unwrap_or_default());
            self.tenure.confirmed(id, confirmation.round, &view);
        }
        if let Some(read) = message.read_index {
            let told = (id, view_from_proto(read.view.unwrap_or_default()));
            let (tenure, store) = (self.tenure.clone(), self.store.clone());
            self.proofs.spawn(async move {
                let is_proven = tenure.prove(Some(told)).await;
                ReadIndexed {
                    number: read.number,
                    revision: is_proven.then(|| store.revision()),
                }
            });
        }
        for submission in message.submissions {
            self.answers.spawn(serve(&self.store, submission));
        }
    }
}
