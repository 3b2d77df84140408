//! Watch: from an earlier or a later revision than the present one.

use etcd_proto::etcdserverpb::WatchCreateRequest;

use crate::harness::*;

parity! {
    history_replays_from_the_start_revision,
    history_joins_the_present_without_gap,
    history_has_prev_kv,
    a_start_at_the_compacted_revision_is_served,
    a_start_below_the_compacted_revision_is_cancelled,
    a_deletion_at_the_compacted_revision_is_replayed,
    a_future_start_is_silent_until_then,
    a_watch_survives_a_compaction,
    what_was_compacted_has_no_prev_kv,
    history_keeps_revisions_whole,
}

fn from(revision: i64, create: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest {
        start_revision: revision,
        ..create
    }
}

async fn history_replays_from_the_start_revision(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("b", "2").await;
    api.put("a", "3").await;
    api.delete("a").await;
    let (mut watcher, created) = Watcher::open(&api, from(3, watch_prefix("a"))).await;
    assert_eq!(at(&created.header), 5);
    assert_eq!(
        event_lines(&watcher.events(2).await),
        ["PUT a=3 @4", "DELETE a @5"]
    );
    let (mut watcher, _) = Watcher::open(&api, from(1, watch("a"))).await;
    let all = ["PUT a=1 @2", "PUT a=3 @4", "DELETE a @5"];
    assert_eq!(event_lines(&watcher.events(3).await), all);
}

async fn history_joins_the_present_without_gap(server: Server) {
    let api = server.api().await;
    for index in 2..50 {
        api.put("a", &index.to_string()).await;
    }
    let (mut watcher, _) = Watcher::open(&api, from(2, watch("a"))).await;
    for index in 50..100 {
        api.put("a", &index.to_string()).await;
    }
    let expected: Vec<_> = (2..100)
        .map(|index| format!("PUT a={index} @{index}"))
        .collect();
    assert_eq!(event_lines(&watcher.events(98).await), expected);
}

async fn history_has_prev_kv(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    api.delete("a").await;
    let create = WatchCreateRequest {
        prev_kv: true,
        ..from(1, watch("a"))
    };
    let (mut watcher, _) = Watcher::open(&api, create).await;
    let events = watcher.events(3).await;
    assert_eq!(events[0].prev_kv, None);
    assert_eq!(events[1].prev_kv, Some(kv("a", "1", (2, 2, 1))));
    assert_eq!(events[2].prev_kv, Some(kv("a", "2", (2, 3, 2))));
}

async fn a_start_at_the_compacted_revision_is_served(server: Server) {
    let api = server.api().await;
    for value in ["1", "2", "3"] {
        api.put("a", value).await;
    }
    api.ask(compact(3)).await;
    let (mut watcher, created) = Watcher::open(&api, from(3, watch("a"))).await;
    assert!(created.created && !created.canceled);
    assert_eq!(
        event_lines(&watcher.events(2).await),
        ["PUT a=2 @3", "PUT a=3 @4"]
    );
}

async fn a_start_below_the_compacted_revision_is_cancelled(server: Server) {
    let api = server.api().await;
    for value in ["1", "2", "3"] {
        api.put("a", value).await;
    }
    api.ask(compact(3)).await;
    let (mut watcher, created) = Watcher::open(&api, from(2, watch("a"))).await;
    assert!(
        created.created && !created.canceled,
        "created comes first, as for any watch"
    );
    let canceled = watcher.next().await;
    assert_eq!(
        (canceled.watch_id, canceled.canceled),
        (created.watch_id, true)
    );
    assert_eq!((canceled.compact_revision, canceled.created), (3, false));
    assert_eq!(at(&canceled.header), 0);
    assert_eq!(canceled.events, []);
    let created = watcher.create(watch("a")).await;
    assert!(created.created && !created.canceled, "the stream goes on");
}

async fn a_deletion_at_the_compacted_revision_is_replayed(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("b", "1").await;
    let deleted = api.delete("a").await;
    api.put("b", "2").await;
    api.ask(compact(deleted)).await;
    let (mut watcher, _) = Watcher::open(&api, from(deleted, watch_range_all())).await;
    assert_eq!(
        event_lines(&watcher.events(2).await),
        ["DELETE a @4", "PUT b=2 @5"]
    );
}

fn watch_range_all() -> WatchCreateRequest {
    WatchCreateRequest {
        range_end: "\0".into(),
        ..watch("\0")
    }
}

async fn a_future_start_is_silent_until_then(server: Server) {
    let api = server.api().await;
    let (mut watcher, created) = Watcher::open(&api, from(5, watch("a"))).await;
    assert!(created.created && !created.canceled);
    for value in ["2", "3", "4", "5", "6"] {
        api.put("a", value).await;
    }
    assert_eq!(
        event_lines(&watcher.events(2).await),
        ["PUT a=5 @5", "PUT a=6 @6"]
    );
}

async fn a_watch_survives_a_compaction(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    let current = api.put("a", "3").await;
    api.ask(compact(current)).await;
    api.put("a", "4").await;
    let expected = ["PUT a=1 @2", "PUT a=2 @3", "PUT a=3 @4", "PUT a=4 @5"];
    assert_eq!(event_lines(&watcher.events(4).await), expected);
}

async fn what_was_compacted_has_no_prev_kv(server: Server) {
    let api = server.api().await;
    for value in ["1", "2", "3"] {
        api.put("a", value).await;
    }
    api.ask(compact(3)).await;
    let create = WatchCreateRequest {
        prev_kv: true,
        ..from(3, watch("a"))
    };
    let (mut watcher, _) = Watcher::open(&api, create).await;
    let events = watcher.events(2).await;
    assert_eq!(events[0].prev_kv, None, "revision 2 is compacted");
    assert_eq!(events[1].prev_kv, Some(kv("a", "2", (2, 3, 2))));
}

async fn history_keeps_revisions_whole(server: Server) {
    let api = server.api().await;
    for _ in 0..20 {
        let puts = (0..100).fold(txn(), |txn, index| {
            txn.then(put(format!("k{index:02}"), "v"))
        });
        api.ask(puts).await;
    }
    let (mut watcher, _) = Watcher::open(&api, from(2, watch_prefix("k"))).await;
    let (mut seen, mut last) = (0, 1);
    while seen < 2000 {
        let events = watcher.next().await.events;
        let revision = |event: &etcd_proto::mvccpb::Event| event.kv.as_ref().unwrap().mod_revision;
        assert_eq!(
            revision(&events[0]),
            last + 1,
            "a revision is not spread over responses"
        );
        assert_eq!(events.len() % 100, 0);
        assert!(events.is_sorted_by_key(revision));
        last = revision(events.last().unwrap());
        seen += events.len();
    }
}
