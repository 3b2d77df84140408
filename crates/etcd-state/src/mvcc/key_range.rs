//! etcd's key ranges.

use bytes::Bytes;

/// A set of keys as etcd's requests name it with `key` and `range_end`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyRange {
    /// `range_end` empty: one key.
    Single(Bytes),
    /// `[start, end)`; empty when `end <= start`.
    Span(Bytes, Bytes),
    /// `range_end` is one zero byte: all keys from `start` on.
    From(Bytes),
}

impl KeyRange {
    /// Reads `key` and `range_end` as etcd does. `key` = `range_end` = `"\0"` is every key.
    pub fn new(key: Bytes, range_end: Bytes) -> Self {
        if range_end.is_empty() {
            KeyRange::Single(key)
        } else if range_end.as_ref() == [0] {
            KeyRange::From(key)
        } else {
            KeyRange::Span(key, range_end)
        }
    }

    /// The first key that the range may hold.
    pub fn start(&self) -> &[u8] {
        match self {
            KeyRange::Single(key) | KeyRange::Span(key, _) | KeyRange::From(key) => key,
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::Single(single) => key == single.as_ref(),
            KeyRange::Span(start, end) => key >= start.as_ref() && key < end.as_ref(),
            KeyRange::From(start) => key >= start.as_ref(),
        }
    }

    /// Returns whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        matches!(self, KeyRange::Span(start, end) if end <= start)
    }
}
