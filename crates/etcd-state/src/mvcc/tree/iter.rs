//! Walking the tree in the order of keys.

use std::sync::Arc;

use super::inner::Inner;
use super::leaf::Leaf;
use super::node::Node;
use crate::mvcc::KeyValue;

/// The versions of a range, ascending. Its length is known beforehand, so that no key is compared
/// on the way.
pub struct Range<'a> {
    /// The inner nodes above the leaf, each with the child to visit next.
    path: Vec<(&'a Inner, usize)>,
    leaf: Option<(&'a Leaf, usize)>,
    remaining: usize,
}

impl<'a> Range<'a> {
    pub(super) fn new(root: Option<&'a Node>, start: &[u8], remaining: usize) -> Self {
        let mut range = Range {
            path: Vec::new(),
            leaf: None,
            remaining,
        };
        if let Some(root) = root.filter(|_| remaining > 0) {
            range.descend(root, |inner| inner.child_for(start));
            if let Some((leaf, next)) = &mut range.leaf {
                *next = leaf.search(start).unwrap_or_else(|at| at);
            }
        }
        range
    }

    fn descend(&mut self, mut node: &'a Node, choose: impl Fn(&Inner) -> usize) {
        loop {
            match node {
                Node::Leaf(leaf) => {
                    self.leaf = Some((leaf, 0));
                    return;
                }
                Node::Inner(inner) => {
                    let at = choose(inner);
                    self.path.push((inner, at + 1));
                    node = inner.child(at);
                }
            }
        }
    }

    fn next_leaf(&mut self) {
        while let Some((inner, next)) = self.path.pop() {
            if next < inner.len() {
                self.path.push((inner, next + 1));
                self.descend(inner.child(next), |_| 0);
                return;
            }
        }
        self.leaf = None;
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = &'a Arc<KeyValue>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        loop {
            let (leaf, next) = self.leaf.as_mut()?;
            if *next < leaf.len() {
                *next += 1;
                self.remaining -= 1;
                return Some(leaf.entry(*next - 1));
            }
            self.next_leaf();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Range<'_> {}
