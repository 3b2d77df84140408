//! The election of the kube-apiserver that compacts, through an ordinary key.

use etcd_proto::etcdserverpb::TxnRequest;

use crate::harness::*;

parity! {
    one_of_many_wins_and_compacts,
    the_loser_learns_version_and_revision,
    the_key_can_be_watched_from_the_revision_of_its_read,
}

const KEY: &str = "compact_rev_key";

fn elect(expected_version: i64, revision: i64) -> TxnRequest {
    txn()
        .when(version(KEY, expected_version))
        .then(put(KEY, revision.to_string()))
        .or_else(get(KEY))
}

async fn one_of_many_wins_and_compacts(server: Server) {
    let api = server.api().await;
    for _ in 0..10 {
        api.put("/registry/a", "v").await;
    }
    let candidates: Vec<_> = (0..5)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.ask(elect(0, 5)).await.succeeded })
        })
        .collect();
    let mut winners = 0;
    for candidate in candidates {
        winners += u32::from(candidate.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_eq!(at(&api.ask(compact(5)).await.header), 12);
}

async fn the_loser_learns_version_and_revision(server: Server) {
    let api = server.api().await;
    let won = api.ask(elect(0, 0)).await;
    assert!(won.succeeded);
    assert_eq!(at(&won.header), 2);
    assert!(api.ask(elect(1, 2)).await.succeeded);
    let lost = api.ask(elect(1, 2)).await;
    assert!(!lost.succeeded);
    let range = range_answer(&lost, 0);
    assert_eq!(range.kvs, [kv(KEY, "2", (2, 3, 2))]);
    assert_eq!((range.count, at(&lost.header)), (1, 3));
}

async fn the_key_can_be_watched_from_the_revision_of_its_read(server: Server) {
    let api = server.api().await;
    api.ask(elect(0, 0)).await;
    let read = api.ask(get(KEY)).await;
    let mut create = watch(KEY);
    create.start_revision = at(&read.header);
    let (mut watcher, _) = Watcher::open(&api, create).await;
    api.ask(elect(1, 2)).await;
    let expected = ["PUT compact_rev_key=0 @2", "PUT compact_rev_key=2 @3"];
    assert_eq!(event_lines(&watcher.events(2).await), expected);
}
