//! Statements that would end an engine, through the port to a real one.

use std::future::Future;

use dqlite::client::{ConnectOptions, Connection, Endpoint, Error};
use dqlite::node::BOOTSTRAP_ID;
use dqlite::wire::{Reply, Value};
use tokio::time::timeout;

use super::proxy::{Server, TIMEOUT};
use super::raw::{Raw, text, words};

async fn opened(server: &Server) -> Connection {
    let mut connection = server.connect().await;
    connection.open("test").await.unwrap();
    connection
}

async fn rows(connection: &mut Connection, sql: &str) -> Result<Vec<Vec<Value>>, Error> {
    let rows = connection.read_all(sql, 100).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Each connection is closed after its statement, which is when some of them end an engine.
async fn lives_after<F: Future<Output = ()>>(
    server: &Server,
    statement: impl FnOnce(Connection) -> F,
) {
    statement(opened(server).await).await;
    let mut other = opened(server).await;
    let insert = "INSERT INTO log (v) VALUES (1)";
    other.exec_sql(insert, &[]).await.unwrap();
}

async fn start() -> Server {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let create = "CREATE TABLE log (v); CREATE TABLE t (id INTEGER PRIMARY KEY, v UNIQUE)";
    let mut connection = opened(&server).await;
    connection.exec_sql(create, &[]).await.unwrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_below_sqlite_is_denied() {
    let server = start().await;
    for sql in [
        "SELECT * FROM dbstat",
        "SELECT count(*) FROM dbstat('main')",
        "SELECT data FROM sqlite_dbpage",
        "CREATE VIRTUAL TABLE x USING dbstat(main)",
        "CREATE VIRTUAL TABLE temp.x USING dbstat(main)",
        "SELECT fts3_tokenizer('x', x'4141414141414141')",
        "PRAGMA hard_heap_limit = 1",
        "SELECT * FROM pragma_soft_heap_limit(1)",
        "PRAGMA temp_store_directory = '/tmp'",
        "SELECT load_extension('/tmp/x.so')",
        "ATTACH '/tmp/x.db' AS x",
        "VACUUM INTO '/tmp/x.db'",
        "PRAGMA journal_mode = delete",
        // A second one in a transaction would end the process.
        "PRAGMA delete_database",
    ] {
        lives_after(&server, async |mut connection| {
            let error = rows(&mut connection, sql).await.unwrap_err();
            assert!(matches!(error, Error::Sql { .. }), "{sql}: {error:?}");
        })
        .await;
    }
    let mut connection = opened(&server).await;
    let fine = "CREATE VIRTUAL TABLE words USING fts5(word); INSERT INTO words VALUES ('one')";
    match connection.exec_sql(fine, &[]).await {
        Ok(_) => {
            let found =
                "SELECT word, j.value FROM words, json_each('[1]') j WHERE words MATCH 'one'";
            assert_eq!(rows(&mut connection, found).await.unwrap().len(), 1);
        }
        // The SQLite of a static program does without.
        Err(error) => assert!(error.to_string().contains("no such module"), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_another_class_than_declared_comes_as_it_is() {
    let server = start().await;
    lives_after(&server, async |mut connection| {
        let create = "CREATE TABLE typed (d DATETIME, e date, f TIMESTAMP, b BOOLEAN); \
            INSERT INTO typed VALUES (x'01', 0.5, 1, 'yes'), (2, 'text', NULL, 1)";
        connection.exec_sql(create, &[]).await.unwrap();
        let rows = rows(&mut connection, "SELECT * FROM typed").await.unwrap();
        let blob = Value::Blob(vec![1].into());
        let text = || Value::Text("yes".into());
        assert_eq!(
            rows[0],
            [blob, Value::Float(0.5), Value::UnixTime(1), text()]
        );
        let empty = Value::Iso8601(String::new());
        let time = Value::Iso8601("text".into());
        assert_eq!(
            rows[1],
            [Value::UnixTime(2), time, empty, Value::Boolean(true)]
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_given_up_at_its_first_row_has_written_nothing() {
    let server = start().await;
    let sql = "INSERT INTO t (v) VALUES (1), (2) RETURNING id";
    lives_after(&server, async |mut connection| {
        let error = connection.exec_sql(sql, &[]).await.unwrap_err();
        assert!(error.to_string().contains("rows yielded"), "{error}");
        // The engine would commit the rest of the former one with the next statement.
        assert_eq!(
            rows(&mut connection, "SELECT * FROM t").await.unwrap(),
            [[]; 0]
        );
    })
    .await;
    lives_after(&server, async |mut connection| {
        let insert = connection.prepare(sql).await.unwrap();
        connection.exec(&insert, &[]).await.unwrap_err();
        let found = rows(&mut connection, "SELECT * FROM t").await.unwrap();
        assert_eq!(found.len(), 0);
    })
    .await;
    // As a query it writes, and in a transaction it stays until that ends.
    lives_after(&server, async |mut connection| {
        assert_eq!(rows(&mut connection, sql).await.unwrap().len(), 2);
        connection.exec_sql("BEGIN", &[]).await.unwrap();
        let more = "INSERT INTO t (v) VALUES (3) RETURNING id";
        connection.exec_sql(more, &[]).await.unwrap_err();
        connection.exec_sql("COMMIT", &[]).await.unwrap();
        let found = rows(&mut connection, "SELECT * FROM t").await.unwrap();
        assert_eq!(found.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_would_keep_half_of_itself_is_refused() {
    let server = start().await;
    for sql in [
        "INSERT OR FAIL INTO t (v) VALUES (7), (7)",
        "CREATE TABLE u (v UNIQUE ON CONFLICT FAIL)",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT RAISE(FAIL, 'x'); END",
    ] {
        lives_after(&server, async |mut connection| {
            let error = connection.exec_sql(sql, &[]).await.unwrap_err();
            assert!(error.to_string().contains("ABORT"), "{sql}: {error}");
        })
        .await;
    }
}

/// The engine would send messages without a row for ever, or write behind the end of its memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_wider_than_the_engine_can_send_is_refused() {
    let server = start().await;
    let wide = |columns: usize, name_bytes: usize| {
        let name = "n".repeat(name_bytes);
        let columns: Vec<String> = (0..columns).map(|at| format!("{at} AS {name}")).collect();
        format!("SELECT {}", columns.join(", "))
    };
    lives_after(&server, async |mut connection| {
        // Names of 127 bytes and a NUL: 32 fill 4096 bytes.
        for (sql, told) in [
            (wide(32, 127), "names of the columns"),
            (wide(2000, 1), "names of the columns"),
            (wide(1, 5000), "names of the columns"),
            (wide(33, 1), "more columns"),
            (wide(254, 1), "more columns"),
        ] {
            let error = rows(&mut connection, &sql).await.unwrap_err();
            assert!(
                matches!(error, Error::Sql { code: 1, .. }) && error.to_string().contains(told),
                "{told}: {error:?}"
            );
        }
        let statement = connection.prepare(&wide(1, 5000)).await.unwrap();
        connection.query(&statement, &[]).await.unwrap_err();
        for fits in [wide(31, 127), wide(32, 1)] {
            assert_eq!(rows(&mut connection, &fits).await.unwrap().len(), 1);
        }
    })
    .await;
}

/// The engine would list all pages of the file in the memory of those that are left.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_has_become_shorter_can_be_dumped() {
    let server = start().await;
    let mut connection = opened(&server).await;
    // So many pages are written back to the file at once.
    let grow = "INSERT INTO log WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9000) \
        SELECT zeroblob(3000) FROM n";
    connection.exec_sql(grow, &[]).await.unwrap();
    connection.exec_sql("DELETE FROM log", &[]).await.unwrap();
    connection.exec_sql("VACUUM", &[]).await.unwrap();
    for _ in 0..3 {
        let files = connection.dump("test").await.unwrap();
        assert!(files[0].data.len() < 20 * 4096);
    }
    until_written(&server).await;
}

const ENDLESS: &str =
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n";

/// Waits until statements may write, which takes no longer than a statement waits for the lock.
async fn until_written(server: &Server) {
    let written = async {
        let mut other = opened(server).await;
        while let Err(error) = other.exec_sql("INSERT INTO log VALUES (1)", &[]).await {
            assert!(matches!(error, Error::Busy { .. }), "{error}");
        }
    };
    timeout(TIMEOUT, written).await.expect("the lock in time");
}

/// A client of the engine itself, as the server is: no port reads the rest of a result in its place.
async fn engine_client(server: &Server) -> Connection {
    let engine = Endpoint::from_address(server.node.bind_address());
    let options = ConnectOptions::default();
    let mut connection = Connection::connect(&engine, options).await.unwrap();
    connection.open("test").await.unwrap();
    connection
}

/// The engine would wait for ever for the rest of the result to be read, and end the process when it stops.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_client_ends_its_statement() {
    let mut server = start().await;
    let writing = format!("INSERT INTO log (v) {ENDLESS} LIMIT 100000 RETURNING v");
    for sql in [ENDLESS, &writing] {
        let mut leaving = engine_client(&server).await;
        let mut rows = leaving.query_sql(sql, &[]).await.unwrap();
        assert!(rows.next_part().await.unwrap().is_some());
        drop(leaving);
        until_written(&server).await;
    }
    server.stop().await;
}

/// The engine's loop would wait for the end of the statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_while_a_statement_computes() {
    let mut server = start().await;
    let endless = ENDLESS.replace("SELECT x FROM", "SELECT count(*) FROM");
    let mut raw = Raw::connect(&server.address).await;
    let open = [text("test"), words(&[0]), text("")].concat();
    raw.send(&(3, 0, open)).await.unwrap();
    assert!(matches!(raw.reply().await.unwrap(), Reply::Database { .. }));
    let query = [words(&[0]), text(&endless)].concat();
    raw.send(&(9, 0, query)).await.unwrap();
    // The engine answers others meanwhile.
    until_written(&server).await;
    server.stop().await;
}

/// The engine would begin them when its files are closed already, and abort.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_while_the_rest_of_texts_waits_for_the_lock() {
    let mut server = start().await;
    let open = (3, 0, [text("test"), words(&[0]), text("")].concat());
    let run = |sql: &str| (8, 0, [words(&[0]), text(sql)].concat());
    let computes = format!("INSERT INTO log SELECT count(*) FROM ({ENDLESS})");
    // The second statement of a text waits as long as the lock is taken, without a limit.
    let waits = "SELECT 1 WHERE 0; INSERT INTO log VALUES (1)";
    let mut clients = Vec::new();
    for sql in [&*computes].into_iter().chain([waits; 8]) {
        let mut raw = Raw::connect(&server.address).await;
        raw.send(&open).await.unwrap();
        assert!(matches!(raw.reply().await.unwrap(), Reply::Database { .. }));
        raw.send(&run(sql)).await.unwrap();
        // The engine has read it when it answers another client, or soon after.
        let mut other = opened(&server).await;
        assert_eq!(rows(&mut other, "SELECT 1").await.unwrap().len(), 1);
        clients.push(raw);
    }
    server.stop().await;
}

/// SQLite takes them for statements that read while there is nothing to do, and compiles them anew. The engine would have
/// them write beside another writer, and apply nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_did_nothing_when_it_was_prepared_is_a_write() {
    let server = start().await;
    let mut prepared = opened(&server).await;
    let mut other = opened(&server).await;
    for (statement, change) in [
        ("DROP TABLE IF EXISTS gone", "CREATE TABLE gone (v)"),
        ("CREATE TABLE IF NOT EXISTS log (v)", "DROP TABLE log"),
        (
            "DROP TRIGGER IF EXISTS g",
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END",
        ),
    ] {
        let definition = prepared.prepare(statement).await.unwrap();
        other.exec_sql(change, &[]).await.unwrap();
        let done = timeout(TIMEOUT, prepared.exec(&definition, &[])).await;
        done.unwrap_or_else(|_| panic!("{statement} in time"))
            .unwrap();
        let write = timeout(TIMEOUT, until_written(&server)).await;
        write.unwrap_or_else(|_| panic!("a write after {statement}"));
        let schema = "SELECT count(*) FROM sqlite_master";
        let schema = rows(&mut other, schema).await.unwrap();
        // log, t and its index.
        assert_eq!(schema, [[Value::Integer(3)]], "{statement}");
    }
    for sql in ["PRAGMA optimize", "SELECT * FROM pragma_optimize"] {
        let error = rows(&mut other, sql).await.unwrap_err();
        assert!(matches!(error, Error::Sql { .. }), "{sql}: {error:?}");
    }
}
