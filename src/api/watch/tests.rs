//! The service behind a real connection.

use std::time::Duration;

use etcd_proto::etcdserverpb::watch_client::WatchClient;
use etcd_proto::etcdserverpb::{WatchCancelRequest, WatchProgressRequest};
use etcd_state::{
    auth::{DEFAULT_TTL, TokenOptions, Tokens},
    mvcc::Revision,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::Code;
use tonic::transport::{Channel, Server};

use super::*;
use crate::{
    api::Identity,
    watch::{
        HubSettings, Inbox, WatchId,
        testing::{Op, TestStore, delete, put},
    },
};

/// The deadline of every wait: all take some milliseconds, but a slow machine may take longer.
const DEADLINE: Duration = Duration::from_secs(20);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it happens before the deadline")
}

fn open_to_all() -> Arc<Access> {
    Arc::new(Access {
        rules: Arc::default(),
        tokens: Tokens::new(TokenOptions::Simple { ttl: DEFAULT_TTL }),
    })
}

struct Fixture {
    store: TestStore,
    inbox: Arc<Inbox>,
    hub: Arc<WatchHub>,
    channel: Channel,
    stop_server: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Fixture {
    async fn new() -> Self {
        let store = TestStore::new();
        let inbox = Arc::new(Inbox::default());
        let identity = Arc::new(Identity::new(11, 12, 3));
        let settings = HubSettings {
            progress_interval: Duration::from_millis(100),
        };
        let header = Box::new(move |revision| identity.header(revision));
        let hub = WatchHub::new(store.history.clone(), Arc::clone(&inbox), header, settings);
        let task = Arc::clone(&hub);
        tokio::spawn(async move { task.run().await });

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop_server, stopped) = oneshot::channel();
        let serve = Server::builder()
            .add_service(WatchService::new(
                Arc::clone(&hub),
                open_to_all(),
                Arc::default(),
            ))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                let _ = stopped.await;
            });
        let server = tokio::spawn(async { serve.await.unwrap() });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = in_time(channel.connect()).await.unwrap();
        Self {
            store,
            inbox,
            hub,
            channel,
            stop_server: Some(stop_server),
            server,
        }
    }

    fn write(&mut self, ops: &[Op]) -> Revision {
        let commit = self.store.commit(ops).expect("it changes something");
        self.inbox.publish(&[commit]);
        self.store.revision()
    }

    async fn watch(&self) -> Client {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        let responses = in_time(client.watch(UnboundedReceiverStream::new(receiver))).await;
        Client {
            requests,
            responses: responses.unwrap().into_inner(),
        }
    }
}

struct Client {
    requests: mpsc::UnboundedSender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

impl Client {
    fn send(&self, request: RequestUnion) {
        self.requests
            .send(WatchRequest {
                request_union: Some(request),
            })
            .unwrap();
    }

    async fn next(&mut self) -> Result<Option<WatchResponse>, Status> {
        in_time(self.responses.message()).await
    }

    async fn response(&mut self) -> WatchResponse {
        self.next().await.expect("no error").expect("not the end")
    }

    async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.send(RequestUnion::CreateRequest(request));
        let created = self.response().await;
        assert!(created.created, "{created:?}");
        created
    }
}

fn prefix(key: &'static str, range_end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..Default::default()
    }
}

fn revisions(response: &WatchResponse) -> Vec<i64> {
    response
        .events
        .iter()
        .map(|event| event.kv.as_ref().unwrap().mod_revision)
        .collect()
}

