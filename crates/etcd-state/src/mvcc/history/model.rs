//! A naive history to test against: the whole state after each revision, and every row ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mvcc::{Change, ChangeKind, KeyValue, LeaseId};

type State = BTreeMap<Bytes, Arc<KeyValue>>;

#[derive(Debug, Clone)]
pub enum Op {
    Put(u8),
    Delete(u8),
}

#[derive(Debug, Clone)]
pub enum Step {
    /// Transactions that are appended at once.
    Append(Vec<Vec<Op>>),
    /// Compacts at this share of the way from the first revision to the current one.
    Compact(f64),
    /// Reads at this share of the way; a little above 1 is the future.
    Read(f64),
}

pub struct Row {
    pub kind: ChangeKind,
    pub kv: Arc<KeyValue>,
    pub prev: Option<Arc<KeyValue>>,
}

pub struct Model {
    /// The states by revision; the first two, 0 and 1, are empty.
    pub states: Vec<State>,
    pub compact_revision: Revision,
    pub rows: BTreeMap<RowId, Row>,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![3 => (0..24u8).prop_map(Op::Put), 1 => (0..24u8).prop_map(Op::Delete)];
    let commits = prop::collection::vec(prop::collection::vec(op, 1..6), 1..60);
    let step = prop_oneof![
        5 => commits.prop_map(Step::Append),
        1 => (0.0..1.05).prop_map(Step::Compact),
        3 => (0.0..1.05).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 1..40)
}

impl Model {
    pub fn new() -> Self {
        let states = vec![State::new(), State::new()];
        Model {
            states,
            compact_revision: NEVER_COMPACTED,
            rows: BTreeMap::new(),
        }
    }

    pub fn revision(&self) -> Revision {
        Revision::new(self.states.len() as i64 - 1)
    }

    pub fn share(&self, share: f64) -> Revision {
        Revision::new((share * self.revision().number() as f64).round() as i64)
    }

    pub fn state(&self, revision: Revision) -> &State {
        &self.states[revision.number() as usize]
    }

    /// Evaluates a transaction as the store does; none if it changes nothing.
    pub fn commit(&mut self, ops: &[Op]) -> Option<Arc<Commit>> {
        let revision = self.revision().next();
        let mut state = self.state(self.revision()).clone();
        let mut changes: Vec<Change> = Vec::new();
        let mut seen = BTreeSet::new();
        for op in ops {
            let (Op::Put(key) | Op::Delete(key)) = op;
            let key = Bytes::from(format!("/registry/key-{key}"));
            let prev = state.get(&key).cloned();
            let is_delete = matches!(op, Op::Delete(_));
            if !seen.insert(key.clone()) || (is_delete && prev.is_none()) {
                continue;
            }
            let position = changes.len() as u32;
            let kv = Arc::new(next_version(
                key.clone(),
                prev.as_deref(),
                is_delete,
                revision,
                position,
            ));
            let kind = if is_delete {
                ChangeKind::Delete
            } else {
                ChangeKind::Put
            };
            match kind {
                ChangeKind::Put => state.insert(key, Arc::clone(&kv)),
                ChangeKind::Delete => state.remove(&key),
            };
            let row = Row {
                kind,
                kv: Arc::clone(&kv),
                prev: prev.clone(),
            };
            self.rows.insert(kv.row_id(), row);
            changes.push(Change { kind, kv, prev });
        }
        if changes.is_empty() {
            return None;
        }
        self.states.push(state);
        Some(Arc::new(Commit { revision, changes }))
    }

    fn readable_revisions(&self) -> impl Iterator<Item = Revision> + use<> {
        let first = self.compact_revision.max(Revision::FIRST);
        (first.number()..=self.revision().number()).map(Revision::new)
    }

    pub fn readable(&self, revision: Revision) -> Result<(), HistoryError> {
        let (current_revision, compact_revision) = (self.revision(), self.compact_revision);
        if revision > current_revision {
            Err(HistoryError::Future { current_revision })
        } else if revision < compact_revision {
            Err(HistoryError::Compacted { compact_revision })
        } else {
            Ok(())
        }
    }

    /// The rows that reads and watches from the compaction revision on need.
    pub fn needed(&self) -> BTreeSet<RowId> {
        let compact_revision = self.compact_revision;
        let live = self
            .state(compact_revision.max(Revision::NONE))
            .values()
            .map(|kv| kv.row_id());
        let logged = self
            .rows
            .range(RowId::new(compact_revision, 0)..)
            .map(|(id, _)| *id);
        live.chain(logged).collect()
    }

