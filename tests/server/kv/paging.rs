//! Range in pages, as kube-apiserver lists: it trusts `count` to know whether there is more.

use bytes::Bytes;

use crate::harness::*;

parity! {
    a_limit_cuts_and_says_so,
    a_limit_that_fits_is_not_more,
    pages_pinned_to_a_revision_see_one_state,
    count_is_exact_on_every_page,
}

async fn fill(api: &Api, count: usize) {
    for index in 0..count {
        api.put(&format!("k{index:03}"), "v").await;
    }
}

async fn a_limit_cuts_and_says_so(server: Server) {
    let api = server.api().await;
    fill(&api, 5).await;
    let mut request = get_prefix("k");
    request.limit = 2;
    let answer = api.ask(request).await;
    assert_eq!(keys(&answer.kvs), ["k000", "k001"]);
    assert_eq!((answer.count, answer.more), (5, true));
}

async fn a_limit_that_fits_is_not_more(server: Server) {
    let api = server.api().await;
    fill(&api, 3).await;
    for limit in [0, 3, 4, i64::MAX] {
        let mut request = get_prefix("k");
        request.limit = limit;
        let answer = api.ask(request).await;
        assert_eq!(
            (answer.kvs.len(), answer.count, answer.more),
            (3, 3, false),
            "limit {limit}"
        );
    }
    let mut request = get("k000");
    request.limit = 1;
    let answer = api.ask(request).await;
    assert_eq!((answer.kvs.len(), answer.count, answer.more), (1, 1, false));
}

async fn pages_pinned_to_a_revision_see_one_state(server: Server) {
    let api = server.api().await;
    fill(&api, 25).await;
    let end = prefix_end(b"k");
    let (mut start, mut pinned, mut seen) = (Bytes::from("k"), 0, Vec::new());
    loop {
        let mut request = get_range(start, end.clone());
        (request.limit, request.revision) = (7, pinned);
        let answer = api.ask(request).await;
        if pinned == 0 {
            pinned = at(&answer.header);
        }
        seen.extend(answer.kvs.iter().cloned());
        if answer.kvs.len() as i64 == answer.count {
            assert!(!answer.more);
            break;
        }
        assert!(answer.more);
        let last = seen.last().unwrap();
        start = [last.key.as_ref(), b"\0"].concat().into();
        // What others write meanwhile must not show.
        api.put("k0005", "new").await;
        api.put("k020", "changed").await;
        api.delete(&format!("k{:03}", seen.len() + 1)).await;
    }
    assert_eq!(seen.len(), 25);
    for (index, kv) in seen.iter().enumerate() {
        assert_eq!(kv.key, format!("k{index:03}"));
        assert_eq!((kv.value.as_ref(), kv.version), (&b"v"[..], 1));
    }
}

async fn count_is_exact_on_every_page(server: Server) {
    let api = server.api().await;
    fill(&api, 10).await;
    api.delete("k004").await;
    let revision = api.put("k000", "again").await;
    api.put("l", "outside").await;
    api.delete("k009").await;
    for first in 0..10 {
        let mut request = get_range(format!("k{first:03}"), "l");
        (request.limit, request.revision) = (2, revision);
        let expected = (first..10).filter(|index| *index != 4).count() as i64;
        let answer = api.ask(request).await;
        assert_eq!(answer.count, expected, "from key {first}");
        assert_eq!(answer.kvs.len() as i64, expected.min(2));
        assert_eq!(answer.more, expected > 2);
    }
}
