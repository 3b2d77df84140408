//! The differences from etcd that are meant. Each is a line in docs/compat.md; there are no others.

use etcd_proto::etcdserverpb::TxnRequest;
use etcd_proto::etcdserverpb::request_op::Request;

use super::answer::Answer;
use super::operation::{Operation, Revisions};

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

/// What was asked, with the numbers of then, and what was answered.
pub struct Step<'a> {
    pub operation: &'a Operation,
    pub revisions: &'a Revisions,
    pub ours: &'a Answer,
    pub etcd: &'a Answer,
}

const TABLE: [Difference; 2] = [
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
            Operation::HashKv(hash) => (1..=step.revisions.compacted).contains(&hash.revision),
            _ => false,
        },
    },
];

const DUPLICATE_KEY: &str = "InvalidArgument: etcdserver: duplicate key given in txn request";

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

#[test]
fn every_accepted_difference_is_documented() {
    let compat = include_str!("../../../docs/compat.md");
    for difference in &TABLE {
        assert!(
            compat
                .lines()
                .any(|line| line.starts_with(difference.compat)),
            "{} is not in docs/compat.md",
            difference.compat
        );
    }
}
