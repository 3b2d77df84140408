//! The lowest level: versions in the order of their keys.

use std::sync::Arc;

use super::heads::{Heads, shared_prefix};
use super::slots::Slots;
use crate::mvcc::KeyValue;

/// Entries of a leaf. More make look-ups shorter and a change dearer, which copies all pointers of
/// the leaf and so touches as many reference counts. 16 to 32 measure alike, 64 copies 20 % longer
/// (benches/mvcc.rs).
pub(super) const LEAF_ENTRIES: usize = 32;

/// A leaf with fewer entries than this is merged or balanced with a neighbour.
pub(super) const LEAF_MIN_ENTRIES: usize = LEAF_ENTRIES / 4;

#[derive(Clone)]
pub(super) struct Leaf {
    heads: Heads<LEAF_ENTRIES>,
    entries: Slots<Arc<KeyValue>, LEAF_ENTRIES>,
}

impl Leaf {
    pub fn single(kv: Arc<KeyValue>) -> Self {
        let mut entries = Slots::new();
        entries.push(kv);
        Leaf::from_entries(entries)
    }

    fn from_entries(entries: Slots<Arc<KeyValue>, LEAF_ENTRIES>) -> Self {
        let mut leaf = Leaf {
            heads: Heads::new(),
            entries,
        };
        if !leaf.is_empty() {
            leaf.rebuild_heads(shared_prefix(leaf.first_key(), leaf.last_key()));
        }
        leaf
    }

    fn rebuild_heads(&mut self, skip: usize) {
        self.heads = Heads::of(skip, self.entries.iter().map(|kv| kv.key.as_ref()));
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    pub fn is_full(&self) -> bool {
        self.entries.is_full()
    }

    pub fn entry(&self, at: usize) -> &Arc<KeyValue> {
        self.entries.get(at)
    }

    pub fn first_key(&self) -> &[u8] {
        &self.entries.get(0).key
    }

    pub fn last_key(&self) -> &[u8] {
        &self.entries.get(self.len() - 1).key
    }

    pub fn get(&self, key: &[u8]) -> Option<&Arc<KeyValue>> {
        self.find(key).map(|at| self.entries.get(at))
    }

    /// Returns the index of `key`. A key with another prefix is not equal to any, so that none must
    /// be loaded to compare the prefix.
    fn find(&self, key: &[u8]) -> Option<usize> {
        if key.len() < self.heads.skip() {
            return None;
        }
        self.heads
            .search(key, |at| self.entries.get(at).key.as_ref())
            .ok()
    }

    /// Returns the index of `key`, or as an error the index at which it belongs.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        if let Some(at) = self.find(key) {
            return Ok(at);
        }
        let Some(first) = self.entries.first() else {
            return Err(0);
        };
        let prefix = &first.key[..self.heads.skip()];
        let start = &key[..key.len().min(prefix.len())];
        match start.cmp(prefix) {
            std::cmp::Ordering::Less => Err(0),
            std::cmp::Ordering::Greater => Err(self.len()),
            std::cmp::Ordering::Equal => self
                .heads
                .search(key, |at| self.entries.get(at).key.as_ref()),
        }
    }

    pub fn replace(&mut self, at: usize, kv: Arc<KeyValue>) -> Arc<KeyValue> {
        self.entries.replace(at, kv)
    }

    /// Adds a version at the place that `search` named. The leaf must not be full.
    pub fn insert(&mut self, at: usize, kv: Arc<KeyValue>) {
        let skip = match self.entries.first() {
            Some(first) => shared_prefix(&kv.key, &first.key[..self.heads.skip()]),
            None => kv.key.len(),
        };
        if skip == self.heads.skip() {
            self.heads.insert(at, &kv.key);
            self.entries.insert(at, kv);
        } else {
            self.entries.insert(at, kv);
            self.rebuild_heads(skip);
        }
    }

    pub fn remove(&mut self, at: usize) -> Arc<KeyValue> {
        self.heads.remove(at);
        self.entries.remove(at)
    }

    /// Makes room for an entry at `at` by moving the upper part to a new leaf.
    pub fn split(&mut self, at: usize) -> Leaf {
        // Keys that come in ascending order would leave every leaf half empty.
        let middle = if at == self.len() {
            self.len() - 1
        } else {
            self.len() / 2
        };
        self.heads.truncate(middle);
        Leaf::from_entries(self.entries.split_off(middle))
    }

    /// Evens out two neighbours. Leaves `right` empty when all fit into one with room to spare.
    pub fn balance(&mut self, right: &mut Leaf) {
        let total = self.len() + right.len();
        let all: Vec<_> = self.entries.drain().chain(right.entries.drain()).collect();
        let left_len = if total <= LEAF_ENTRIES - LEAF_MIN_ENTRIES {
            total
        } else {
            total / 2
        };
        let (mut left, mut rest) = (Slots::new(), Slots::new());
        for (at, kv) in all.into_iter().enumerate() {
            if at < left_len {
                left.push(kv)
            } else {
                rest.push(kv)
            }
        }
        *self = Leaf::from_entries(left);
        *right = Leaf::from_entries(rest);
    }
}
