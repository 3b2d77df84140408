//! TTLs of rows, which become leases.

use etcd_proto::etcdserverpb::{LeaseLeasesRequest, PutRequest};

use super::{table::GoTable, with_data_of};
use crate::harness::*;

async fn leases(api: &Api) -> Vec<i64> {
    let answer = api.ask(LeaseLeasesRequest {}).await;
    let mut ids: Vec<_> = answer.leases.iter().map(|lease| lease.id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_client_may_go_on_with_the_lease_that_it_was_granted() {
    let mut table = GoTable::new(1 << 16);
    table.put(b"/registry/events/a", Some(b"1".to_vec()), 3660);
    table.put(b"/registry/events/b", Some(b"1".to_vec()), 3660);
    table.put(b"/registry/events/c", Some(b"1".to_vec()), 60);
    table.delete(b"/registry/events/c");
    let mut server = with_data_of(&table, Options::default()).await;
    server.restart().await;
    let api = server.api().await;
    assert_eq!(leases(&api).await, [60, 3660]);
    // What kube-apiserver does with a lease of the server before, for up to a minute.
    let late = PutRequest {
        lease: 3660,
        ..put("/registry/events/late", "1")
    };
    api.ask(late).await;
    let lease = api.ask(time_to_live(3660)).await;
    assert_eq!(lease.granted_ttl, 3660);
    assert!(lease.ttl > 3600, "{}", lease.ttl);
    assert_eq!(lease.keys.len(), 3, "{:?}", lease.keys);
    assert!(api.ask(time_to_live(60)).await.keys.is_empty());
}

#[tokio::test]
async fn keys_expire_when_their_ttl_has_passed() {
    let mut table = GoTable::new(1 << 16);
    table.put(b"/registry/events/short", Some(b"1".to_vec()), 1);
    table.put(b"/registry/events/kept", Some(b"1".to_vec()), 3660);
    let mut server = with_data_of(&table, Options::default()).await;
    server.restart().await;
    let api = server.api().await;
    until("the key expires", async || {
        api.ask(get("/registry/events/short")).await.kvs.is_empty()
    })
    .await;
    assert_eq!(api.ask(get("/registry/events/kept")).await.count, 1);
    assert_eq!(leases(&api).await, [3660]);
}
