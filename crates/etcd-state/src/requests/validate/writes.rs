//! The keys that a transaction may write, to refuse one that writes a key twice.
//!
//! A request of 1.5 MiB has room for 80,000 puts and as many deletions, so nothing here may cost
//! their product: sets are merged into the larger one, and searched with the smaller one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use bytes::{BufMut, Bytes, BytesMut};
use etcd_proto::etcdserverpb::{RequestOp, request_op::Request};

use crate::mvcc::KeyRange;
use crate::requests::RequestError;

/// The keys that a list of operations may write.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: Spans,
}

/// Ranges of keys that do not touch: each start with its end, or none if it has no end.
#[derive(Default)]
struct Spans(BTreeMap<Bytes, Option<Bytes>>);

/// No key may be put twice, or put and deleted, in one list. Of a nested transaction both branches
/// count, but only one of them will run, so they may write the same key. etcd overlooks two cases,
/// which are refused here: a nested transaction that deletes what one before it put, and a deletion
/// without an end. So each key changes once in a revision.
pub fn check_duplicates(operations: &[RequestOp]) -> Result<(), RequestError> {
    match operations {
        // What nearly all transactions are.
        [] => Ok(()),
        [one] if !matches!(one.request, Some(Request::RequestTxn(_))) => Ok(()),
        operations => writes_of(operations).map(drop),
    }
}

fn writes_of(operations: &[RequestOp]) -> Result<Writes, RequestError> {
    let mut writes = Writes::default();
    for operation in operations {
        if let Some(Request::RequestDeleteRange(delete)) = &operation.request {
            let range = KeyRange::new(delete.key.clone(), delete.range_end.clone());
            writes.deletes.insert(range);
        }
    }
    for operation in operations {
        if let Some(Request::RequestTxn(txn)) = &operation.request {
            writes.add(writes_of(&txn.success)?.or(writes_of(&txn.failure)?))?;
        }
    }
    for operation in operations {
        let Some(Request::RequestPut(put)) = &operation.request else {
            continue;
        };
        if writes.deletes.contains(&put.key) || !writes.puts.insert(put.key.clone()) {
            return Err(RequestError::DuplicateKey);
        }
    }
    Ok(writes)
}

impl Writes {
    /// Returns the keys that either of two branches writes.
    fn or(self, other: Writes) -> Writes {
        Writes {
            puts: union(self.puts, other.puts),
            deletes: self.deletes.union(other.deletes),
        }
    }

    /// Adds what comes after.
    fn add(&mut self, other: Writes) -> Result<(), RequestError> {
        let is_disjoint = is_disjoint(&self.puts, &other.puts)
            && !self.deletes.meet(&other.puts)
            && !other.deletes.meet(&self.puts);
        if !is_disjoint {
            return Err(RequestError::DuplicateKey);
        }
        *self = std::mem::take(self).or(other);
        Ok(())
    }
}

fn is_disjoint(one: &BTreeSet<Bytes>, other: &BTreeSet<Bytes>) -> bool {
    let (small, large) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    !small.iter().any(|key| large.contains(key))
}

fn union(one: BTreeSet<Bytes>, other: BTreeSet<Bytes>) -> BTreeSet<Bytes> {
    let (small, mut large) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    large.extend(small);
    large
}

impl Spans {
    fn insert(&mut self, range: KeyRange) {
        match range {
            range if range.is_empty() => {}
            KeyRange::Single(key) => {
                let mut end = BytesMut::with_capacity(key.len() + 1);
                end.put_slice(&key);
                end.put_u8(0);
                self.insert_span(key, Some(end.freeze()));
            }
            KeyRange::Span(start, end) => self.insert_span(start, Some(end)),
            KeyRange::From(start) => self.insert_span(start, None),
        }
    }

    fn insert_span(&mut self, mut start: Bytes, mut end: Option<Bytes>) {
        // Whatever touches it becomes part of it, from the last one that begins within on.
        let touches =
            |start: &Bytes, end: &Option<Bytes>| end.as_ref().is_none_or(|end| end >= start);
        loop {
            let upper = match &end {
                Some(end) => Bound::Included(end.clone()),
                None => Bound::Unbounded,
            };
            let last = self.0.range((Bound::Unbounded, upper)).next_back();
            let Some((other, _)) = last.filter(|(_, other_end)| touches(&start, other_end)) else {
                break;
            };
            let other = other.clone();
            let other_end = self.0.remove(&other).expect("just found");
            end = match (end, other_end) {
                (Some(one), Some(other)) => Some(one.max(other)),
                _ => None,
            };
            start = start.min(other);
        }
        self.0.insert(start, end);
    }

    fn union(self, other: Spans) -> Spans {
        let (small, mut large) = if self.0.len() < other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        for (start, end) in small.0 {
            large.insert_span(start, end);
        }
        large
    }

