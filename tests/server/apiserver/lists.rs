//! Lists: pages, counts, statistics, the current revision.

use etcd_proto::etcdserverpb::RangeRequest;

use super::objects::create;
use crate::harness::*;

parity! {
    a_list_in_pages_is_the_list_at_its_first_revision,
    the_current_revision_comes_from_a_key_that_does_not_exist,
    a_count_per_resource_is_exact,
    key_statistics_read_keys_without_values,
    a_list_at_an_exact_revision_is_exact,
}

const PAGE: i64 = 500;

fn list(prefix: &'static str) -> RangeRequest {
    get_prefix(prefix)
}

async fn fill(api: &Api, count: usize) {
    for index in 0..count {
        api.ask(create(format!("/registry/pods/default/p{index:05}"), "pod"))
            .await;
    }
}

async fn a_list_in_pages_is_the_list_at_its_first_revision(server: Server) {
    let api = server.api().await;
    fill(&api, 1234).await;
    let mut request = RangeRequest {
        limit: PAGE,
        ..list("/registry/pods/")
    };
    let (mut seen, mut remaining) = (Vec::new(), Vec::new());
    loop {
        let answer = api.ask(request.clone()).await;
        let fetched = answer.kvs.len() as i64;
        remaining.push(answer.count - fetched);
        if request.revision == 0 {
            request.revision = at(&answer.header);
        }
        seen.extend(answer.kvs);
        // This, and not `more`, is how kube-apiserver sees the end since 1.32.
        if fetched >= answer.count {
            break;
        }
        request.key = [seen.last().unwrap().key.as_ref(), b"\0"].concat().into();
        api.ask(create(
            format!("/registry/pods/default/p{:05}x", seen.len() + 10),
            "new",
        ))
        .await;
        api.ask(delete(format!(
            "/registry/pods/default/p{:05}",
            seen.len() + 20
        )))
        .await;
    }
    assert_eq!(remaining, [734, 234, 0]);
    assert_eq!(seen.len(), 1234);
    assert!(seen.is_sorted_by(|a, b| a.key < b.key));
    assert!(seen.iter().all(|kv| kv.value == "pod"));
}

async fn the_current_revision_comes_from_a_key_that_does_not_exist(server: Server) {
    let api = server.api().await;
    fill(&api, 3).await;
    let request = RangeRequest {
        limit: 1,
        ..get("/registry/pods")
    };
    let answer = api.ask(request).await;
    assert_eq!(
        (at(&answer.header), answer.kvs.len(), answer.count),
        (4, 0, 0)
    );
}

async fn a_count_per_resource_is_exact(server: Server) {
    let api = server.api().await;
    fill(&api, 20).await;
    api.ask(create("/registry/podtemplates/default/t", "t"))
        .await;
    api.ask(delete("/registry/pods/default/p00003")).await;
    let request = RangeRequest {
        count_only: true,
        ..list("/registry/pods/")
    };
    let answer = api.ask(request).await;
    assert_eq!((answer.count, answer.kvs.len()), (19, 0));
}

async fn key_statistics_read_keys_without_values(server: Server) {
    let api = server.api().await;
    fill(&api, 5).await;
    let request = RangeRequest {
        keys_only: true,
        ..list("/registry/pods/")
    };
    let answer = api.ask(request).await;
    assert_eq!(answer.kvs.len(), 5);
    assert!(
        answer
            .kvs
            .iter()
            .all(|kv| kv.value.is_empty() && kv.mod_revision > 1)
    );
}

async fn a_list_at_an_exact_revision_is_exact(server: Server) {
    let api = server.api().await;
    let mut states = Vec::new();
    for index in 0..60 {
        let key = format!("/registry/pods/default/p{}", index % 7);
        match index % 3 {
            2 => api.delete(&key).await,
            _ => api.put(&key, &index.to_string()).await,
        };
        let answer = api.ask(list("/registry/pods/")).await;
        states.push((at(&answer.header), answer.kvs));
    }
    for (revision, kvs) in states {
        let request = RangeRequest {
            revision,
            ..list("/registry/pods/")
        };
        assert_eq!(api.ask(request).await.kvs, kvs, "at {revision}");
    }
}
