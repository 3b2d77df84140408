//! Messages compressed with gzip.

use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::*;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use http_body::Body;
use prost::Message;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::codegen::{Service, http};
use tonic::{Code, Request};

use crate::harness::*;

parity! {
    who_sends_gzip_gets_it,
    who_only_accepts_gzip_does_not_get_it,
    every_service_takes_gzip,
    a_message_that_grows_beyond_the_limit_is_refused,
    other_codecs_are_refused,
    what_is_not_gzip_is_refused,
}

const MIB: usize = 1024 * 1024;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut encoder = GzEncoder::new(bytes, Compression::fast());
    encoder.read_to_end(&mut compressed).unwrap();
    compressed
}

/// An answer as it came.
struct Raw {
    headers: http::HeaderMap,
    body: BytesMut,
    code: Code,
}

impl Raw {
    fn encoding(&self) -> Option<&str> {
        let encoding = self.headers.get("grpc-encoding")?;
        Some(encoding.to_str().unwrap())
    }

    /// The flag of the message, and the message.
    fn message(&self) -> (u8, &[u8]) {
        assert_eq!(self.code, Code::Ok);
        (self.body[0], &self.body[5..])
    }
}

/// Sends one frame, flagged as compressed, with more headers.
async fn call(api: &Api, path: &str, message: &[u8], headers: &[(&str, &str)]) -> Raw {
    let is_compressed = headers.iter().any(|(name, _)| *name == "grpc-encoding");
    let mut frame = BytesMut::new();
    frame.put_u8(is_compressed.into());
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    let mut request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = tonic::body::Body::new(axum::body::Body::from(frame.freeze()));
    let mut channel = api.channel.clone();
    poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let (head, mut body) = channel
        .call(request.body(body).unwrap())
        .await
        .unwrap()
        .into_parts();
    let mut raw = Raw {
        headers: head.headers,
        body: BytesMut::new(),
        code: Code::Unknown,
    };
    let code =
        |headers: &http::HeaderMap| Some(Code::from_bytes(headers.get("grpc-status")?.as_bytes()));
    let mut found = code(&raw.headers);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.unwrap();
        match frame.data_ref() {
            Some(data) => raw.body.extend_from_slice(data),
            None => found = frame.trailers_ref().and_then(code),
        }
    }
    raw.code = found.expect("the call has a status");
    raw
}

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const GZIP: &[(&str, &str)] = &[("grpc-encoding", "gzip")];

async fn who_sends_gzip_gets_it(server: Server) {
    let api = server.api().await;
    api.put("a", &"x".repeat(1000)).await;
    let answer = call(&api, RANGE, &gzip(&get("a").encode_to_vec()), GZIP).await;
    assert_eq!(answer.encoding(), Some("gzip"));
    let (flag, compressed) = answer.message();
    assert!(flag == 1 && compressed.len() < 500);
    let mut plain = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut plain).unwrap();
    let found = RangeResponse::decode(&plain[..]).unwrap();
    assert_eq!(found.kvs[0].value.len(), 1000);
}

async fn who_only_accepts_gzip_does_not_get_it(server: Server) {
    let api = server.api().await;
    let accepts = [("grpc-accept-encoding", "gzip")];
    let answer = call(&api, RANGE, &get("a").encode_to_vec(), &accepts).await;
    assert_eq!((answer.encoding(), answer.message().0), (None, 0));
}

async fn every_service_takes_gzip(server: Server) {
    let mut api = server.api().await;
    macro_rules! with_gzip {
        ($($client:ident)+) => {
            $(api.$client = api.$client.send_compressed(Gzip).accept_compressed(Gzip);)+
        };
    }
    with_gzip! { kv watch lease cluster maintenance auth lock election }
    let (mut watcher, created) = Watcher::open(&api, watch("a")).await;
    assert!(created.created);
    api.put("a", "1").await;
    assert_eq!(event_lines(&watcher.events(1).await), ["PUT a=1 @2"]);
    watcher.send(RequestUnion::CreateRequest(watch("b"))).await;
    assert!(watcher.next().await.created);
    let lease = api.ask(grant(60)).await.id;
    let requests = Request::new(tokio_stream::iter(
        [1, 2].map(|_| LeaseKeepAliveRequest { id: lease }),
    ));
    let renewed = api.lease.lease_keep_alive(requests).await.unwrap();
    let mut renewed = renewed.into_inner();
    for _ in 0..2 {
        assert_eq!(renewed.message().await.unwrap().unwrap().ttl, 60);
    }
    assert_eq!(api.ask(MemberListRequest::default()).await.members.len(), 1);
    assert!(api.ask(StatusRequest {}).await.db_size > 0);
    let mut snapshot = api
        .maintenance
        .snapshot(SnapshotRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut bytes = 0;
    while let Some(part) = snapshot.message().await.unwrap() {
        bytes += part.blob.len();
    }
    assert!(bytes > 16 * 1024);
    assert!(!api.ask(AuthStatusRequest {}).await.enabled);
    let name = Bytes::from("lock");
    let key = api
        .ask(etcd_proto::v3lockpb::LockRequest {
            name: name.clone(),
            lease,
        })
        .await
        .key;
    assert!(key.starts_with(&name));
    let campaign = etcd_proto::v3electionpb::CampaignRequest {
        name: "election".into(),
        lease,
        value: Bytes::new(),
    };
    assert!(api.ask(campaign).await.leader.is_some());
    let health = call(&api, "/grpc.health.v1.Health/Check", &gzip(&[]), GZIP).await;
    assert_eq!(health.code, Code::Ok);
}

async fn a_message_that_grows_beyond_the_limit_is_refused(server: Server) {
    let api = server.api().await;
    let bomb = gzip(&put("a", vec![0; 64 * MIB]).encode_to_vec());
    assert!(bomb.len() < MIB);
    let refused = call(&api, PUT, &bomb, GZIP).await;
    assert_eq!(refused.code, Code::ResourceExhausted);
    // What is too large only for a request is refused as if it were not compressed.
    let large = gzip(&put("a", vec![0; 17 * MIB / 10]).encode_to_vec());
    let refused = call(&api, PUT, &large, GZIP).await;
    assert_eq!(refused.code, Code::InvalidArgument);
    assert_eq!(api.revision().await, 1);
}

async fn other_codecs_are_refused(server: Server) {
    let api = server.api().await;
    for codec in ["deflate", "snappy"] {
        let refused = call(&api, RANGE, b"any", &[("grpc-encoding", codec)]).await;
        assert_eq!(refused.code, Code::Unimplemented, "{codec}");
    }
}

async fn what_is_not_gzip_is_refused(server: Server) {
    let api = server.api().await;
    let refused = call(&api, RANGE, b"not gzip", GZIP).await;
    assert_eq!(refused.code, Code::Internal);
}

/// It would keep a thread from all else; etcd has a thread for it.
#[tokio::test]
async fn a_large_answer_is_not_compressed() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    for key in ["a", "b"] {
        api.ask(put(key, vec![b'x'; MIB])).await;
    }
    let request = get_range("a", "c").encode_to_vec();
    let answer = call(&api, RANGE, &gzip(&request), GZIP).await;
    let (flag, message) = answer.message();
    assert_eq!(flag, 0);
    assert_eq!(RangeResponse::decode(message).unwrap().kvs.len(), 2);
}
