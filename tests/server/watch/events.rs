//! Watch: what events hold, and who gets them.

use etcd_proto::etcdserverpb::watch_create_request::FilterType;
use etcd_proto::etcdserverpb::{LeaseGrantRequest, WatchCreateRequest};
use etcd_proto::mvccpb::{Event, KeyValue};

use crate::harness::*;

parity! {
    events_hold_the_key_as_it_became,
    prev_kv_is_the_key_as_it_was,
    prev_kv_comes_only_on_request,
    a_put_event_has_the_lease,
    events_of_one_revision_come_together_in_order,
    a_deleted_range_comes_in_key_order,
    only_the_watched_range_shows,
    filters_leave_out_puts_or_deletes,
    watches_of_one_stream_each_get_the_event,
    the_header_is_of_the_revision_of_the_events,
    a_write_that_changes_nothing_shows_nothing,
}

fn with_prev_kv(create: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest {
        prev_kv: true,
        ..create
    }
}

fn put_event(kv: KeyValue, prev_kv: Option<KeyValue>) -> Event {
    Event {
        r#type: 0,
        kv: Some(kv),
        prev_kv,
    }
}

fn delete_event(key: &'static str, revision: i64, prev_kv: Option<KeyValue>) -> Event {
    Event {
        r#type: 1,
        kv: Some(kv(key, "", (0, revision, 0))),
        prev_kv,
    }
}

async fn events_hold_the_key_as_it_became(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    api.delete("a").await;
    api.put("a", "3").await;
    let expected = [
        put_event(kv("a", "1", (2, 2, 1)), None),
        put_event(kv("a", "2", (2, 3, 2)), None),
        delete_event("a", 4, None),
        put_event(kv("a", "3", (5, 5, 1)), None),
    ];
    assert_eq!(watcher.events(4).await, expected);
}

async fn prev_kv_is_the_key_as_it_was(server: Server) {
    let api = server.api().await;
    api.put("a", "0").await;
    let (mut watcher, _) = Watcher::open(&api, with_prev_kv(watch("a"))).await;
    api.put("a", "1").await;
    api.delete("a").await;
    api.put("a", "2").await;
    let expected = [
        put_event(kv("a", "1", (2, 3, 2)), Some(kv("a", "0", (2, 2, 1)))),
        delete_event("a", 4, Some(kv("a", "1", (2, 3, 2)))),
        put_event(kv("a", "2", (5, 5, 1)), None),
    ];
    assert_eq!(watcher.events(3).await, expected);
}

async fn prev_kv_comes_only_on_request(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, with_prev_kv(watch("a"))).await;
    watcher.create(watch("a")).await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    let mut seen = [0, 0];
    while seen != [2, 2] {
        let response = watcher.next().await;
        for event in &response.events {
            let is_update = event.kv.as_ref().unwrap().version == 2;
            assert_eq!(event.prev_kv.is_some(), is_update && response.watch_id == 0);
            seen[response.watch_id as usize] += 1;
        }
    }
}

async fn a_put_event_has_the_lease(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 7 }).await;
    let (mut watcher, _) = Watcher::open(&api, with_prev_kv(watch("a"))).await;
    let mut request = put("a", "1");
    request.lease = 7;
    api.ask(request).await;
    api.ask(revoke(7)).await;
    let mut leased = kv("a", "1", (2, 2, 1));
    leased.lease = 7;
    let expected = [
        put_event(leased.clone(), None),
        delete_event("a", 3, Some(leased)),
    ];
    assert_eq!(watcher.events(2).await, expected);
}

async fn events_of_one_revision_come_together_in_order(server: Server) {
    let api = server.api().await;
    api.put("k2", "").await;
    let (mut watcher, _) = Watcher::open(&api, watch_prefix("k")).await;
    let request = txn()
        .then(put("k3", "c"))
        .then(delete("k2"))
        .then(put("k1", "a"));
    api.ask(request).await;
    let response = watcher.next().await;
    assert_eq!(
        event_lines(&response.events),
        ["PUT k3=c @3", "DELETE k2 @3", "PUT k1=a @3"]
    );
}

async fn a_deleted_range_comes_in_key_order(server: Server) {
    let api = server.api().await;
    for key in ["k3", "k1", "k2"] {
        api.put(key, "").await;
    }
    let (mut watcher, _) = Watcher::open(&api, watch_prefix("k")).await;
    api.ask(delete_prefix("k")).await;
    let response = watcher.next().await;
    assert_eq!(
        event_lines(&response.events),
        ["DELETE k1 @5", "DELETE k2 @5", "DELETE k3 @5"]
    );
}

async fn only_the_watched_range_shows(server: Server) {
    let api = server.api().await;
    let to_the_end = WatchCreateRequest {
        range_end: "\0".into(),
        ..watch("k2")
    };
    let (mut tail, _) = Watcher::open(&api, to_the_end).await;
    let span = WatchCreateRequest {
        range_end: "k2".into(),
        ..watch("k1")
    };
    let (mut middle, _) = Watcher::open(&api, span).await;
    let (mut single, _) = Watcher::open(&api, watch("k2")).await;
    let keys = ["k0", "k1", "k11", "k2", "k22", "z"];
    let request = keys
        .into_iter()
        .fold(txn(), |txn, key| txn.then(put(key, "v")));
    api.ask(request).await;
    assert_eq!(
        event_lines(&middle.next().await.events),
        ["PUT k1=v @2", "PUT k11=v @2"]
    );
    assert_eq!(event_lines(&single.next().await.events), ["PUT k2=v @2"]);
    assert_eq!(
        event_lines(&tail.next().await.events),
        ["PUT k2=v @2", "PUT k22=v @2", "PUT z=v @2"]
    );
}

async fn filters_leave_out_puts_or_deletes(server: Server) {
    let api = server.api().await;
    let filtered = |filter: FilterType| WatchCreateRequest {
        filters: vec![filter as i32],
        ..watch_prefix("k")
    };
    let (mut no_put, _) = Watcher::open(&api, filtered(FilterType::Noput)).await;
    let (mut no_delete, _) = Watcher::open(&api, filtered(FilterType::Nodelete)).await;
    api.put("k1", "a").await;
    api.delete("k1").await;
    api.put("k2", "b").await;
    api.delete("k2").await;
    assert_eq!(
        event_lines(&no_put.events(2).await),
        ["DELETE k1 @3", "DELETE k2 @5"]
    );
    assert_eq!(
        event_lines(&no_delete.events(2).await),
        ["PUT k1=a @2", "PUT k2=b @4"]
    );
}

async fn watches_of_one_stream_each_get_the_event(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    watcher.create(watch_prefix("a")).await;
    watcher.create(watch("a")).await;
    api.put("a", "1").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let response = watcher.next().await;
        assert_eq!(event_lines(&response.events), ["PUT a=1 @2"]);
        ids.push(response.watch_id);
    }
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
}

async fn the_header_is_of_the_revision_of_the_events(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    for revision in 2..20 {
        api.put("a", "v").await;
        let response = watcher.next().await;
        assert_eq!(at(&response.header), revision);
        assert_eq!(
            response.events[0].kv.as_ref().unwrap().mod_revision,
            revision
        );
    }
}

async fn a_write_that_changes_nothing_shows_nothing(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch_prefix("a")).await;
    api.delete("a").await;
    api.ask(txn().when(version("a", 7)).then(put("a", "never")))
        .await;
    api.put("a", "1").await;
    assert_eq!(event_lines(&watcher.next().await.events), ["PUT a=1 @2"]);
}
