//! The differences from etcd that are meant. Each is a line in docs/compat.md; there are no others.

use etcd_proto::etcdserverpb::request_op::Request;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::{RangeRequest, TxnRequest};

use super::answer::Answer;
use super::operation::{Operation, Revisions};
use super::order;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The stores are the same afterwards.
    None,
    /// The stores differ from here on.
    Diverges,
}

#[derive(Debug)]
pub struct Difference {
    /// The beginning of its line in docs/compat.md.
    pub compat: &'static str,
    pub effect: Effect,
    holds: fn(&Step<'_>) -> bool,
}

/// An operation with the revisions at its time, and both answers.
pub struct Step<'a> {
    pub operation: &'a Operation,
    pub revisions: &'a Revisions,
    pub is_auth_on: bool,
    pub ours: &'a Answer,
    pub etcd: &'a Answer,
}

/// The error of etcd for a waiter whose past was compacted, see [`COMPACTED_WAITER`].
pub const COMPACTED_WAIT: &str = "required revision has been compacted";
pub const COMPACTED_WAITER: &str = "| a waiter from whose revision on the history was compacted";

/// The text of a denied watch, in an answer that is not a refusal of the call.
const DENIED: &str = "permission denied";

const TABLE: [Difference; 7] = [
    Difference {
        compat: "| keys that are equal in what a sorted Range sorts by",
        effect: Effect::None,
        holds: |step| {
            let ranges = match step.operation {
                Operation::Range(range) => vec![range],
                Operation::Txn(txn) => ranges_of(txn),
                _ => return false,
            };
            order::may_differ(&ranges, &step.ours.text, &step.etcd.text)
        },
    },
    Difference {
        compat: "| Downgrade to the version before",
        effect: Effect::None,
        holds: |step| {
            matches!(step.operation, Operation::Downgrade(_))
                && step.ours.text.contains("invalid downgrade target version")
                && !step.etcd.is_refusal
        },
    },
    Difference {
        compat: "| a range that ends where it begins or before",
        effect: Effect::Diverges,
        holds: |step| {
            let is_denied = |answer: &Answer| answer.text.contains(DENIED);
            step.is_auth_on
                && !is_denied(step.ours)
                && is_denied(step.etcd)
                && has_empty_range(step.operation)
        },
    },
    Difference {
        compat: "| MemberAdd with invalid URLs, by who may not add",
        effect: Effect::None,
        holds: |step| {
            matches!(step.operation, Operation::MemberAdd(_))
                && step.is_auth_on
                && step.ours.is_refusal
                && step.etcd.text.contains("given member URLs are invalid")
        },
    },
    Difference {
        compat: "| Put, and Txn that puts, by who may not, while there is the alarm NOSPACE",
        effect: Effect::None,
        holds: |step| {
            let text = &step.ours.text;
            let is_denied = text.contains(DENIED) || text.contains("user name is empty");
            matches!(step.operation, Operation::Put(_) | Operation::Txn(_))
                && step.is_auth_on
                && is_denied
                && step.etcd.text.contains("database space exceeded")
        },
    },
    Difference {
        compat: "| Txn: of two nested transactions in one list, the second deletes a key that the first puts",
        effect: Effect::Diverges,
        holds: |step| {
            let Operation::Txn(txn) = step.operation else {
                return false;
            };
            step.ours.text == DUPLICATE_KEY && is_overlooked_by_etcd(txn)
        },
    },
    Difference {
        compat: "| `HashKV` at the revision of one of the last ten compactions",
        effect: Effect::None,
        holds: |step| match step.operation {
            Operation::HashKv(_) => may_diverge(step.operation, step.revisions),
            _ => false,
        },
    },
];

const DUPLICATE_KEY: &str = "InvalidArgument: etcdserver: duplicate key given in txn request";

fn is_empty(key: &[u8], range_end: &[u8]) -> bool {
    !range_end.is_empty() && range_end != b"\0" && range_end <= key
}

fn has_empty_range(operation: &Operation) -> bool {
    match operation {
        Operation::Range(it) | Operation::RangeStream(it) => is_empty(&it.key, &it.range_end),
        Operation::DeleteRange(it) => is_empty(&it.key, &it.range_end),
        Operation::Watch { request, .. } => matches!(
            &request.request_union,
            Some(RequestUnion::CreateRequest(it)) if is_empty(&it.key, &it.range_end)
        ),
        Operation::Txn(txn) => has_empty_range_inside(txn),
        _ => false,
    }
}

fn has_empty_range_inside(txn: &TxnRequest) -> bool {
    let mut compares = txn.compare.iter();
    let mut operations = txn.success.iter().chain(&txn.failure);
    compares.any(|it| is_empty(&it.key, &it.range_end))
        || operations.any(|operation| match &operation.request {
            Some(Request::RequestRange(it)) => is_empty(&it.key, &it.range_end),
            Some(Request::RequestDeleteRange(it)) => is_empty(&it.key, &it.range_end),
            Some(Request::RequestTxn(txn)) => has_empty_range_inside(txn),
            _ => false,
        })
}

fn ranges_of(txn: &TxnRequest) -> Vec<&RangeRequest> {
    let operations = txn.success.iter().chain(&txn.failure);
    operations
        .flat_map(|operation| match &operation.request {
            Some(Request::RequestRange(range)) => vec![range],
            Some(Request::RequestTxn(txn)) => ranges_of(txn),
            _ => Vec::new(),
        })
        .collect()
}

/// Nested transactions, and deletions without an end: the two where etcd does not see all duplicates.
fn is_overlooked_by_etcd(txn: &TxnRequest) -> bool {
    let mut operations = txn.success.iter().chain(&txn.failure);
    operations.any(|operation| match &operation.request {
        Some(Request::RequestTxn(_)) => true,
        Some(Request::RequestDeleteRange(delete)) => &delete.range_end[..] == b"\0",
        _ => false,
    })
}

pub fn find(step: &Step<'_>) -> Option<&'static Difference> {
    const { &TABLE }
        .iter()
        .find(|difference| (difference.holds)(step))
}

/// Returns whether both answers may be such a difference, whatever they are.
pub fn may_diverge(operation: &Operation, revisions: &Revisions) -> bool {
    match operation {
        Operation::Txn(txn) => is_overlooked_by_etcd(txn),
        Operation::HashKv(hash) => (1..=revisions.compacted).contains(&hash.revision),
        _ => false,
    }
}

/// The differences of the gateway: `json.rs` says when they hold.
const OF_JSON: [&str; 3] = [
    "| text of the error about malformed JSON",
    "| a field given twice | refused | the last one counts",
    "| a number as the string `\"2.0\"`, an enum as `1.0` | taken | refused",
];

#[test]
fn every_accepted_difference_is_documented() {
    let document = include_str!("../../../docs/compat.md");
    let of_grpc = TABLE.iter().map(|difference| difference.compat);
    for compat in of_grpc.chain(OF_JSON).chain([COMPACTED_WAITER]) {
        assert!(
            document.lines().any(|line| line.starts_with(compat)),
            "{compat} is not in docs/compat.md"
        );
    }
}
