//! Lease: expiry.

use std::time::{Duration, Instant};

use etcd_proto::etcdserverpb::{LeaseGrantRequest, PutRequest, WatchCreateRequest};

use crate::harness::*;

parity! {
    an_expired_lease_takes_its_keys_in_one_revision,
    a_lease_does_not_expire_early,
    an_expired_lease_is_unknown,
    many_leases_expire,
    ten_thousand_keys_go_at_once_and_writes_go_on,
    a_lease_expires_after_a_restart,
}

async fn grant_with_keys(api: &Api, id: i64, ttl: i64, keys: &[&'static str]) {
    api.ask(LeaseGrantRequest { ttl, id }).await;
    for key in keys {
        api.ask(PutRequest {
            lease: id,
            ..put(*key, "v")
        })
        .await;
    }
}

async fn an_expired_lease_takes_its_keys_in_one_revision(server: Server) {
    let api = server.api().await;
    grant_with_keys(&api, 7, 2, &["k2", "k1", "k3"]).await;
    let create = WatchCreateRequest {
        prev_kv: true,
        ..watch_prefix("k")
    };
    let (mut watcher, _) = Watcher::open(&api, create).await;
    let response = watcher.next().await;
    assert_eq!(
        event_lines(&response.events),
        ["DELETE k1 @5", "DELETE k2 @5", "DELETE k3 @5"]
    );
    assert!(
        response
            .events
            .iter()
            .all(|event| event.prev_kv.as_ref().unwrap().lease == 7)
    );
    assert_eq!(api.revision().await, 5);
}

async fn ten_thousand_keys_go_at_once_and_writes_go_on(server: Server) {
    const KEYS: usize = 10_000;
    const OPERATIONS: usize = 125;
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 5, id: 7 }).await;
    for first in (0..KEYS).step_by(OPERATIONS) {
        let leased = |number| PutRequest {
            lease: 7,
            ..put(format!("k{number:05}"), "v")
        };
        let numbers = first..first + OPERATIONS;
        let attach = numbers.fold(txn(), |txn, number| txn.then(leased(number)));
        api.ask(attach).await;
    }
    let created = WatchCreateRequest {
        // Deletions only.
        filters: vec![0],
        ..watch_prefix("k")
    };
    let (mut watcher, _) = Watcher::open(&api, created).await;
    let writer = api.clone();
    let (gone, mut is_gone) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut last = 0;
        while is_gone.try_recv().is_err() {
            let revision = writer.put("other", "v").await;
            assert!(revision > last);
            last = revision;
        }
        last
    });
    let events = watcher.events(KEYS).await;
    gone.send(()).unwrap();
    let last = writing.await.unwrap();
    let revision = events[0].kv.as_ref().unwrap().mod_revision;
    let keys = events.iter().map(|event| event.kv.as_ref().unwrap());
    assert!(keys.clone().all(|kv| kv.mod_revision == revision));
    assert!(keys.clone().is_sorted_by_key(|kv| &kv.key), "in key order");
    assert_eq!(events.len(), KEYS);
    assert!(last > 0, "writes went on");
    assert_eq!(api.ask(get_prefix("k")).await.count, 0);
    let unknown = api.ask(LeaseGrantRequest { ttl: 5, id: 7 }).await;
    assert_eq!(unknown.id, 7, "the id is free again");
}

async fn a_lease_does_not_expire_early(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    let granted_at = Instant::now();
    grant_with_keys(&api, 7, 3, &["a"]).await;
    assert_eq!(event_lines(&watcher.events(1).await), ["PUT a=v @2"]);
    assert_eq!(event_lines(&watcher.events(1).await), ["DELETE a @3"]);
    assert!(
        granted_at.elapsed() >= Duration::from_secs(3),
        "{:?}",
        granted_at.elapsed()
    );
}

async fn an_expired_lease_is_unknown(server: Server) {
    let api = server.api().await;
    grant_with_keys(&api, 7, 2, &[]).await;
    until("the lease expires", async || {
        api.ask(time_to_live(7)).await.ttl == -1
    })
    .await;
    let mut request = put("a", "1");
    request.lease = 7;
    let text = "etcdserver: requested lease not found".to_owned();
    assert_eq!(api.refused(request).await, (tonic::Code::NotFound, text));
    assert_eq!(api.revision().await, 1, "no key, no revision");
}

async fn many_leases_expire(server: Server) {
    let api = server.api().await;
    for id in 1..=200 {
        api.ask(LeaseGrantRequest { ttl: 2, id }).await;
        api.ask(PutRequest {
            lease: id,
            ..put(format!("k{id}"), "v")
        })
        .await;
    }
    until("all keys are gone", async || {
        api.ask(get_prefix("k")).await.count == 0
    })
    .await;
    assert_eq!(
        api.revision().await,
        1 + 200 + 200,
        "each lease takes one revision"
    );
}

async fn a_lease_expires_after_a_restart(mut server: Server) {
    let api = server.api().await;
    grant_with_keys(&api, 7, 3, &["a"]).await;
    api.put("b", "stays").await;
    server.kill9();
    server.restart().await;
    let api = server.api().await;
    until("the lease expires", async || {
        api.ask(get("a")).await.count == 0
    })
    .await;
    assert_eq!(api.ask(get("b")).await.count, 1);
    assert_eq!(api.revision().await, 4);
}
