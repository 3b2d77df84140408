//! The client against the real engine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dqlite::client::{ConnectOptions, Connection, Endpoint, Error};
use dqlite::node::{BOOTSTRAP_ID, Node, NodeOptions};
use dqlite::wire::{NodeId, Param, Role, Value};
use tempfile::TempDir;

const ADDRESS: &str = "10.1.2.3:9000";

/// One node that leads itself, for a test.
struct Engine {
    node: Node,
    _dir: TempDir,
}

impl Engine {
    fn start() -> Engine {
        let dir = tempfile::tempdir().unwrap();
        let dial = Arc::new(|_: &str| Err(io::ErrorKind::ConnectionRefused.into()));
        let mut options = NodeOptions::new(BOOTSTRAP_ID, ADDRESS, dir.path(), dial);
        options.bootstrap = true;
        options.bind_address = "@".into();
        let mut node = Node::create(&options).unwrap();
        node.start().unwrap();
        Engine { node, _dir: dir }
    }

    async fn connect(&self) -> Connection {
        let endpoint = Endpoint::from_address(self.node.bind_address());
        Connection::connect(&endpoint, ConnectOptions::default())
            .await
            .unwrap()
    }

    async fn open(&self) -> Connection {
        let mut connection = self.connect().await;
        connection.open("test").await.unwrap();
        connection
    }
}

#[tokio::test]
async fn every_kind_of_value_comes_back() {
    let engine = Engine::start();
    let mut connection = engine.open().await;
    connection
        .exec_sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", &[])
        .await
        .unwrap();
    let insert = connection
        .prepare("INSERT INTO t (v) VALUES (?)")
        .await
        .unwrap();
    assert_eq!(insert.params(), 1);
    let values = [
        Param::Integer(i64::MIN),
        Param::Float(-0.5),
        Param::Text("seven b"),
        Param::Text("eight by"),
        Param::Text(""),
        Param::Blob(b"\0\xff"),
        Param::Blob(b""),
        Param::Null,
        Param::Iso8601("2020-01-01 10:00:00"),
        Param::Boolean(true),
    ];
    for (n, value) in values.iter().enumerate() {
        let result = connection.exec(&insert, &[*value]).await.unwrap();
        assert_eq!(
            (result.last_insert_rowid, result.rows_affected),
            (n as i64 + 1, 1)
        );
    }
    let rows = connection
        .query_sql("SELECT v FROM t ORDER BY id", &[])
        .await
        .unwrap();
    assert_eq!(rows.columns(), ["v"]);
    let rows: Vec<Value> = rows
        .collect(100)
        .await
        .unwrap()
        .iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(
        rows,
        [
            Value::Integer(i64::MIN),
            Value::Float(-0.5),
            Value::Text("seven b".into()),
            Value::Text("eight by".into()),
            Value::Text(String::new()),
            Value::Blob(b"\0\xff"[..].into()),
            Value::Blob(b""[..].into()),
            Value::Null,
            Value::Text("2020-01-01 10:00:00".into()),
            Value::Integer(1),
        ]
    );
    connection.finalize(insert).await.unwrap();
}

/// The shape of the store's table and batch.
#[tokio::test]
async fn batch_of_256_rows_is_inserted_by_one_prepared_statement() {
    let engine = Engine::start();
    let mut connection = engine.open().await;
    let schema = "CREATE TABLE c (id INTEGER PRIMARY KEY, k BLOB, kind INTEGER, a INTEGER, \
                  b INTEGER, lease INTEGER, n INTEGER, v BLOB)";
    connection.exec_sql(schema, &[]).await.unwrap();
    let sql = format!(
        "INSERT INTO c VALUES {}",
        ["(?,?,?,?,?,?,?,?)"; 256].join(",")
    );
    let insert = connection.prepare(&sql).await.unwrap();
    let value = vec![0xa5; 2048];
    let keys: Vec<String> = (0..256)
        .map(|n| format!("/registry/pods/default/{n}"))
        .collect();
    let batch = |first: i64| -> Vec<Param<'_>> {
        let row = |n: usize| {
            let numbers = [Param::Integer(1); 4];
            let ends = [
                Param::Integer(first + n as i64),
                Param::Blob(keys[n].as_bytes()),
            ];
            ends.into_iter()
                .chain(numbers)
                .chain([Param::Null, Param::Blob(&value)])
        };
        (0..256).flat_map(row).collect()
    };
    for first in [0, 256] {
        let result = connection.exec(&insert, &batch(first)).await.unwrap();
        assert_eq!(
            (result.last_insert_rowid, result.rows_affected),
            (first + 255, 256)
        );
    }
    // A key that exists makes the whole batch fail.
    let error = connection.exec(&insert, &batch(511)).await.unwrap_err();
    assert!(
        matches!(error, Error::Constraint { code: 1555, .. }),
        "{error:?}"
    );
    let count = connection
        .query_sql("SELECT count(*), sum(length(v)) FROM c", &[])
        .await
        .unwrap();
    let count = count.collect(1).await.unwrap();
    assert_eq!(
        count[0].0,
        [Value::Integer(512), Value::Integer(512 * 2048)]
    );
}

