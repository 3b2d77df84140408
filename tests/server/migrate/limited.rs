//! A server with the limits of the Go k8s-dqlite, in front of one of ours: three forms of transactions, no Put
//! beside them, headers with a revision only, ranges that do not know "everything", and leases whose id is their TTL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use etcd_proto::etcdserverpb::compare::TargetUnion;
use etcd_proto::etcdserverpb::kv_server::{Kv, KvServer};
use etcd_proto::etcdserverpb::lease_server::{Lease, LeaseServer};
use etcd_proto::etcdserverpb::request_op::Request as Op;
use etcd_proto::etcdserverpb::*;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Empty, Stream};
use tonic::{Request, Response, Status};

use super::*;

#[derive(Clone)]
struct Limited {
    store: Api,
    /// The leases that keys were put with, which the store must not know.
    leases: Arc<Mutex<HashMap<Bytes, i64>>>,
    /// Pages that are still answered before the revision is compacted, once.
    pages: Arc<Mutex<Option<usize>>>,
}

impl Limited {
    async fn before(server: &Server) -> Self {
        Self {
            store: server.api().await,
            leases: Arc::default(),
            pages: Arc::default(),
        }
    }

    fn is_compacted_now(&self) -> bool {
        let mut pages = self.pages.lock().unwrap();
        match *pages {
            Some(0) => pages.take().is_some(),
            Some(left) => {
                *pages = Some(left - 1);
                false
            }
            None => false,
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn unsupported<T>(what: &str) -> Answer<T> {
    Err(Status::unknown(format!("{what} is not supported")))
}

fn bare(header: Option<ResponseHeader>) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision: header.unwrap_or_default().revision,
        ..Default::default()
    })
}

#[tonic::async_trait]
impl Kv for Limited {
    type RangeStreamStream = Empty<Result<RangeStreamResponse, Status>>;

    async fn range(&self, request: Request<RangeRequest>) -> Answer<RangeResponse> {
        let mut request = request.into_inner();
        if request.revision > 0 && self.is_compacted_now() {
            let said = "etcdserver: mvcc: required revision has been compacted";
            return Err(Status::out_of_range(said));
        }
        if request.range_end == "\0" {
            request.key = "\u{ff}nothing".into();
            request.range_end = "\u{ff}nothing0".into();
        }
        let mut answer = self.store.try_ask(request).await?;
        answer.header = bare(answer.header);
        let leases = self.leases.lock().unwrap();
        for kv in &mut answer.kvs {
            kv.lease = leases.get(&kv.key).copied().unwrap_or(0);
        }
        Ok(Response::new(answer))
    }

    async fn range_stream(&self, _: Request<RangeRequest>) -> Answer<Self::RangeStreamStream> {
        unsupported("range stream")
    }

    async fn put(&self, _: Request<PutRequest>) -> Answer<PutResponse> {
        unsupported("put")
    }

    async fn delete_range(&self, _: Request<DeleteRangeRequest>) -> Answer<DeleteRangeResponse> {
        unsupported("delete")
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Answer<TxnResponse> {
        let mut request = request.into_inner();
        let ([compare], [success]) = (&request.compare[..], &mut request.success[..]) else {
            return unsupported("transaction");
        };
        let Some(TargetUnion::ModRevision(revision)) = compare.target_union else {
            return unsupported("transaction");
        };
        let reads = matches!(
            &request.failure[..],
            [RequestOp {
                request: Some(Op::RequestRange(_))
            }]
        );
        match success.request.as_mut().unwrap() {
            Op::RequestPut(put) if (revision == 0 && request.failure.is_empty()) || reads => {
                let lease = std::mem::take(&mut put.lease);
                self.leases.lock().unwrap().insert(put.key.clone(), lease);
            }
            Op::RequestDeleteRange(_) if reads => {}
            _ => return unsupported("transaction"),
        }
        let mut answer = self.store.try_ask(request).await?;
        answer.header = bare(answer.header);
        Ok(Response::new(answer))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Answer<CompactionResponse> {
        unsupported("compact")
    }
}

#[tonic::async_trait]
impl Lease for Limited {
    type LeaseKeepAliveStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Answer<LeaseGrantResponse> {
        let ttl = request.into_inner().ttl;
        Ok(Response::new(LeaseGrantResponse {
            header: Some(ResponseHeader::default()),
            id: ttl,
            ttl,
            ..Default::default()
        }))
    }

    async fn lease_revoke(&self, _: Request<LeaseRevokeRequest>) -> Answer<LeaseRevokeResponse> {
        unsupported("lease revoke")
    }

    async fn lease_keep_alive(
        &self,
        _: Request<tonic::Streaming<LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        unsupported("lease keep alive")
    }

    async fn lease_time_to_live(
        &self,
        _: Request<LeaseTimeToLiveRequest>,
    ) -> Answer<LeaseTimeToLiveResponse> {
        unsupported("lease time to live")
    }

    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Answer<LeaseLeasesResponse> {
        unsupported("lease leases")
    }
}

/// Starts the limited server, and returns its URL.
async fn limited(server: &Server) -> String {
    serve(Limited::before(server).await).await
}

async fn serve(limited: Limited) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tonic::transport::Server::builder()
        .add_service(KvServer::new(limited.clone()).max_decoding_message_size(1 << 24))
        .add_service(LeaseServer::new(limited))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    format!("http://127.0.0.1:{port}")
}

/// Runs beside the server that this thread is.
async fn run_beside(flags: &[&str]) -> String {
    let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let running = tokio::task::spawn_blocking(move || {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        printed(&flags)
    });
    running.await.unwrap()
}

#[tokio::test]
async fn what_goes_there_comes_back() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    fill(&api).await;
    // It has only what is below the slash.
    for key in ["\0first", "no slash", "\u{ff}last"] {
        api.delete(key).await;
    }
    let middle = Server::start(Kind::K8sDqlite).await;
    let url = limited(&middle).await;
    middle.api().await.put("/registry/pods/4", "older").await;
    let target = Server::start(Kind::K8sDqlite).await;
    let db = target.path().join("copy");
    let flags = [
        "migrator",
        "--mode=copy",
        "--db-dir",
        path_text(&db),
        "--force",
    ];
    let there = ["--from", &source.client_url(), "--to", &url];
    let said = run_beside(&[&flags[..], &there].concat()).await;
    assert!(said.contains("the same on both sides: 303 keys"), "{said}");
    let back = ["--from", &url, "--to", &target.client_url()];
    let said = run_beside(&[&flags[..], &back].concat()).await;
    assert!(said.contains("the same on both sides: 303 keys"), "{said}");

