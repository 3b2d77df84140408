//! Merging batches that single requests wrote.

use std::sync::Arc;

use etcd_proto::etcdserverpb::PutRequest;
use etcd_state::mvcc::{Change, ChangeKind, Commit, KeyValue, LeaseId, Revision, RowId};

use super::{
    batches::{batch, creations, database, number, rows},
    harness::{Engine, Running, connect, contents, put},
};
use crate::store::{
    Layout,
    batch::Write,
    database::Database,
    purge::{MergeStep, Rest, Step},
};

/// Merges up to a revision, and returns the number of steps. Each is done twice, as after a lost reply.
async fn merge(database: &mut Database, revision: i64) -> usize {
    let (mut after, upto) = (RowId::MIN, RowId::last_of(Revision::new(revision)));
    for steps in 1.. {
        let write = Write::Purge(Step::Merge(MergeStep { after, upto }));
        let done = database.write(&write).await.unwrap();
        match done.rest {
            Rest::Nothing => return steps,
            Rest::Behind(row) if row > after => after = row,
            other => panic!("{other:?}"),
        }
        database.write(&write).await.unwrap();
    }
    unreachable!("the loop ends by a return")
}

#[tokio::test(flavor = "multi_thread")]
async fn small_neighbours_become_one_and_nothing_else_changes() {
    let engine = Engine::start();
    let mut database = database(&engine).await;
    for revision in 2..1_302 {
        let write = batch([creations(revision, 1)]);
        database.write_batch(&write).await.unwrap();
    }
    let all = rows(&mut database, RowId::MIN).await;
    let purged: Vec<_> = all[100..400].iter().copied().step_by(3).collect();
    let mut expected = all.clone();
    expected.retain(|row| !purged.contains(row));
    for some in purged.chunks(64) {
        let write = Write::Purge(Step::Delete(some.to_vec()));
        database.write(&write).await.unwrap();
    }
    merge(&mut database, 1_001).await;
    assert_eq!(rows(&mut database, RowId::MIN).await, expected);
    // What was merged has dead rows in the next round.
    let dead: Vec<_> = expected[..60].iter().copied().step_by(2).collect();
    expected.retain(|row| !dead.contains(row));
    let write = Write::Purge(Step::Delete(dead));
    database.write(&write).await.unwrap();
    let mut connection = connect(&engine).await;
    assert_eq!(
        number(&mut connection, "SELECT count(*) FROM dead").await,
        1
    );
    let newer = "SELECT count(*) FROM batch WHERE id >> 20 > 1001";
    assert_eq!(number(&mut connection, newer).await, 300);

    merge(&mut database, 2_000).await;
    assert_eq!(rows(&mut database, RowId::MIN).await, expected);
    let count = number(&mut connection, "SELECT count(*) FROM batch").await;
    assert!(count <= 8, "{count} batches");
    let last = "SELECT changes FROM batch ORDER BY id DESC LIMIT 1";
    assert_eq!(number(&mut connection, last).await, 1, "the last one stays");
    let changes = "SELECT count(*) FROM change";
    assert_eq!(
        number(&mut connection, changes).await,
        expected.len() as i64
    );
    database
        .write_batch(&batch([creations(1_302, 1)]))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compresses_well_makes_no_batch_that_is_large_in_memory() {
    let engine = Engine::start();
    let mut database = database(&engine).await;
    for revision in 2..12 {
        let kv = KeyValue {
            key: "key".into(),
            value: vec![b'v'; 300_000].into(),
            create_revision: Revision::new(2),
            mod_revision: Revision::new(revision),
            version: revision - 1,
            lease: LeaseId::NONE,
            position: 0,
        };
        let change = Change {
            kind: ChangeKind::Put,
            kv: Arc::new(kv),
            prev: None,
        };
        let write = batch([Commit {
            revision: Revision::new(revision),
            changes: vec![change],
        }]);
        database.write_batch(&write).await.unwrap();
    }
    let expected = rows(&mut database, RowId::MIN).await;
    merge(&mut database, 12).await;
    assert_eq!(rows(&mut database, RowId::MIN).await, expected);
    let mut connection = connect(&engine).await;
    assert_eq!(
        number(&mut connection, "SELECT max(changes) FROM batch").await,
        1
    );
}

/// A server does it by itself after a compaction, and reads it back.
#[tokio::test]
async fn what_single_puts_wrote_is_merged_after_a_compaction() {
    let mut engine = Engine::start();
    let running = Running::open_with(engine.endpoint(), Layout::Batches).await;
    let mut revision = 0;
    for n in 0..300 {
        let request: PutRequest = put(&format!("key-{:03}", n % 200), &"v".repeat(n));
        let response = running.store.put(request).await.unwrap();
        revision = response.header.unwrap().revision;
    }
    let mut connection = connect(&engine).await;
    let count = "SELECT count(*) FROM batch";
    assert_eq!(number(&mut connection, count).await, 300);
    running
        .store
        .compact(Revision::new(revision), true)
        .await
        .unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while number(&mut connection, count).await > 3 {
        assert!(tokio::time::Instant::now() < deadline, "nothing is merged");
        tokio::task::yield_now().await;
    }
    let before = contents(&running.store);
    drop(connection);
    running.stop().await;
    engine.restart();
    let running = Running::open_with(engine.endpoint(), Layout::Batches).await;
    assert!(contents(&running.store) == before);
    running.stop().await;
}
