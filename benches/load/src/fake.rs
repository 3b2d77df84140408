//! A server for tests that answers rightly or wrongly, as told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;

use bytes::Bytes;
use etcd_proto::etcdserverpb::compare::TargetUnion;
use etcd_proto::etcdserverpb::kv_server::{Kv, KvServer};
use etcd_proto::etcdserverpb::request_op::Request as Op;
use etcd_proto::etcdserverpb::response_op::Response as OpAnswer;
use etcd_proto::etcdserverpb::*;
use etcd_proto::mvccpb::KeyValue;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::target::Target;

/// The way in which the server treats its data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Honesty {
    Honest,
    /// Puts work; transactions fail without an error, and reads leave one key out.
    Lying,
}

/// Serves until the process ends.
pub fn serve(honesty: Honesty) -> Target {
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let incoming =
                TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            let service = KvServer::new(Fake {
                honesty,
                state: Mutex::default(),
            });
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
        })
    });
    Target {
        name: "fake".into(),
        endpoint: format!("http://{address}"),
        server_pids: vec![std::process::id()],
    }
}

struct Fake {
    honesty: Honesty,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: i64,
    keys: BTreeMap<Bytes, KeyValue>,
}

impl State {
    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            revision: self.revision,
            ..Default::default()
        })
    }

    fn put(&mut self, put: PutRequest) {
        self.revision += 1;
        let PutRequest { key, value, .. } = put;
        let kv = KeyValue {
            key,
            value,
            mod_revision: self.revision,
            ..Default::default()
        };
        self.keys.insert(kv.key.clone(), kv);
    }

    fn range(&self, range: &RangeRequest, skip: usize) -> RangeResponse {
        let inside = |key: &&Bytes| {
            let one = range.range_end.is_empty() && **key == range.key;
            one || (&range.key..&range.range_end).contains(key)
        };
        let all: Vec<_> = self.keys.keys().filter(inside).skip(skip).collect();
        let limit = if range.limit == 0 {
            all.len()
        } else {
            range.limit as usize
        };
        let limit = if range.count_only {
            0
        } else {
            limit.min(all.len())
        };
        RangeResponse {
            header: self.header(),
            kvs: all[..limit]
                .iter()
                .map(|key| self.keys[*key].clone())
                .collect(),
            more: !range.count_only && limit < all.len(),
            count: all.len() as i64,
        }
    }

    fn txn(&mut self, txn: TxnRequest, lie: bool) -> TxnResponse {
        let [compare] = &txn.compare[..] else {
            panic!("one comparison expected")
        };
        let revision = self.keys.get(&compare.key).map_or(0, |kv| kv.mod_revision);
        let holds = compare.target_union == Some(TargetUnion::ModRevision(revision));
        let succeeded = holds && !lie;
        let ops = if succeeded { txn.success } else { txn.failure };
        let responses = ops.into_iter().map(|op| self.answer(op)).collect();
        TxnResponse {
            header: self.header(),
            succeeded,
            responses,
        }
    }

    fn answer(&mut self, op: RequestOp) -> ResponseOp {
        let response = match op.request {
            Some(Op::RequestPut(put)) => {
                self.put(put);
                OpAnswer::ResponsePut(PutResponse::default())
            }
            Some(Op::RequestRange(range)) => OpAnswer::ResponseRange(self.range(&range, 0)),
            other => panic!("unexpected {other:?}"),
        };
        ResponseOp {
            response: Some(response),
        }
    }
}

#[tonic::async_trait]
impl Kv for Fake {
    type RangeStreamStream = tokio_stream::Empty<Result<RangeStreamResponse, Status>>;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let skip = usize::from(self.honesty == Honesty::Lying);
        Ok(Response::new(
            self.state.lock().unwrap().range(request.get_ref(), skip),
        ))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        state.put(request.into_inner());
        Ok(Response::new(PutResponse {
            header: state.header(),
            prev_kv: None,
        }))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let lie = self.honesty == Honesty::Lying;
        Ok(Response::new(
            self.state.lock().unwrap().txn(request.into_inner(), lie),
        ))
    }

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}
