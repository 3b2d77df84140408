//! `k8s-dqlite migrator`: between an etcd, a k8s-dqlite, files, and a server with the limits of the Go k8s-dqlite.

mod copy;
mod files;
mod limited;

use etcd_proto::etcdserverpb::{LeaseGrantRequest, LeaseLeasesRequest};
use etcd_proto::mvccpb::KeyValue;

use super::backup::{path_text, printed, refusal};
use crate::harness::*;

/// Writes the keys and leases that a copy has to bring along, and some that are deleted again.
async fn fill(api: &Api) {
    for (id, ttl) in [(71, 1000), (i64::MAX, 2000), (74, 5000)] {
        api.ask(LeaseGrantRequest { id, ttl }).await;
    }
    for index in 0..300 {
        api.put(&format!("/registry/pods/{index}"), &format!("pod {index}"))
            .await;
    }
    for (index, lease) in [71, i64::MAX, 71].into_iter().enumerate() {
        let mut leased = put(
            format!("/registry/leased/{index}"),
            vec![0, 255, index as u8],
        );
        leased.lease = lease;
        api.ask(leased).await;
    }
    api.put("\0first", "").await;
    api.put("/large", &"v".repeat(1_400_000)).await;
    api.put("no slash", "1").await;
    api.put("\u{ff}last", "2").await;
    api.delete("/registry/pods/7").await;
    api.put("/registry/pods/8", "changed").await;
}

/// Every key with its value and lease.
async fn entries(api: &Api) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
    let kvs = api.ask(get_range("\0", "\0")).await.kvs;
    let entry = |kv: KeyValue| (kv.key.to_vec(), kv.value.to_vec(), kv.lease);
    kvs.into_iter().map(entry).collect()
}

/// Every lease with its keys, and what is left of it.
async fn leases(api: &Api) -> Vec<(i64, Vec<Vec<u8>>, i64)> {
    let mut leases = Vec::new();
    for lease in api.ask(LeaseLeasesRequest {}).await.leases {
        let about = api.ask(time_to_live(lease.id)).await;
        let mut keys: Vec<_> = about.keys.iter().map(|key| key.to_vec()).collect();
        keys.sort();
        leases.push((lease.id, keys, about.ttl));
    }
    leases.sort();
    leases
}

async fn assert_same_entries(one: &Api, other: &Api) {
    assert_eq!(entries(one).await, entries(other).await);
    let (one, other) = (leases(one).await, leases(other).await);
    assert_eq!(one.len(), other.len());
    for (one, other) in one.into_iter().zip(other) {
        assert_eq!((one.0, one.1), (other.0, other.1));
        // Both go down meanwhile.
        assert!((one.2 - other.2).abs() < 60, "{} and {}", one.2, other.2);
    }
}

/// Two servers to move between, with names for the one that failed.
async fn kinds() -> Vec<(Server, Server)> {
    let mut pairs = vec![(
        Server::start(Kind::K8sDqlite).await,
        Server::start(Kind::K8sDqlite).await,
    )];
    if let Some(etcd) = etcd_or_skip(Options::default()).await {
        pairs.push((etcd, Server::start(Kind::K8sDqlite).await));
        let etcd = etcd_or_skip(Options::default()).await.unwrap();
        pairs.push((Server::start(Kind::K8sDqlite).await, etcd));
    }
    pairs
}
