//! Tests of the limits of a batch, and of the commands that may not wait for a batch.

use std::{sync::Arc, time::Duration};

use dqlite::{client::Endpoint, cluster_id::ClusterId};
use etcd_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request};
use etcd_state::{
    mvcc::{LeaseId, Revision},
    requests::RequestError,
};
use tokio::{task::JoinSet, time::Instant};

use super::harness::{Engine, Running, layout, put};
use crate::store::{
    Alone, LeaseList, MAX_QUEUED, MAX_QUEUED_BYTES, QuotaBytes, StoreOptions, batch::MAX_BYTES,
    empty,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_large_values_is_bounded() {
    const VALUE_BYTES: usize = 1024 * 1024;
    let engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    let mut clients = JoinSet::new();
    for client in 0..24 {
        let store = running.store.clone();
        let value = "x".repeat(VALUE_BYTES);
        clients.spawn(async move { store.put(put(&format!("k{client:02}"), &value)).await });
    }
    assert!(clients.join_all().await.iter().all(Result::is_ok));
    assert_eq!(running.store.revision(), Revision::new(25));
    let batches = running.batch_bytes.clone();
    running.stop().await;
    let largest = batches.lock().unwrap().iter().copied().max().unwrap();
    assert!(
        largest < MAX_BYTES + VALUE_BYTES + 100,
        "{largest} bytes in one batch"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_with_many_keys_expire_without_waiting_for_a_tick_each() {
    const LEASES: i64 = 24;
    let engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    let store = &running.store;
    for lease in 1..=LEASES {
        store.lease_grant(LeaseId::new(lease), 3).await.unwrap();
        for part in 0..3 {
            let puts = (0..100).map(|at| RequestOp {
                request: Some(Request::RequestPut(PutRequest {
                    lease,
                    ..put(&format!("{lease}.{part}.{at}"), "")
                })),
            });
            let txn = TxnRequest {
                success: puts.collect(),
                ..Default::default()
            };
            store.txn(txn).await.unwrap();
        }
    }
    let revision = store.revision();
    let deadline = Instant::now() + Duration::from_secs(20);
    let wait_for = async |revision| {
        while store.revision() < revision {
            assert!(Instant::now() < deadline, "leases do not expire");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Instant::now()
    };
    let first = wait_for(revision.next()).await;
    let last = wait_for(Revision::new(revision.number() + LEASES)).await;
    // A tick for each would take twelve seconds.
    assert!(last - first < Duration::from_secs(6), "{:?}", last - first);
    assert!(store.history().head().tree.is_empty());
    running.stop().await;
}

/// Those of a store that nobody opens.
fn options() -> StoreOptions {
    StoreOptions {
        endpoint: Endpoint::from_address("@nobody"),
        is_disk_full: Box::new(|| false),
        cluster: Arc::new(Alone),
        member_id: 1,
        quota: QuotaBytes(-1),
        limits: Default::default(),
        layout: layout(),
        cluster_id: ClusterId::fixed(1),
    }
}

#[test]
fn what_is_kept_in_memory_outlives_every_handle() {
    let (store, replica) = empty(options());
    let shared = Arc::downgrade(&store.shared);
    store.keep_in_memory();
    drop((store, replica));
    assert!(shared.upgrade().is_some());
}

#[test]
fn a_full_queue_refuses_at_once() {
    let too_many = |answer: Result<_, RequestError>| {
        matches!(answer.map(drop), Err(RequestError::TooManyRequests))
    };
    // Nobody takes anything out of the queue.
    let (store, _replica) = empty(options());
    let waiting: Vec<_> = (0..MAX_QUEUED)
        .map(|_| store.enqueue(LeaseList, 0, None).unwrap())
        .collect();
    assert!(too_many(store.enqueue(LeaseList, 0, None)));
    assert_eq!(store.queued(), (waiting.len(), 0));

    let (store, _replica) = empty(options());
    let large = store.enqueue(LeaseList, MAX_QUEUED_BYTES - 1, None);
    assert!(large.is_ok());
    assert!(too_many(store.enqueue(LeaseList, 2, None)));
    assert!(store.enqueue(LeaseList, 1, None).is_ok());
}