    /// Compacts; the rows that go.
    pub fn compact(&mut self, revision: Revision) -> Vec<RowId> {
        self.compact_revision = revision;
        let needed = self.needed();
        let garbage: Vec<_> = self
            .rows
            .keys()
            .filter(|id| !needed.contains(id))
            .copied()
            .collect();
        for row in &garbage {
            self.rows.remove(row);
        }
        garbage
    }

    pub fn assert_same(&self, history: &History) {
        assert_eq!(history.head().revision, self.revision());
        assert_eq!(history.compact_revision(), self.compact_revision);
        for revision in self.readable_revisions() {
            self.assert_same_at(history, revision);
        }
        self.assert_same_log(history);
        self.assert_same_size(history);
    }

    pub fn assert_same_at(&self, history: &History, revision: Revision) {
        let found = history.at(revision).map(|snapshot| {
            assert_eq!(snapshot.revision, revision);
            snapshot.tree.iter().cloned().collect::<Vec<_>>()
        });
        let expected = self.readable(revision);
        assert_eq!(
            found,
            expected.map(|()| self.state(revision).values().cloned().collect())
        );
    }

    /// Compares at every revision all rows that are kept, and those that a hash covers.
    pub fn assert_same_versions(&self, history: &History) {
        let ids = |versions: Versions| versions.iter().map(|kv| kv.row_id()).collect::<Vec<_>>();
        let compact_revision = self.compact_revision;
        for revision in self.readable_revisions() {
            let end = RowId::new(revision.next(), 0);
            let kept = self.needed().into_iter().filter(|id| *id < end);
            let kept: Vec<_> = kept.collect();
            let found = history.versions(revision).expect("is readable");
            assert_eq!(found.revision, revision);
            assert_eq!(found.compact_revision, compact_revision);
            assert!(found.iter().all(|kv| self.rows[&kv.row_id()].kv == *kv));
            assert_eq!(ids(found), kept, "kept up to {revision}");

            let live = self.state(revision);
            let is_hashed = |id: &RowId| {
                let row = &self.rows[id];
                let is_live = live.get(&row.kv.key).is_some_and(|kv| kv.row_id() == *id);
                let is_put = row.kind == ChangeKind::Put;
                row.kv.mod_revision > compact_revision || is_live || (live.is_empty() && is_put)
            };
            let hashed: Vec<_> = kept.into_iter().filter(is_hashed).collect();
            let found = history.hashed_versions(revision).expect("is readable");
            assert_eq!(ids(found), hashed, "hashed up to {revision}");
        }
    }

    fn assert_same_log(&self, history: &History) {
        let compact_revision = self.compact_revision;
        let mut found = history
            .commits_from(compact_revision, 7)
            .expect("is not compacted");
        while let Some(last) = found.last() {
            let next = history
                .commits_from(last.revision.next(), 7)
                .expect("is not compacted");
            assert!(changes(&next) <= 7 || next.len() == 1);
            if next.is_empty() {
                break;
            }
            found.extend(next);
        }
        let mut rows = self.rows.range(RowId::new(compact_revision, 0)..);
        for change in found.iter().flat_map(|commit| &commit.changes) {
            let (id, row) = rows.next().expect("as many rows as changes");
            let prev = row
                .prev
                .as_ref()
                .filter(|_| row.kv.mod_revision > compact_revision);
            assert_eq!(
                (change.kind, &change.kv, *id),
                (row.kind, &row.kv, change.kv.row_id())
            );
            assert_eq!(change.visible_prev(compact_revision), prev);
        }
        assert!(rows.next().is_none());
    }

    fn assert_same_size(&self, history: &History) {
        let size = history.size();
        let state = self.state(self.revision());
        assert_eq!(size.keys, state.len());
        assert_eq!(
            size.changes,
            self.rows
                .range(RowId::new(self.compact_revision, 0)..)
                .count()
        );
        let bytes: usize = state.values().map(|kv| kv.key.len() + kv.value.len()).sum();
        assert!(size.live_bytes >= bytes as u64 && size.live_bytes < (bytes + 256 * 24) as u64);
    }
}

fn changes(commits: &[Arc<Commit>]) -> usize {
    commits.iter().map(|commit| commit.changes.len()).sum()
}

fn next_version(
    key: Bytes,
    prev: Option<&KeyValue>,
    is_delete: bool,
    revision: Revision,
    position: u32,
) -> KeyValue {
    if is_delete {
        return KeyValue::tombstone(key, revision, position);
    }
    KeyValue {
        key,
        value: Bytes::from(format!("value of {revision}")),
        create_revision: prev.map_or(revision, |prev| prev.create_revision),
        mod_revision: revision,
        version: prev.map_or(1, |prev| prev.version + 1),
        lease: LeaseId::NONE,
        position,
    }
}
