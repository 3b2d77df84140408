//! The view `kine`, which operators of the Go k8s-dqlite know.

use dqlite::wire::Value;
use etcd_proto::etcdserverpb::DeleteRangeRequest;

use super::harness::{Engine, Running, connect, put};
use crate::store::Layout;

#[tokio::test(flavor = "multi_thread")]
async fn the_view_shows_every_change_under_the_names_of_the_go_program() {
    check(Layout::Rows).await;
    check(Layout::Batches).await;
}

async fn check(layout: Layout) {
    let engine = Engine::start();
    let running = Running::open_with(engine.endpoint(), layout).await;
    running.store.put(put("a", "1")).await.unwrap();
    running.store.put(put("a", "2")).await.unwrap();
    let delete = DeleteRangeRequest {
        key: "a".into(),
        ..Default::default()
    };
    running.store.delete_range(delete).await.unwrap();

    let mut shell = connect(&engine).await;
    let sql = "select id, name, value from kine limit 100";
    let rows = shell.query_sql(sql, &[]).await.unwrap();
    assert_eq!(rows.columns(), ["id", "name", "value"]);
    let row = |id, value| vec![Value::Integer(id), Value::Text("a".into()), value];
    let blob = |text: &'static str| Value::Blob(text.into());
    let expected = [row(2, blob("1")), row(3, blob("2")), row(4, Value::Null)];
    let rows = rows.collect(100).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>(),
        expected
    );

    let sql = "select created, deleted, create_revision, prev_revision, lease, old_value from kine";
    let rows = shell.query_sql(sql, &[]).await.unwrap();
    let rows = rows.collect(100).await.unwrap();
    let row = |numbers: [i64; 5]| {
        let numbers = numbers.into_iter().map(Value::Integer);
        numbers.chain([Value::Null]).collect::<Vec<_>>()
    };
    let expected = [
        row([1, 0, 2, 0, 0]),
        row([0, 0, 2, 2, 0]),
        row([0, 1, 0, 3, 0]),
    ];
    assert_eq!(
        rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>(),
        expected
    );
    drop(shell);
    running.stop().await;
}
