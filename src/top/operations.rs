//! The reads and writes of a request, for counting. Pure.

use etcd_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};

use super::groups::{MAX_DEPTH, group_of};

/// One read or write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Of the key, or of the first one of a range.
    pub group: &'a [u8],
    /// Bytes of key and value of a write; none for a read.
    pub written_bytes: Option<usize>,
}

impl<'a> From<&'a RangeRequest> for Operation<'a> {
    fn from(range: &'a RangeRequest) -> Self {
        Self {
            group: group_of(&range.key, MAX_DEPTH),
            written_bytes: None,
        }
    }
}

impl<'a> From<&'a PutRequest> for Operation<'a> {
    fn from(put: &'a PutRequest) -> Self {
        Self {
            group: group_of(&put.key, MAX_DEPTH),
            written_bytes: Some(put.key.len() + put.value.len()),
        }
    }
}

impl<'a> From<&'a DeleteRangeRequest> for Operation<'a> {
    fn from(delete: &'a DeleteRangeRequest) -> Self {
        Self {
            group: group_of(&delete.key, MAX_DEPTH),
            written_bytes: Some(delete.key.len()),
        }
    }
}

/// The operations of both lists of a transaction, of which one is done.
#[derive(Debug, Default)]
pub struct TxnOperations {
    success: Vec<Kept>,
    failure: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    group: Vec<u8>,
    written_bytes: Option<usize>,
}

impl TxnOperations {
    pub fn of(txn: &TxnRequest) -> Self {
        Self {
            success: keep(&txn.success),
            failure: keep(&txn.failure),
        }
    }

    /// Returns the operations of the list that was done.
    pub fn done(&self, has_succeeded: bool) -> impl Iterator<Item = Operation<'_>> {
        let list = match has_succeeded {
            true => &self.success,
            false => &self.failure,
        };
        list.iter().map(|kept| Operation {
            group: &kept.group,
            written_bytes: kept.written_bytes,
        })
    }
}

/// Leaves out transactions inside of a transaction: nobody knows yet which lists of them are done, and
/// Kubernetes has none.
fn keep(list: &[RequestOp]) -> Vec<Kept> {
    let operations = list.iter().filter_map(|operation| {
        let operation = match operation.request.as_ref()? {
            Request::RequestRange(range) => Operation::from(range),
            Request::RequestPut(put) => Operation::from(put),
            Request::RequestDeleteRange(delete) => Operation::from(delete),
            Request::RequestTxn(_) => return None,
        };
        Some(Kept {
            group: operation.group.to_vec(),
            written_bytes: operation.written_bytes,
        })
    });
    operations.collect()
}
