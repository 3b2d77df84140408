//! Txn: what is refused, with which words, and that nothing of it happens.

use etcd_proto::etcdserverpb::{LeaseGrantRequest, RequestOp};
use tonic::Code;

use crate::harness::*;

parity! {
    more_than_128_operations_in_a_list_are_refused,
    nested_operations_count_into_the_limit,
    a_key_put_twice_is_refused,
    a_put_inside_a_deleted_range_is_refused,
    deletes_may_overlap,
    branches_may_write_the_same_key,
    branches_of_a_nested_txn_may_write_the_same_key,
    an_operation_without_content_is_refused,
    an_empty_key_is_refused_everywhere,
    a_bad_put_or_range_is_refused,
    an_unknown_lease_in_the_chosen_branch_is_refused,
    an_unreadable_revision_in_the_chosen_branch_is_refused,
    ignoring_what_does_not_exist_is_refused,
    an_unknown_lease_is_told_before_what_is_missing,
}

fn invalid(text: &str) -> (Code, String) {
    (Code::InvalidArgument, format!("etcdserver: {text}"))
}

async fn more_than_128_operations_in_a_list_are_refused(server: Server) {
    let api = server.api().await;
    let expected = invalid("too many operations in txn request");
    let fill = |count| (0..count).fold(txn(), |txn, index| txn.then(get(format!("k{index}"))));
    assert_eq!(api.ask(fill(128)).await.responses.len(), 128);
    assert_eq!(api.refused(fill(129)).await, expected);
    let failure = (0..129).fold(txn(), |txn, index| txn.or_else(get(format!("k{index}"))));
    assert_eq!(api.refused(failure).await, expected);
    let compares = (0..129).fold(txn(), |txn, index| {
        txn.when(version(format!("k{index}"), 0))
    });
    assert_eq!(api.refused(compares).await, expected);
}

async fn nested_operations_count_into_the_limit(server: Server) {
    let api = server.api().await;
    let fill = |count, prefix: &str| {
        (0..count).fold(txn(), |txn, index| {
            txn.then(get(format!("{prefix}{index}")))
        })
    };
    let fits = fill(99, "a").then(fill(28, "b"));
    assert_eq!(api.ask(fits).await.responses.len(), 100);
    let exceeds = fill(99, "a").then(fill(29, "b"));
    assert_eq!(
        api.refused(exceeds).await,
        invalid("too many operations in txn request")
    );
}

async fn a_key_put_twice_is_refused(server: Server) {
    let api = server.api().await;
    let expected = invalid("duplicate key given in txn request");
    let twice = txn().then(put("a", "1")).then(put("a", "2"));
    assert_eq!(api.refused(twice).await, expected);
    let nested = txn().then(put("a", "1")).then(txn().then(put("a", "2")));
    assert_eq!(api.refused(nested).await, expected);
    assert_eq!(api.revision().await, 1);
}

async fn a_put_inside_a_deleted_range_is_refused(server: Server) {
    let api = server.api().await;
    let expected = invalid("duplicate key given in txn request");
    for request in [
        txn().then(put("a1", "1")).then(delete_prefix("a")),
        txn().then(delete_prefix("a")).then(put("a1", "1")),
        txn().then(delete("a")).then(put("a", "1")),
        txn()
            .then(txn().then(delete_prefix("a")))
            .then(put("a1", "1")),
    ] {
        assert_eq!(api.refused(request).await, expected);
    }
}

async fn deletes_may_overlap(server: Server) {
    let api = server.api().await;
    api.put("a1", "").await;
    api.put("a2", "").await;
    let answer = api
        .ask(txn().then(delete("a1")).then(delete_prefix("a")))
        .await;
    assert_eq!(delete_answer(&answer, 0).deleted, 1);
    assert_eq!(delete_answer(&answer, 1).deleted, 1);
    assert_eq!(at(&answer.header), 4);
}

async fn branches_may_write_the_same_key(server: Server) {
    let api = server.api().await;
    let request = txn()
        .when(version("a", 0))
        .then(put("a", "1"))
        .or_else(put("a", "2"));
    api.ask(request.clone()).await;
    api.ask(request).await;
    assert_eq!(api.ask(get("a")).await.kvs, [kv("a", "2", (2, 3, 2))]);
}

