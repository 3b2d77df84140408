//! DeleteRange.

use tonic::Code;

use crate::harness::*;

parity! {
    one_key_is_deleted_and_counted,
    a_range_is_deleted_in_one_revision,
    deleting_nothing_takes_no_revision,
    prev_kvs_are_what_was_there_in_key_order,
    an_empty_key_is_refused,
    everything_from_a_key_on_can_be_deleted,
    a_key_that_comes_back_begins_anew,
}

async fn one_key_is_deleted_and_counted(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("aa", "1").await;
    let answer = api.ask(delete("a")).await;
    assert_eq!(
        (at(&answer.header), answer.deleted, answer.prev_kvs.len()),
        (4, 1, 0)
    );
    assert_eq!(keys(&api.ask(get_prefix("a")).await.kvs), ["aa"]);
}

async fn a_range_is_deleted_in_one_revision(server: Server) {
    let api = server.api().await;
    for key in ["a1", "a2", "a3", "b"] {
        api.put(key, "").await;
    }
    let answer = api.ask(delete_prefix("a")).await;
    assert_eq!((at(&answer.header), answer.deleted), (6, 3));
    assert_eq!(keys(&api.ask(get_range("\0", "\0")).await.kvs), ["b"]);
    assert_eq!(api.revision().await, 6);
}

async fn deleting_nothing_takes_no_revision(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.delete("a").await;
    let answer = api.ask(delete("a")).await;
    assert_eq!((at(&answer.header), answer.deleted), (3, 0));
    assert_eq!(api.ask(delete_prefix("x")).await.deleted, 0);
    assert_eq!(api.revision().await, 3);
}

async fn prev_kvs_are_what_was_there_in_key_order(server: Server) {
    let api = server.api().await;
    api.put("b", "1").await;
    api.put("a", "2").await;
    api.put("b", "3").await;
    let mut request = delete("a");
    request.range_end = "c".into();
    request.prev_kv = true;
    let answer = api.ask(request).await;
    assert_eq!(
        answer.prev_kvs,
        [kv("a", "2", (3, 3, 1)), kv("b", "3", (2, 4, 2))]
    );
}

async fn an_empty_key_is_refused(server: Server) {
    let api = server.api().await;
    let expected = (
        Code::InvalidArgument,
        "etcdserver: key is not provided".to_owned(),
    );
    assert_eq!(api.refused(delete("")).await, expected);
}

async fn everything_from_a_key_on_can_be_deleted(server: Server) {
    let api = server.api().await;
    for key in ["a", "b", "c"] {
        api.put(key, "").await;
    }
    let mut request = delete("b");
    request.range_end = "\0".into();
    assert_eq!(api.ask(request).await.deleted, 2);
    assert_eq!(keys(&api.ask(get_range("\0", "\0")).await.kvs), ["a"]);
}

async fn a_key_that_comes_back_begins_anew(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    api.delete("a").await;
    api.put("a", "3").await;
    assert_eq!(api.ask(get("a")).await.kvs, [kv("a", "3", (5, 5, 1))]);
}