#[tokio::test]
async fn a_watch_as_kube_apiserver_makes_it() {
    let mut fixture = Fixture::new().await;
    fixture.write(&[put("/registry/pods/a", "1")]);
    let mut client = fixture.watch().await;
    let request = WatchCreateRequest {
        start_revision: 3,
        prev_kv: true,
        ..prefix("/registry/pods/", "/registry/pods0")
    };
    let header = client.create(request).await.header.unwrap();
    assert_eq!(
        (
            header.cluster_id,
            header.member_id,
            header.revision,
            header.raft_term
        ),
        (11, 12, 2, 3)
    );

    fixture.write(&[put("/registry/pods/a", "2")]);
    let response = client.response().await;
    assert_eq!(
        (response.header.unwrap().revision, revisions(&response)),
        (3, vec![3])
    );
    assert_eq!(response.events[0].prev_kv.as_ref().unwrap().value, "1");
    fixture.write(&[put("/registry/nodes/n", "1")]);
    fixture.write(&[delete("/registry/pods/a")]);
    let response = client.response().await;
    assert_eq!(
        (response.events[0].r#type, revisions(&response)),
        (1, vec![5])
    );
    assert_eq!(response.events[0].prev_kv.as_ref().unwrap().value, "2");

    client.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    let progress = client.response().await;
    assert_eq!(
        (progress.watch_id, progress.header.unwrap().revision),
        (WatchId::NONE.number(), 5)
    );
}

#[tokio::test]
async fn the_empty_key_and_a_zero_byte_name_every_key() {
    let mut fixture = Fixture::new().await;
    let mut client = fixture.watch().await;
    client.create(prefix("", "\0")).await;
    client.create(prefix("", "")).await;
    fixture.write(&[put("any", "1")]);
    let response = client.response().await;
    assert_eq!((response.watch_id, revisions(&response)), (0, vec![2]));
    fixture.write(&[put("\0", "1")]);
    let mut ids = [
        client.response().await.watch_id,
        client.response().await.watch_id,
    ];
    ids.sort_unstable();
    assert_eq!(ids, [0, 1]);
}

#[tokio::test]
async fn a_canceled_watch_leaves_the_others_of_its_stream_alone() {
    let mut fixture = Fixture::new().await;
    let mut client = fixture.watch().await;
    client.create(prefix("a", "b")).await;
    client.create(prefix("a", "b")).await;
    client.send(RequestUnion::CancelRequest(WatchCancelRequest {
        watch_id: 0,
    }));
    let canceled = client.response().await;
    assert_eq!(
        (canceled.watch_id, canceled.canceled, canceled.created),
        (0, true, false)
    );
    fixture.write(&[put("a", "1")]);
    assert_eq!(client.response().await.watch_id, 1);
}

#[tokio::test]
async fn periodic_progress_reaches_an_idle_client() {
    let fixture = Fixture::new().await;
    let mut client = fixture.watch().await;
    client
        .create(WatchCreateRequest {
            progress_notify: true,
            ..prefix("a", "b")
        })
        .await;
    for _ in 0..2 {
        let progress = client.response().await;
        assert_eq!(
            (progress.watch_id, progress.header.unwrap().revision),
            (0, 1)
        );
        assert!(progress.events.is_empty());
    }
}

#[tokio::test]
async fn a_client_that_pauses_gets_every_event_once() {
    let mut fixture = Fixture::new().await;
    let mut client = fixture.watch().await;
    client.create(prefix("a", "b")).await;
    let value = "v".repeat(100 * 1024);
    // More than the connection, its windows and the queue hold.
    for _ in 0..200 {
        fixture.write(&[put("a", &value)]);
        tokio::task::yield_now().await;
    }
    in_time(async {
        while fixture.hub.position() < Revision::new(201) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let fell_behind = fixture
        .hub
        .metrics()
        .fallen_behind
        .load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(fell_behind, 1);
    let mut seen = Vec::new();
    while seen.len() < 200 {
        seen.extend(revisions(&client.response().await));
    }
    assert_eq!(seen, (2..202).collect::<Vec<_>>());
    fixture.write(&[put("a", "live")]);
    assert_eq!(revisions(&client.response().await), [202]);
}

#[tokio::test]
async fn a_client_that_only_listens_from_now_on_goes_on_listening() {
    let mut fixture = Fixture::new().await;
    let mut client = fixture.watch().await;
    client.create(prefix("a", "b")).await;
    let Client {
        requests,
        mut responses,
    } = client;
    drop(requests);
    fixture.write(&[put("a", "1")]);
    let response = in_time(responses.message()).await.unwrap().unwrap();
    assert_eq!(revisions(&response), [2]);
}

#[tokio::test]
async fn the_watchers_of_a_client_that_leaves_go_with_it() {
    let fixture = Fixture::new().await;
    let mut client = fixture.watch().await;
    client.create(prefix("a", "b")).await;
    drop(client);
    let metrics = fixture.hub.metrics();
    in_time(async {
        while metrics.streams.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        metrics.watchers.load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

#[tokio::test]
async fn stopping_ends_streams_with_unavailable_and_lets_the_server_finish() {
    let mut fixture = Fixture::new().await;
    let mut client = fixture.watch().await;
    client.create(prefix("a", "b")).await;
    fixture.stop_server.take().unwrap().send(()).unwrap();
    fixture.hub.stop();
    let status = client.next().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "etcdserver: server stopped")
    );
    drop(client);
    in_time(fixture.server).await.unwrap();
}

#[tokio::test]
async fn a_stopped_hub_refuses_a_stream_with_unavailable() {
    let fixture = Fixture::new().await;
    fixture.hub.stop();
    let mut client = WatchClient::new(fixture.channel.clone());
    let requests = tokio_stream::empty::<WatchRequest>();
    let status = in_time(client.watch(requests)).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "etcdserver: server stopped")
    );
}