async fn branches_of_a_nested_txn_may_write_the_same_key(server: Server) {
    let api = server.api().await;
    let inner = txn()
        .when(version("a", 0))
        .then(put("a", "1"))
        .or_else(put("a", "2"));
    api.ask(txn().then(inner)).await;
    assert_eq!(api.ask(get("a")).await.kvs, [kv("a", "1", (2, 2, 1))]);
}

async fn an_operation_without_content_is_refused(server: Server) {
    let api = server.api().await;
    let expected = invalid("key not found");
    assert_eq!(
        api.refused(txn().then(RequestOp { request: None })).await,
        expected
    );
    assert_eq!(
        api.refused(txn().or_else(RequestOp { request: None }))
            .await,
        expected
    );
}

async fn an_empty_key_is_refused_everywhere(server: Server) {
    let api = server.api().await;
    let expected = invalid("key is not provided");
    for request in [
        txn().when(version("", 0)),
        txn().then(get("")),
        txn().then(put("", "1")),
        txn().then(delete("")),
        txn().or_else(put("", "1")),
        txn().then(txn().or_else(put("", "1"))),
    ] {
        assert_eq!(api.refused(request).await, expected);
    }
}

async fn a_bad_put_or_range_is_refused(server: Server) {
    let api = server.api().await;
    let mut with_value = put("a", "1");
    with_value.ignore_value = true;
    assert_eq!(
        api.refused(txn().then(with_value)).await,
        invalid("value is provided")
    );
    let mut with_lease = put("a", "1");
    (with_lease.ignore_lease, with_lease.lease) = (true, 1);
    assert_eq!(
        api.refused(txn().then(with_lease)).await,
        invalid("lease is provided")
    );
    let mut order = get("a");
    order.sort_order = 9;
    assert_eq!(
        api.refused(txn().then(order)).await,
        invalid("invalid sort option")
    );
}

async fn an_unknown_lease_in_the_chosen_branch_is_refused(server: Server) {
    let api = server.api().await;
    let mut leased = put("b", "1");
    leased.lease = 12345;
    let expected = (
        Code::NotFound,
        "etcdserver: requested lease not found".to_owned(),
    );
    let chosen = txn().then(put("a", "1")).then(leased.clone());
    assert_eq!(api.refused(chosen).await, expected);
    assert_eq!(
        api.ask(get("a")).await.count,
        0,
        "the put before it did not happen either"
    );
    let unchosen = txn().then(put("a", "1")).or_else(leased.clone());
    assert!(api.ask(unchosen).await.succeeded);
    api.ask(LeaseGrantRequest {
        ttl: 600,
        id: 12345,
    })
    .await;
    assert!(api.ask(txn().then(leased)).await.succeeded);
}

async fn an_unreadable_revision_in_the_chosen_branch_is_refused(server: Server) {
    let api = server.api().await;
    for value in ["1", "2", "3"] {
        api.put("a", value).await;
    }
    api.ask(compact(3)).await;
    let at_revision = |revision| {
        let mut request = get("a");
        request.revision = revision;
        request
    };
    let future = txn().then(put("b", "1")).then(at_revision(9));
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!(
        api.refused(future).await,
        (Code::OutOfRange, text.to_owned())
    );
    let compacted = txn().then(put("b", "1")).then(at_revision(2));
    let text = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(
        api.refused(compacted).await,
        (Code::OutOfRange, text.to_owned())
    );
    let unchosen = txn().then(put("c", "1")).or_else(at_revision(9));
    assert_eq!(at(&api.ask(unchosen).await.header), 5);
    assert_eq!(api.ask(get("b")).await.count, 0);
}

async fn ignoring_what_does_not_exist_is_refused(server: Server) {
    let api = server.api().await;
    let mut ignoring = put("b", "");
    ignoring.ignore_value = true;
    let request = txn().then(put("a", "1")).then(ignoring);
    assert_eq!(api.refused(request).await, invalid("key not found"));
    assert_eq!(api.ask(get("a")).await.count, 0);
}

/// The order is that of a Put outside of a transaction; before etcd 3.7 it was the other way round.
async fn an_unknown_lease_is_told_before_what_is_missing(server: Server) {
    let api = server.api().await;
    let mut request = put("a", "");
    request.ignore_value = true;
    request.lease = 77;
    let unknown = (
        Code::NotFound,
        "etcdserver: requested lease not found".to_owned(),
    );
    assert_eq!(api.refused(txn().then(request.clone())).await, unknown);
    assert_eq!(api.refused(request).await, unknown);
}