async fn fill(connection: &mut Connection, rows: i64) {
    connection
        .exec_sql("CREATE TABLE n (id INTEGER PRIMARY KEY, v TEXT)", &[])
        .await
        .unwrap();
    let sql = "INSERT INTO n SELECT value, 'value number ' || value FROM \
               (WITH RECURSIVE g(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM g LIMIT ?) \
               SELECT value FROM g)";
    connection
        .exec_sql(sql, &[Param::Integer(rows)])
        .await
        .unwrap();
}

#[tokio::test]
async fn result_of_5000_rows_comes_in_many_parts() {
    let engine = Engine::start();
    let mut connection = engine.open().await;
    fill(&mut connection, 5000).await;
    let select = connection
        .prepare("SELECT id, v FROM n WHERE id > ?")
        .await
        .unwrap();
    let mut rows = connection
        .query(&select, &[Param::Integer(0)])
        .await
        .unwrap();
    let (mut parts, mut next_id) = (0, 1);
    while let Some(part) = rows.next_part().await.unwrap() {
        parts += 1;
        for row in part {
            let text = format!("value number {next_id}");
            assert_eq!(row.0, [Value::Integer(next_id), Value::Text(text)]);
            next_id += 1;
        }
    }
    assert_eq!(next_id, 5001);
    assert!(parts > 10, "{parts} parts");
    // In step for the next request.
    let rows = connection
        .query(&select, &[Param::Integer(4999)])
        .await
        .unwrap();
    assert_eq!(rows.collect(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn query_that_fails_after_its_first_rows_reports_its_own_error() {
    let engine = Engine::start();
    let mut connection = engine.open().await;
    fill(&mut connection, 3000).await;
    for failing in [1, 2, 2999] {
        // abs() of the smallest integer is an error of the statement.
        let sql = format!(
            "SELECT abs(CASE id WHEN {failing} THEN -9223372036854775807 - 1 ELSE id END) AS number \
             FROM n"
        );
        let outcome = match connection.query_sql(&sql, &[]).await {
            Ok(rows) => rows.collect(5000).await,
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err();
        assert!(
            matches!(&error, Error::Sql { code: 1, message } if message == "integer overflow"),
            "row {failing}: {error:?}"
        );
        assert_eq!(connection.leader().await.unwrap().unwrap().address, ADDRESS);
    }
}

#[tokio::test]
async fn errors_of_the_engine_map_to_what_the_caller_can_do() {
    let engine = Engine::start();
    let mut connection = engine.connect().await;
    let error = connection.exec_sql("SELECT 1", &[]).await.unwrap_err();
    assert!(matches!(error, Error::NoDatabase { .. }), "{error:?}");
    connection.open("test").await.unwrap();
    let error = connection.open("test").await.unwrap_err();
    assert!(matches!(error, Error::Busy { code: 5, .. }), "{error:?}");
    let error = connection.prepare("SELEC 1").await.unwrap_err();
    assert!(matches!(error, Error::Sql { code: 1, .. }), "{error:?}");
    let error = connection.prepare("-- nothing").await.unwrap_err();
    assert!(matches!(error, Error::Sql { code: 0, .. }), "{error:?}");
    let error = connection.exec_sql("SELECT 1", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Sql { code: 1, .. }), "{error:?}");
    let error = connection.dump("other").await.unwrap_err();
    assert!(matches!(error, Error::NoDatabase { .. }), "{error:?}");
}

#[tokio::test]
async fn call_given_up_poisons_only_its_own_connection() {
    let engine = Engine::start();
    let mut connection = engine.open().await;
    connection
        .exec_sql("CREATE TABLE t (id INTEGER PRIMARY KEY)", &[])
        .await
        .unwrap();
    // Runs until it is interrupted by the connection's end, which the deadline brings about.
    connection.set_request_timeout(Duration::from_millis(1));
    let endless = "WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g LIMIT 3000000) \
                   SELECT count(*) FROM g";
    let error = connection.query_sql(endless, &[]).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error:?}");
    assert!(matches!(connection.leader().await, Err(Error::Poisoned)));
    drop(connection);
    let mut connection = engine.open().await;
    connection
        .exec_sql("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
}

#[tokio::test]
async fn pipelined_inserts_answer_in_order() {
    let engine = Engine::start();
    let mut connection = engine.open().await;
    connection
        .exec_sql("CREATE TABLE t (id INTEGER PRIMARY KEY)", &[])
        .await
        .unwrap();
    let insert = connection
        .prepare("INSERT INTO t VALUES (?)")
        .await
        .unwrap();
    let mut pipeline = connection.pipeline().unwrap();
    for id in [1, 2, 2, 3] {
        pipeline.exec(&insert, &[Param::Integer(id)]).unwrap();
    }
    pipeline.send().await.unwrap();
    let mut outcomes = Vec::new();
    while let Some(outcome) = pipeline.next().await {
        outcomes.push(outcome.map(|result| result.last_insert_rowid).ok());
    }
    assert_eq!(outcomes, [Some(1), Some(2), None, Some(3)]);
}

#[tokio::test]
async fn full_pipeline_of_failures_does_not_block() {
    let engine = Engine::start();
    let mut connection = engine.open().await;
    let mut pipeline = connection.pipeline().unwrap();
    // The longest messages quote the statement's own names.
    let sql = format!("INSERT INTO {} VALUES (1)", "n".repeat(2000));
    for _ in 0..dqlite::client::MAX_PIPELINE_DEPTH {
        pipeline.exec_sql(&sql, &[]).unwrap();
    }
    pipeline.send().await.unwrap();
    for _ in 0..dqlite::client::MAX_PIPELINE_DEPTH {
        let error = pipeline.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Sql { code: 1, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn node_tells_about_its_cluster_and_itself() {
    let engine = Engine::start();
    let mut connection = engine.connect().await;
    connection.client_id(77).await.unwrap();
    let leader = connection.leader().await.unwrap().unwrap();
    assert_eq!(
        (leader.id, leader.address.as_str()),
        (BOOTSTRAP_ID, ADDRESS)
    );
    let servers = connection.cluster().await.unwrap();
    assert_eq!(servers.len(), 1);
    assert_eq!(
        (servers[0].id, servers[0].role),
        (BOOTSTRAP_ID, Role::Voter)
    );
    connection.set_weight(5).await.unwrap();
    assert_eq!(connection.describe().await.unwrap().weight, 5);
    connection.interrupt().await.unwrap();
    let error = connection.remove(BOOTSTRAP_ID).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    connection
        .add(NodeId::new(2), "10.1.2.4:9000")
        .await
        .unwrap();
    assert_eq!(connection.cluster().await.unwrap().len(), 2);
    assert_eq!(connection.cluster().await.unwrap()[1].role, Role::Spare);
    connection.remove(NodeId::new(2)).await.unwrap();
    assert_eq!(connection.cluster().await.unwrap().len(), 1);
}

#[tokio::test]
async fn dump_is_a_database_file() {
    let engine = Engine::start();
    let mut connection = engine.open().await;
    fill(&mut connection, 1000).await;
    let files = connection.dump("test").await.unwrap();
    assert_eq!(files[0].name, "test");
    assert!(files[0].data.starts_with(b"SQLite format 3\0"));
    assert!(files[0].data.len() > 20_000);
    connection.exec_sql("DELETE FROM n", &[]).await.unwrap();
}
