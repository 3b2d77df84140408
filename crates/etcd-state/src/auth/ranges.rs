//! A set of keys, as ranges.

use bytes::Bytes;

/// `range_end` as etcd writes it: nothing is the key alone, a zero byte is no end.
const NO_END: &[u8] = &[0];

/// Ranges that neither overlap nor touch, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<KeyInterval>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyInterval {
    begin: Bytes,
    /// Above the last key; none if there is no end.
    end: Option<Bytes>,
}

fn end_of(key: &[u8], range_end: &[u8]) -> Option<Bytes> {
    match range_end {
        [] => Some([key, &[0]].concat().into()),
        NO_END => None,
        end => Some(Bytes::copy_from_slice(end)),
    }
}

/// Returns whether `end` is at or above `other`; `None` is above all.
fn reaches(end: &Option<Bytes>, other: &Option<Bytes>) -> bool {
    match (end, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(end), Some(other)) => end >= other,
    }
}

impl Ranges {
    /// Returns the set of all keys of these pairs of key and `range_end`.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a Bytes, &'a Bytes)>) -> Self {
        let mut intervals: Vec<_> = pairs
            .into_iter()
            .map(|(key, range_end)| KeyInterval {
                begin: key.clone(),
                end: end_of(key, range_end),
            })
            .collect();
        intervals.sort_by(|a, b| a.begin.cmp(&b.begin));
        let mut merged: Vec<KeyInterval> = Vec::new();
        for next in intervals {
            match merged.last_mut() {
                Some(last) if reaches(&last.end, &Some(next.begin.clone())) => {
                    if reaches(&next.end, &last.end) {
                        last.end = next.end;
                    }
                }
                _ => merged.push(next),
            }
        }
        Self(merged)
    }

    /// Returns whether all keys of the range are in the set. A range that ends before it begins
    /// needs its first key.
    pub fn contains(&self, key: &[u8], range_end: &[u8]) -> bool {
        let at = self.0.partition_point(|interval| interval.begin <= key);
        let Some(interval) = at.checked_sub(1).map(|at| &self.0[at]) else {
            return false;
        };
        let holds_first = interval.end.as_ref().is_none_or(|end| key < &end[..]);
        holds_first && reaches(&interval.end, &end_of(key, range_end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(pairs: &[(&str, &str)]) -> Ranges {
        let owned: Vec<(Bytes, Bytes)> = pairs
            .iter()
            .map(|(key, end)| {
                let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
                (copy(key), copy(end))
            })
            .collect();
        Ranges::new(owned.iter().map(|(key, end)| (key, end)))
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let set = ranges(&[("a", "c"), ("c", "e"), ("x", "")]);
        assert!(set.contains(b"a", b"e"));
        assert!(set.contains(b"b", b"d"));
        assert!(!set.contains(b"b", b"f"));
        assert!(set.contains(b"x", b""));
        assert!(!set.contains(b"x", b"y"));
        assert!(!set.contains(b"e", b""));
        assert!(!set.contains(b"d", b"\0"));
    }

    #[test]
    fn a_zero_byte_has_no_end() {
        let set = ranges(&[("m", "\0")]);
        assert!(set.contains(b"m", b"\0"));
        assert!(set.contains(b"z", b"\0"));
        assert!(set.contains(b"n", b"o"));
        assert!(!set.contains(b"l", b"\0"));
    }

    fn letter() -> impl Strategy<Value = Bytes> {
        (b'a'..=b'h').prop_map(|letter| Bytes::from(vec![letter]))
    }

    fn range_end() -> impl Strategy<Value = Bytes> {
        prop_oneof![
            Just(Bytes::new()),
            Just(Bytes::from_static(NO_END)),
            letter()
        ]
    }

    /// Keys of one letter, and what lies right behind each.
    fn universe() -> Vec<Vec<u8>> {
        let letters = b'a'..=b'j';
        letters
            .flat_map(|letter| [vec![letter], vec![letter, 0]])
            .collect()
    }

    fn is_in(key: &[u8], begin: &[u8], end: &[u8]) -> bool {
        match end {
            [] => key == begin,
            NO_END => key >= begin,
            end => begin <= key && key < end,
        }
    }

    proptest! {
        #[test]
        fn a_range_is_allowed_if_each_of_its_keys_is(
            granted in prop::collection::vec((letter(), range_end()), 0..6),
            key in letter(),
            range_end in range_end(),
        ) {
            let granted: Vec<_> = granted
                .into_iter()
                .filter(|(key, end)| end.is_empty() || end == NO_END || key < end)
                .collect();
            let set = Ranges::new(granted.iter().map(|(key, end)| (key, end)));
            let is_granted = |wanted: &[u8]| granted.iter().any(|(key, end)| is_in(wanted, key, end));
            let mut wanted: Vec<_> = universe();
            wanted.retain(|candidate| candidate == &key || is_in(candidate, &key, &range_end));
            let expected = wanted.iter().all(|key| is_granted(key));
            prop_assert_eq!(set.contains(&key, &range_end), expected);
        }
    }
}
