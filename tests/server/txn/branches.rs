//! Txn: the operations of a branch, and the answers to them.

use crate::harness::*;

parity! {
    an_empty_txn_changes_nothing,
    only_the_chosen_branch_runs,
    many_operations_take_one_revision,
    inner_headers_have_the_revision_alone,
    a_range_sees_the_puts_before_it,
    a_range_before_a_put_sees_the_state_before_it,
    a_txn_that_only_reads_takes_no_revision,
    deleting_nothing_takes_no_revision,
    keys_written_together_share_their_revision,
    prev_kvs_come_with_puts_and_deletes,
    a_delete_then_a_put_of_another_key_both_happen,
    a_range_reads_an_old_revision,
}

async fn an_empty_txn_changes_nothing(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let answer = api.ask(txn()).await;
    assert_eq!(
        (at(&answer.header), answer.succeeded, answer.responses.len()),
        (2, true, 0)
    );
}

async fn only_the_chosen_branch_runs(server: Server) {
    let api = server.api().await;
    let request = txn()
        .when(version("a", 0))
        .then(put("a", "new"))
        .or_else(put("b", "old"));
    let answer = api.ask(request.clone()).await;
    assert!(answer.succeeded);
    assert_eq!((at(&answer.header), answer.responses.len()), (2, 1));
    let answer = api.ask(request).await;
    assert!(!answer.succeeded);
    assert_eq!((at(&answer.header), answer.responses.len()), (3, 1));
    let all = api.ask(get_range("\0", "\0")).await;
    assert_eq!(
        all.kvs,
        [kv("a", "new", (2, 2, 1)), kv("b", "old", (3, 3, 1))]
    );
}

async fn many_operations_take_one_revision(server: Server) {
    let api = server.api().await;
    api.put("x1", "").await;
    api.put("x2", "").await;
    let request = txn()
        .then(put("a", "1"))
        .then(delete_prefix("x"))
        .then(put("b", "2"))
        .then(get_prefix("a"));
    let answer = api.ask(request).await;
    assert_eq!((at(&answer.header), answer.responses.len()), (4, 4));
    assert_eq!(delete_answer(&answer, 1).deleted, 2);
    let all = api.ask(get_range("\0", "\0")).await;
    assert_eq!(all.kvs, [kv("a", "1", (4, 4, 1)), kv("b", "2", (4, 4, 1))]);
    assert_eq!(at(&all.header), 4);
}

async fn inner_headers_have_the_revision_alone(server: Server) {
    let api = server.api().await;
    let request = txn().then(put("a", "1")).then(get("a")).then(delete("x"));
    let answer = api.ask(request).await;
    let outer = answer.header.as_ref().unwrap();
    assert!(outer.cluster_id != 0 && outer.member_id != 0 && outer.raft_term != 0);
    let inner = [
        put_answer(&answer, 0).header.as_ref(),
        range_answer(&answer, 1).header.as_ref(),
        delete_answer(&answer, 2).header.as_ref(),
    ];
    for header in inner {
        let header = header.unwrap();
        assert_eq!(
            (header.cluster_id, header.member_id, header.raft_term),
            (0, 0, 0)
        );
        assert_eq!(header.revision, 2);
    }
}

async fn a_range_sees_the_puts_before_it(server: Server) {
    let api = server.api().await;
    api.put("a", "old").await;
    let request = txn()
        .then(put("a", "new"))
        .then(put("b", "new"))
        .then(get_range("a", "c"));
    let answer = api.ask(request).await;
    let range = range_answer(&answer, 2);
    assert_eq!(
        range.kvs,
        [kv("a", "new", (2, 3, 2)), kv("b", "new", (3, 3, 1))]
    );
    assert_eq!(range.count, 2);
}

async fn a_range_before_a_put_sees_the_state_before_it(server: Server) {
    let api = server.api().await;
    api.put("a", "old").await;
    let request = txn()
        .then(get("a"))
        .then(put("a", "new"))
        .then(delete("b"))
        .then(get("a"));
    let answer = api.ask(request).await;
    assert_eq!(range_answer(&answer, 0).kvs, [kv("a", "old", (2, 2, 1))]);
    assert_eq!(range_answer(&answer, 3).kvs, [kv("a", "new", (2, 3, 2))]);
}

async fn a_txn_that_only_reads_takes_no_revision(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let request = txn()
        .when(version("a", 1))
        .then(get("a"))
        .then(get_prefix("b"));
    let answer = api.ask(request).await;
    assert_eq!(at(&answer.header), 2);
    assert_eq!(range_answer(&answer, 0).kvs, [kv("a", "1", (2, 2, 1))]);
    assert_eq!(range_answer(&answer, 1).kvs, []);
    assert_eq!(at(&range_answer(&answer, 0).header), 2);
    assert_eq!(api.revision().await, 2);
}

async fn deleting_nothing_takes_no_revision(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let answer = api
        .ask(txn().then(delete("x")).then(delete_prefix("y")))
        .await;
    assert_eq!((at(&answer.header), answer.succeeded), (2, true));
    assert_eq!(delete_answer(&answer, 0).deleted, 0);
    assert_eq!(at(&delete_answer(&answer, 0).header), 2);
    assert_eq!(api.revision().await, 2);
}

async fn keys_written_together_share_their_revision(server: Server) {
    let api = server.api().await;
    let mut request = txn();
    for index in 0..100 {
        request = request.then(put(format!("k{index:02}"), "v"));
    }
    assert_eq!(at(&api.ask(request).await.header), 2);
    let answer = api.ask(get_prefix("k")).await;
    assert_eq!(answer.kvs.len(), 100);
    assert!(
        answer
            .kvs
            .iter()
            .all(|kv| (kv.create_revision, kv.mod_revision) == (2, 2))
    );
    let mut old = get_prefix("k");
    old.revision = 1;
    assert_eq!(
        api.ask(old).await.count,
        0,
        "before, there was none of them"
    );
}

async fn prev_kvs_come_with_puts_and_deletes(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("b", "2").await;
    let mut write = put("a", "3");
    write.prev_kv = true;
    let mut remove = delete("b");
    remove.prev_kv = true;
    let answer = api.ask(txn().then(write).then(remove)).await;
    assert_eq!(
        put_answer(&answer, 0).prev_kv,
        Some(kv("a", "1", (2, 2, 1)))
    );
    assert_eq!(
        delete_answer(&answer, 1).prev_kvs,
        [kv("b", "2", (3, 3, 1))]
    );
}

async fn a_delete_then_a_put_of_another_key_both_happen(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.ask(txn().then(delete("a")).then(put("b", "2"))).await;
    assert_eq!(keys(&api.ask(get_range("\0", "\0")).await.kvs), ["b"]);
}

async fn a_range_reads_an_old_revision(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    let mut old = get("a");
    old.revision = 2;
    let answer = api.ask(txn().then(put("b", "1")).then(old)).await;
    assert_eq!(range_answer(&answer, 1).kvs, [kv("a", "1", (2, 2, 1))]);
}
