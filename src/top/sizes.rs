//! The keys and bytes of each group: a walk over a snapshot of the index, and over the changes since the compaction.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use etcd_state::mvcc::{History, KeyRange, Revision};

use super::groups::{MAX_DEPTH, depth_below, group_of};

/// Groups that are told apart in a walk; the keys of later ones are together.
const MAX_WALKED_GROUPS: usize = 16_384;

/// Groups in an answer, the largest; the others are together. An answer has some 100 bytes for each.
pub const MAX_GROUPS: usize = 1024;

/// Changes that are taken from the history under one lock, which a writer waits for, as for the watch hub.
const CHANGES_AT_ONCE: usize = 1024;

/// Changes that are looked at: some 100 ms.
const MAX_CHANGES: usize = 1_000_000;

/// The shortest time for which sizes are used again.
pub const MIN_AGE: Duration = Duration::from_millis(500);

/// The groups that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub prefix: Bytes,
    pub depth: usize,
}

impl Query {
    /// Depth 0 is the level below the prefix.
    pub fn new(prefix: Bytes, depth: u32) -> Self {
        let depth = match depth as usize {
            0 => depth_below(&prefix),
            depth => depth.min(MAX_DEPTH),
        };
        Self { prefix, depth }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub keys: u64,
    pub bytes: u64,
    pub changes: u64,
    pub change_bytes: u64,
}

impl Size {
    fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.changes += other.changes;
        self.change_bytes += other.change_bytes;
    }
}

#[derive(Debug)]
pub struct Sizes {
    pub revision: Revision,
    pub compact_revision: Revision,
    pub changes_left_out: u64,
    pub groups: BTreeMap<Vec<u8>, Size>,
    /// All other groups together.
    pub rest: Option<Size>,
    pub at: Instant,
}

/// Walks over all keys, and over the changes since the compaction.
pub fn measure(history: &History, query: &Query) -> Sizes {
    let compact_revision = history.compact_revision();
    let head = history.head();
    let mut walk = Walk::default();
    let range = KeyRange::new(query.prefix.clone(), end_of(&query.prefix));
    for kv in head.tree.range(&range) {
        let size = walk.group(group_of(&kv.key, query.depth));
        size.keys += 1;
        size.bytes += (kv.key.len() + kv.value.len()) as u64;
    }
    let revision = head.revision;
    // The nodes of the tree are free for the writer again.
    drop(head);
    let changes_left_out = walk.changes(history, revision, query);
    let (groups, rest) = walk.largest();
    Sizes {
        revision,
        compact_revision,
        changes_left_out,
        groups,
        rest,
        at: Instant::now(),
    }
}

/// Returns the end of the range of a prefix, in etcd's form: one zero byte is no end.
fn end_of(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte < u8::MAX);
    match kept {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => Bytes::from_static(&[0]),
    }
}

#[derive(Default)]
struct Walk {
    groups: BTreeMap<Vec<u8>, Size>,
    rest: Option<Size>,
}

impl Walk {
    fn group(&mut self, group: &[u8]) -> &mut Size {
        if !self.groups.contains_key(group) {
            if self.groups.len() >= MAX_WALKED_GROUPS {
                return self.rest.get_or_insert_default();
            }
            self.groups.insert(group.to_vec(), Size::default());
        }
        self.groups.get_mut(group).expect("it was put there")
    }

    /// Adds the changes up to `revision`, the oldest first. Returns how many revisions were left out.
    fn changes(&mut self, history: &History, revision: Revision, query: &Query) -> u64 {
        let mut next = history.compact_revision().next();
        let mut looked_at = 0;
        while next <= revision {
            if looked_at >= MAX_CHANGES {
                return revision.since(next).max(0) as u64 + 1;
            }
            // If it was compacted meanwhile, the rest is what there is.
            let commits = match history.commits_from(next, CHANGES_AT_ONCE) {
                Ok(commits) => commits,
                Err(_) if next <= history.compact_revision() => {
                    next = history.compact_revision().next();
                    continue;
                }
                Err(_) => break,
            };
            let Some(last) = commits.last() else { break };
            next = last.revision.next();
            for change in commits.iter().flat_map(|commit| &commit.changes) {
                looked_at += 1;
                let kv = &change.kv;
                if kv.mod_revision <= revision && kv.key.starts_with(&query.prefix) {
                    let size = self.group(group_of(&kv.key, query.depth));
                    size.changes += 1;
                    size.change_bytes += (kv.key.len() + kv.value.len()) as u64;
                }
            }
        }
        0
    }

