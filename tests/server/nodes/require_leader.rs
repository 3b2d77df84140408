//! Clients that ask for a leader, at a node that is cut off.

use std::time::Duration;

use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, MemberListRequest,
    StatusRequest, WatchRequest, WatchResponse,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use super::trio::{Trio, persist};
use crate::harness::*;

/// The longest for an answer that waits for nothing: a call that waits for a leader takes 7 s.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A request of a client that asks for a leader.
fn with_leader<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("hasleader", "true".parse().unwrap());
    request
}

/// A stream whose client goes on listening.
struct Open<Q, A> {
    _requests: mpsc::Sender<Q>,
    answers: Streaming<A>,
}

impl<Q, A> Open<Q, A> {
    /// Waits for the end, and returns how it came.
    async fn end(mut self) -> Status {
        let ended = async {
            loop {
                match self.answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ended without an error"),
                    Err(status) => return status,
                }
            }
        };
        timeout(TIMEOUT, ended).await.expect("the stream ends")
    }
}

fn requests_of<Q>(first: Q) -> (mpsc::Sender<Q>, ReceiverStream<Q>) {
    let (requests, queue) = mpsc::channel(1);
    requests.try_send(first).unwrap();
    (requests, ReceiverStream::new(queue))
}

async fn open_watch(api: &Api) -> Result<Open<WatchRequest, WatchResponse>, Status> {
    let first = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(watch("key"))),
    };
    let (requests, queue) = requests_of(first);
    let mut client = api.watch.clone();
    let opened = timeout(AT_ONCE, client.watch(with_leader(queue))).await;
    let mut answers = opened.expect("it is answered at once")?.into_inner();
    assert!(answers.message().await?.unwrap().created);
    Ok(Open {
        _requests: requests,
        answers,
    })
}

async fn open_keep_alive(
    api: &Api,
    id: i64,
) -> Result<Open<LeaseKeepAliveRequest, LeaseKeepAliveResponse>, Status> {
    let (requests, queue) = requests_of(LeaseKeepAliveRequest { id });
    let mut client = api.lease.clone();
    let opened = timeout(AT_ONCE, client.lease_keep_alive(with_leader(queue))).await;
    let mut answers = opened.expect("it is answered at once")?.into_inner();
    assert!(answers.message().await?.unwrap().ttl > 0);
    Ok(Open {
        _requests: requests,
        answers,
    })
}

fn assert_no_leader(status: &Status) {
    let expected = (Code::Unavailable, "etcdserver: no leader");
    assert_eq!((status.code(), status.message()), expected);
}

/// Makes a unary call, which must be refused at once.
macro_rules! refused {
    ($api:expr, $client:ident.$method:ident, $request:expr) => {{
        let mut client = $api.$client.clone();
        let called = timeout(AT_ONCE, client.$method(with_leader($request))).await;
        let refused = called.expect("it is answered at once").unwrap_err();
        assert_no_leader(&refused);
    }};
}

#[tokio::test]
async fn who_asks_for_a_leader_is_told_that_there_is_none() {
    let mut trio = Trio::start().await;
    for is_leader_left in [false, true] {
        let leader = trio.leader().await;
        let left = match is_leader_left {
            true => leader,
            false => trio.others(leader)[0],
        };
        let api = trio.nodes[left].api().await;
        let lease = persist(async || api.try_ask(grant(600)).await).await.id;
        let watching = open_watch(&api).await.unwrap();
        let keeping = open_keep_alive(&api, lease).await.unwrap();
        let others = trio.others(left);
        others.iter().for_each(|other| trio.pause(*other));
        until("the node has no leader", async || {
            api.ask(StatusRequest {}).await.leader == 0
        })
        .await;
        // Streams are ended later than calls are refused.
        assert_no_leader(&watching.end().await);
        assert_no_leader(&keeping.end().await);
        refused!(api, kv.put, put("key", "1"));
        refused!(api, kv.range, get("key"));
        refused!(api, lease.lease_grant, LeaseGrantRequest::default());
        refused!(api, cluster.member_list, MemberListRequest::default());
        assert_no_leader(&open_watch(&api).await.err().unwrap());
        assert_no_leader(&open_keep_alive(&api, lease).await.err().unwrap());
        // Who does not ask for one may wait.
        let (_watcher, created) = Watcher::open(&api, watch("key")).await;
        assert!(created.created);
        others.iter().for_each(|other| trio.wake(*other));
        let asked = Instant::now();
        persist(async || api.kv.clone().put(with_leader(put("key", "2"))).await).await;
        persist(async || open_watch(&api).await).await;
        assert!(asked.elapsed() < TIMEOUT);
        trio.wait_for_voters(3).await;
    }
}
