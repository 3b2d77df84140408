//! Rebuilds the history from the rows of the change table.
//!
//! Invariant: what comes out is what the writer had, or an error: every row must continue the
//! version that the rows before it left. Only below the compaction revision may rows be missing,
//! since a purge, possibly an interrupted one, took them in ascending order.

use std::sync::Arc;

use super::history::{History, Past, Snapshot};
use super::{Change, ChangeKind, Commit, KeyValue, Revision, RowId, Tree};

/// A row that does not continue those before it: the table is damaged, or not all of it was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("row {row_id} is not above row {last}")]
    Order { row_id: RowId, last: RowId },
    #[error("row {row_id} does not continue revision {current_revision}")]
    MissingCommit {
        row_id: RowId,
        current_revision: Revision,
    },
    #[error("row {row_id} replaces revision {prev_revision} of its key, but found {found}")]
    MissingVersion {
        row_id: RowId,
        prev_revision: Revision,
        found: Revision,
    },
    #[error("row {row_id} has a create revision or version that does not follow from its previous")]
    Version { row_id: RowId },
    #[error("row {row_id} changes a key a second time")]
    SecondChange { row_id: RowId },
}

/// Takes the rows in the order of their ids.
pub struct Replay {
    compact_revision: Revision,
    /// The store is at this revision or a later one, whatever the rows say.
    least_revision: Revision,
    /// Rows of a revision above this one must be of the next.
    continues_from: Option<Revision>,
    tree: Tree,
    revision: Revision,
    last_row: RowId,
    /// The commit of the last row, as far as it is known.
    changes: Vec<Change>,
    past: Past,
    garbage: Vec<RowId>,
}

impl Replay {
    /// Starts with an empty store.
    pub fn new(compact_revision: Revision) -> Self {
        Replay {
            compact_revision,
            least_revision: Revision::FIRST,
            continues_from: None,
            tree: Tree::new(),
            revision: Revision::NONE,
            last_row: RowId::MIN,
            changes: Vec::new(),
            past: Past::new(),
            garbage: Vec::new(),
        }
    }

    /// Revisions up to `revision` are used up, also those that no row has.
    pub fn at_least(mut self, revision: Revision) -> Self {
        self.least_revision = self.least_revision.max(revision);
        self
    }

    /// Starts with what is known, for rows above it, of which none may be missing.
    pub fn after(head: &Snapshot, compact_revision: Revision) -> Self {
        Replay {
            continues_from: Some(head.revision),
            tree: head.tree.clone(),
            revision: head.revision,
            last_row: RowId::last_of(head.revision),
            ..Replay::new(compact_revision)
        }
    }

    /// Takes the next row. `prev_revision` is the mod revision of the version that it replaced, 0
    /// if there was none. Of a tombstone only the key, the revision and the position count.
    pub fn row(
        &mut self,
        kind: ChangeKind,
        kv: KeyValue,
        prev_revision: Revision,
    ) -> Result<(), ReplayError> {
        let row_id = kv.row_id();
        if row_id <= self.last_row {
            return Err(ReplayError::Order {
                row_id,
                last: self.last_row,
            });
        }
        if kv.mod_revision != self.revision {
            self.end_commit();
            self.start_commit(&kv)?;
        }
        self.last_row = row_id;

        let kv = Arc::new(kv);
        let prev = match kind {
            ChangeKind::Put => self.tree.insert(Arc::clone(&kv)),
            ChangeKind::Delete => self.tree.remove(&kv.key),
        };
        self.check(kind, &kv, prev.as_deref(), prev_revision)?;
        if kv.mod_revision <= self.compact_revision {
            self.garbage.extend(prev.as_ref().map(|prev| prev.row_id()));
        }
        if kv.mod_revision >= self.compact_revision {
            self.changes.push(Change { kind, kv, prev });
        } else if kind == ChangeKind::Delete {
            self.garbage.push(row_id);
        }
        Ok(())
    }

    /// The version of a key that the rows so far lead to.
    pub fn current(&self, key: &[u8]) -> Option<&KeyValue> {
        self.tree.get(key).map(Arc::as_ref)
    }

    /// The store, and the rows that an interrupted purge left, ascending.
    pub fn finish(mut self) -> (History, Vec<RowId>) {
        self.end_commit();
        self.garbage.sort_unstable();
        let revision = self
            .revision
            .max(self.compact_revision)
            .max(self.least_revision);
        let head = Snapshot {
            revision,
            tree: self.tree,
        };
        (
            History::assemble(head, self.compact_revision, self.past),
            self.garbage,
        )
    }

    /// The commits of the rows and the tree that they lead to, as `History::append` takes them.
    pub fn finish_commits(mut self) -> (Vec<Arc<Commit>>, Tree) {
        self.end_commit();
        (
            self.past.log.commits_from(Revision::MIN, usize::MAX),
            self.tree,
        )
    }

    fn start_commit(&mut self, kv: &KeyValue) -> Result<(), ReplayError> {
        let is_next = kv.mod_revision == self.revision.next();
        if self.continues_from.is_some() && !is_next {
            let (row_id, current_revision) = (kv.row_id(), self.revision);
            return Err(ReplayError::MissingCommit {
                row_id,
                current_revision,
            });
        }
        self.revision = kv.mod_revision;
        Ok(())
    }

    fn end_commit(&mut self) {
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.past.push(
                Arc::new(Commit {
                    revision: self.revision,
                    changes,
                }),
                &self.tree,
            );
        }
    }

    fn check(
        &self,
        kind: ChangeKind,
        kv: &KeyValue,
        prev: Option<&KeyValue>,
        prev_revision: Revision,
    ) -> Result<(), ReplayError> {
        let row_id = kv.row_id();
        let found = prev.map_or(Revision::NONE, |prev| prev.mod_revision);
        if found == kv.mod_revision {
            return Err(ReplayError::SecondChange { row_id });
        }
        // The version in between may have been purged.
        let is_purged = kv.mod_revision <= self.compact_revision
            && (prev_revision > found || prev_revision.is_none());
        if found != prev_revision && !is_purged {
            return Err(ReplayError::MissingVersion {
                row_id,
                prev_revision,
                found,
            });
        }
        let follows = match (kind, prev) {
            (ChangeKind::Delete, _) => !prev_revision.is_none(),
            (ChangeKind::Put, _) if prev_revision.is_none() => {
                kv.version == 1 && kv.create_revision == kv.mod_revision
            }
            (ChangeKind::Put, Some(prev)) if found == prev_revision => {
                kv.version == prev.version + 1 && kv.create_revision == prev.create_revision
            }
            (ChangeKind::Put, _) => kv.version > 1 && kv.create_revision <= prev_revision,
        };
        if follows {
            Ok(())
        } else {
            Err(ReplayError::Version { row_id })
        }
    }
}

#[cfg(test)]
mod tests;
