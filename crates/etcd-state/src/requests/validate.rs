//! Checks of a request that need nothing but the request.
//!
//! The rules and their order are those of etcd's `server/etcdserver/api/v3rpc/key.go`, since the
//! order decides which error a request with several faults gets.

mod writes;

use etcd_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest, range_request, request_op::Request,
};

use self::writes::check_duplicates;
use super::RequestError;

pub fn check_range(request: &RangeRequest) -> Result<(), RequestError> {
    if request.key.is_empty() {
        return Err(RequestError::EmptyKey);
    }
    if range_request::SortOrder::try_from(request.sort_order).is_err()
        || range_request::SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(RequestError::InvalidSortOption);
    }
    Ok(())
}

pub fn check_put(request: &PutRequest) -> Result<(), RequestError> {
    if request.key.is_empty() {
        return Err(RequestError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(RequestError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(RequestError::LeaseProvided);
    }
    Ok(())
}

pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), RequestError> {
    if request.key.is_empty() {
        Err(RequestError::EmptyKey)
    } else {
        Ok(())
    }
}

pub fn check_txn(request: &TxnRequest, max_operations: usize) -> Result<(), RequestError> {
    check_operations(request, max_operations)?;
    check_duplicates(&request.success)?;
    check_duplicates(&request.failure)?;
    Ok(())
}

fn check_operations(request: &TxnRequest, allowed: usize) -> Result<(), RequestError> {
    let count = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    if count > allowed {
        return Err(RequestError::TooManyOperations);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(RequestError::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete_range(delete)?,
            Some(Request::RequestTxn(txn)) => check_operations(txn, allowed - count)?,
            None => return Err(RequestError::KeyNotFound),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use etcd_proto::etcdserverpb::RequestOp;

    use super::*;

    fn put(key: &'static str) -> RequestOp {
        let put = PutRequest {
            key: Bytes::from_static(key.as_bytes()),
            ..Default::default()
        };
        RequestOp {
            request: Some(Request::RequestPut(put)),
        }
    }

    fn delete(key: &'static str, end: &'static str) -> RequestOp {
        RequestOp {
            request: Some(Request::RequestDeleteRange(DeleteRangeRequest {
                key: Bytes::from_static(key.as_bytes()),
                range_end: Bytes::from_static(end.as_bytes()),
                prev_kv: false,
            })),
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

    fn check(success: Vec<RequestOp>) -> Result<(), RequestError> {
        check_txn(
            &TxnRequest {
                compare: vec![],
                success,
                failure: vec![],
            },
            128,
        )
    }

    #[test]
    fn a_key_is_written_once_in_a_list() {
        assert_eq!(check(vec![put("a"), put("b")]), Ok(()));
        assert_eq!(
            check(vec![put("a"), put("a")]),
            Err(RequestError::DuplicateKey)
        );
        assert_eq!(
            check(vec![put("b"), delete("a", "c")]),
            Err(RequestError::DuplicateKey)
        );
        assert_eq!(check(vec![put("c"), delete("a", "c")]), Ok(()));
        assert_eq!(check(vec![delete("a", ""), delete("a", "\0")]), Ok(()));
    }

    #[test]
    fn branches_of_a_nested_transaction_may_write_the_same_key() {
        assert_eq!(check(vec![txn(vec![put("a")], vec![put("a")])]), Ok(()));
        assert_eq!(
            check(vec![
                txn(vec![put("a")], vec![]),
                txn(vec![], vec![put("a")])
            ]),
            Err(RequestError::DuplicateKey)
        );
        assert_eq!(
            check(vec![put("a"), txn(vec![], vec![put("a")])]),
            Err(RequestError::DuplicateKey)
        );
        assert_eq!(
            check(vec![txn(vec![put("a")], vec![delete("a", "")])]),
            Ok(())
        );
        assert_eq!(
            check(vec![
                txn(vec![put("a")], vec![]),
                txn(vec![delete("a", "")], vec![])
            ]),
            Err(RequestError::DuplicateKey)
        );
    }

    #[test]
    fn operations_are_counted_along_the_nesting() {
        let many = |n: usize| (0..n).map(|_| delete("x", "")).collect::<Vec<_>>();
        assert_eq!(check(many(128)), Ok(()));
        assert_eq!(check(many(129)), Err(RequestError::TooManyOperations));
        let mut outer = many(63);
        outer.push(txn(many(64), vec![]));
        assert_eq!(check(outer.clone()), Ok(()));
        outer.push(txn(many(64), vec![]));
        assert_eq!(check(outer), Err(RequestError::TooManyOperations));
    }

    #[test]
    fn an_operation_without_a_request_is_a_missing_key() {
        assert_eq!(
            check(vec![RequestOp { request: None }]),
            Err(RequestError::KeyNotFound)
        );
    }
}
