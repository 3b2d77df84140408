//! The leader's end of the session with one follower.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use etcd_state::{mvcc::Revision, settings::Settings};
use peer_proto::{self as proto, FromLeader, Hello, ReadIndexed, ToLeader, Welcome};
use replication::{
    Beginning, Feed, Flush, StoreState, View, feed, forwarded::MAX_OUTSTANDING, proofs::ProofId,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tonic::{Status, Streaming};
use tracing::{debug, error, info};

use super::{
    log_ends::{LogEnds, Remembered, moments_to_tell},
    requests::{returned, serve},
    rows::{Transfer, row_of_change, settings_to_proto},
    tenure::{Tenure, TenureEnd},
};
use crate::store::{BATCH_FORMAT, Store};

/// Messages that a follower has not taken yet: beyond this its session waits, and the history keeps
/// what comes.
pub const MAX_UNSENT: usize = 4;

/// Changes in one message.
const CHANGES_PER_MESSAGE: usize = 1024;

/// The time in which a session still answers after this node has ceased to lead. The follower ends it before, once there is
/// another leader.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_millis(500);

fn view_from_proto(view: proto::View) -> View {
    View {
        leader: (view.leader_id != 0).then_some((view.leader_id, view.leader_address)),
        term: view.term,
    }
}

/// The settings, compared by version.
#[derive(Clone)]
struct SettingsVersion(Arc<Settings>);

impl PartialEq for SettingsVersion {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The session with one follower.
pub struct Session {
    store: Store,
    tenure: Arc<Tenure>,
    incoming: Streaming<ToLeader>,
    out: mpsc::Sender<Result<FromLeader, Status>>,
    feed: Feed<SettingsVersion>,
    remembered: Arc<Remembered>,
    sent_log_ends: LogEnds,
    /// The follower takes changes as they are packed in the database.
    unpacks: bool,
    answers: JoinSet<proto::Answer>,
    proofs: JoinSet<ReadIndexed>,
}

/// Changes to send, as rows or as batches.
struct Part {
    rows: Vec<proto::Row>,
    batches: Vec<Bytes>,
    newest: Option<Revision>,
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
    #[error("this node does not lead any more")]
    LeadsNoMore(TenureEnd),
}

impl Session {
    pub fn new(
        store: Store,
        tenure: Arc<Tenure>,
        remembered: Arc<Remembered>,
        incoming: Streaming<ToLeader>,
        out: mpsc::Sender<Result<FromLeader, Status>>,
    ) -> Self {
        Self {
            store,
            tenure,
            incoming,
            out,
            feed: Feed::new(Revision::NONE, Revision::NONE),
            remembered,
            sent_log_ends: LogEnds::default(),
            unpacks: false,
            answers: JoinSet::new(),
            proofs: JoinSet::new(),
        }
    }

    /// Serves the follower until it is gone, or this node leads no more.
    pub async fn run(mut self) {
        let Ok(hello) = self.hello().await else {
            return;
        };
        let (number, confirms) = self.tenure.enter_session();
        let id = hello.member_id;
        let end = self.serve(hello, confirms).await;
        self.tenure.leave_session(number);
        let Err(end) = end;
        if let End::LeadsNoMore(end) = end {
            // The node may be gone, or the history compacted: then the answers have to be found out there.
            let _ = timeout_at(Instant::now() + LAST_ANSWERS_TIMEOUT, self.answer_last(end)).await;
        }
        debug!(id = format_args!("{id:x}"), reason = %end, "a follower's session has ended");
        let status = match end {
            End::Gone => return,
            End::Broken(status) => status,
            End::Compacted => Status::aborted("compacted"),
            End::LeadsNoMore(_) => Status::failed_precondition("this node does not lead any more"),
        };
        let _ = self.out.send(Err(status)).await;
    }

    /// Sends the answers to everything that the follower has asked, after this node has ceased to lead: what the writer has
    /// not begun is returned, and so is what arrives now. Runs until it is dropped, or the node is gone.
    async fn answer_last(&mut self, end: TenureEnd) -> Result<std::convert::Infallible, End> {
        if end == TenureEnd::HandsOver {
            let hands_over = self.tenure.own_id.number();
            self.send(FromLeader {
                hands_over,
                ..Default::default()
            })
            .await?;
        }
        loop {
            let mut message = FromLeader::default();
            tokio::select! {
                biased;
                Some(answer) = self.answers.join_next() => {
                    message.answers.extend(answer.ok());
                    while let Some(answer) = self.answers.try_join_next() {
                        message.answers.extend(answer.ok());
                    }
                }
                received = self.incoming.message() => {
                    let received = received?.ok_or(End::Gone)?;
                    message.answers.extend(received.submissions.iter().map(returned));
                }
            }
            if !message.answers.is_empty() {
                self.flush(message).await?;
            }
        }
    }

    async fn hello(&mut self) -> Result<Hello, End> {
        let first = self.incoming.message().await?.ok_or(End::Gone)?;
        let hello = first.hello;
        Ok(hello.ok_or_else(|| Status::invalid_argument("the first message says hello"))?)
    }

    async fn serve(
        &mut self,
        hello: Hello,
        mut confirms: mpsc::Receiver<ProofId>,
    ) -> Result<std::convert::Infallible, End> {
        let id = hello.member_id;
        self.unpacks = hello.batch_format >= BATCH_FORMAT;
        let mut published = self.store.published();
        let mut end = pin!(self.tenure.clone().ended());
        published.borrow_and_update();
        self.welcome(hello).await?;
        self.flush(FromLeader::default()).await?;
        let mut moments = moments_to_tell();
        loop {
            tokio::select! {
                biased;
                end = &mut end => return Err(End::LeadsNoMore(end)),
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
                    changed.map_err(|_| End::LeadsNoMore(TenureEnd::Deposed))?;
                    self.flush(FromLeader::default()).await?;
                }
            }
        }
    }

    /// A follower has only what was committed, and a leader has all of that.
    fn check_is_not_ahead(&self, hello: &Hello, follower: StoreState, own: StoreState) {
        if feed::is_ahead(follower, own) {
            self.store.metrics().nodes_ahead.increment();
            error!(
                id = format_args!("{:x}", hello.member_id),
                revision = hello.revision,
                own_revision = own.revision.number(),
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
        let own = StoreState {
            cluster_id: self.store.cluster_id(),
            revision: self.store.revision(),
            compact_revision: history.compact_revision(),
        };
        let follower = StoreState {
            cluster_id: hello.cluster_id,
            revision: Revision::new(hello.revision),
            compact_revision: Revision::new(hello.compact_revision),
        };
        self.check_is_not_ahead(&hello, follower, own);
        let continues = feed::beginning(follower, own) == Beginning::Continues;
        let mut welcome = Welcome {
            cluster_id: self.store.cluster_id(),
            term: self.tenure.term,
            is_whole: !continues,
            compact_revision: hello.compact_revision,
            revision: hello.revision,
        };
        if continues {
            self.feed = Feed::new(follower.revision, follower.compact_revision);
            return self.send_welcome(welcome).await;
        }
        let collecting = tokio::task::spawn_blocking(move || history.versions(Revision::NONE));
        let versions = collecting.await.expect("collecting does not panic");
        let mut transfer = Transfer::new(versions.map_err(|_| End::Compacted)?);
        welcome.revision = transfer.revision().number();
        welcome.compact_revision = transfer.compact_revision().number();
        self.feed = Feed::new(transfer.revision(), transfer.compact_revision());
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
        let flush = Flush::new(compact_revision, self.store.revision());
        loop {
            let Part {
                rows,
                batches,
                newest,
            } = self.next_part()?;
            let (head, store) = (self.store.revision(), &self.store);
            let settings = || SettingsVersion(store.settings());
            match self.feed.decide(flush, newest, head, settings) {
                feed::Command::SendRows { settings } => {
                    self.send(FromLeader {
                        rows,
                        batches,
                        settings: settings.map(|settings| settings_to_proto(&settings.0)),
                        ..Default::default()
                    })
                    .await?;
                }
                feed::Command::SendLast {
                    settings,
                    compact_revision,
                } => {
                    let message = FromLeader {
                        rows,
                        batches,
                        settings: settings.map(|settings| settings_to_proto(&settings.0)),
                        compact_revision: compact_revision.map(Revision::number),
                        ..last
                    };
                    if message == FromLeader::default() {
                        return Ok(());
                    }
                    return self.send(message).await;
                }
            }
        }
    }

    /// Returns the next changes that the follower lacks: as they were written, if that was just now and it unpacks them.
    fn next_part(&self) -> Result<Part, End> {
        let from = self.feed.next_revision();
        if self.unpacks
            && let Some(packed) = self.store.packed_from(from)
        {
            return Ok(Part {
                rows: Vec::new(),
                batches: packed.blobs.clone(),
                newest: Some(packed.last),
            });
        }
        let commits = self
            .store
            .history()
            .commits_from(from, CHANGES_PER_MESSAGE)
            .map_err(|_| End::Compacted)?;
        let changes = commits.iter().flat_map(|commit| &commit.changes);
        Ok(Part {
            rows: changes.map(row_of_change).collect(),
            batches: Vec::new(),
            newest: commits.last().map(|commit| commit.revision),
        })
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
            self.tenure.confirmed(id, confirmation.round, view);
        }
        if let Some(read) = message.read_index {
            let told = (id, view_from_proto(read.view.unwrap_or_default()));
            let (tenure, store) = (self.tenure.clone(), self.store.clone());
            self.proofs.spawn(async move {
                let is_proven = tenure.prove(Some(told)).await;
                ReadIndexed {
                    number: read.number,
                    revision: is_proven.then(|| store.revision().number()),
                }
            });
        }
        for submission in message.submissions {
            self.answers.spawn(serve(&self.store, submission));
        }
    }
}
