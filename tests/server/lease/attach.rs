//! Lease: keys attached to leases.

use etcd_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest, WatchCreateRequest,
};

use crate::harness::*;

parity! {
    a_lease_lists_its_keys,
    revoking_deletes_all_keys_in_one_revision_in_order,
    a_revocation_is_answered_with_its_own_revision,
    a_key_moves_to_the_lease_of_its_last_put,
    a_deleted_key_leaves_its_lease,
    a_key_deleted_and_written_again_is_free,
    a_txn_attaches_too,
}

fn leased(key: &'static str, lease: i64) -> PutRequest {
    PutRequest {
        lease,
        ..put(key, "v")
    }
}

async fn two_leases(server: &Server) -> Api {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 7 }).await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 8 }).await;
    api
}

async fn keys_of(api: &Api, lease: i64) -> Vec<bytes::Bytes> {
    let mut keys = api.ask(time_to_live(lease)).await.keys;
    keys.sort();
    keys
}

async fn a_lease_lists_its_keys(server: Server) {
    let api = two_leases(&server).await;
    for key in ["c", "a", "b"] {
        api.ask(leased(key, 7)).await;
    }
    assert_eq!(keys_of(&api, 7).await, ["a", "b", "c"]);
    assert_eq!(keys_of(&api, 8).await, [""; 0]);
    let without_keys = LeaseTimeToLiveRequest { id: 7, keys: false };
    assert_eq!(api.ask(without_keys).await.keys.len(), 0);
}

async fn revoking_deletes_all_keys_in_one_revision_in_order(server: Server) {
    let api = two_leases(&server).await;
    for key in ["c", "a", "b"] {
        api.ask(leased(key, 7)).await;
    }
    api.put("d", "stays").await;
    let all = WatchCreateRequest {
        range_end: "\0".into(),
        ..watch("a")
    };
    let (mut watcher, _) = Watcher::open(&api, all).await;
    assert_eq!(at(&api.ask(revoke(7)).await.header), 6);
    let response = watcher.next().await;
    assert_eq!(
        event_lines(&response.events),
        ["DELETE a @6", "DELETE b @6", "DELETE c @6"]
    );
    assert_eq!(keys(&api.ask(get_range("a", "z")).await.kvs), ["d"]);
    assert_eq!(api.revision().await, 6);
}

/// The revision is not that of a write at the same time, which may be in the same batch.
async fn a_revocation_is_answered_with_its_own_revision(server: Server) {
    let api = server.api().await;
    for id in 1..=50 {
        api.ask(LeaseGrantRequest { ttl: 600, id }).await;
        api.ask(leased("leased", id)).await;
        let (revoked, ..) = tokio::join!(
            api.ask(revoke(id)),
            api.put("a", "1"),
            api.put("b", "2"),
            api.put("c", "3"),
        );
        let revision = at(&revoked.header);
        let count_at = async |revision| {
            let request = RangeRequest {
                revision,
                ..get("leased")
            };
            api.ask(request).await.count
        };
        assert_eq!(
            (count_at(revision - 1).await, count_at(revision).await),
            (1, 0)
        );
    }
}

async fn a_key_moves_to_the_lease_of_its_last_put(server: Server) {
    let api = two_leases(&server).await;
    api.ask(leased("a", 7)).await;
    api.ask(leased("a", 8)).await;
    assert_eq!(keys_of(&api, 7).await, [""; 0]);
    assert_eq!(keys_of(&api, 8).await, ["a"]);
    api.ask(revoke(7)).await;
    assert_eq!(api.ask(get("a")).await.kvs[0].lease, 8);
    api.ask(revoke(8)).await;
    assert_eq!(api.ask(get("a")).await.count, 0);
}

async fn a_deleted_key_leaves_its_lease(server: Server) {
    let api = two_leases(&server).await;
    api.ask(leased("a", 7)).await;
    let deleted = api.delete("a").await;
    assert_eq!(keys_of(&api, 7).await, [""; 0]);
    assert_eq!(
        at(&api.ask(revoke(7)).await.header),
        deleted,
        "nothing was left to delete"
    );
}

async fn a_key_deleted_and_written_again_is_free(server: Server) {
    let api = two_leases(&server).await;
    api.ask(leased("a", 7)).await;
    api.delete("a").await;
    api.put("a", "2").await;
    api.ask(revoke(7)).await;
    assert_eq!(api.ask(get("a")).await.kvs, [kv("a", "2", (4, 4, 1))]);
}

async fn a_txn_attaches_too(server: Server) {
    let api = two_leases(&server).await;
    api.ask(
        txn()
            .then(leased("a", 7))
            .then(leased("b", 8))
            .then(leased("c", 7)),
    )
    .await;
    assert_eq!(keys_of(&api, 7).await, ["a", "c"]);
    assert_eq!(keys_of(&api, 8).await, ["b"]);
    api.ask(revoke(7)).await;
    assert_eq!(keys(&api.ask(get_range("a", "z")).await.kvs), ["b"]);
}
