//! The limit of a request's size.

use etcd_proto::etcdserverpb::{AuthStatusRequest, RangeResponse, StatusRequest};
use etcd_state::requests::{Sender, entry_bytes};
use prost::Message;
use tonic::metadata::AsciiMetadataKey;
use tonic::{Code, Status};

use crate::auth::{authenticate, enable};
use crate::harness::*;

parity! {
    a_request_of_one_mebibyte_is_taken,
    a_request_above_the_limit_is_refused_by_name,
    the_limit_is_exact,
    a_request_far_above_the_limit_is_refused_and_the_server_goes_on,
    an_answer_may_be_large,
    headers_of_half_a_mebibyte_are_taken,
}

parity! {
    with Options::flags(&["--max-request-bytes=65536", "--max-txn-ops=3"]);
    the_limits_are_those_of_the_flags,
}

parity! {
    with Options::flags(&["--max-request-bytes=20971520"]);
    a_higher_limit_lets_larger_requests_pass,
}

const MIB: usize = 1024 * 1024;

async fn a_request_of_one_mebibyte_is_taken(server: Server) {
    let api = server.api().await;
    api.ask(put("a", vec![b'x'; MIB])).await;
    assert_eq!(api.ask(get("a")).await.kvs[0].value.len(), MIB);
}

async fn a_request_above_the_limit_is_refused_by_name(server: Server) {
    let api = server.api().await;
    let expected = (
        Code::InvalidArgument,
        "etcdserver: request is too large".to_owned(),
    );
    assert_eq!(
        api.refused(put("a", vec![b'x'; MIB * 3 / 2])).await,
        expected
    );
    let parts = txn()
        .then(put("a", vec![b'x'; MIB]))
        .then(put("b", vec![b'x'; MIB * 3 / 4]));
    assert_eq!(api.refused(parts).await, expected);
    assert_eq!(api.revision().await, 1);
}

/// The bytes of the default limit.
const LIMIT: usize = MIB * 3 / 2;

/// Returns the bytes that the largest request of the caller has: etcd adds a header, which names the user.
async fn largest(api: &Api, user: Option<&str>) -> usize {
    let member_id = api.ask(StatusRequest {}).await.header.unwrap().member_id;
    let sender = match user {
        Some(user) => Sender {
            user_bytes: user.len(),
            auth_revision: api.ask(AuthStatusRequest {}).await.auth_revision,
        },
        None => Sender::default(),
    };
    let around = entry_bytes(LIMIT, member_id, sender) - LIMIT;
    LIMIT - around
}

/// Puts one value, in a transaction or by itself, so that the request has that many bytes.
async fn write_of(api: &Api, bytes: usize, in_txn: bool) -> Result<(), Status> {
    let request = |value_bytes: usize| put("a", vec![b'x'; value_bytes]);
    let in_one = |value_bytes| txn().then(request(value_bytes));
    let size = |value_bytes| match in_txn {
        true => in_one(value_bytes).encoded_len(),
        false => request(value_bytes).encoded_len(),
    };
    let value_bytes = bytes - (size(bytes) - bytes);
    assert_eq!(size(value_bytes), bytes);
    match in_txn {
        true => api.try_ask(in_one(value_bytes)).await.map(drop),
        false => api.try_ask(request(value_bytes)).await.map(drop),
    }
}

async fn the_limit_is_exact(server: Server) {
    let nobody = server.api().await;
    check_limit(&nobody, largest(&nobody, None).await).await;
    let root = enable(&nobody).await;
    check_limit(&root, largest(&root, Some("root")).await).await;
    // What only reads goes into no log.
    let compared = vec![b'x'; LIMIT + 1000];
    let read = txn().when(value("a", compared)).then(get("a"));
    assert!(!root.ask(read).await.succeeded);
}

async fn check_limit(api: &Api, largest: usize) {
    for in_txn in [false, true] {
        for (bytes, fits) in [(largest - 1, true), (largest, true), (largest + 1, false)] {
            match write_of(api, bytes, in_txn).await {
                Ok(()) => assert!(fits, "{bytes} bytes are taken, in_txn: {in_txn}"),
                Err(status) => {
                    assert!(!fits, "{bytes} bytes: {status:?}, in_txn: {in_txn}");
                    assert_eq!(status.message(), "etcdserver: request is too large");
                }
            }
        }
    }
}

