//! Short words for requests, and for the parts of answers.

use bytes::Bytes;
use etcd_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_proto::etcdserverpb::request_op::Request;
use etcd_proto::etcdserverpb::response_op::Response;
use etcd_proto::etcdserverpb::*;
use etcd_proto::mvccpb::{Event, KeyValue};
use rand::{RngCore, SeedableRng, rngs::StdRng};

/// The end of the range of all keys that begin with `prefix`, whose last byte must not be 0xff.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    *end.last_mut().unwrap() += 1;
    end.into()
}

pub fn get(key: impl Into<Bytes>) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        ..Default::default()
    }
}

pub fn get_range(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..Default::default()
    }
}

pub fn get_prefix(prefix: &'static str) -> RangeRequest {
    get_range(prefix, prefix_end(prefix.as_bytes()))
}

pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    }
}

pub fn delete(key: impl Into<Bytes>) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.into(),
        ..Default::default()
    }
}

pub fn delete_prefix(prefix: &'static str) -> DeleteRangeRequest {
    let range_end = prefix_end(prefix.as_bytes());
    DeleteRangeRequest {
        key: prefix.into(),
        range_end,
        ..Default::default()
    }
}

pub fn compact(revision: i64) -> CompactionRequest {
    CompactionRequest {
        revision,
        physical: false,
    }
}

pub fn grant(ttl_s: i64) -> LeaseGrantRequest {
    LeaseGrantRequest { ttl: ttl_s, id: 0 }
}

pub fn revoke(id: i64) -> LeaseRevokeRequest {
    LeaseRevokeRequest { id }
}

pub fn time_to_live(id: i64) -> LeaseTimeToLiveRequest {
    LeaseTimeToLiveRequest { id, keys: true }
}

pub fn watch(key: impl Into<Bytes>) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.into(),
        ..Default::default()
    }
}

pub fn watch_prefix(prefix: &'static str) -> WatchCreateRequest {
    let range_end = prefix_end(prefix.as_bytes());
    WatchCreateRequest {
        key: prefix.into(),
        range_end,
        ..Default::default()
    }
}

/// Begins an empty transaction, which [`Build`] fills.
pub fn txn() -> TxnRequest {
    TxnRequest::default()
}

pub trait Build {
    fn when(self, compare: Compare) -> Self;
    fn then(self, op: impl Op) -> Self;
    fn or_else(self, op: impl Op) -> Self;
}

impl Build for TxnRequest {
    fn when(mut self, compare: Compare) -> Self {
        self.compare.push(compare);
        self
    }

    fn then(mut self, op: impl Op) -> Self {
        self.success.push(op.op());
        self
    }

    fn or_else(mut self, op: impl Op) -> Self {
        self.failure.push(op.op());
        self
    }
}

pub trait Op {
    fn op(self) -> RequestOp;
}

macro_rules! ops {
    ($($request:ty => $variant:ident;)*) => {$(
        impl Op for $request {
            fn op(self) -> RequestOp {
                RequestOp { request: Some(Request::$variant(self)) }
            }
        }
    )*};
}

ops! {
    RangeRequest => RequestRange;
    PutRequest => RequestPut;
    DeleteRangeRequest => RequestDeleteRange;
    TxnRequest => RequestTxn;
}

impl Op for RequestOp {
    fn op(self) -> RequestOp {
        self
    }
}

fn compare(key: impl Into<Bytes>, target: CompareTarget, union: TargetUnion) -> Compare {
    Compare {
        key: key.into(),
        target: target as i32,
        target_union: Some(union),
        ..Default::default()
    }
}

/// Compares with "equal"; [`Relate`] turns that into something else.
pub fn version(key: impl Into<Bytes>, version: i64) -> Compare {
    compare(key, CompareTarget::Version, TargetUnion::Version(version))
}

pub fn create_revision(key: impl Into<Bytes>, revision: i64) -> Compare {
    compare(
        key,
        CompareTarget::Create,
        TargetUnion::CreateRevision(revision),
    )
}

pub fn mod_revision(key: impl Into<Bytes>, revision: i64) -> Compare {
    compare(key, CompareTarget::Mod, TargetUnion::ModRevision(revision))
}

pub fn value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Compare {
    compare(key, CompareTarget::Value, TargetUnion::Value(value.into()))
}

pub fn lease(key: impl Into<Bytes>, lease: i64) -> Compare {
    compare(key, CompareTarget::Lease, TargetUnion::Lease(lease))
}

pub trait Relate {
    fn is(self, result: CompareResult) -> Self;
    fn over(self, range_end: impl Into<Bytes>) -> Self;
}

impl Relate for Compare {
    fn is(mut self, result: CompareResult) -> Self {
        self.result = result as i32;
        self
    }

    fn over(mut self, range_end: impl Into<Bytes>) -> Self {
        self.range_end = range_end.into();
        self
    }
}

/// The answer to the operation at `index` of the branch that ran.
pub fn range_answer(answer: &TxnResponse, index: usize) -> &RangeResponse {
    match answer.responses[index].response.as_ref().unwrap() {
        Response::ResponseRange(range) => range,
        other => panic!("not a range: {other:?}"),
    }
}

pub fn put_answer(answer: &TxnResponse, index: usize) -> &PutResponse {
    match answer.responses[index].response.as_ref().unwrap() {
        Response::ResponsePut(put) => put,
        other => panic!("not a put: {other:?}"),
    }
}

pub fn delete_answer(answer: &TxnResponse, index: usize) -> &DeleteRangeResponse {
    match answer.responses[index].response.as_ref().unwrap() {
        Response::ResponseDeleteRange(delete) => delete,
        other => panic!("not a delete: {other:?}"),
    }
}

pub fn txn_answer(answer: &TxnResponse, index: usize) -> &TxnResponse {
    match answer.responses[index].response.as_ref().unwrap() {
        Response::ResponseTxn(txn) => txn,
        other => panic!("not a txn: {other:?}"),
    }
}

/// A key as it is stored without a lease; `at` is create revision, mod revision and version.
pub fn kv(key: impl Into<Bytes>, value: impl Into<Bytes>, at: (i64, i64, i64)) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: at.0,
        mod_revision: at.1,
        version: at.2,
        lease: 0,
    }
}

pub fn keys(kvs: &[KeyValue]) -> Vec<&str> {
    kvs.iter()
        .map(|kv| std::str::from_utf8(&kv.key).unwrap())
        .collect()
}

/// The revision of an answer's header.
pub fn at(header: &Option<ResponseHeader>) -> i64 {
    header.as_ref().expect("the answer has a header").revision
}

/// An event in one line: `PUT a=1 @2` or `DELETE a @3`.
pub fn event_line(event: &Event) -> String {
    let kv = event.kv.as_ref().unwrap();
    let key = String::from_utf8_lossy(&kv.key);
    let value = String::from_utf8_lossy(&kv.value);
    match event.r#type {
        0 => format!("PUT {key}={value} @{}", kv.mod_revision),
        _ => format!("DELETE {key} @{}", kv.mod_revision),
    }
}

pub fn event_lines(events: &[Event]) -> Vec<String> {
    events.iter().map(event_line).collect()
}

/// Bytes that no codec makes smaller, the same for the same seed.
pub fn incompressible(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}
