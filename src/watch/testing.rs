//! A store without a disk, for the tests of watches.

use std::sync::Arc;

use bytes::Bytes;
use etcd_state::mvcc::{Change, ChangeKind, Commit, History, KeyValue, LeaseId, Revision};

/// One operation of a transaction: a key, and its new value or none to delete it.
pub type Op = (Bytes, Option<Bytes>);

pub fn put(key: &str, value: &str) -> Op {
    (
        Bytes::copy_from_slice(key.as_bytes()),
        Some(Bytes::copy_from_slice(value.as_bytes())),
    )
}

pub fn delete(key: &str) -> Op {
    (Bytes::copy_from_slice(key.as_bytes()), None)
}

/// Commits to a real history, and remembers everything.
pub struct TestStore {
    pub history: Arc<History>,
    /// All commits ever, the first at revision 2.
    pub log: Vec<Arc<Commit>>,
}

impl TestStore {
    pub fn new() -> Self {
        Self {
            history: Arc::new(History::new()),
            log: Vec::new(),
        }
    }

    pub fn revision(&self) -> Revision {
        self.history.head().revision
    }

    /// Makes a transaction readable; none if it changes nothing. Each key only once.
    pub fn commit(&mut self, ops: &[Op]) -> Option<Arc<Commit>> {
        let head = self.history.head();
        let revision = head.revision.next();
        let mut changes = Vec::new();
        for (key, value) in ops {
            let prev = head.tree.get(key).cloned();
            let position = u32::try_from(changes.len()).unwrap();
            let mut kv = KeyValue {
                key: key.clone(),
                value: Bytes::new(),
                create_revision: Revision::NONE,
                mod_revision: revision,
                version: 0,
                lease: LeaseId::NONE,
                position,
            };
            let kind = match (value, &prev) {
                (None, None) => continue,
                (None, Some(_)) => ChangeKind::Delete,
                (Some(value), prev) => {
                    kv.value = value.clone();
                    kv.create_revision =
                        prev.as_ref().map_or(revision, |prev| prev.create_revision);
                    kv.version = prev.as_ref().map_or(1, |prev| prev.version + 1);
                    ChangeKind::Put
                }
            };
            changes.push(Change {
                kind,
                kv: Arc::new(kv),
                prev,
            });
        }
        if changes.is_empty() {
            return None;
        }
        let commit = Arc::new(Commit { revision, changes });
        let mut tree = head.tree.clone();
        tree.apply(&commit);
        self.history.append(std::slice::from_ref(&commit), tree);
        self.log.push(Arc::clone(&commit));
        Some(commit)
    }
}
