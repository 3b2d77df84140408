//! The connections that the engine applies with.

use dqlite::node::reuse;
use dqlite::wire::{Param, Value};

use crate::node::{Cluster, TestNode};

/// More than the frames of a WAL before its checkpoint, so that connections are kept across several.
const ROWS: u64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn followers_apply_with_one_connection_and_lose_nothing() {
    let mut cluster = Cluster::start(3, None).await;
    let addresses = cluster.addresses();
    let mut nodes = cluster.nodes[0].nodes();
    let mut leader = nodes.leader().await.unwrap();
    leader.open("test").await.unwrap();
    let create = "CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)";
    leader.exec_sql(create, &[]).await.unwrap();
    let before = reuse::reused();
    for n in 0..ROWS {
        let insert = "INSERT INTO t VALUES (?, randomblob(5000))";
        let n = Param::Integer(n.cast_signed());
        leader.exec_sql(insert, &[n]).await.unwrap();
    }
    let reused = reuse::reused() - before;
    // Each of two followers applies each row; one may lag, or have other connections in between.
    assert!(reused > ROWS, "{reused} of {}", 2 * ROWS);

    // Followers become leaders: their databases are whole, and their connections work.
    let mut rows = ROWS;
    for _ in 1..addresses.len() {
        let status = cluster.nodes[0]
            .until(|status| status.leader.is_some())
            .await;
        let leader = status.leader.unwrap().address;
        let leads = |node: &TestNode| node.address == leader;
        let at = cluster.nodes.iter().position(leads).unwrap();
        let (node, dir) = (cluster.nodes.remove(at), cluster.dirs.remove(at));
        let done = node.member.handover(Box::pin(async {})).await.unwrap();
        let next = done.leadership_to.unwrap().address;
        for node in &cluster.nodes {
            node.until_led_by(&next).await;
        }
        check(&cluster.nodes[0], &mut rows).await;
        node.stop().await;
        // A new engine in the same process, on the same file.
        let again = TestNode::start(dir.path(), &leader, &[], None).await;
        again.until_ready().await;
        cluster.nodes.push(again);
        cluster.dirs.push(dir);
    }
    // One that gets all at once.
    let grown = cluster.grow(None).await;
    check(grown, &mut rows).await;
}

/// The leader, found from this node, has this many rows, none of them damaged; and one more then.
async fn check(node: &TestNode, rows: &mut u64) {
    let mut leader = node.nodes().leader().await.unwrap();
    leader.open("test").await.unwrap();
    let count = "SELECT count(*), count(DISTINCT n) FROM t WHERE length(b) = 5000";
    let found = leader.query_sql(count, &[]).await.unwrap();
    let n = rows.cast_signed();
    let expected = vec![Value::Integer(n), Value::Integer(n)];
    assert_eq!(found.collect(1).await.unwrap()[0].0, expected);
    let integrity = leader.query_sql("PRAGMA integrity_check", &[]).await;
    let found = integrity.unwrap().collect(1).await.unwrap();
    assert_eq!(found[0].0, [Value::Text("ok".into())]);
    let insert = "INSERT INTO t VALUES (?, randomblob(5000))";
    let inserted = leader.exec_sql(insert, &[Param::Integer(n)]).await;
    inserted.unwrap();
    *rows += 1;
}