    fn contains(&self, key: &[u8]) -> bool {
        let upto = (Bound::Unbounded, Bound::Included(key));
        let last = self.0.range::<[u8], _>(upto).next_back();
        last.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < &end[..]))
    }

    fn meet(&self, keys: &BTreeSet<Bytes>) -> bool {
        if keys.len() < self.0.len() {
            return keys.iter().any(|key| self.contains(key));
        }
        self.0.iter().any(|(start, end)| {
            let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let span = (Bound::Included(&start[..]), end);
            keys.range::<[u8], _>(span).next().is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use etcd_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, TxnRequest};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The rule, without regard to cost.
    fn plain(operations: &[RequestOp]) -> Result<(Vec<Bytes>, Vec<KeyRange>), RequestError> {
        let requests = || operations.iter().flat_map(|operation| &operation.request);
        let mut puts: Vec<Bytes> = Vec::new();
        let mut deletes: Vec<KeyRange> = requests()
            .filter_map(|request| match request {
                Request::RequestDeleteRange(delete) => {
                    Some(KeyRange::new(delete.key.clone(), delete.range_end.clone()))
                }
                _ => None,
            })
            .collect();
        let deleted = |deletes: &[KeyRange], key: &Bytes| deletes.iter().any(|r| r.contains(key));
        for request in requests() {
            let Request::RequestTxn(txn) = request else {
                continue;
            };
            let (then, otherwise) = (plain(&txn.success)?, plain(&txn.failure)?);
            let branches = [then.0, otherwise.0].concat();
            let gone = [then.1, otherwise.1].concat();
            if branches
                .iter()
                .any(|key| puts.contains(key) || deleted(&deletes, key))
                || puts.iter().any(|key| deleted(&gone, key))
            {
                return Err(RequestError::DuplicateKey);
            }
            puts.extend(branches);
            deletes.extend(gone);
        }
        for request in requests() {
            let Request::RequestPut(put) = request else {
                continue;
            };
            if puts.contains(&put.key) || deleted(&deletes, &put.key) {
                return Err(RequestError::DuplicateKey);
            }
            puts.push(put.key.clone());
        }
        Ok((puts, deletes))
    }

    fn put(key: Bytes) -> RequestOp {
        let put = PutRequest {
            key,
            ..Default::default()
        };
        RequestOp {
            request: Some(Request::RequestPut(put)),
        }
    }

    fn delete(key: Bytes, range_end: Bytes) -> RequestOp {
        let delete = DeleteRangeRequest {
            key,
            range_end,
            prev_kv: false,
        };
        RequestOp {
            request: Some(Request::RequestDeleteRange(delete)),
        }
    }

    fn txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        let txn = TxnRequest {
            compare: vec![],
            success,
            failure,
        };
        RequestOp {
            request: Some(Request::RequestTxn(txn)),
        }
    }

    fn operation() -> impl Strategy<Value = RequestOp> {
        let key = || "[a-p]\0?".prop_map(|key| Bytes::from(key.into_bytes()));
        let end = prop_oneof![
            4 => Just(Bytes::new()),
            1 => Just(Bytes::from_static(b"\0")),
            4 => key(),
        ];
        let simple = prop_oneof![
            3 => key().prop_map(put),
            1 => (key(), end).prop_map(|(key, end)| delete(key, end)),
        ];
        simple.prop_recursive(3, 16, 4, |inner| {
            let list = || vec(inner.clone(), 0..3);
            (list(), list()).prop_map(|(success, failure)| txn(success, failure))
        })
    }

    proptest! {
        #[test]
        fn a_transaction_is_refused_by_the_plain_rule(operations in vec(operation(), 0..5)) {
            let expected = plain(&operations).map(drop);
            prop_assert_eq!(check_duplicates(&operations), expected);
        }

        #[test]
        fn spans_hold_what_was_put_in(ranges in vec(("[a-h]{1,2}", "[a-h]{0,2}|\0"), 0..12)) {
            let mut spans = Spans::default();
            let ranges: Vec<_> = ranges
                .into_iter()
                .map(|(start, end)| KeyRange::new(start.into(), end.into()))
                .collect();
            ranges.iter().for_each(|range| spans.insert(range.clone()));
            for first in b'`'..b'j' {
                for key in [vec![first], vec![first, 0], vec![first, b'c'], vec![first, b'z']] {
                    let is_in = ranges.iter().any(|range| range.contains(&key));
                    prop_assert_eq!(spans.contains(&key), is_in);
                    let set = BTreeSet::from([Bytes::from(key)]);
                    prop_assert_eq!(spans.meet(&set), is_in);
                }
            }
        }
    }

    #[test]
    fn a_request_full_of_operations_is_checked_without_trying_all_pairs() {
        let key = |kind: char, at: usize| Bytes::from(format!("{kind}{at:05}"));
        let leaves = |list: usize| {
            let puts = (0..40).map(move |at| put(key('p', list * 40 + at)));
            puts.chain((0..20).map(move |at| delete(key('d', list * 20 + at), Bytes::new())))
        };
        let middle =
            |at: usize| (0..30).map(move |list| txn(leaves(at * 30 + list).collect(), vec![]));
        let operations: Vec<_> = (0..30)
            .map(|at| txn(middle(at).collect(), vec![]))
            .collect();
        // 36,000 puts and 18,000 deletions.
        assert_eq!(check_duplicates(&operations), Ok(()));
        let twice = [operations, vec![put(key('p', 17_000))]].concat();
        assert_eq!(check_duplicates(&twice), Err(RequestError::DuplicateKey));
    }
}
