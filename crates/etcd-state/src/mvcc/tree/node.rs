//! One node of either level, and the changes that go down and come back up.

use std::sync::Arc;

use super::heads::shared_prefix;
use super::inner::{INNER_MIN_CHILDREN, Inner};
use super::leaf::{LEAF_MIN_ENTRIES, Leaf};
use crate::mvcc::KeyValue;

#[derive(Clone)]
// Both are some hundred bytes, always behind an Arc.
#[allow(clippy::large_enum_variant)]
pub(super) enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

/// The upper half of a node that was full, and a key between the halves.
pub(super) struct Split {
    pub separator: Arc<[u8]>,
    pub right: Arc<Node>,
}

pub(super) struct Inserted {
    pub replaced: Option<Arc<KeyValue>>,
    pub split: Option<Split>,
}

impl Node {
    pub fn single(kv: Arc<KeyValue>) -> Self {
        Node::Leaf(Leaf::single(kv))
    }

    pub fn root_over(left: Arc<Node>, split: Split) -> Self {
        Node::Inner(Inner::over(left, split))
    }

    /// The number of keys below.
    pub fn count(&self) -> u32 {
        match self {
            Node::Leaf(leaf) => leaf.len() as u32,
            Node::Inner(inner) => inner.count(),
        }
    }

    pub fn get(&self, key: &[u8]) -> Option<&Arc<KeyValue>> {
        let mut node = self;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.get(key),
                Node::Inner(inner) => node = inner.child(inner.child_for(key)),
            }
        }
    }

    /// Returns the number of keys below `key`.
    pub fn rank(&self, key: &[u8]) -> usize {
        let mut node = self;
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(leaf) => return rank + leaf.search(key).unwrap_or_else(|at| at),
                Node::Inner(inner) => {
                    let at = inner.child_for(key);
                    rank += inner.count_before(at);
                    node = inner.child(at);
                }
            }
        }
    }

    /// The child of a node that has no other.
    pub fn only_child(&self) -> Option<Arc<Node>> {
        match self {
            Node::Inner(inner) if inner.len() == 1 => Some(Arc::clone(inner.child(0))),
            _ => None,
        }
    }

    fn is_too_small(&self) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.len() < LEAF_MIN_ENTRIES,
            Node::Inner(inner) => inner.len() < INNER_MIN_CHILDREN,
        }
    }

    /// Evens out two neighbours of one level; the new separator, or none if `right` is now empty.
    pub fn balance(
        left: &mut Arc<Node>,
        right: &mut Arc<Node>,
        separator: Arc<[u8]>,
    ) -> Option<Arc<[u8]>> {
        match (Arc::make_mut(left), Arc::make_mut(right)) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                left.balance(right);
                (!right.is_empty()).then(|| separator_between(left.last_key(), right.first_key()))
            }
            (Node::Inner(left), Node::Inner(right)) => left.balance(right, separator),
            _ => unreachable!("all leaves are at one depth"),
        }
    }
}

/// The shortest key that is above `left` and not above `right`.
fn separator_between(left: &[u8], right: &[u8]) -> Arc<[u8]> {
    Arc::from(&right[..=shared_prefix(left, right)])
}

pub(super) fn insert(node: &mut Arc<Node>, kv: Arc<KeyValue>) -> Inserted {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => insert_in_leaf(leaf, kv),
        Node::Inner(inner) => {
            let at = inner.child_for(&kv.key);
            let mut inserted = insert(inner.child_mut(at), kv);
            inner.add_to_count(at, i32::from(inserted.replaced.is_none()));
            inserted.split = inserted.split.and_then(|split| add_split(inner, at, split));
            inserted
        }
    }
}

fn insert_in_leaf(leaf: &mut Leaf, kv: Arc<KeyValue>) -> Inserted {
    let at = match leaf.search(&kv.key) {
        Ok(at) => {
            return Inserted {
                replaced: Some(leaf.replace(at, kv)),
                split: None,
            };
        }
        Err(at) => at,
    };
    if !leaf.is_full() {
        leaf.insert(at, kv);
        return Inserted {
            replaced: None,
            split: None,
        };
    }
    let mut right = leaf.split(at);
    match at.checked_sub(leaf.len()) {
        Some(at) if at > 0 => right.insert(at, kv),
        _ => leaf.insert(at, kv),
    }
    let separator = separator_between(leaf.last_key(), right.first_key());
    Inserted {
        replaced: None,
        split: Some(Split {
            separator,
            right: Arc::new(Node::Leaf(right)),
        }),
    }
}

/// Adds the new half of child `at`, which may split the node in turn.
fn add_split(inner: &mut Inner, at: usize, split: Split) -> Option<Split> {
    if !inner.is_full() {
        inner.add_split(at, split);
        return None;
    }
    let mut upper = inner.split(at);
    match at.checked_sub(inner.len()) {
        None => inner.add_split(at, split),
        Some(at) => match Arc::make_mut(&mut upper.right) {
            Node::Inner(right) => right.add_split(at, split),
            Node::Leaf(_) => unreachable!("the half of an inner node is one"),
        },
    }
    Some(upper)
}

/// Takes out `key`, which must be there.
pub(super) fn remove(node: &mut Arc<Node>, key: &[u8]) -> Option<Arc<KeyValue>> {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => leaf.search(key).ok().map(|at| leaf.remove(at)),
        Node::Inner(inner) => {
            let at = inner.child_for(key);
            let removed = remove(inner.child_mut(at), key)?;
            inner.add_to_count(at, -1);
            if inner.child(at).is_too_small() {
                inner.balance_child(at);
            }
            Some(removed)
        }
    }
}

/// Checks the invariants below a node, and returns its height and number of keys.
#[cfg(test)]
pub(super) fn check(
    node: &Node,
    low: Option<&[u8]>,
    high: Option<&[u8]>,
    is_root: bool,
) -> (usize, usize) {
    match node {
        Node::Inner(inner) => {
            assert!(inner.len() >= 2, "root {is_root}");
            inner.check(low, high)
        }
        Node::Leaf(leaf) => {
            assert!(!leaf.is_empty());
            for at in 0..leaf.len() {
                let key: &[u8] = &leaf.entry(at).key;
                assert!(low.is_none_or(|low| low <= key) && high.is_none_or(|high| key < high));
                assert!(at == 0 || leaf.entry(at - 1).key.as_ref() < key);
                assert_eq!(leaf.search(key), Ok(at));
            }
            (0, leaf.len())
        }
    }
}

#[cfg(test)]
pub(super) fn leaves(node: &Node) -> usize {
    match node {
        Node::Leaf(_) => 1,
        Node::Inner(inner) => (0..inner.len()).map(|at| leaves(inner.child(at))).sum(),
    }
}
