//! Commits whose outcome is unknown.

use etcd_state::{mvcc::LeaseId, requests::RequestError};

use super::harness::{Engine, Fault, Running, contents, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_reply_was_lost_is_found_and_acknowledged() {
    let engine = Engine::start();
    let running = Running::open(engine.faulty_endpoint()).await;
    running.store.put(put("a", "1")).await.unwrap();
    engine.inject(Fault::LoseReply);
    let response = running.store.put(put("a", "2")).await.unwrap();
    assert_eq!(response.header.unwrap().revision, 3);
    running.store.put(put("b", "3")).await.unwrap();
    let expected = (vec![("a".into(), "2".into()), ("b".into(), "3".into())], 4);
    assert_eq!(contents(&running.store), expected);
    running.stop().await;
    let reopened = Running::open(engine.endpoint()).await;
    assert_eq!(contents(&reopened.store), expected);
    reopened.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_never_arrived_is_refused_and_leaves_nothing() {
    let engine = Engine::start();
    let running = Running::open(engine.faulty_endpoint()).await;
    running.store.put(put("a", "1")).await.unwrap();
    engine.inject(Fault::LoseRequest);
    assert_eq!(
        running.store.put(put("a", "2")).await,
        Err(RequestError::TimedOut)
    );
    assert_eq!(
        contents(&running.store),
        (vec![("a".into(), "1".into())], 2)
    );
    let response = running.store.put(put("a", "3")).await.unwrap();
    assert_eq!(response.header.unwrap().revision, 3);
    running.stop().await;
}

async fn granted_ttl(running: &Running, id: i64) -> Result<i64, RequestError> {
    let granted = running.store.lease_grant(LeaseId::new(id), 100).await;
    granted.map(|granted| granted.reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_grant_was_lost_does_not_exist() {
    let engine = Engine::start();
    let running = Running::open(engine.faulty_endpoint()).await;
    assert_eq!(granted_ttl(&running, 7).await, Ok(100));
    engine.inject(Fault::LoseRequest);
    assert_eq!(granted_ttl(&running, 8).await, Err(RequestError::TimedOut));
    assert_eq!(running.store.lease_list().await, Ok(vec![LeaseId::new(7)]));
    engine.inject(Fault::LoseReply);
    assert_eq!(granted_ttl(&running, 8).await, Ok(100));
    assert_eq!(
        running.store.lease_list().await,
        Ok([7, 8].map(LeaseId::new).to_vec())
    );
    running.stop().await;
}
