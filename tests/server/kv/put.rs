//! Put.

use etcd_proto::etcdserverpb::LeaseGrantRequest;
use tonic::Code;

use crate::harness::*;

parity! {
    each_put_takes_one_revision_and_counts_versions,
    prev_kv_is_what_was_there,
    an_empty_key_is_refused,
    an_empty_value_is_a_value,
    ignore_value_keeps_the_value,
    ignore_value_with_a_value_is_refused,
    ignore_lease_keeps_the_lease,
    ignore_lease_with_a_lease_is_refused,
    ignoring_what_does_not_exist_is_refused,
    an_unknown_lease_is_refused_without_effect,
    a_put_without_lease_detaches_the_old_one,
}

fn invalid(text: &str) -> (Code, String) {
    (Code::InvalidArgument, format!("etcdserver: {text}"))
}

async fn each_put_takes_one_revision_and_counts_versions(server: Server) {
    let api = server.api().await;
    for version in 1..=3 {
        let answer = api.ask(put("a", "v")).await;
        assert_eq!(at(&answer.header), version + 1);
        assert_eq!(answer.prev_kv, None);
        assert_eq!(
            api.ask(get("a")).await.kvs,
            [kv("a", "v", (2, version + 1, version))]
        );
    }
}

async fn prev_kv_is_what_was_there(server: Server) {
    let api = server.api().await;
    let mut request = put("a", "1");
    request.prev_kv = true;
    assert_eq!(api.ask(request.clone()).await.prev_kv, None);
    request.value = "2".into();
    assert_eq!(
        api.ask(request.clone()).await.prev_kv,
        Some(kv("a", "1", (2, 2, 1)))
    );
    api.delete("a").await;
    assert_eq!(api.ask(request).await.prev_kv, None);
}

async fn an_empty_key_is_refused(server: Server) {
    let api = server.api().await;
    assert_eq!(
        api.refused(put("", "1")).await,
        invalid("key is not provided")
    );
    assert_eq!(api.revision().await, 1);
}

async fn an_empty_value_is_a_value(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("a", "").await;
    assert_eq!(api.ask(get("a")).await.kvs, [kv("a", "", (2, 3, 2))]);
}

async fn ignore_value_keeps_the_value(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 7 }).await;
    api.put("a", "1").await;
    let mut request = put("a", "");
    (request.ignore_value, request.lease) = (true, 7);
    api.ask(request).await;
    let mut expected = kv("a", "1", (2, 3, 2));
    expected.lease = 7;
    assert_eq!(api.ask(get("a")).await.kvs, [expected]);
}

async fn ignore_value_with_a_value_is_refused(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let mut request = put("a", "2");
    request.ignore_value = true;
    assert_eq!(api.refused(request).await, invalid("value is provided"));
}

async fn ignore_lease_keeps_the_lease(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 7 }).await;
    let mut request = put("a", "1");
    request.lease = 7;
    api.ask(request).await;
    let mut request = put("a", "2");
    request.ignore_lease = true;
    api.ask(request).await;
    let mut expected = kv("a", "2", (2, 3, 2));
    expected.lease = 7;
    assert_eq!(api.ask(get("a")).await.kvs, [expected]);
}

async fn ignore_lease_with_a_lease_is_refused(server: Server) {
    let api = server.api().await;
    let mut request = put("a", "1");
    (request.ignore_lease, request.lease) = (true, 7);
    assert_eq!(api.refused(request).await, invalid("lease is provided"));
}

async fn ignoring_what_does_not_exist_is_refused(server: Server) {
    let api = server.api().await;
    let mut request = put("a", "");
    request.ignore_value = true;
    assert_eq!(api.refused(request).await, invalid("key not found"));
    let mut request = put("a", "1");
    request.ignore_lease = true;
    assert_eq!(api.refused(request).await, invalid("key not found"));
    assert_eq!(api.revision().await, 1);
}

async fn an_unknown_lease_is_refused_without_effect(server: Server) {
    let api = server.api().await;
    let mut request = put("a", "1");
    request.lease = 12345;
    let expected = (
        Code::NotFound,
        "etcdserver: requested lease not found".to_owned(),
    );
    assert_eq!(api.refused(request).await, expected);
    let answer = api.ask(get("a")).await;
    assert_eq!((answer.count, at(&answer.header)), (0, 1));
}

async fn a_put_without_lease_detaches_the_old_one(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 7 }).await;
    let mut request = put("a", "1");
    request.lease = 7;
    api.ask(request).await;
    api.put("a", "2").await;
    assert_eq!(api.ask(get("a")).await.kvs, [kv("a", "2", (2, 3, 2))]);
    api.ask(revoke(7)).await;
    assert_eq!(
        api.ask(get("a")).await.count,
        1,
        "the revoked lease has nothing to do with it"
    );
}
