//! The ordered map from key to its newest version.
//!
//! A B+tree whose nodes are shared between copies: a clone costs one reference count, a change
//! copies only the nodes on its path, and only those that another clone still holds. Parents know
//! how many keys are below each child, so that counting a range costs two descents.
//!
//! It is persistent because a reader must keep a whole revision without stopping the writer.

mod heads;
mod inner;
mod iter;
mod leaf;
mod node;
mod slots;

use std::fmt;
use std::sync::Arc;

use super::{ChangeKind, Commit, KeyRange, KeyValue};
pub use iter::Range;
use node::Node;

/// All live keys at one revision. Clones are cheap and independent.
#[derive(Clone, Default)]
pub struct Tree {
    root: Option<Arc<Node>>,
    len: usize,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Tree {
    pub fn new() -> Self {
        Tree::default()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, key: &[u8]) -> Option<&Arc<KeyValue>> {
        self.root.as_ref()?.get(key)
    }

    /// Puts a version in the place of the key's former one, which it returns.
    pub fn insert(&mut self, kv: Arc<KeyValue>) -> Option<Arc<KeyValue>> {
        let Some(mut root) = self.root.take() else {
            self.root = Some(Arc::new(Node::single(kv)));
            self.len = 1;
            return None;
        };
        let inserted = node::insert(&mut root, kv);
        self.root = Some(match inserted.split {
            Some(split) => Arc::new(Node::root_over(root, split)),
            None => root,
        });
        self.len += usize::from(inserted.replaced.is_none());
        inserted.replaced
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<Arc<KeyValue>> {
        // A key that is absent must not copy nodes.
        self.get(key)?;
        let root = self.root.as_mut()?;
        let removed = node::remove(root, key);
        self.len -= usize::from(removed.is_some());
        if let Some(only) = root.only_child() {
            *root = only;
        }
        if self.len == 0 {
            self.root = None;
        }
        removed
    }

    /// Returns the exact number of keys in the range, at the cost of two look-ups whatever its
    /// size.
    pub fn count(&self, range: &KeyRange) -> usize {
        match range {
            KeyRange::Single(key) => usize::from(self.get(key).is_some()),
            KeyRange::Span(_, _) if range.is_empty() => 0,
            KeyRange::Span(start, end) => self.rank(end) - self.rank(start),
            KeyRange::From(start) => self.len - self.rank(start),
        }
    }

    /// The range's versions in ascending order of keys.
    pub fn range(&self, range: &KeyRange) -> Range<'_> {
        Range::new(self.root.as_deref(), range.start(), self.count(range))
    }

    pub fn iter(&self) -> Range<'_> {
        Range::new(self.root.as_deref(), &[], self.len)
    }

    /// Brings the tree from the revision before `commit` to that of it.
    pub fn apply(&mut self, commit: &Commit) {
        for change in &commit.changes {
            match change.kind {
                ChangeKind::Put => self.insert(Arc::clone(&change.kv)),
                ChangeKind::Delete => self.remove(&change.kv.key),
            };
        }
    }

    /// Brings the tree from the revision of `commit` to the one before it.
    pub(super) fn revert(&mut self, commit: &Commit) {
        for change in &commit.changes {
            match &change.prev {
                Some(prev) => self.insert(Arc::clone(prev)),
                None => self.remove(&change.kv.key),
            };
        }
    }

    /// Returns the number of keys below `key`.
    fn rank(&self, key: &[u8]) -> usize {
        self.root.as_ref().map_or(0, |root| root.rank(key))
    }

    #[cfg(test)]
    fn check(&self) {
        let count = self
            .root
            .as_ref()
            .map_or(0, |root| node::check(root, None, None, true).1);
        assert_eq!(count, self.len);
    }
}

#[cfg(test)]
mod tests;
