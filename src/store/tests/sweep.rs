//! Rows that an earlier leader should have deleted.

use std::{ops::RangeInclusive, sync::Arc};

use dqlite::{
    client::{Connection, Endpoint},
    cluster_id::ClusterId,
    node::BOOTSTRAP_ID,
    wire::Value,
};
use etcd_proto::etcdserverpb::DeleteRangeRequest;
use etcd_state::mvcc::{ChangeKind, KeyValue, LeaseId, Revision, RowId};
use tokio::sync::oneshot;

use super::harness::{Engine, Running, connect, contents, put};
use crate::store::{Alone, Layout, QuotaBytes, Replica, Stop, Store, StoreOptions, empty};

/// Leads for as long as `work` takes.
async fn lead(replica: &mut Replica, work: impl Future<Output = ()>) {
    let leading = replica.become_leader().await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let writing = replica.write(leading, async {
        let _ = stopped.await;
        Stop::HandOver
    });
    let working = async {
        work.await;
        drop(stop);
    };
    let (ended, ()) = tokio::join!(writing, working);
    ended.unwrap();
}

fn start(endpoint: Endpoint, layout: Layout) -> (Store, Replica) {
    empty(StoreOptions {
        endpoint,
        is_disk_full: Box::new(|| false),
        cluster: Arc::new(Alone),
        member_id: BOOTSTRAP_ID.number(),
        quota: QuotaBytes(-1),
        limits: Default::default(),
        layout,
        cluster_id: ClusterId::fixed(0xc1),
    })
}

async fn delete(store: &Store, key: &'static str) {
    let request = DeleteRangeRequest {
        key: key.into(),
        ..Default::default()
    };
    store.delete_range(request).await.unwrap();
}

/// Puts rows back, as if an earlier leader had lost its place before it could delete them.
async fn leave_behind(
    connection: &mut Connection,
    layout: Layout,
    key: &'static str,
    rows: RangeInclusive<u32>,
) {
    let (first, last) = (
        RowId::new(Revision::new(2), *rows.start()),
        RowId::new(Revision::new(2), *rows.end()),
    );
    let mut writer = change_batch::Writer::default();
    let mut values = Vec::new();
    for position in rows {
        let kv = KeyValue {
            key: key.into(),
            value: "x".into(),
            create_revision: Revision::new(2),
            mod_revision: Revision::new(2),
            version: 1,
            lease: LeaseId::NONE,
            position,
        };
        writer.push(ChangeKind::Put, &kv, Revision::NONE);
        let id = kv.row_id();
        values.push(format!(
            "({id}, CAST('{key}' AS BLOB), 0, 2, 0, 1, 0, x'78')"
        ));
    }
    let sql = match layout {
        Layout::Rows => format!("INSERT INTO change VALUES {}", values.join(",")),
        Layout::Batches => {
            let packed = writer.finish().unwrap();
            let (changes, content) = (packed.changes, hex::encode(packed.blob));
            format!("INSERT INTO batch VALUES ({last}, {first}, {changes}, x'{content}')")
        }
    };
    connection.exec_sql(&sql, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_left_behind_goes_before_the_tombstone_above_it() {
    check_one(Layout::Rows).await;
    check_one(Layout::Batches).await;
}

async fn check_one(layout: Layout) {
    let mut engine = Engine::start();
    let (store, mut replica) = start(engine.endpoint(), layout);
    lead(&mut replica, async {
        store.put(put("key", "old")).await.unwrap();
        delete(&store, "key").await;
        store.put(put("other", "kept")).await.unwrap();
        // At the tombstone, which then has to stay for those who watch from there.
        store.compact(Revision::new(3), true).await.unwrap();
    })
    .await;
    let mut connection = connect(&engine).await;
    leave_behind(&mut connection, layout, "key", 0..=0).await;

    lead(&mut replica, async {
        store.put(put("key", "new")).await.unwrap();
        // Deletes the tombstone: the row below it must not come back to life.
        store.compact(Revision::new(5), true).await.unwrap();
    })
    .await;
    let rows = connection.query_sql("SELECT id >> 20 FROM change ORDER BY id", &[]);
    let rows = rows.await.unwrap().collect(10).await.unwrap();
    let revisions: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(revisions, [Value::Integer(4), Value::Integer(5)]);
    drop(connection);

    let before = contents(&store);
    engine.restart();
    let running = Running::open(engine.endpoint()).await;
    assert_eq!(contents(&running.store), before);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_rows_than_one_step_takes_are_all_deleted_and_writes_go_on() {
    check_many(Layout::Rows).await;
    check_many(Layout::Batches).await;
}

async fn check_many(layout: Layout) {
    let engine = Engine::start();
    let (store, mut replica) = start(engine.endpoint(), layout);
    lead(&mut replica, async {
        for n in 0..50 {
            store.put(put(&format!("key{n}"), "kept")).await.unwrap();
        }
        store.compact(Revision::new(51), true).await.unwrap();
    })
    .await;
    let mut connection = connect(&engine).await;
    leave_behind(&mut connection, layout, "a", 1..=5000).await;
    lead(&mut replica, async {
        for n in 0..50 {
            store.put(put(&format!("key{n}"), "new")).await.unwrap();
        }
        store.compact(Revision::new(52), true).await.unwrap();
    })
    .await;
    let rows = connection.query_sql("SELECT count(*) FROM change", &[]);
    let rows = rows.await.unwrap().collect(1).await.unwrap();
    // Of one key the version that revision 52 replaced is gone as well.
    assert_eq!(rows[0][0], Value::Integer(99));
}
