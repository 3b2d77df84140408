//! Range: orders other than by key, and the revision filters.

use etcd_proto::etcdserverpb::RangeRequest;
use etcd_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use tonic::Code;

use crate::harness::*;

parity! {
    each_target_sorts_both_ways,
    the_limit_applies_after_sorting,
    a_target_without_order_ascends_but_limits_by_key,
    unknown_orders_and_targets_are_refused,
    revision_filters_select_without_counting,
    the_limit_applies_after_the_filters,
}

/// Keys whose five orders all differ.
async fn fill(api: &Api) {
    api.put("a", "y").await; // create 2
    api.put("c", "x").await; // create 3
    api.put("b", "w").await; // create 4, mod 4, version 1
    api.put("c", "z").await; // mod 5, version 2
    api.put("a", "q").await; // mod 6
    api.put("a", "y").await; // mod 7, version 3
}

fn sorted(target: SortTarget, order: SortOrder) -> RangeRequest {
    let mut request = get_range("a", "z");
    request.sort_target = target as i32;
    request.sort_order = order as i32;
    request
}

async fn each_target_sorts_both_ways(server: Server) {
    let api = server.api().await;
    fill(&api).await;
    let ascending = [
        (SortTarget::Key, ["a", "b", "c"]),
        (SortTarget::Version, ["b", "c", "a"]),
        (SortTarget::Create, ["a", "c", "b"]),
        (SortTarget::Mod, ["b", "c", "a"]),
        (SortTarget::Value, ["b", "a", "c"]),
    ];
    for (target, mut expected) in ascending {
        let answer = api.ask(sorted(target, SortOrder::Ascend)).await;
        assert_eq!(keys(&answer.kvs), expected, "{target:?}");
        expected.reverse();
        let answer = api.ask(sorted(target, SortOrder::Descend)).await;
        assert_eq!(keys(&answer.kvs), expected, "{target:?}");
    }
}

async fn the_limit_applies_after_sorting(server: Server) {
    let api = server.api().await;
    fill(&api).await;
    let mut request = sorted(SortTarget::Mod, SortOrder::Descend);
    request.limit = 1;
    let answer = api.ask(request).await;
    assert_eq!(keys(&answer.kvs), ["a"]);
    assert_eq!((answer.count, answer.more), (3, true));
}

async fn a_target_without_order_ascends_but_limits_by_key(server: Server) {
    let api = server.api().await;
    fill(&api).await;
    let mut request = sorted(SortTarget::Mod, SortOrder::None);
    assert_eq!(keys(&api.ask(request.clone()).await.kvs), ["b", "c", "a"]);
    // The three keys a, b, c are cut to limit + 1 by key before they are sorted.
    request.limit = 1;
    let answer = api.ask(request).await;
    assert_eq!(keys(&answer.kvs), ["b"]);
    assert_eq!((answer.count, answer.more), (3, true));
}

async fn unknown_orders_and_targets_are_refused(server: Server) {
    let api = server.api().await;
    let expected = (
        Code::InvalidArgument,
        "etcdserver: invalid sort option".to_owned(),
    );
    let mut request = get("a");
    request.sort_order = 3;
    assert_eq!(api.refused(request).await, expected);
    let mut request = get("a");
    request.sort_target = 5;
    assert_eq!(api.refused(request).await, expected);
}

async fn revision_filters_select_without_counting(server: Server) {
    let api = server.api().await;
    fill(&api).await;
    type Set = fn(&mut RangeRequest);
    let cases: [(Set, &[&str]); 5] = [
        (|r| r.min_mod_revision = 5, &["a", "c"]),
        (|r| r.max_mod_revision = 5, &["b", "c"]),
        (|r| r.min_create_revision = 3, &["b", "c"]),
        (|r| r.max_create_revision = 3, &["a", "c"]),
        (
            |r| (r.min_mod_revision, r.max_mod_revision) = (5, 5),
            &["c"],
        ),
    ];
    for (set, expected) in cases {
        let mut request = get_range("a", "z");
        set(&mut request);
        let answer = api.ask(request.clone()).await;
        assert_eq!(keys(&answer.kvs), expected, "{request:?}");
        assert_eq!((answer.count, answer.more), (3, false), "{request:?}");
    }
}

async fn the_limit_applies_after_the_filters(server: Server) {
    let api = server.api().await;
    fill(&api).await;
    let mut request = get_range("a", "z");
    request.min_create_revision = 3;
    request.limit = 1;
    let answer = api.ask(request.clone()).await;
    assert_eq!(keys(&answer.kvs), ["b"]);
    assert!(answer.more);
    request.limit = 2;
    let answer = api.ask(request).await;
    assert_eq!(keys(&answer.kvs), ["b", "c"]);
    assert!(!answer.more);
}
