//! Responses as they travel: protobuf behind gRPC's message prefix.
//!
//! Events are encoded once for all watchers that want them alike, and whole responses are shared
//! between streams, so they are written by hand here rather than as messages per watcher.

use bytes::{BufMut, Bytes, BytesMut};
use etcd_proto::etcdserverpb::{ResponseHeader, WatchResponse};
use etcd_proto::mvccpb;
use etcd_state::{
    mvcc::{Change, ChangeKind, KeyValue, Revision},
    requests::to_proto,
};
use prost::Message;
use prost::encoding::{self, WireType};

use super::WatchId;

/// Makes the header of a response at a revision.
pub type HeaderFn = dyn Fn(Revision) -> ResponseHeader + Send + Sync;

/// gRPC: one byte that says "not compressed", four with the length.
const PREFIX_BYTES: usize = 5;

// Field numbers of WatchResponse.
const HEADER: u32 = 1;
const WATCH_ID: u32 = 2;
const FRAGMENT: u32 = 7;
const EVENTS: u32 = 11;

/// Appends the event of `change` as one entry of the field `events`.
pub fn put_event(change: &Change, prev: Option<&KeyValue>, out: &mut Vec<u8>) {
    let kind = match change.kind {
        ChangeKind::Put => mvccpb::event::EventType::Put,
        ChangeKind::Delete => mvccpb::event::EventType::Delete,
    };
    let event = mvccpb::Event {
        r#type: kind.into(),
        kv: Some(to_proto(&change.kv)),
        prev_kv: prev.map(to_proto),
    };
    encoding::message::encode(EVENTS, &event, out);
}

/// A response with events that `put_event` encoded.
pub fn events_response(
    header: &ResponseHeader,
    watch_id: WatchId,
    has_more_fragments: bool,
    events: &[u8],
) -> Bytes {
    let watch_id = watch_id.number();
    let fragment_len = if has_more_fragments { 2 } else { 0 };
    let watch_id_len = if watch_id == 0 {
        0
    } else {
        encoding::int64::encoded_len(WATCH_ID, &watch_id)
    };
    let len =
        encoding::message::encoded_len(HEADER, header) + watch_id_len + fragment_len + events.len();
    let mut out = start_message(len);
    encoding::message::encode(HEADER, header, &mut out);
    if watch_id != 0 {
        encoding::int64::encode(WATCH_ID, &watch_id, &mut out);
    }
    if has_more_fragments {
        encoding::encode_key(FRAGMENT, WireType::Varint, &mut out);
        out.put_u8(1);
    }
    out.put_slice(events);
    debug_assert_eq!(out.len(), PREFIX_BYTES + len);
    out.freeze()
}

/// Encodes any other response.
pub fn control_response(response: &WatchResponse) -> Bytes {
    let mut out = start_message(response.encoded_len());
    response.encode_raw(&mut out);
    out.freeze()
}

fn start_message(len: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + len);
    out.put_u8(0);
    // A response is cut far below this; only one transaction of 4 GiB could reach it.
    out.put_u32(u32::try_from(len).expect("response below 4 GiB"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_state::mvcc::LeaseId;
    use std::sync::Arc;

    fn kv(value: &'static str, version: i64) -> KeyValue {
        KeyValue {
            key: Bytes::from_static(b"/registry/pods/default/a"),
            value: Bytes::from_static(value.as_bytes()),
            create_revision: Revision::new(3),
            mod_revision: Revision::new(300),
            version,
            lease: LeaseId::new(7),
            position: 0,
        }
    }

    #[test]
    fn a_hand_written_response_decodes_to_the_same_message() {
        let header = ResponseHeader {
            cluster_id: 9,
            member_id: u64::MAX,
            revision: 301,
            raft_term: 2,
        };
        let put = Change {
            kind: ChangeKind::Put,
            kv: Arc::new(kv("new", 2)),
            prev: None,
        };
        let tombstone = KeyValue {
            key: put.kv.key.clone(),
            value: Bytes::new(),
            create_revision: Revision::NONE,
            mod_revision: Revision::new(301),
            version: 0,
            lease: LeaseId::NONE,
            position: 0,
        };
        let prev = kv("old", 1);
        let delete = Change {
            kind: ChangeKind::Delete,
            kv: Arc::new(tombstone.clone()),
            prev: None,
        };
        let mut events = Vec::new();
        put_event(&put, None, &mut events);
        put_event(&delete, Some(&prev), &mut events);

        for (watch_id, has_more) in [(0, false), (1, true), (-5, false), (i64::MAX, true)] {
            let framed = events_response(&header, WatchId::new(watch_id), has_more, &events);
            let expected = WatchResponse {
                header: Some(header),
                watch_id,
                fragment: has_more,
                events: vec![
                    mvccpb::Event {
                        r#type: 0,
                        kv: Some(to_proto(&put.kv)),
                        prev_kv: None,
                    },
                    mvccpb::Event {
                        r#type: 1,
                        kv: Some(to_proto(&tombstone)),
                        prev_kv: Some(to_proto(&prev)),
                    },
                ],
                ..Default::default()
            };
            assert_eq!(framed, control_response(&expected));
            assert_eq!(
                framed[1..5],
                u32::try_from(framed.len() - 5).unwrap().to_be_bytes()
            );
            assert_eq!(WatchResponse::decode(&framed[5..]).unwrap(), expected);
        }
    }
}
