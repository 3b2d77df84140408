//! The upper levels: children, how many keys each holds, and the keys that separate them.

use std::sync::Arc;

use super::heads::{Heads, shared_prefix};
use super::node::{Node, Split};
use super::slots::Slots;

/// Children of an inner node; see `LEAF_ENTRIES`.
pub(super) const INNER_CHILDREN: usize = 32;

/// A node with fewer children than this is merged or balanced with a neighbour.
pub(super) const INNER_MIN_CHILDREN: usize = INNER_CHILDREN / 4;

/// Bytes of the shared prefix that a node keeps to compare without loading a separator.
const PREFIX_BYTES: usize = 64;

#[derive(Clone)]
pub(super) struct Inner {
    prefix: [u8; PREFIX_BYTES],
    heads: Heads<INNER_CHILDREN>,
    counts: [u32; INNER_CHILDREN],
    children: Slots<Arc<Node>, INNER_CHILDREN>,
    /// Separator `i` is above all keys of child `i`, and not above any key of child `i + 1`. They
    /// are shortened copies, so as not to keep a deleted key's buffer, and shared between copies
    /// of the node, as few changes touch them.
    separators: Arc<Vec<Arc<[u8]>>>,
}

/// A node's parts, while they are rearranged.
struct Parts {
    children: Vec<Arc<Node>>,
    separators: Vec<Arc<[u8]>>,
}

impl Inner {
    pub fn over(left: Arc<Node>, split: Split) -> Self {
        Inner::from_parts(vec![left, split.right], vec![split.separator])
    }

    fn from_parts(children: Vec<Arc<Node>>, separators: Vec<Arc<[u8]>>) -> Self {
        let mut inner = Inner {
            prefix: [0; PREFIX_BYTES],
            heads: Heads::new(),
            counts: [0; INNER_CHILDREN],
            children: Slots::new(),
            separators: Arc::new(separators),
        };
        for (at, child) in children.into_iter().enumerate() {
            inner.counts[at] = child.count();
            inner.children.push(child);
        }
        inner.rebuild_heads();
        inner
    }

    fn rebuild_heads(&mut self) {
        let skip = match (self.separators.first(), self.separators.last()) {
            (Some(first), Some(last)) => shared_prefix(first, last).min(PREFIX_BYTES),
            _ => 0,
        };
        if let Some(first) = self.separators.first() {
            self.prefix[..skip].copy_from_slice(&first[..skip]);
        }
        self.heads = Heads::of(
            skip,
            self.separators.iter().map(|separator| separator.as_ref()),
        );
    }

    pub fn len(&self) -> usize {
        self.children.len()
    }

    pub fn is_full(&self) -> bool {
        self.children.is_full()
    }

    pub fn child(&self, at: usize) -> &Arc<Node> {
        self.children.get(at)
    }

    pub fn child_mut(&mut self, at: usize) -> &mut Arc<Node> {
        self.children.get_mut(at)
    }

    /// The number of keys below.
    pub fn count(&self) -> u32 {
        self.counts[..self.len()].iter().sum()
    }

    /// The number of keys below the children in front of `at`.
    pub fn count_before(&self, at: usize) -> usize {
        self.counts[..at].iter().map(|count| *count as usize).sum()
    }

    pub fn add_to_count(&mut self, at: usize, difference: i32) {
        self.counts[at] = self.counts[at].wrapping_add_signed(difference);
    }

    /// The child that holds `key`, if any does.
    pub fn child_for(&self, key: &[u8]) -> usize {
        let prefix = &self.prefix[..self.heads.skip()];
        let start = &key[..key.len().min(prefix.len())];
        match start.cmp(prefix) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => self.separators.len(),
            std::cmp::Ordering::Equal => {
                match self.heads.search(key, |at| self.separators[at].as_ref()) {
                    Ok(equal) => equal + 1,
                    Err(above) => above,
                }
            }
        }
    }

    /// Adds the new right half of child `at`. The node must not be full.
    pub fn add_split(&mut self, at: usize, split: Split) {
        self.counts.copy_within(at + 1..self.children.len(), at + 2);
        self.counts[at] = self.children.get(at).count();
        self.counts[at + 1] = split.right.count();
        self.children.insert(at + 1, split.right);
        Arc::make_mut(&mut self.separators).insert(at, split.separator);
        self.rebuild_heads();
    }

    /// Makes room for a child after `at` by moving the upper part to a new node.
    pub fn split(&mut self, at: usize) -> Split {
        let len = self.children.len();
        // As in a leaf; two children are the fewest that a node may have.
        let middle = if at + 1 == len { len - 2 } else { len / 2 };
        let children = self.children.split_off(middle).drain().collect();
        let separators = Arc::make_mut(&mut self.separators);
        let upper = separators.split_off(middle);
        let separator = separators.pop().expect("a full node has separators");
        self.rebuild_heads();
        Split {
            separator,
            right: Arc::new(Node::Inner(Inner::from_parts(children, upper))),
        }
    }

    /// Repairs child `at` after it became too small, together with a neighbour.
    pub fn balance_child(&mut self, at: usize) {
        let left_at = at.saturating_sub(1);
        if self.children.len() < 2 {
            return;
        }
        let mut right = self.children.remove(left_at + 1);
        let separators = Arc::make_mut(&mut self.separators);
        let separator = separators.remove(left_at);
        let left = self.children.get_mut(left_at);
        let new_separator = Node::balance(left, &mut right, separator);
        let (left_count, right_count) = (left.count(), right.count());
        self.counts[left_at] = left_count;
        match new_separator {
            Some(separator) => {
                self.counts[left_at + 1] = right_count;
                self.children.insert(left_at + 1, right);
                separators.insert(left_at, separator);
            }
            None => self.counts.copy_within(left_at + 2.., left_at + 1),
        }
        self.rebuild_heads();
    }

    /// Evens out two neighbours with `separator` between them, and returns the new one. None when
    /// all fit into the left one with room to spare.
    pub fn balance(&mut self, right: &mut Inner, separator: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let mut all = self.take_parts();
        let rest = right.take_parts();
        all.children.extend(rest.children);
        all.separators.push(separator);
        all.separators.extend(rest.separators);

        let total = all.children.len();
        if total <= INNER_CHILDREN - INNER_MIN_CHILDREN {
            *self = Inner::from_parts(all.children, all.separators);
            return None;
        }
        let children = all.children.split_off(total / 2);
        let separators = all.separators.split_off(total / 2);
        let between = all.separators.pop();
        *self = Inner::from_parts(all.children, all.separators);
        *right = Inner::from_parts(children, separators);
        between
    }

    fn take_parts(&mut self) -> Parts {
        Parts {
            children: self.children.drain().collect(),
            separators: std::mem::take(Arc::make_mut(&mut self.separators)),
        }
    }

    #[cfg(test)]
    pub fn check(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> (usize, usize) {
        assert_eq!(self.separators.len() + 1, self.len());
        assert!(self.separators.is_sorted_by(|a, b| a < b));
        let mut total = 0;
        let mut height = None;
        for at in 0..self.len() {
            let low = if at == 0 {
                low
            } else {
                Some(self.separators[at - 1].as_ref())
            };
            let high = self
                .separators
                .get(at)
                .map(|separator| separator.as_ref())
                .or(high);
            let (child_height, count) = super::node::check(self.child(at), low, high, false);
            assert_eq!(self.counts[at] as usize, count);
            assert_eq!(*height.get_or_insert(child_height), child_height);
            total += count;
        }
        (height.expect("a child") + 1, total)
    }
}
