//! Lease: keep-alive.

use std::time::{Duration, Instant};

use etcd_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, PutRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::harness::*;

parity! {
    a_keep_alive_gives_the_full_ttl_again,
    an_unknown_lease_is_answered_with_a_ttl_of_zero,
    one_stream_keeps_many_leases_alive,
    a_lease_lives_as_long_as_it_is_kept_alive,
    a_lease_that_has_ended_is_answered_with_a_ttl_of_zero,
}

/// Requests that a test may send ahead of the server.
const REQUEST_QUEUE: usize = 16;

struct KeepAlive {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    responses: Streaming<LeaseKeepAliveResponse>,
}

impl KeepAlive {
    /// Opens a stream with the first request, before which etcd sends nothing.
    async fn open(api: &Api, id: i64) -> (Self, LeaseKeepAliveResponse) {
        let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
        requests.send(LeaseKeepAliveRequest { id }).await.unwrap();
        let responses = api
            .lease
            .clone()
            .lease_keep_alive(ReceiverStream::new(queue))
            .await;
        let mut stream = Self {
            requests,
            responses: responses.unwrap().into_inner(),
        };
        let first = stream.next().await;
        (stream, first)
    }

    async fn ask(&mut self, id: i64) -> LeaseKeepAliveResponse {
        self.requests
            .send(LeaseKeepAliveRequest { id })
            .await
            .unwrap();
        self.next().await
    }

    async fn next(&mut self) -> LeaseKeepAliveResponse {
        let response = tokio::time::timeout(TIMEOUT, self.responses.message()).await;
        response
            .expect("an answer in time")
            .unwrap()
            .expect("the stream goes on")
    }
}

async fn a_keep_alive_gives_the_full_ttl_again(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 100, id: 7 }).await;
    until("two seconds of the lease have passed", async || {
        api.ask(time_to_live(7)).await.ttl < 98
    })
    .await;
    let (_stream, answer) = KeepAlive::open(&api, 7).await;
    assert_eq!((answer.id, answer.ttl, at(&answer.header)), (7, 100, 1));
    let answer = api.ask(time_to_live(7)).await;
    assert!(answer.ttl >= 98, "{}", answer.ttl);
}

async fn an_unknown_lease_is_answered_with_a_ttl_of_zero(server: Server) {
    let api = server.api().await;
    let (mut stream, answer) = KeepAlive::open(&api, 12345).await;
    assert_eq!((answer.id, answer.ttl), (12345, 0));
    api.ask(LeaseGrantRequest { ttl: 100, id: 7 }).await;
    assert_eq!(stream.ask(7).await.ttl, 100, "the stream goes on");
    api.ask(revoke(7)).await;
    assert_eq!(stream.ask(7).await.ttl, 0);
}

async fn one_stream_keeps_many_leases_alive(server: Server) {
    let api = server.api().await;
    for id in 1..=10 {
        api.ask(LeaseGrantRequest { ttl: 100 + id, id }).await;
    }
    let (mut stream, _) = KeepAlive::open(&api, 1).await;
    for id in 1..=10 {
        let answer = stream.ask(id).await;
        assert_eq!((answer.id, answer.ttl), (id, 100 + id));
    }
}

async fn a_lease_lives_as_long_as_it_is_kept_alive(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 2, id: 7 }).await;
    api.ask(PutRequest {
        lease: 7,
        ..put("a", "v")
    })
    .await;
    let (mut stream, _) = KeepAlive::open(&api, 7).await;
    let start = Instant::now();
    let mut interval = tokio::time::interval(Duration::from_millis(500));
    while start.elapsed() < Duration::from_secs(6) {
        interval.tick().await;
        assert_eq!(stream.ask(7).await.ttl, 2);
    }
    assert_eq!(api.ask(get("a")).await.count, 1);
    until("the lease expires without keep-alive", async || {
        api.ask(get("a")).await.count == 0
    })
    .await;
}

async fn a_lease_that_has_ended_is_answered_with_a_ttl_of_zero(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 7 }).await;
    api.ask(LeaseGrantRequest { ttl: 2, id: 8 }).await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 9 }).await;
    for (lease, key) in [(7, "a"), (8, "b"), (9, "c")] {
        let attached = PutRequest {
            lease,
            ..put(key, "v")
        };
        api.ask(attached).await;
    }
    let (mut stream, first) = KeepAlive::open(&api, 7).await;
    assert_eq!(first.ttl, 600);
    assert_eq!(stream.ask(8).await.ttl, 2);
    api.ask(revoke(7)).await;
    let revoked = stream.ask(7).await;
    assert_eq!((revoked.id, revoked.ttl, at(&revoked.header)), (7, 0, 5));
    until("the other lease has expired", async || {
        api.ask(time_to_live(8)).await.ttl == -1
    })
    .await;
    let expired = stream.ask(8).await;
    assert_eq!((expired.id, expired.ttl, at(&expired.header)), (8, 0, 6));
    assert_eq!(stream.ask(7).await.ttl, 0);
    assert_eq!(stream.ask(9).await.ttl, 600, "the stream goes on");
    assert_eq!(keys(&api.ask(get_range("a", "d")).await.kvs), ["c"]);
}