    /// Returns the largest groups, and all others together.
    fn largest(self) -> (BTreeMap<Vec<u8>, Size>, Option<Size>) {
        let Self { groups, mut rest } = self;
        if groups.len() <= MAX_GROUPS {
            return (groups, rest);
        }
        let mut sorted: Vec<_> = groups.into_iter().collect();
        sorted.sort_by_key(|(_, size)| std::cmp::Reverse(size.bytes + size.change_bytes));
        for (_, size) in sorted.drain(MAX_GROUPS..) {
            rest.get_or_insert_default().add(&size);
        }
        (sorted.into_iter().collect(), rest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use etcd_state::mvcc::{Change, ChangeKind, Commit, KeyValue, LeaseId, Tree};

    use super::*;

    /// A store to which these keys were written, each in a revision of its own.
    fn store(keys: impl IntoIterator<Item = String>) -> History {
        let history = History::new();
        let mut tree = Tree::new();
        for key in keys {
            let mod_revision = history.head().revision.next();
            let kv = Arc::new(KeyValue {
                key: key.into(),
                value: Bytes::from_static(b"12345"),
                create_revision: mod_revision,
                mod_revision,
                version: 1,
                lease: LeaseId::NONE,
                position: 0,
            });
            let prev = tree.insert(kv.clone());
            let commit = Commit {
                revision: mod_revision,
                changes: vec![Change {
                    kind: ChangeKind::Put,
                    kv,
                    prev,
                }],
            };
            history.append(&[Arc::new(commit)], tree.clone());
        }
        history
    }

    fn query(prefix: &'static str) -> Query {
        Query::new(Bytes::from_static(prefix.as_bytes()), 0)
    }

    #[test]
    fn keys_and_changes_are_those_of_their_groups() {
        let keys = ["/r/a/x", "/r/a/y", "/r/b/x", "/r/a/x", "z"];
        let history = store(keys.map(str::to_owned));
        let sizes = measure(&history, &query(""));
        let a = Size {
            keys: 2,
            bytes: 22,
            changes: 3,
            change_bytes: 33,
        };
        assert_eq!(sizes.groups[&b"/r/a/"[..]], a);
        assert_eq!(sizes.groups[&b""[..]].keys, 1);
        let below = measure(&history, &query("/r/a/"));
        assert_eq!(below.groups.len(), 1);
        assert_eq!(below.groups[&b"/r/a/"[..]], a);
        assert!(measure(&history, &query("/r/c")).groups.is_empty());
    }

    #[test]
    fn changes_are_counted_from_the_compaction_on() {
        let history = store((0..3000).map(|n| format!("/r/{}/x", n % 3)));
        history.compact(Revision::new(2001)).unwrap();
        let sizes = measure(&history, &query("/r/"));
        let changes: u64 = sizes.groups.values().map(|size| size.changes).sum();
        assert_eq!((changes, sizes.changes_left_out), (1000, 0));
        assert_eq!(sizes.compact_revision, Revision::new(2001));
    }

    #[test]
    fn what_is_too_much_is_together() {
        let history = store((0..MAX_GROUPS + 7).map(|n| format!("/r/{n:05}/x")));
        let sizes = measure(&history, &query("/r/"));
        assert_eq!(sizes.groups.len(), MAX_GROUPS);
        assert_eq!(sizes.rest.map(|rest| rest.keys), Some(7));
    }

    #[test]
    fn a_prefix_ends_where_etcd_has_its_end() {
        assert_eq!(end_of(b"/a/")[..], b"/a0"[..]);
        assert_eq!(end_of(b"a\xff")[..], b"b"[..]);
        assert_eq!(end_of(b"")[..], [0]);
    }
}
