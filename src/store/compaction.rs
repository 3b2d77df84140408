//! Compactions of the index. Dropping history takes time in proportion to it, so it happens on a
//! blocking thread, one compaction after the other, while the writer goes on.

use std::{collections::VecDeque, sync::Arc};

use etcd_state::mvcc::{History, Revision, RowId};
use tokio::task::JoinHandle;

use super::reply::PreparedReply;

/// A client that is answered when its compaction is done.
pub struct Waiting {
    pub revision: Revision,
    /// True if the answer comes only after the purge.
    pub is_physical: bool,
    pub reply: PreparedReply,
}

pub struct Compactions {
    history: Arc<History>,
    queue: VecDeque<Revision>,
    running: Option<JoinHandle<Vec<RowId>>>,
    waiting: Vec<Waiting>,
}

impl Compactions {
    pub fn new(history: Arc<History>) -> Self {
        Self {
            history,
            queue: VecDeque::new(),
            running: None,
            waiting: Vec::new(),
        }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Compacts to a revision that is stored as the compaction revision.
    pub fn start(&mut self, revision: Revision) {
        self.queue.push_back(revision);
        self.start_next();
    }

    pub fn wait(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// The rows that the running compaction made superfluous, ascending, and who waited for it.
    pub async fn finished(&mut self) -> (Vec<RowId>, Vec<Waiting>) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let rows = running.await.expect("the index is whole");
        self.running = None;
        // Before the next one, whose rows are not known yet.
        let done = self.history.compact_revision();
        self.start_next();
        (
            rows,
            self.waiting
                .extract_if(.., |waiting| waiting.revision <= done)
                .collect(),
        )
    }

    /// Waits for all compactions that are not finished yet.
    pub async fn join(mut self) {
        while self.is_running() {
            self.finished().await;
        }
    }

    fn start_next(&mut self) {
        if self.running.is_none()
            && let Some(revision) = self.queue.pop_front()
        {
            let history = self.history.clone();
            self.running = Some(tokio::task::spawn_blocking(move || {
                history
                    .compact(revision)
                    .expect("checked when the request was evaluated")
            }));
        }
    }
}
