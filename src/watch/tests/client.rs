//! The client's end of a stream, and a hub to talk to.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use etcd_proto::etcdserverpb::{ResponseHeader, WatchResponse};
use etcd_state::mvcc::{History, KeyRange, Revision};
use prost::Message;

use crate::watch::{
    CatchUp, CloseReason, CreateRequest, HubSettings, Inbox, Options, Popped, WatchHub, WatchStream,
};

pub const CLUSTER_ID: u64 = 77;

pub fn hub(
    history: &Arc<History>,
    inbox: &Arc<Inbox>,
    progress_interval: Duration,
) -> Arc<WatchHub> {
    let header = |revision: Revision| ResponseHeader {
        cluster_id: CLUSTER_ID,
        member_id: 1,
        revision: revision.number(),
        raft_term: 1,
    };
    let source = Arc::clone(history);
    WatchHub::new(
        source,
        Arc::clone(inbox),
        Box::new(header),
        HubSettings { progress_interval },
    )
}

pub fn request(key: &str, range_end: &str, start_revision: i64) -> CreateRequest {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    CreateRequest {
        watch_id: None,
        range: KeyRange::new(bytes(key), bytes(range_end)),
        start_revision: Revision::new(start_revision),
        options: Options::default(),
        progress_notify: false,
    }
}

/// Takes one piece from the stream's queue and decodes what is in it; empty if nothing waits.
pub fn pop(stream: &WatchStream) -> Result<Vec<WatchResponse>, CloseReason> {
    let mut context = Context::from_waker(Waker::noop());
    let mut piece = match stream.outbound().poll_pop(&mut context) {
        Poll::Ready(Popped::Responses(piece)) => piece,
        Poll::Ready(Popped::Closed(reason)) => return Err(reason),
        Poll::Pending => return Ok(Vec::new()),
    };
    let mut responses = Vec::new();
    while piece.has_remaining() {
        assert_eq!(piece.get_u8(), 0, "not compressed");
        let len = piece.get_u32() as usize;
        responses.push(WatchResponse::decode(piece.split_to(len)).expect("a whole response"));
    }
    Ok(responses)
}

/// Returns all waiting responses, after the stream's task did what it can.
pub fn receive(stream: &WatchStream) -> Vec<WatchResponse> {
    let mut responses = Vec::new();
    loop {
        while stream.catch_up() == CatchUp::Behind {}
        match pop(stream).expect("the stream is open") {
            more if more.is_empty() => return responses,
            more => responses.extend(more),
        }
    }
}

/// Lets the hub's task, and every other one of this runtime, do all that it can do now.
pub async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub fn event_revisions(responses: &[WatchResponse]) -> Vec<i64> {
    let events = responses.iter().flat_map(|response| &response.events);
    events
        .map(|event| event.kv.as_ref().expect("an event has a key").mod_revision)
        .collect()
}
