//! Txn: compares.

use etcd_proto::etcdserverpb::compare::CompareResult::{self, Equal, Greater, Less, NotEqual};
use etcd_proto::etcdserverpb::{Compare, LeaseGrantRequest};

use crate::harness::*;

parity! {
    every_target_compares_with_what_is_stored,
    a_missing_key_compares_as_zero,
    a_missing_key_fails_every_value_compare,
    all_compares_must_hold,
    a_range_compare_must_hold_for_every_key,
    an_empty_range_is_compared_once_with_zero,
    a_deleted_key_is_a_missing_key,
    a_compare_without_a_value_compares_with_zero,
}

async fn holds(api: &Api, compare: Compare) -> bool {
    let answer = api.ask(txn().when(compare)).await;
    assert!(answer.responses.is_empty());
    answer.succeeded
}

/// Checks that `stored` relates to `stored - 1`, `stored` and `stored + 1` as numbers do.
async fn check_number(api: &Api, stored: i64, compare: impl Fn(i64) -> Compare) {
    for (number, results) in [
        (
            stored - 1,
            [
                (Equal, false),
                (NotEqual, true),
                (Greater, true),
                (Less, false),
            ],
        ),
        (
            stored,
            [
                (Equal, true),
                (NotEqual, false),
                (Greater, false),
                (Less, false),
            ],
        ),
        (
            stored + 1,
            [
                (Equal, false),
                (NotEqual, true),
                (Greater, false),
                (Less, true),
            ],
        ),
    ] {
        for (result, expected) in results {
            let compare = compare(number).is(result);
            assert_eq!(holds(api, compare.clone()).await, expected, "{compare:?}");
        }
    }
}

async fn every_target_compares_with_what_is_stored(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 70 }).await;
    api.put("a", "1").await;
    let mut request = put("a", "m");
    request.lease = 70;
    api.ask(request).await;
    check_number(&api, 2, |number| version("a", number)).await;
    check_number(&api, 2, |number| create_revision("a", number)).await;
    check_number(&api, 3, |number| mod_revision("a", number)).await;
    check_number(&api, 70, |number| lease("a", number)).await;
    let values: [(&str, CompareResult, bool); 8] = [
        ("m", Equal, true),
        ("m", NotEqual, false),
        ("l", Greater, true),
        ("mm", Greater, false),
        ("mm", Less, true),
        ("l", Less, false),
        ("", Greater, true),
        ("x", NotEqual, true),
    ];
    for (other, result, expected) in values {
        assert_eq!(
            holds(&api, value("a", other).is(result)).await,
            expected,
            "m {result:?} {other}"
        );
    }
    assert_eq!(api.revision().await, 3, "comparing changes nothing");
}

async fn a_missing_key_compares_as_zero(server: Server) {
    let api = server.api().await;
    check_number(&api, 0, |number| version("a", number)).await;
    check_number(&api, 0, |number| create_revision("a", number)).await;
    check_number(&api, 0, |number| mod_revision("a", number)).await;
    check_number(&api, 0, |number| lease("a", number)).await;
}

async fn a_missing_key_fails_every_value_compare(server: Server) {
    let api = server.api().await;
    for result in [Equal, NotEqual, Greater, Less] {
        for other in ["", "x"] {
            assert!(
                !holds(&api, value("a", other).is(result)).await,
                "{result:?} {other:?}"
            );
        }
    }
}

async fn all_compares_must_hold(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let both = txn().when(version("a", 1)).when(version("b", 0));
    assert!(api.ask(both).await.succeeded);
    let one = txn().when(version("a", 1)).when(version("b", 1));
    assert!(!api.ask(one).await.succeeded);
    assert!(api.ask(txn()).await.succeeded, "no compare is no objection");
}

async fn a_range_compare_must_hold_for_every_key(server: Server) {
    let api = server.api().await;
    api.put("a1", "x").await;
    api.put("a2", "x").await;
    api.put("b", "y").await;
    assert!(holds(&api, version("a", 1).over("b")).await);
    assert!(holds(&api, value("a", "x").over("b")).await);
    assert!(!holds(&api, value("a", "x").over("c")).await);
    assert!(holds(&api, value("a", "w").is(Greater).over("\0")).await);
    api.put("a2", "x").await;
    assert!(!holds(&api, version("a", 1).over("b")).await);
    assert!(holds(&api, version("a", 0).is(Greater).over("b")).await);
}

async fn an_empty_range_is_compared_once_with_zero(server: Server) {
    let api = server.api().await;
    api.put("z", "1").await;
    assert!(holds(&api, version("a", 0).over("b")).await);
    assert!(!holds(&api, version("a", 1).over("b")).await);
    assert!(!holds(&api, create_revision("a", 0).is(Greater).over("b")).await);
    for result in [Equal, NotEqual, Greater, Less] {
        assert!(
            !holds(&api, value("a", "x").is(result).over("b")).await,
            "{result:?}"
        );
    }
}

async fn a_deleted_key_is_a_missing_key(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.delete("a").await;
    assert!(holds(&api, version("a", 0)).await);
    assert!(holds(&api, mod_revision("a", 0)).await);
    assert!(!holds(&api, value("a", "1").is(NotEqual)).await);
}

async fn a_compare_without_a_value_compares_with_zero(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let mut bare = version("a", 0);
    bare.target_union = None;
    assert!(!holds(&api, bare.clone()).await);
    bare.key = "b".into();
    assert!(holds(&api, bare).await);
}