async fn a_request_far_above_the_limit_is_refused_and_the_server_goes_on(server: Server) {
    let api = server.api().await;
    let large = vec![b'x'; 3 * MIB];
    let password = "x".repeat(17 * MIB);
    macro_rules! check {
        ($($request:expr),*) => {$(
            let request = $request;
            let bytes = request.encoded_len();
            let text = format!("grpc: received message larger than max ({bytes} vs. {})", 2 * MIB);
            assert_eq!(api.refused(request).await, (Code::ResourceExhausted, text));
        )*};
    }
    check!(
        put("a", large.clone()),
        delete(large.clone()),
        get(large),
        authenticate("root", &password)
    );
    assert_eq!(api.put("a", "small").await, 2);
}

async fn an_answer_may_be_large(server: Server) {
    let api = server.api().await;
    for index in 0..8 {
        api.ask(put(format!("a{index}"), vec![b'x'; MIB])).await;
    }
    let answer = api.ask(get_prefix("a")).await;
    assert_eq!(
        answer.kvs.iter().map(|kv| kv.value.len()).sum::<usize>(),
        8 * MIB
    );
}

async fn the_limits_are_those_of_the_flags(server: Server) {
    let api = server.api().await;
    let too_large = "etcdserver: request is too large".to_owned();
    api.ask(put("a", vec![b'x'; 60 * 1024])).await;
    assert_eq!(
        api.refused(put("a", vec![b'x'; 70 * 1024])).await,
        (Code::InvalidArgument, too_large)
    );
    let (code, text) = api.refused(put("a", vec![b'x'; 640 * 1024])).await;
    assert_eq!(code, Code::ResourceExhausted, "{text}");
    assert!(text.contains("received message larger than max"), "{text}");
    let three = txn().then(get("a")).then(get("a")).then(get("a"));
    assert!(api.ask(three.clone()).await.succeeded);
    let too_many = "etcdserver: too many operations in txn request".to_owned();
    assert_eq!(
        api.refused(three.then(get("a"))).await,
        (Code::InvalidArgument, too_many)
    );
}

async fn a_higher_limit_lets_larger_requests_pass(server: Server) {
    let api = server.api().await;
    api.ask(put("a", vec![b'x'; 18 * MIB])).await;
    assert_eq!(api.ask(get("a")).await.kvs[0].value.len(), 18 * MIB);
}

/// Asks with metadata of some bytes, in entries of 50 KiB.
async fn ask_with_metadata(api: &Api, bytes: usize) -> Result<RangeResponse, Status> {
    const ENTRY_BYTES: usize = 50 * 1024;
    let mut request = tonic::Request::new(get("a"));
    for n in 0..bytes / ENTRY_BYTES {
        let name = AsciiMetadataKey::from_bytes(format!("x-{n}").as_bytes()).unwrap();
        let value = "x".repeat(ENTRY_BYTES).parse().unwrap();
        request.metadata_mut().insert(name, value);
    }
    let mut client = api.kv.clone();
    client.range(request).await.map(tonic::Response::into_inner)
}

async fn headers_of_half_a_mebibyte_are_taken(server: Server) {
    let api = server.api().await;
    for kib in [10, 100, 500] {
        let answer = ask_with_metadata(&api, kib * 1024).await.unwrap();
        assert_eq!(at(&answer.header), 1, "{kib} KiB");
    }
}

#[tokio::test]
async fn more_headers_are_refused_and_the_server_goes_on() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    assert!(ask_with_metadata(&api, MIB).await.is_err());
    assert_eq!(api.put("a", "1").await, 2);
}

/// The size is known before anything is made of it; etcd makes it first.
#[tokio::test]
async fn an_answer_that_no_client_can_take_is_refused() {
    const COPIES: usize = 120;
    let options = Options::flags(&["--max-request-bytes=20971520"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let api = server.api().await;
    api.ask(put("a", vec![b'x'; 18 * MIB])).await;
    let all = (0..COPIES).fold(txn(), |txn, _| txn.then(get("a")));
    let (code, text) = api.refused(all).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert!(
        text.contains("trying to send message larger than max"),
        "{text}"
    );
    assert_eq!(api.revision().await, 2);
}
