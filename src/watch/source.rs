//! The source of commits that were not seen live.

use std::sync::Arc;

use etcd_state::mvcc::{Commit, History, HistoryError, Revision};

/// The reason why commits cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("commits below revision {compact_revision} are compacted")]
    Compacted { compact_revision: Revision },
}

/// The committed history, as far as watches need it.
pub trait CommitSource: Send + Sync + 'static {
    /// The newest committed revision. Never goes back.
    fn head_revision(&self) -> Revision;

    fn compact_revision(&self) -> Revision;

    /// Consecutive commits from `from` on: at least one if `from` is not above the head, and no
    /// more than hold `max_changes` changes unless the first alone does. `from` may be the
    /// compaction revision.
    fn commits_from(
        &self,
        from: Revision,
        max_changes: usize,
    ) -> Result<Vec<Arc<Commit>>, SourceError>;
}

impl CommitSource for History {
    fn head_revision(&self) -> Revision {
        self.head().revision
    }

    fn compact_revision(&self) -> Revision {
        History::compact_revision(self)
    }

    fn commits_from(
        &self,
        from: Revision,
        max_changes: usize,
    ) -> Result<Vec<Arc<Commit>>, SourceError> {
        match History::commits_from(self, from, max_changes) {
            Ok(commits) => Ok(commits),
            Err(HistoryError::Compacted { compact_revision }) => {
                Err(SourceError::Compacted { compact_revision })
            }
            Err(HistoryError::Future { .. }) => Ok(Vec::new()),
        }
    }
}
