//! The Lock service.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use etcd_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::harness::*;

parity! {
    a_lock_is_a_key_with_the_lease,
    the_owner_locks_again_at_once,
    a_lock_without_a_lease_gets_one_of_a_minute,
    a_waiter_gets_the_lock_when_it_is_unlocked,
    fifty_waiters_get_the_lock_in_order_and_one_at_a_time,
    the_end_of_the_owners_lease_hands_over,
    a_lease_that_runs_out_hands_over,
    a_waiter_whose_lease_ended_does_not_get_the_lock,
    a_client_that_leaves_makes_room_for_those_behind,
    what_cannot_be_locked_or_unlocked,
}

const WAITERS: usize = 50;

fn lock(name: &'static str, lease: i64) -> LockRequest {
    LockRequest {
        name: name.into(),
        lease,
    }
}

fn unlock(taken: &LockResponse) -> UnlockRequest {
    UnlockRequest {
        key: taken.key.clone(),
    }
}

async fn waiters(api: &Api) -> i64 {
    api.ask(get_prefix("name/")).await.count
}

/// Asks for the lock, and waits until its key is the `place`th.
async fn wait_in_place(api: &Api, lease: i64, place: i64) -> JoinHandle<LockResponse> {
    let asking = tokio::spawn({
        let api = api.clone();
        async move { api.ask(lock("name", lease)).await }
    });
    until("the waiter's key is there", async || {
        waiters(api).await == place
    })
    .await;
    asking
}

async fn granted(api: &Api, ttl_s: i64) -> i64 {
    api.ask(grant(ttl_s)).await.id
}

async fn a_lock_is_a_key_with_the_lease(server: Server) {
    let api = server.api().await;
    let lease = granted(&api, 600).await;
    let taken = api.ask(lock("name", lease)).await;
    assert_eq!(taken.key, format!("name/{lease:x}"));
    assert_eq!(taken.header.unwrap().revision, 2);
    assert_ne!(taken.header.unwrap().member_id, 0);
    let stored = api.ask(get(taken.key.clone())).await.kvs.remove(0);
    assert_eq!((stored.lease, stored.value.len()), (lease, 0));
    let released = api.ask(unlock(&taken)).await;
    assert_eq!(released.header.unwrap().revision, 3);
    assert_eq!(waiters(&api).await, 0);
}

async fn the_owner_locks_again_at_once(server: Server) {
    let api = server.api().await;
    let lease = granted(&api, 600).await;
    let taken = api.ask(lock("name", lease)).await;
    api.put("other", "").await;
    let again = api.ask(lock("name", lease)).await;
    assert_eq!(again.key, taken.key);
    assert_eq!(again.header.unwrap().revision, 3);
}

async fn a_lock_without_a_lease_gets_one_of_a_minute(server: Server) {
    let api = server.api().await;
    let taken = api.ask(lock("name", 0)).await;
    let stored = api.ask(get(taken.key.clone())).await.kvs.remove(0);
    assert_eq!(taken.key, format!("name/{:x}", stored.lease));
    let lease = api.ask(time_to_live(stored.lease)).await;
    assert_eq!(lease.granted_ttl, 60);
    let other = api.ask(lock("", 0)).await;
    assert!(other.key.starts_with(b"/"));
}

async fn a_waiter_gets_the_lock_when_it_is_unlocked(server: Server) {
    let api = server.api().await;
    let first = api.ask(lock("name", 0)).await;
    let waiting = wait_in_place(&api, 0, 2).await;
    assert!(!waiting.is_finished());
    let revision = api.ask(unlock(&first)).await.header.unwrap().revision;
    let second = waiting.await.unwrap();
    assert_ne!(second.key, first.key);
    assert_eq!(second.header.unwrap().revision, revision);
    assert_eq!(waiters(&api).await, 1);
}

async fn fifty_waiters_get_the_lock_in_order_and_one_at_a_time(server: Server) {
    let api = server.api().await;
    let first = api.ask(lock("name", 0)).await;
    let owners = Arc::new(AtomicUsize::new(0));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut asking = Vec::new();
    for number in 0..WAITERS {
        let (api_of_waiter, owners, order) = (api.clone(), owners.clone(), order.clone());
        asking.push(tokio::spawn(async move {
            let taken = api_of_waiter.ask(lock("name", 0)).await;
            assert_eq!(owners.fetch_add(1, Ordering::SeqCst), 0);
            order.lock().unwrap().push(number);
            owners.fetch_sub(1, Ordering::SeqCst);
            api_of_waiter.ask(unlock(&taken)).await;
        }));
        until("the waiter's key is there", async || {
            waiters(&api).await == number as i64 + 2
        })
        .await;
    }
    assert_eq!(order.lock().unwrap().len(), 0);
    api.ask(unlock(&first)).await;
    for asked in asking {
        asked.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..WAITERS).collect::<Vec<_>>());
    assert_eq!(waiters(&api).await, 0);
}

