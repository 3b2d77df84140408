//! Finds out whether a write could succeed now, by one that changes nothing.

use std::time::Duration;

use bytes::Bytes;
use etcd_proto::etcdserverpb::{
    Compare, PutRequest, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
    request_op::Request,
};
use etcd_state::requests::RequestError;
use tokio::time::timeout;

use super::Store;

/// The longest wait for the answer: a probe comes every few seconds, and a slower store is not
/// ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Sends a transaction whose compare never holds, the way that all writes take, to the leader
    /// wherever it is. Whatever would refuse a small write refuses this one. At the quota it raises
    /// the alarm NOSPACE, as any write does.
    pub async fn probe_write(&self) -> Result<(), RequestError> {
        let answer = self.enqueue(never(), 0, None)?;
        match timeout(PROBE_TIMEOUT, answer).await {
            Ok(Ok(result)) => result.map(drop),
            Ok(Err(_)) | Err(_) => Err(RequestError::TimedOut),
        }
    }
}

fn never() -> TxnRequest {
    const KEY: Bytes = Bytes::from_static(b"\0");
    let compare = Compare {
        result: CompareResult::Less.into(),
        target: CompareTarget::Version.into(),
        key: KEY,
        target_union: Some(TargetUnion::Version(0)),
        ..Compare::default()
    };
    let put = RequestOp {
        request: Some(Request::RequestPut(PutRequest {
            key: KEY,
            ..PutRequest::default()
        })),
    };
    TxnRequest {
        compare: vec![compare],
        success: vec![put],
        failure: Vec::new(),
    }
}
