//! The size of the entry that a write would be in etcd's log, which is what etcd compares with `--max-request-bytes`. Pure.
//!
//! It is an `InternalRaftRequest` (`etcdserverpb/raft_internal.proto`, `etcdserver/v3_server.go`): the request, and a header
//! with an id and the user who sends it.

use etcd_proto::etcdserverpb::{TxnRequest, request_op::Request};
use prost::encoding::encoded_len_varint;

/// The number of the header's field is above 15, which takes a second byte.
const HEADER_TAG_BYTES: usize = 2;
const TAG_BYTES: usize = 1;

/// The bits of an id below those of its member: a time and a counter.
const ID_SUFFIX_BITS: u32 = 48;

/// The sender of a write, as far as it counts for the size. By default nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sender {
    pub user_bytes: usize,
    /// The revision of the rules of authentication; 0 for nobody.
    pub auth_revision: u64,
}

/// Returns the size, in bytes, of the entry with a put, a transaction or a deletion of some bytes that a member
/// was sent. As in etcd, the id of the member counts, too: members differ by a byte or three.
pub fn entry_bytes(request_bytes: usize, member_id: u64, sender: Sender) -> usize {
    let id = member_id << ID_SUFFIX_BITS | ((1 << ID_SUFFIX_BITS) - 1);
    let user = match sender.user_bytes {
        0 => 0,
        bytes => TAG_BYTES + delimited(bytes),
    };
    let auth_revision = match sender.auth_revision {
        0 => 0,
        revision => TAG_BYTES + encoded_len_varint(revision),
    };
    let header = TAG_BYTES + encoded_len_varint(id) + user + auth_revision;
    HEADER_TAG_BYTES + delimited(header) + TAG_BYTES + delimited(request_bytes)
}

fn delimited(bytes: usize) -> usize {
    encoded_len_varint(bytes as u64) + bytes
}

/// Returns whether a transaction only reads, in either case: etcd puts such a one into no log, so that it has no size.
/// A transaction inside of it is none that only reads, whatever that does.
pub fn is_read_only(txn: &TxnRequest) -> bool {
    let mut operations = txn.success.iter().chain(&txn.failure);
    operations.all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

#[cfg(test)]
mod tests {
    use etcd_proto::etcdserverpb::{PutRequest, RangeRequest, RequestOp};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// etcd's message, as far as it is needed here.
    #[derive(Clone, PartialEq, Message)]
    struct InternalRaftRequest {
        #[prost(message, optional, tag = "100")]
        header: Option<RequestHeader>,
        #[prost(message, optional, tag = "4")]
        put: Option<PutRequest>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct RequestHeader {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(string, tag = "2")]
        username: String,
        #[prost(uint64, tag = "3")]
        auth_revision: u64,
    }

    proptest! {
        #[test]
        fn the_size_is_that_of_the_message(
            value_bytes in prop_oneof![0_usize..300, 15_000_usize..17_000, 2_097_000_usize..2_097_300],
            member_id in any::<u64>(),
            user_bytes in prop_oneof![0_usize..3, 100_usize..300],
            auth_revision in prop_oneof![Just(0), any::<u64>()],
        ) {
            let put = PutRequest { value: vec![0; value_bytes].into(), ..Default::default() };
            let sender = Sender { user_bytes, auth_revision };
            let size = entry_bytes(put.encoded_len(), member_id, sender);
            let header = RequestHeader {
                // The time of 2026, and some counter.
                id: (member_id << 48) | (0x9b << 40),
                username: "u".repeat(user_bytes),
                auth_revision,
            };
            let entry = InternalRaftRequest { header: Some(header), put: Some(put) };
            prop_assert_eq!(size, entry.encoded_len());
        }
    }

    #[test]
    fn only_ranges_are_read_only() {
        let op = |request| RequestOp {
            request: Some(request),
        };
        let range = op(Request::RequestRange(RangeRequest::default()));
        let nested = op(Request::RequestTxn(TxnRequest::default()));
        let txn = |success: &[RequestOp], failure: &[RequestOp]| TxnRequest {
            success: success.to_vec(),
            failure: failure.to_vec(),
            ..Default::default()
        };
        assert!(is_read_only(&txn(&[], &[])));
        let reads = [range.clone()];
        assert!(is_read_only(&txn(&reads, &reads)));
        assert!(!is_read_only(&txn(&[range.clone(), nested], &[])));
        let put = op(Request::RequestPut(PutRequest::default()));
        assert!(!is_read_only(&txn(&[range], &[put])));
    }
}