async fn the_end_of_the_owners_lease_hands_over(server: Server) {
    let api = server.api().await;
    let lease = granted(&api, 600).await;
    api.ask(lock("name", lease)).await;
    let waiting = wait_in_place(&api, 0, 2).await;
    api.ask(revoke(lease)).await;
    let taken = waiting.await.unwrap();
    assert_eq!(api.ask(get(taken.key)).await.count, 1);
}

async fn a_lease_that_runs_out_hands_over(server: Server) {
    let api = server.api().await;
    let lease = granted(&api, 1).await;
    let first = api.ask(lock("name", lease)).await;
    let second = api.ask(lock("name", 0)).await;
    assert_eq!(api.ask(get(first.key)).await.count, 0);
    assert_eq!(api.ask(get(second.key)).await.count, 1);
}

async fn a_waiter_whose_lease_ended_does_not_get_the_lock(server: Server) {
    let api = server.api().await;
    let first = api.ask(lock("name", 0)).await;
    let lease = granted(&api, 600).await;
    let waiting = tokio::spawn({
        let api = api.clone();
        async move { api.refused(lock("name", lease)).await }
    });
    until("the waiter's key is there", async || {
        waiters(&api).await == 2
    })
    .await;
    api.ask(revoke(lease)).await;
    assert!(!waiting.is_finished());
    api.ask(unlock(&first)).await;
    let refused = (Code::Unknown, "mutex: session is expired".to_owned());
    assert_eq!(waiting.await.unwrap(), refused);
    assert_eq!(waiters(&api).await, 0);
}

async fn a_client_that_leaves_makes_room_for_those_behind(server: Server) {
    let api = server.api().await;
    let first = api.ask(lock("name", 0)).await;
    let second = wait_in_place(&api, 0, 2).await;
    let third = wait_in_place(&api, 0, 3).await;
    second.abort();
    until("the key of the second is gone", async || {
        waiters(&api).await == 2
    })
    .await;
    assert!(!third.is_finished());
    api.ask(unlock(&first)).await;
    third.await.unwrap();
    assert_eq!(waiters(&api).await, 1);
}

/// On etcd, a compaction within its first 100 ms ends the waiting.
#[tokio::test]
async fn a_compaction_does_not_disturb_waiters() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let first = api.ask(lock("name", 0)).await;
    let waiting = wait_in_place(&api, 0, 2).await;
    let revision = api.put("other", "").await;
    api.ask(compact(revision)).await;
    assert!(!waiting.is_finished());
    api.ask(unlock(&first)).await;
    waiting.await.unwrap();
}

async fn what_cannot_be_locked_or_unlocked(server: Server) {
    let api = server.api().await;
    let unknown = |text: &str| (Code::Unknown, text.to_owned());
    for lease in [999, -1] {
        assert_eq!(
            api.refused(lock("name", lease)).await,
            unknown("etcdserver: requested lease not found")
        );
    }
    assert_eq!(
        api.refused(UnlockRequest { key: "".into() }).await,
        unknown("etcdserver: key is not provided")
    );
    let nothing = api.ask(UnlockRequest { key: "no".into() }).await;
    assert_eq!(nothing.header.unwrap().revision, 1);
}

#[tokio::test]
async fn waiters_are_sent_elsewhere_when_the_server_stops() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let first = api.ask(lock("name", 0)).await;
    let waiting = tokio::spawn({
        let api = api.clone();
        async move { api.refused(lock("name", 0)).await }
    });
    until("the waiter's key is there", async || {
        waiters(&api).await == 2
    })
    .await;
    assert!(server.terminate().await.success());
    assert_eq!(waiting.await.unwrap().0, Code::Unavailable);
    server.restart().await;
    let left = server.api().await.ask(get_prefix("name/")).await.kvs;
    assert_eq!(left.len(), 1, "who was sent away does not block others");
    assert_eq!(left[0].key, first.key);
}
