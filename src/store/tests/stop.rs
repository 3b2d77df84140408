//! Stopping while there is work.

use etcd_state::{mvcc::Revision, requests::RequestError};
use tokio::task::JoinSet;

use super::harness::{Engine, Running, contents, put};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_before_the_stop_is_written_and_the_rest_is_refused() {
    let engine = Engine::start();
    let mut running = Running::open(engine.endpoint()).await;
    let mut clients = JoinSet::new();
    for client in 0..20 {
        let store = running.store.clone();
        clients.spawn(async move {
            let mut acknowledged = Vec::new();
            for request in 0.. {
                let (key, value) = (format!("{client}.{request:03}"), "x".repeat(request));
                match store.put(put(&key, &value)).await {
                    Ok(response) => acknowledged.push((response.header.unwrap().revision, key)),
                    Err(RequestError::Stopped) => break,
                    Err(error) => panic!("neither written nor refused: {error}"),
                }
            }
            acknowledged
        });
    }
    while running.store.revision() < Revision::new(200) {
        tokio::task::yield_now().await;
    }
    running.ask_to_stop();
    let mut acknowledged: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    running.stop().await;
    acknowledged.sort_unstable();
    let reopened = Running::open(engine.endpoint()).await;
    let (kvs, revision) = contents(&reopened.store);
    assert_eq!(revision, acknowledged.last().unwrap().0);
    let mut keys: Vec<_> = acknowledged.into_iter().map(|(_, key)| key).collect();
    keys.sort_unstable();
    assert_eq!(
        kvs.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
        keys
    );
    reopened.stop().await;
}
