//! Locks and elections.

use etcd_client::*;

async fn lease(client: &mut Client) -> i64 {
    client.lease_grant(600, None).await.unwrap().id()
}

fn with(lease: i64) -> Option<LockOptions> {
    Some(LockOptions::new().with_lease(lease))
}

pub async fn lock(mut client: Client) {
    let leases = [lease(&mut client).await, lease(&mut client).await];
    let owned = client.lock("lock", with(leases[0])).await.unwrap();
    assert!(owned.key().starts_with(b"lock/"));
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("lock", with(leases[1])).await });
    let guarded = Txn::new()
        .when([Compare::create_revision(owned.key(), CompareOp::Greater, 0)])
        .and_then([TxnOp::put("guarded", "v", None)]);
    assert!(client.txn(guarded).await.unwrap().succeeded());
    assert!(!waiting.is_finished());
    client.unlock(owned.key()).await.unwrap();
    let owned = waiting.await.unwrap().unwrap();
    client.unlock(owned.key()).await.unwrap();
    let left = client
        .get("lock/", Some(GetOptions::new().with_prefix()))
        .await;
    assert_eq!(left.unwrap().count(), 0);
}

pub async fn orphaned_lock(mut client: Client) {
    let leases = [lease(&mut client).await, lease(&mut client).await];
    client.lock("orphaned", with(leases[0])).await.unwrap();
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.lock("orphaned", with(leases[1])).await });
    client.lease_revoke(leases[0]).await.unwrap();
    waiting.await.unwrap().unwrap();
    client.lease_revoke(leases[1]).await.unwrap();
}

async fn observed(observer: &mut ObserveStream) -> String {
    let seen = observer.message().await.unwrap().unwrap();
    seen.kv().unwrap().value_str().unwrap().to_owned()
}

fn of(leader: &LeaderKey) -> Option<ResignOptions> {
    Some(ResignOptions::new().with_leader(leader.clone()))
}

pub async fn election(mut client: Client) {
    let leases = [lease(&mut client).await, lease(&mut client).await];
    crate::expect_refusal(client.leader("election").await, "election: no leader");
    let won = client.campaign("election", "one", leases[0]).await.unwrap();
    let one = won.leader().unwrap();
    assert_eq!((one.name(), one.lease()), (&b"election"[..], leases[0]));
    let mut observer = client.observe("election").await.unwrap();
    assert_eq!(observed(&mut observer).await, "one");

    let proclaim = ProclaimOptions::new().with_leader(one.clone());
    client
        .proclaim("still one", Some(proclaim.clone()))
        .await
        .unwrap();
    assert_eq!(observed(&mut observer).await, "still one");
    let leader = client.leader("election").await.unwrap();
    assert_eq!(leader.kv().unwrap().value(), b"still one");

    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.campaign("election", "two", leases[1]).await });
    client.resign(of(one)).await.unwrap();
    let won = waiting.await.unwrap().unwrap();
    assert_eq!(observed(&mut observer).await, "two");
    let stale = client.proclaim("one again", Some(proclaim)).await;
    crate::expect_refusal(stale, "election: not leader");
    client.resign(of(won.leader().unwrap())).await.unwrap();
}
