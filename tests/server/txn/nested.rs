//! Txn: transactions inside transactions.

use crate::harness::*;

parity! {
    a_nested_txn_answers_inside_the_answer,
    nested_compares_see_the_state_before_the_whole_txn,
    nested_operations_share_the_revision,
    nesting_goes_deep,
    nested_branches_are_chosen_apart,
}

async fn a_nested_txn_answers_inside_the_answer(server: Server) {
    let api = server.api().await;
    let inner = txn()
        .when(version("a", 0))
        .then(put("a", "1"))
        .then(get("a"));
    let answer = api.ask(txn().then(inner).then(put("b", "2"))).await;
    assert_eq!((at(&answer.header), answer.responses.len()), (2, 2));
    let inner = txn_answer(&answer, 0);
    assert!(inner.succeeded);
    assert_eq!(range_answer(inner, 1).kvs, [kv("a", "1", (2, 2, 1))]);
    if let Some(header) = &inner.header {
        assert_eq!((header.cluster_id, header.member_id), (0, 0));
    }
}

async fn nested_compares_see_the_state_before_the_whole_txn(server: Server) {
    let api = server.api().await;
    let inner = txn()
        .when(version("a", 0))
        .then(put("c", "unseen"))
        .or_else(put("c", "seen"));
    let answer = api.ask(txn().then(put("a", "1")).then(inner)).await;
    assert!(
        txn_answer(&answer, 1).succeeded,
        "the put before it does not count"
    );
    assert_eq!(api.ask(get("c")).await.kvs, [kv("c", "unseen", (2, 2, 1))]);
}

async fn nested_operations_share_the_revision(server: Server) {
    let api = server.api().await;
    let inner = txn().then(put("b", "2"));
    api.ask(txn().then(put("a", "1")).then(inner).then(put("c", "3")))
        .await;
    let all = api.ask(get_range("\0", "\0")).await;
    assert_eq!(keys(&all.kvs), ["a", "b", "c"]);
    assert!(all.kvs.iter().all(|kv| kv.mod_revision == 2));
    assert_eq!(at(&all.header), 2);
}

async fn nesting_goes_deep(server: Server) {
    let api = server.api().await;
    let mut request = txn().then(put("deep", "1"));
    for _ in 0..10 {
        request = txn().when(version("deep", 0)).then(request);
    }
    let answer = api.ask(request).await;
    let mut inner = &answer;
    for _ in 0..10 {
        assert!(inner.succeeded);
        inner = txn_answer(inner, 0);
    }
    assert!(put_answer(inner, 0).header.is_some());
    assert_eq!(api.ask(get("deep")).await.count, 1);
}

async fn nested_branches_are_chosen_apart(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let lock = txn()
        .when(value("owner", "me"))
        .then(put("owner", "me"))
        .or_else(get("owner"));
    let request = txn()
        .when(version("a", 1))
        .then(lock.clone())
        .or_else(put("never", ""));
    let answer = api.ask(request).await;
    assert!(answer.succeeded);
    let inner = txn_answer(&answer, 0);
    assert!(!inner.succeeded);
    assert_eq!(range_answer(inner, 0).kvs, []);
    assert_eq!(api.revision().await, 2, "nothing was written");
}
