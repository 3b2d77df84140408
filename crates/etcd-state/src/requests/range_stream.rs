//! Answers a RangeStream request chunk by chunk from one immutable tree, so that memory is bounded
//! by the chunk and no compaction can interrupt it.

use bytes::{BufMut, Bytes, BytesMut};
use etcd_proto::etcdserverpb::{RangeRequest, RangeResponse, range_request::SortTarget};

use super::range::{revision_header, select, sort_and_cut, to_proto};
use crate::mvcc::{KeyRange, Revision, Tree};

/// Keys and values of one chunk in bytes: what etcd aims at.
const CHUNK_BYTES: usize = 1536 * 1024;

/// As many keys are sorted by what the request says, and more come in the order of keys. etcd's first chunk has as many; with
/// more it loses keys and repeats others.
const SORTED_KEYS: i64 = 10;

/// An iterator over the chunks. Only the last, and there is always one, carries header, count and
/// `more`: clients take a stream without them for one that broke.
pub struct RangeStream {
    tree: Tree,
    request: RangeRequest,
    revision: Revision,
    count: i64,
    /// Keys that are still to be sent.
    remaining: usize,
    /// `None` after the last chunk.
    rest: Option<KeyRange>,
}

impl RangeStream {
    /// `request` must have the default order and no filters; `revision` is the one to report.
    pub fn new(tree: Tree, request: RangeRequest, revision: Revision) -> Self {
        let range = KeyRange::new(request.key.clone(), request.range_end.clone());
        let count = if range.is_empty() {
            0
        } else {
            tree.count(&range)
        };
        let limit = usize::try_from(request.limit)
            .ok()
            .filter(|limit| *limit > 0);
        let remaining = if request.count_only {
            0
        } else {
            count.min(limit.unwrap_or(count))
        };
        Self {
            tree,
            request,
            revision,
            count: count as i64,
            remaining,
            rest: Some(range),
        }
    }
}

impl RangeStream {
    /// Returns whether the keys come in the order of the request's target, as a Range without an order has them.
    fn sorts_few(&self) -> bool {
        let limit = self.request.limit;
        self.request.sort_target() != SortTarget::Key
            && self.count <= SORTED_KEYS
            && (limit <= 0 || limit >= self.count)
    }
}

impl Iterator for RangeStream {
    type Item = RangeResponse;

    fn next(&mut self) -> Option<RangeResponse> {
        let range = self.rest.take()?;
        let mut response = RangeResponse::default();
        if self.remaining > 0 && self.sorts_few() {
            // In one chunk, as etcd sends so few.
            response.kvs = self.tree.range(&range).map(|kv| to_proto(kv)).collect();
            sort_and_cut(&mut response.kvs, &self.request);
            self.remaining = 0;
        } else if self.remaining > 0 {
            let mut bytes = 0;
            for kv in self.tree.range(&range).take(self.remaining) {
                bytes += kv.key.len() + kv.value.len();
                response.kvs.push(select(kv, &self.request));
                if bytes >= CHUNK_BYTES {
                    break;
                }
            }
            self.remaining -= response.kvs.len();
        }
        if self.remaining > 0 {
            let last = &response.kvs.last().expect("keys remain").key;
            self.rest = Some(after(last, &range));
        } else {
            response.header = revision_header(self.revision);
            response.count = self.count;
            let is_cut = self.request.limit > 0 && self.count > self.request.limit;
            response.more = is_cut && !self.request.count_only;
        }
        Some(response)
    }
}

/// Returns the rest of `range` after `key`.
fn after(key: &[u8], range: &KeyRange) -> KeyRange {
    let mut start = BytesMut::with_capacity(key.len() + 1);
    start.put_slice(key);
    start.put_u8(0);
    let start: Bytes = start.freeze();
    match range {
        KeyRange::Span(_, end) => KeyRange::Span(start, end.clone()),
        KeyRange::Single(_) | KeyRange::From(_) => KeyRange::From(start),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mvcc::{KeyValue, LeaseId};

    fn tree(keys: usize, value_bytes: usize) -> Tree {
        let mut tree = Tree::new();
        for index in 0..keys {
            tree.insert(Arc::new(KeyValue {
                key: format!("k{index:06}").into_bytes().into(),
                value: vec![b'v'; value_bytes].into(),
                create_revision: Revision::new(2),
                mod_revision: Revision::new(2),
                version: 1,
                lease: LeaseId::NONE,
                position: index as u32,
            }));
        }
        tree
    }

    fn request(limit: i64) -> RangeRequest {
        RangeRequest {
            key: "k".into(),
            range_end: "l".into(),
            limit,
            ..Default::default()
        }
    }

    #[test]
    fn chunks_are_bounded_and_together_are_the_range() {
        let chunks: Vec<_> =
            RangeStream::new(tree(5000, 1000), request(0), Revision::new(9)).collect();
        assert!(chunks.len() > 2);
        let (last, others) = chunks.split_last().unwrap();
        for chunk in others {
            assert!(chunk.header.is_none() && chunk.count == 0 && !chunk.more);
            assert!(chunk.kvs.len() * 1007 < CHUNK_BYTES + 2000);
        }
        assert_eq!(
            (last.count, last.more, last.header.unwrap().revision),
            (5000, false, 9)
        );
        let keys: Vec<_> = chunks
            .iter()
            .flat_map(|c| &c.kvs)
            .map(|kv| kv.key.clone())
            .collect();
        assert_eq!(keys.len(), 5000);
        assert!(keys.is_sorted());
    }

    #[test]
    fn a_limit_caps_the_whole_stream() {
        let chunks: Vec<_> =
            RangeStream::new(tree(5000, 1000), request(2000), Revision::new(9)).collect();
        assert_eq!(
            chunks.iter().map(|chunk| chunk.kvs.len()).sum::<usize>(),
            2000
        );
        let last = chunks.last().unwrap();
        assert_eq!((last.count, last.more), (5000, true));
    }

    #[test]
    fn an_empty_range_and_a_count_are_one_message() {
        let chunks: Vec<_> = RangeStream::new(Tree::new(), request(0), Revision::new(9)).collect();
        assert_eq!(chunks.len(), 1);
        assert_eq!(
            (chunks[0].count, chunks[0].header.unwrap().revision),
            (0, 9)
        );
        let count_only = RangeRequest {
            count_only: true,
            ..request(0)
        };
        let chunks: Vec<_> = RangeStream::new(tree(3, 10), count_only, Revision::new(9)).collect();
        assert_eq!(
            (chunks.len(), chunks[0].count, chunks[0].kvs.len()),
            (1, 3, 0)
        );
    }
}
