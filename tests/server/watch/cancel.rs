//! Watch: cancelling.

use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::{WatchCreateRequest, WatchRequest};

use crate::harness::*;

parity! {
    a_cancelled_watch_says_so_and_is_silent,
    cancelling_an_unknown_watch_is_ignored,
    a_cancelled_id_can_be_chosen_again,
    a_closed_stream_leaves_others_alone,
    a_stream_outlives_its_requests,
}

async fn a_cancelled_watch_says_so_and_is_silent(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    let other = watcher.create(watch("b")).await.watch_id;
    watcher.cancel(0).await;
    let canceled = watcher.next().await;
    assert_eq!(
        (canceled.watch_id, canceled.canceled, canceled.created),
        (0, true, false)
    );
    assert_eq!(
        (canceled.compact_revision, canceled.cancel_reason.as_str()),
        (0, "")
    );
    api.put("a", "1").await;
    api.put("b", "2").await;
    let response = watcher.next().await;
    assert_eq!(response.watch_id, other);
    assert_eq!(event_lines(&response.events), ["PUT b=2 @3"]);
}

async fn cancelling_an_unknown_watch_is_ignored(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    watcher.cancel(99).await;
    watcher.cancel(-1).await;
    assert!(watcher.create(watch("b")).await.created);
    api.put("a", "1").await;
    assert_eq!(watcher.next().await.watch_id, 0);
}

async fn a_cancelled_id_can_be_chosen_again(server: Server) {
    let api = server.api().await;
    let chosen = |key: &'static str| WatchCreateRequest {
        watch_id: 5,
        ..watch(key)
    };
    let (mut watcher, _) = Watcher::open(&api, chosen("a")).await;
    watcher.cancel(5).await;
    assert!(watcher.next().await.canceled);
    let created = watcher.create(chosen("b")).await;
    assert!(created.created && !created.canceled);
    api.put("a", "1").await;
    api.put("b", "1").await;
    assert_eq!(event_lines(&watcher.events(1).await), ["PUT b=1 @3"]);
}

async fn a_closed_stream_leaves_others_alone(server: Server) {
    let api = server.api().await;
    let (first, _) = Watcher::open(&api, watch("a")).await;
    let (mut second, _) = Watcher::open(&api, watch("a")).await;
    drop(first);
    api.put("a", "1").await;
    assert_eq!(event_lines(&second.events(1).await), ["PUT a=1 @2"]);
}

async fn a_stream_outlives_its_requests(server: Server) {
    let api = server.api().await;
    let create = RequestUnion::CreateRequest(watch("a"));
    let request = WatchRequest {
        request_union: Some(create),
    };
    let mut client = api.watch.clone();
    let mut responses = client
        .watch(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    assert!(responses.message().await.unwrap().unwrap().created);
    api.put("a", "1").await;
    let response = tokio::time::timeout(TIMEOUT, responses.message()).await;
    let response = response.expect("it goes on").unwrap().unwrap();
    assert_eq!(event_lines(&response.events), ["PUT a=1 @2"]);
}
