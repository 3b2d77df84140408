//! Tests of a store after the engine and the writer were started again.

use dqlite::client::{ConnectOptions, Connection};
use etcd_proto::etcdserverpb::{
    AlarmRequest, AlarmType, DeleteRangeRequest, PutRequest, RangeRequest,
    alarm_request::AlarmAction,
};
use etcd_state::{
    mvcc::{LeaseId, Revision},
    requests::RequestError,
};

use super::harness::{Engine, Running, contents, put};

#[tokio::test(flavor = "multi_thread")]
async fn keys_history_and_leases_survive() {
    let mut engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    let store = &running.store;
    store.lease_grant(LeaseId::new(42), 1000).await.unwrap();
    for round in 0..3 {
        for key in ["a", "b", "c"] {
            store.put(put(key, &format!("{key}{round}"))).await.unwrap();
        }
    }
    store
        .put(PutRequest {
            lease: 42,
            ..put("leased", "x")
        })
        .await
        .unwrap();
    store
        .delete_range(DeleteRangeRequest {
            key: "b".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    store.compact(Revision::new(6), true).await.unwrap();
    let before = contents(store);
    running.stop().await;

    engine.restart();
    let running = Running::open(engine.endpoint()).await;
    let store = &running.store;
    assert_eq!(contents(store), before);
    let view = store
        .lease_time_to_live(LeaseId::new(42), true)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (view.granted_ttl_s, view.keys),
        (1000, vec!["leased".into()])
    );
    let at = |revision| {
        let request = RangeRequest {
            key: "b".into(),
            revision,
            ..Default::default()
        };
        store
            .range(&request)
            .map(|response| response.kvs[0].value.clone())
    };
    assert_eq!(at(5), Err(RequestError::Compacted));
    assert_eq!(at(6), Ok("b1".into()));
    assert_eq!(at(9), Ok("b2".into()));
    assert_eq!(at(100), Err(RequestError::FutureRevision));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_expired_lease_go_in_one_revision_and_stay_away() {
    let mut engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    running.store.lease_grant(LeaseId::new(1), 2).await.unwrap();
    for key in ["x", "y", "z"] {
        running
            .store
            .put(PutRequest {
                lease: 1,
                ..put(key, "v")
            })
            .await
            .unwrap();
    }
    let revision = running.store.revision();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while running.store.revision() == revision {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the lease did not expire"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(contents(&running.store), (vec![], revision.next().number()));
    running.stop().await;
    engine.restart();
    let running = Running::open(engine.endpoint()).await;
    assert_eq!(contents(&running.store), (vec![], revision.next().number()));
    assert_eq!(running.store.lease_list().await, Ok(vec![]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_over_is_not_renewed() {
    let engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    let store = &running.store;
    store.lease_grant(LeaseId::new(42), 1000).await.unwrap();
    let leased = PutRequest {
        lease: 42,
        ..put("leased", "x")
    };
    store.put(leased).await.unwrap();
    assert_eq!(
        store.lease_keep_alive(LeaseId::new(42)).await,
        Ok(Some(1000))
    );
    let over = |id| store.shared.leases.lock().unwrap().set_expires_ms(id, 0);
    over(LeaseId::new(42));
    assert_eq!(store.lease_keep_alive(LeaseId::new(42)).await, Ok(None));
    assert_eq!(contents(store), (vec![], 3), "its keys are gone by then");
    assert_eq!(store.lease_list().await, Ok(vec![]));
    running.stop().await;
}

fn alarm(action: AlarmAction) -> AlarmRequest {
    AlarmRequest {
        action: action.into(),
        member_id: 7,
        alarm: AlarmType::Nospace.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_survive() {
    let mut engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    let raised = running.store.alarm(alarm(AlarmAction::Activate)).await;
    assert_eq!(raised.unwrap().reply[0].member_id, 7);
    running.stop().await;

    engine.restart();
    let running = Running::open(engine.endpoint()).await;
    let store = &running.store;
    assert_eq!(store.settings().alarms(AlarmType::None).len(), 1);
    let lowered = store.alarm(alarm(AlarmAction::Deactivate)).await;
    assert_eq!(lowered.unwrap().reply[0].member_id, 7);
    assert_eq!(store.settings().alarms(AlarmType::None), []);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_version_of_the_tables_is_completed() {
    let engine = Engine::start();
    let running = Running::open(engine.endpoint()).await;
    running.store.put(put("a", "1")).await.unwrap();
    running.stop().await;
    let mut connection = Connection::connect(&engine.endpoint(), ConnectOptions::default())
        .await
        .unwrap();
    connection.open("k8s").await.unwrap();
    let old = "BEGIN IMMEDIATE; DROP TABLE setting; PRAGMA user_version = 131072; COMMIT";
    connection.exec_sql(old, &[]).await.unwrap();
    drop(connection);

    let running = Running::open(engine.endpoint()).await;
    let store = &running.store;
    assert_eq!(contents(store).0, [("a".to_owned(), "1".to_owned())]);
    let raised = store.alarm(alarm(AlarmAction::Activate)).await;
    assert_eq!(raised.unwrap().reply.len(), 1);
    running.stop().await;
}