    let without_ids = |entries: Vec<(Vec<u8>, Vec<u8>, i64)>| -> Vec<_> {
        let entries = entries.into_iter();
        entries
            .map(|(key, value, lease)| (key, value, lease != 0))
            .collect()
    };
    let found = entries(&target.api().await).await;
    assert_eq!(without_ids(found), without_ids(entries(&api).await));
    // Leases became their TTLs there.
    for (id, keys, ttl) in leases(&target.api().await).await {
        assert!(
            (900..=2000).contains(&id) && ttl <= id,
            "{id} {keys:?} {ttl}"
        );
    }
}

#[tokio::test]
async fn a_source_that_is_compacted_in_between_is_copied_at_its_next_revision() {
    let source = Server::start(Kind::K8sDqlite).await;
    let api = source.api().await;
    for index in 0..400 {
        api.put(&format!("/{index:03}"), "1").await;
    }
    for pages in [0, 1, 2, 3] {
        let target = Server::start(Kind::K8sDqlite).await;
        let limited = Limited::before(&source).await;
        *limited.pages.lock().unwrap() = Some(pages);
        let pages = limited.pages.clone();
        let url = serve(limited).await;
        let db = target.path().join("copy");
        let flags = ["migrator", "--mode=copy", "--db-dir", path_text(&db)];
        let ends = ["--from", &url, "--to", &target.client_url()];
        let said = run_beside(&[&flags[..], &ends].concat()).await;
        assert!(said.contains("the same on both sides: 400 keys"), "{said}");
        assert_eq!(*pages.lock().unwrap(), None, "it was compacted");
        assert_same_entries(&api, &target.api().await).await;
    }
}

#[tokio::test]
async fn the_modes_of_the_go_program_work_with_it() {
    let server = Server::start(Kind::K8sDqlite).await;
    let url = limited(&server).await;
    let source = Server::start(Kind::K8sDqlite).await;
    fill(&source.api().await).await;
    let dir = source.path().join("db");
    let db = ["--db-dir", path_text(&dir)];
    let from = [
        "migrator",
        "--mode=backup-dqlite",
        "--endpoint",
        &source.client_url(),
    ];
    run_beside(&[&from[..], &db].concat()).await;
    let to = ["migrator", "--mode=restore-dqlite", "--endpoint", &url];
    for _ in 0..2 {
        let said = run_beside(&[&to[..], &db].concat()).await;
        assert_eq!(said, "restored: 303 entries\n");
    }
    let saved = source.path().join("again");
    let again = ["migrator", "--mode=backup-dqlite", "--endpoint", &url];
    let said = run_beside(&[&again[..], &["--db-dir", path_text(&saved)]].concat()).await;
    assert_eq!(said, "saved: 303 entries\n");
    for index in 0..303 {
        let file = format!("{index}.data");
        let read = |dir: &std::path::Path| std::fs::read(dir.join(&file)).unwrap();
        assert_eq!(read(&saved), read(&dir));
    }
}
