//! Watch: creating watches, and refusing to.

use etcd_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};

use crate::harness::*;

parity! {
    created_comes_first_with_the_current_revision,
    ids_count_from_zero_in_each_stream,
    a_client_may_choose_an_id,
    a_chosen_id_that_is_taken_is_refused,
    an_empty_range_is_refused,
    a_negative_start_revision_is_refused,
    an_empty_key_is_the_smallest_key,
    a_refusal_leaves_the_stream_alive,
    the_leader_metadata_is_accepted,
    a_request_without_content_is_ignored,
}

async fn created_comes_first_with_the_current_revision(server: Server) {
    let api = server.api().await;
    let (_watcher, created) = Watcher::open(&api, watch("a")).await;
    assert!(created.created && !created.canceled && created.events.is_empty());
    let header = created.header.unwrap();
    assert_eq!(header.revision, 1);
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
    api.put("b", "1").await;
    let (mut watcher, created) = Watcher::open(&api, watch("b")).await;
    assert_eq!(at(&created.header), 2);
    api.put("b", "2").await;
    assert_eq!(
        event_lines(&watcher.events(1).await),
        ["PUT b=2 @3"],
        "from now on"
    );
}

async fn ids_count_from_zero_in_each_stream(server: Server) {
    let api = server.api().await;
    for _ in 0..2 {
        let (mut watcher, first) = Watcher::open(&api, watch("a")).await;
        assert_eq!(first.watch_id, 0);
        assert_eq!(watcher.create(watch("b")).await.watch_id, 1);
        assert_eq!(watcher.create(watch("a")).await.watch_id, 2);
    }
}

async fn a_client_may_choose_an_id(server: Server) {
    let api = server.api().await;
    let chosen = |watch_id| WatchCreateRequest {
        watch_id,
        ..watch("a")
    };
    let (mut watcher, first) = Watcher::open(&api, chosen(1)).await;
    assert_eq!(first.watch_id, 1);
    assert_eq!(watcher.create(watch("b")).await.watch_id, 0);
    assert_eq!(watcher.create(watch("c")).await.watch_id, 2, "1 is taken");
    assert_eq!(watcher.create(chosen(77)).await.watch_id, 77);
    api.put("c", "1").await;
    assert_eq!(watcher.next().await.watch_id, 2);
}

fn assert_refused(response: &WatchResponse, reason: &str) {
    assert!(response.created && response.canceled, "{response:?}");
    assert_eq!(
        (response.watch_id, response.cancel_reason.as_str()),
        (-1, reason)
    );
}

async fn a_chosen_id_that_is_taken_is_refused(server: Server) {
    let api = server.api().await;
    let chosen = WatchCreateRequest {
        watch_id: 5,
        ..watch("a")
    };
    let (mut watcher, _) = Watcher::open(&api, chosen.clone()).await;
    let refused = watcher.create(chosen).await;
    assert_refused(
        &refused,
        "mvcc: duplicate watch ID provided on the WatchStream",
    );
}

async fn an_empty_range_is_refused(server: Server) {
    let api = server.api().await;
    let range = |end: &'static str| WatchCreateRequest {
        range_end: end.into(),
        ..watch("b")
    };
    let (mut watcher, refused) = Watcher::open(&api, range("b")).await;
    assert_refused(&refused, "mvcc: watcher range is empty");
    assert_refused(
        &watcher.create(range("a")).await,
        "mvcc: watcher range is empty",
    );
}

async fn a_negative_start_revision_is_refused(server: Server) {
    let api = server.api().await;
    let create = WatchCreateRequest {
        start_revision: -1,
        ..watch("a")
    };
    let (_watcher, refused) = Watcher::open(&api, create).await;
    assert_refused(
        &refused,
        "etcdserver: mvcc: required revision has been compacted",
    );
}

async fn an_empty_key_is_the_smallest_key(server: Server) {
    let api = server.api().await;
    let all = WatchCreateRequest {
        range_end: "\0".into(),
        ..watch("")
    };
    let (mut everything, _) = Watcher::open(&api, all).await;
    let (mut zero, _) = Watcher::open(&api, watch("")).await;
    api.put("a", "1").await;
    api.put("\0", "2").await;
    assert_eq!(
        event_lines(&everything.events(2).await),
        ["PUT a=1 @2", "PUT \0=2 @3"]
    );
    assert_eq!(event_lines(&zero.events(1).await), ["PUT \0=2 @3"]);
}

async fn a_refusal_leaves_the_stream_alive(server: Server) {
    let api = server.api().await;
    let range = WatchCreateRequest {
        range_end: "a".into(),
        ..watch("b")
    };
    let (mut watcher, _) = Watcher::open(&api, range).await;
    let created = watcher.create(watch("a")).await;
    assert!(created.created && !created.canceled);
    api.put("a", "1").await;
    let response = watcher.next().await;
    assert_eq!(response.watch_id, created.watch_id);
    assert_eq!(event_lines(&response.events), ["PUT a=1 @2"]);
}

async fn the_leader_metadata_is_accepted(server: Server) {
    let api = server.api().await;
    let mut request = tonic::Request::new(get("a"));
    request
        .metadata_mut()
        .insert("hasleader", "true".parse().unwrap());
    request
        .metadata_mut()
        .insert("client-api-version", "3.6.4".parse().unwrap());
    request
        .metadata_mut()
        .insert("source", "cache".parse().unwrap());
    let answer = api.kv.clone().range(request).await.unwrap().into_inner();
    assert_eq!(at(&answer.header), 1);
}

async fn a_request_without_content_is_ignored(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    watcher.send_nothing().await;
    watcher.send(RequestUnion::CreateRequest(watch("b"))).await;
    let created = watcher.next().await;
    assert!(created.created && !created.canceled);
}
