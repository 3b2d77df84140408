//! The entries that are moved, and a hash by which two stores of them can be compared. Pure.

use std::fmt;

use bytes::Bytes;
use openssl::sha::Sha256;

/// A key that is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Bytes,
    pub value: Bytes,
    /// The id of the lease; 0 is none.
    pub lease: i64,
}

impl Entry {
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// A count and a hash of entries in the order of their keys.
#[derive(Clone, Default)]
pub struct Tally {
    pub keys: u64,
    pub bytes: u64,
    hash: Sha256,
}

impl Tally {
    pub fn add(&mut self, entry: &Entry, lease: i64) {
        self.keys += 1;
        self.bytes += entry.bytes() as u64;
        for part in [&entry.key, &entry.value] {
            self.hash.update(&(part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
        self.hash.update(&lease.to_be_bytes());
    }

    pub fn finish(self) -> Total {
        Total {
            keys: self.keys,
            bytes: self.bytes,
            hash: self.hash.finish(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    pub keys: u64,
    pub bytes: u64,
    pub hash: [u8; 32],
}

/// Shows as much of the hash as a person can compare.
impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = hex::encode(&self.hash[..8]);
        write!(f, "{} keys, {} bytes, hash {hash}", self.keys, self.bytes)
    }
}

/// The change of one key that makes the target equal to the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Put(Entry),
    Delete(Bytes),
    /// The entry is there already.
    Keep(Entry),
}

/// Returns the next step of a walk through both stores in the order of keys, and takes the entries
/// that it is about. `is_same` is asked of two entries of one key.
pub fn step(
    source: &mut Option<Entry>,
    target: &mut Option<Entry>,
    is_same: impl Fn(&Entry, &Entry) -> bool,
) -> Option<Step> {
    let order = match (&*source, &*target) {
        (Some(from), Some(to)) => from.key.cmp(&to.key),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => return None,
    };
    if order.is_gt() {
        return target.take().map(|entry| Step::Delete(entry.key));
    }
    let wanted = source.take()?;
    let present = if order.is_eq() { target.take() } else { None };
    Some(
        match present.is_some_and(|entry| is_same(&wanted, &entry)) {
            true => Step::Keep(wanted),
            false => Step::Put(wanted),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<Vec<u8>, (u8, i64)>;

    fn entries(model: &Model) -> Vec<Entry> {
        let entry = |(key, (value, lease)): (&Vec<u8>, &(u8, i64))| Entry {
            key: key.clone().into(),
            value: vec![*value].into(),
            lease: *lease,
        };
        model.iter().map(entry).collect()
    }

    fn model() -> impl Strategy<Value = Model> {
        let key = proptest::collection::vec(0..4_u8, 1..4);
        proptest::collection::btree_map(key, (0..3_u8, 0..3_i64), 0..30)
    }

    proptest! {
        #[test]
        fn the_steps_make_the_target_what_the_source_is(source in model(), target in model()) {
            let mut result = target.clone();
            let (from, to) = (entries(&source), entries(&target));
            let (mut from, mut to) = (from.into_iter(), to.into_iter());
            let (mut a, mut b) = (from.next(), to.next());
            let mut kept = 0;
            while let Some(step) = step(&mut a, &mut b, |a, b| a == b) {
                match step {
                    Step::Put(entry) => {
                        let new = (entry.value[0], entry.lease);
                        prop_assert_ne!(result.insert(entry.key.to_vec(), new), Some(new));
                    }
                    Step::Delete(key) => prop_assert!(result.remove(&key[..]).is_some()),
                    Step::Keep(_) => kept += 1,
                }
                a = a.or_else(|| from.next());
                b = b.or_else(|| to.next());
            }
            let same = source.iter().filter(|(key, new)| target.get(*key) == Some(new)).count();
            prop_assert_eq!(kept, same);
            prop_assert_eq!(result, source);
        }

        #[test]
        fn only_the_same_entries_have_the_same_hash(a in model(), b in model()) {
            let total = |model: &Model| {
                let mut tally = Tally::default();
                entries(model).iter().for_each(|entry| tally.add(entry, entry.lease));
                tally.finish()
            };
            prop_assert_eq!(total(&a) == total(&b), a == b);
        }
    }
}
