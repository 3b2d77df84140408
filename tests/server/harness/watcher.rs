//! One watch stream.

use std::time::Duration;

use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::*;
use etcd_proto::mvccpb::Event;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Api, TIMEOUT};

/// Requests that a test may send ahead of the server.
const REQUEST_QUEUE: usize = 64;

/// The interval at which kube-apiserver asks for progress.
const PROGRESS_REPEAT: Duration = Duration::from_millis(100);

pub struct Watcher {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Watcher {
    /// Opens a stream with its first watch, and returns the answer to that.
    pub async fn open(api: &Api, create: WatchCreateRequest) -> (Self, WatchResponse) {
        let mut watcher = Self::open_with(api, RequestUnion::CreateRequest(create)).await;
        let created = watcher.next().await;
        (watcher, created)
    }

    /// Opens a stream on a server that may die meanwhile; drops the answer to its first watch.
    pub async fn try_open(api: &Api, create: WatchCreateRequest) -> Option<Self> {
        let mut watcher = Self::try_open_with(api, RequestUnion::CreateRequest(create))
            .await
            .ok()?;
        let created = watcher.try_next().await.ok()??;
        assert!(created.created);
        Some(watcher)
    }

    /// Opens a stream with any first request: etcd sends nothing, not even headers, before one.
    pub async fn open_with(api: &Api, first: RequestUnion) -> Self {
        Self::try_open_with(api, first)
            .await
            .expect("the watch stream opens")
    }

    async fn try_open_with(api: &Api, first: RequestUnion) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
        requests
            .send(WatchRequest {
                request_union: Some(first),
            })
            .await
            .unwrap();
        let mut client = api.watch.clone();
        let call = client.watch(api.request(ReceiverStream::new(queue)));
        let opened = tokio::time::timeout(TIMEOUT, call).await;
        let responses = opened
            .expect("the watch stream opens in time")?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    pub async fn send(&self, request: RequestUnion) {
        self.requests
            .send(WatchRequest {
                request_union: Some(request),
            })
            .await
            .unwrap();
    }

    /// Sends a request that asks for nothing.
    pub async fn send_nothing(&self) {
        self.requests
            .send(WatchRequest {
                request_union: None,
            })
            .await
            .unwrap();
    }

    /// Asks for one more watch on the stream; the next response must be the answer.
    pub async fn create(&mut self, create: WatchCreateRequest) -> WatchResponse {
        self.send(RequestUnion::CreateRequest(create)).await;
        self.next().await
    }

    pub async fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }))
            .await;
    }

    pub async fn request_progress(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}))
            .await;
    }

    /// The next response or the error that ends the stream; none when it ends without one.
    pub async fn try_next(&mut self) -> Result<Option<WatchResponse>, Status> {
        match tokio::time::timeout(TIMEOUT, self.responses.message()).await {
            Ok(response) => response,
            Err(_) => panic!("no watch response within {TIMEOUT:?}"),
        }
    }

    pub async fn next(&mut self) -> WatchResponse {
        match self.try_next().await {
            Ok(Some(response)) => response,
            Ok(None) => panic!("the watch stream ended"),
            Err(status) => panic!("the watch stream failed: {status}"),
        }
    }

    /// Asks for progress until the server reports some; returns the events before it and the report.
    ///
    /// A server that is not done with every watch of the stream gives no answer, so one question
    /// is not enough.
    pub async fn progress(&mut self) -> (Vec<Event>, WatchResponse) {
        let mut events = Vec::new();
        let asked_at = Instant::now();
        while asked_at.elapsed() < TIMEOUT {
            self.request_progress().await;
            let next = tokio::time::timeout(PROGRESS_REPEAT, self.responses.message()).await;
            let Ok(response) = next else { continue };
            let response = response
                .expect("the stream goes on")
                .expect("the stream goes on");
            if response.watch_id == -1 {
                return (events, response);
            }
            events.extend(response.events);
        }
        panic!("no progress within {TIMEOUT:?}");
    }

    /// The events of the next responses, at least `count` of them.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let response = self.next().await;
            assert!(
                !response.canceled,
                "the watch was cancelled: {}",
                response.cancel_reason
            );
            events.extend(response.events);
        }
        events
    }
}
