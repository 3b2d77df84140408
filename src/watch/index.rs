//! An index from a key to the watched ranges that hold it. Pure.
//!
//! Kubernetes watches prefixes and a few single keys, so those two are found by lookup; any other
//! range costs a comparison per event.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use etcd_state::mvcc::KeyRange;

/// The id of a watched range, chosen by the owner of the index.
pub type SlotId = usize;

#[derive(Debug, Default)]
pub struct Index {
    singles: HashMap<Bytes, SlotId>,
    /// Ordered, because the prefixes of a key are found with one search per level of nesting,
    /// where a hash map needs one per length in use.
    prefixes: BTreeMap<Bytes, SlotId>,
    others: Vec<(KeyRange, SlotId)>,
}

enum Place<'a> {
    Single(&'a Bytes),
    Prefix(&'a Bytes),
    Other,
}

impl Index {
    pub fn get(&self, range: &KeyRange) -> Option<SlotId> {
        match place(range) {
            Place::Single(key) => self.singles.get(key).copied(),
            Place::Prefix(prefix) => self.prefixes.get(prefix).copied(),
            Place::Other => self
                .others
                .iter()
                .find(|(other, _)| other == range)
                .map(|(_, slot)| *slot),
        }
    }

    /// Adds a range that is not in the index.
    pub fn insert(&mut self, range: &KeyRange, slot: SlotId) {
        let former = match place(range) {
            Place::Single(key) => self.singles.insert(key.clone(), slot),
            Place::Prefix(prefix) => self.prefixes.insert(prefix.clone(), slot),
            Place::Other => {
                self.others.push((range.clone(), slot));
                None
            }
        };
        debug_assert!(former.is_none(), "range indexed twice");
    }

    pub fn remove(&mut self, range: &KeyRange) {
        match place(range) {
            Place::Single(key) => drop(self.singles.remove(key)),
            Place::Prefix(prefix) => drop(self.prefixes.remove(prefix)),
            Place::Other => self.others.retain(|(other, _)| other != range),
        }
    }

    /// Calls `found` once for each range that holds `key`.
    pub fn matching(&self, key: &[u8], mut found: impl FnMut(SlotId)) {
        if let Some(slot) = self.singles.get(key) {
            found(*slot);
        }
        self.matching_prefixes(key, &mut found);
        for (range, slot) in &self.others {
            if range.contains(key) {
                found(*slot);
            }
        }
    }

    /// Every prefix of `key` sorts at or below it, and what lies between the two starts with that
    /// prefix as well. So the next candidate below an entry is no longer than what the entry has in
    /// common with the key.
    fn matching_prefixes(&self, key: &[u8], found: &mut impl FnMut(SlotId)) {
        let mut bound = key;
        loop {
            let at_or_below = (Bound::Unbounded, Bound::Included(bound));
            let Some((entry, slot)) = self.prefixes.range::<[u8], _>(at_or_below).next_back()
            else {
                return;
            };
            let common = bound
                .iter()
                .zip(entry.iter())
                .take_while(|(a, b)| a == b)
                .count();
            bound = if common == entry.len() {
                found(*slot);
                match common.checked_sub(1) {
                    Some(shorter) => &bound[..shorter],
                    None => return,
                }
            } else {
                &bound[..common]
            };
        }
    }
}

fn place(range: &KeyRange) -> Place<'_> {
    match range {
        KeyRange::Single(key) => Place::Single(key),
        KeyRange::Span(start, end) if is_prefix_span(start, end) => Place::Prefix(start),
        KeyRange::Span(..) | KeyRange::From(_) => Place::Other,
    }
}

/// Returns whether `[start, end)` is exactly the keys that begin with `start`.
fn is_prefix_span(start: &[u8], end: &[u8]) -> bool {
    let trailing = start.iter().rev().take_while(|byte| **byte == 0xff).count();
    let Some((last, head)) = start[..start.len() - trailing].split_last() else {
        return false;
    };
    end.split_last() == Some((&(last + 1), head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few letters, so that keys nest and ranges meet; the extremes, where successors are special.
    fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
        let letter = prop::sample::select(vec![0x00, b'a', b'b', 0xfe, 0xff]);
        prop::collection::vec(letter, 0..5)
    }

    fn successor(prefix: &[u8]) -> Vec<u8> {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                return end;
            }
        }
        vec![0]
    }

    fn some_range() -> impl Strategy<Value = KeyRange> {
        let single = some_bytes().prop_map(|key| (key, Vec::new()));
        let prefix = some_bytes().prop_map(|key| {
            let end = successor(&key);
            (key, end)
        });
        let any = (some_bytes(), some_bytes());
        prop_oneof![single, prefix, any]
            .prop_map(|(key, end)| KeyRange::new(key.into(), end.into()))
    }

    proptest! {
        #[test]
        fn finds_what_key_range_contains(
            inserted in prop::collection::vec(some_range(), 0..24),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            keys in prop::collection::vec(some_bytes(), 1..12),
        ) {
            let mut index = Index::default();
            let mut model: Vec<(KeyRange, SlotId)> = Vec::new();
            for (slot, range) in inserted.into_iter().enumerate() {
                let known = model.iter().find(|(other, _)| *other == range).map(|(_, slot)| *slot);
                prop_assert_eq!(index.get(&range), known);
                if known.is_none() {
                    index.insert(&range, slot);
                    model.push((range, slot));
                }
            }
            for choice in removed {
                if !model.is_empty() {
                    let (range, _) = model.swap_remove(choice.index(model.len()));
                    index.remove(&range);
                    prop_assert_eq!(index.get(&range), None);
                }
            }
            for key in keys {
                let mut found = Vec::new();
                index.matching(&key, |slot| found.push(slot));
                found.sort_unstable();
                let mut expected: Vec<SlotId> = model
                    .iter()
                    .filter(|(range, _)| range.contains(&key))
                    .map(|(_, slot)| *slot)
                    .collect();
                expected.sort_unstable();
                prop_assert_eq!(found, expected, "key {:?}", key);
            }
        }
    }

    #[test]
    fn a_kubernetes_prefix_is_found_by_lookup() {
        assert!(is_prefix_span(b"/registry/pods/", b"/registry/pods0"));
        assert!(is_prefix_span(b"a\xff", b"b"));
        assert!(!is_prefix_span(b"\xff", b"\x00"));
        assert!(!is_prefix_span(b"", b"a"));
        assert!(!is_prefix_span(b"/registry/pods/", b"/registry/pods1"));
    }
}
