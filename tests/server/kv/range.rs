//! Range: which keys, at which revision, with which parts.

use tonic::Code;

use crate::harness::*;

parity! {
    an_empty_store_is_at_revision_1,
    a_missing_key_is_an_empty_answer,
    an_empty_key_is_refused,
    one_key_comes_with_all_its_fields,
    a_range_is_half_open_and_sorted,
    a_range_end_of_zero_means_to_the_last_key,
    a_prefix_range_holds_the_keys_of_the_prefix,
    a_range_that_ends_before_it_starts_is_empty,
    any_bytes_can_be_a_key,
    an_old_revision_reads_as_it_was,
    a_deleted_key_is_readable_before_its_deletion,
    revision_zero_and_below_read_the_present,
    a_future_revision_is_refused,
    keys_only_leaves_out_the_values_alone,
    count_only_ignores_the_limit,
    a_serializable_range_reads_too,
}

async fn an_empty_store_is_at_revision_1(server: Server) {
    let header = server.api().await.ask(get("a")).await.header.unwrap();
    assert_eq!(header.revision, 1);
    assert_ne!(header.cluster_id, 0);
    assert_ne!(header.member_id, 0);
    assert_ne!(header.raft_term, 0);
}

async fn a_missing_key_is_an_empty_answer(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let answer = api.ask(get("b")).await;
    assert_eq!(
        (at(&answer.header), answer.count, answer.more),
        (2, 0, false)
    );
    assert!(answer.kvs.is_empty());
}

async fn an_empty_key_is_refused(server: Server) {
    let api = server.api().await;
    let expected = (
        Code::InvalidArgument,
        "etcdserver: key is not provided".to_owned(),
    );
    assert_eq!(api.refused(get("")).await, expected);
    assert_eq!(api.refused(get_range("", "b")).await, expected);
}

async fn one_key_comes_with_all_its_fields(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("b", "x").await;
    api.put("a", "2").await;
    let answer = api.ask(get("a")).await;
    assert_eq!(
        (at(&answer.header), answer.count, answer.more),
        (4, 1, false)
    );
    assert_eq!(answer.kvs, [kv("a", "2", (2, 4, 2))]);
}

async fn a_range_is_half_open_and_sorted(server: Server) {
    let api = server.api().await;
    for key in ["c", "a", "d", "b"] {
        api.put(key, "").await;
    }
    let answer = api.ask(get_range("a", "d")).await;
    assert_eq!(keys(&answer.kvs), ["a", "b", "c"]);
    assert_eq!((answer.count, answer.more), (3, false));
}

async fn a_range_end_of_zero_means_to_the_last_key(server: Server) {
    let api = server.api().await;
    for key in ["a", "b", "z", "~"] {
        api.put(key, "").await;
    }
    assert_eq!(
        keys(&api.ask(get_range("b", "\0")).await.kvs),
        ["b", "z", "~"]
    );
    assert_eq!(
        keys(&api.ask(get_range("\0", "\0")).await.kvs),
        ["a", "b", "z", "~"]
    );
}

async fn a_prefix_range_holds_the_keys_of_the_prefix(server: Server) {
    let api = server.api().await;
    for key in ["/a", "/a/", "/a/x", "/a/y", "/a0", "/b"] {
        api.put(key, "").await;
    }
    assert_eq!(
        keys(&api.ask(get_prefix("/a/")).await.kvs),
        ["/a/", "/a/x", "/a/y"]
    );
}

async fn a_range_that_ends_before_it_starts_is_empty(server: Server) {
    let api = server.api().await;
    api.put("b", "").await;
    for end in ["a", "b"] {
        let answer = api.ask(get_range("b", end)).await;
        assert_eq!((answer.kvs.len(), answer.count, answer.more), (0, 0, false));
    }
}

async fn any_bytes_can_be_a_key(server: Server) {
    let api = server.api().await;
    let odd: [&'static [u8]; 4] = [&[0], &[0, 0], &[b'a', 0, b'b'], &[0xff, 0xfe]];
    for key in odd {
        api.ask(put(key, key)).await;
    }
    for (index, key) in odd.into_iter().enumerate() {
        let revision = index as i64 + 2;
        assert_eq!(
            api.ask(get(key)).await.kvs,
            [kv(key, key, (revision, revision, 1))]
        );
    }
    let all = api.ask(get_range("\0", "\0")).await;
    assert_eq!(
        all.kvs.iter().map(|kv| kv.key.as_ref()).collect::<Vec<_>>(),
        odd
    );
}

async fn an_old_revision_reads_as_it_was(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("b", "1").await;
    api.put("a", "2").await;
    let mut request = get_range("a", "c");
    request.revision = 2;
    let answer = api.ask(request.clone()).await;
    assert_eq!(answer.kvs, [kv("a", "1", (2, 2, 1))]);
    assert_eq!(answer.count, 1);
    assert_eq!(at(&answer.header), 4, "the header has the present revision");
    request.revision = 3;
    let answer = api.ask(request).await;
    assert_eq!(
        answer.kvs,
        [kv("a", "1", (2, 2, 1)), kv("b", "1", (3, 3, 1))]
    );
}

async fn a_deleted_key_is_readable_before_its_deletion(server: Server) {
    let api = server.api().await;
    let written = api.put("a", "1").await;
    let deleted = api.delete("a").await;
    assert_eq!(api.ask(get("a")).await.count, 0);
    let mut request = get("a");
    request.revision = written;
    assert_eq!(
        api.ask(request.clone()).await.kvs,
        [kv("a", "1", (2, 2, 1))]
    );
    request.revision = deleted;
    assert_eq!(api.ask(request).await.kvs, []);
}

async fn revision_zero_and_below_read_the_present(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    for revision in [0, -1, i64::MIN] {
        let mut request = get("a");
        request.revision = revision;
        assert_eq!(api.ask(request).await.kvs, [kv("a", "2", (2, 3, 2))]);
    }
}

async fn a_future_revision_is_refused(server: Server) {
    let api = server.api().await;
    let current = api.put("a", "1").await;
    let mut request = get("a");
    request.revision = current + 1;
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!(
        api.refused(request).await,
        (Code::OutOfRange, text.to_owned())
    );
}

async fn keys_only_leaves_out_the_values_alone(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("a", "2").await;
    let mut request = get_prefix("a");
    request.keys_only = true;
    let answer = api.ask(request).await;
    assert_eq!(answer.kvs, [kv("a", "", (2, 3, 2))]);
    assert_eq!(answer.count, 1);
}

async fn count_only_ignores_the_limit(server: Server) {
    let api = server.api().await;
    for key in ["a1", "a2", "a3", "b"] {
        api.put(key, "").await;
    }
    let mut request = get_prefix("a");
    request.count_only = true;
    request.limit = 1;
    let answer = api.ask(request.clone()).await;
    assert_eq!((answer.count, answer.more, answer.kvs.len()), (3, false, 0));
    request.revision = 3;
    assert_eq!(
        api.ask(request).await.count,
        2,
        "counts at the revision asked for"
    );
}

async fn a_serializable_range_reads_too(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let mut request = get("a");
    request.serializable = true;
    assert_eq!(api.ask(request).await.kvs, [kv("a", "1", (2, 2, 1))]);
}
