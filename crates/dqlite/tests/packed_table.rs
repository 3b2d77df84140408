//! A table of packed rows against the real engine, as any client sees it.
//!
//! A program of its own, because the table is the process's.

use std::{io, sync::Arc};

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint, Error},
    node::{
        BOOTSTRAP_ID, Node, NodeOptions,
        packed_table::{self, Column, PackedRows, PackedTable},
    },
    wire::{Param, Value},
};

/// Bits of an id below its group.
const GROUP_BITS: u32 = 4;

/// Rows of one byte each, with ids that follow each other from the one in the first 8 bytes.
struct Bytes {
    first: i64,
    bytes: Vec<u8>,
}

impl PackedRows for Bytes {
    fn count(&self) -> usize {
        self.bytes.len()
    }

    fn id(&self, row: usize) -> i64 {
        self.first + row as i64
    }

    fn column(&self, row: usize, column: usize) -> Column<'_> {
        let byte = self.bytes[row];
        match column {
            2 if byte == b'-' => Column::Null,
            2 => Column::Blob(&self.bytes[row..row + 1]),
            3 => Column::Blob(b""),
            _ => Column::Integer(byte.into()),
        }
    }
}

fn unpack(blob: &[u8], beside: &[u8]) -> Result<Box<dyn PackedRows>, String> {
    assert!(beside.is_empty(), "one column is selected");
    let (first, bytes) = blob.split_at_checked(8).ok_or("it is too short")?;
    assert_ne!(bytes, b"panic");
    Ok(Box::new(Bytes {
        first: i64::from_le_bytes(first.try_into().expect("8 bytes")),
        bytes: bytes.to_vec(),
    }))
}

fn table() -> PackedTable {
    PackedTable {
        name: c"unpacked",
        declaration:
            c"CREATE TABLE x (id INTEGER, grp INTEGER, name BLOB, empty BLOB, code INTEGER)",
        columns: 5,
        select_ascending: c"SELECT content FROM packed WHERE id >= ?1 AND first <= ?2 ORDER BY id",
        select_descending:
            c"SELECT content FROM packed WHERE id >= ?1 AND first <= ?2 ORDER BY id DESC",
        group_bits: GROUP_BITS,
        unpack,
    }
}

/// A connection to a node of its own with the texts packed in a row each, at ids that follow each other from 16 on.
async fn with_rows(texts: &[&str]) -> (Connection, tempfile::TempDir, Node) {
    packed_table::register(table());
    let dir = tempfile::tempdir().unwrap();
    let dial = Arc::new(|_: &str| Err(io::ErrorKind::ConnectionRefused.into()));
    let mut options = NodeOptions::new(BOOTSTRAP_ID, "10.1.2.3:9000", dir.path(), dial);
    options.bootstrap = true;
    options.bind_address = "@".into();
    let mut node = Node::create(&options).unwrap();
    node.start().unwrap();
    let endpoint = Endpoint::from_address(node.bind_address());
    let mut connection = Connection::connect(&endpoint, ConnectOptions::default())
        .await
        .unwrap();
    connection.open("test").await.unwrap();
    let create = "CREATE TABLE packed (id INTEGER PRIMARY KEY, first INTEGER NOT NULL, content BLOB NOT NULL); \
                  CREATE VIEW look AS SELECT grp, CAST(name AS TEXT) AS name, code FROM unpacked";
    connection.exec_sql(create, &[]).await.unwrap();
    let mut first = 16;
    for text in texts {
        let content = [&i64::to_le_bytes(first)[..], text.as_bytes()].concat();
        let last = first + text.len() as i64 - 1;
        let params = [
            Param::Integer(last),
            Param::Integer(first),
            Param::Blob(&content),
        ];
        let insert = "INSERT INTO packed (id, first, content) VALUES (?, ?, ?)";
        connection.exec_sql(insert, &params).await.unwrap();
        first = last + 1;
    }
    (connection, dir, node)
}

async fn query(connection: &mut Connection, sql: &str) -> Result<Vec<Vec<Value>>, Error> {
    let rows = connection
        .query_sql(sql, &[])
        .await?
        .collect(100_000)
        .await?;
    Ok(rows.into_iter().map(|row| row.to_vec()).collect())
}

/// The first column of an answer, as text.
async fn texts(connection: &mut Connection, sql: &str) -> String {
    let rows = query(connection, sql).await.unwrap();
    let texts = rows.into_iter().map(|row| match &row[0] {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Null => "NULL".to_owned(),
        Value::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    });
    texts.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn rows_of_all_blobs_can_be_queried_through_the_wire() {
    let (mut connection, _dir, _node) = with_rows(&["abc", "d", "-efghijklmnopqrstuv"]).await;
    let c = &mut connection;
    assert_eq!(texts(c, "SELECT name FROM look LIMIT 4").await, "a b c d");
    assert_eq!(
        texts(c, "SELECT name FROM look ORDER BY grp DESC LIMIT 2").await,
        "v u"
    );
    assert_eq!(texts(c, "SELECT count(*) FROM look").await, "23");
    assert_eq!(
        texts(
            c,
            "SELECT name FROM look WHERE name LIKE 'E%' OR name IS NULL"
        )
        .await,
        "NULL e"
    );
    assert_eq!(
        texts(c, "SELECT id FROM unpacked WHERE id BETWEEN 18 AND 20").await,
        "18 19 20"
    );
    assert_eq!(
        texts(c, "SELECT id FROM unpacked WHERE id < 19 ORDER BY id DESC").await,
        "18 17 16"
    );
    assert_eq!(
        texts(c, "SELECT id FROM unpacked WHERE rowid = 19").await,
        "19"
    );
    assert_eq!(
        texts(c, "SELECT name FROM look WHERE grp = 2 AND code < 114").await,
        "p q"
    );
    assert_eq!(
        texts(c, "SELECT name FROM look WHERE grp > 1.5 AND code > 116").await,
        "u v"
    );
    assert_eq!(
        texts(c, "SELECT name FROM look WHERE grp = '2' LIMIT 1").await,
        "p"
    );
    assert_eq!(
        texts(c, "SELECT name FROM look WHERE grp IS NULL").await,
        ""
    );
    assert_eq!(
        texts(c, "SELECT typeof(empty) FROM unpacked LIMIT 1").await,
        "blob"
    );
    assert_eq!(
        texts(
            c,
            "SELECT a.id FROM unpacked a JOIN unpacked b ON a.id = b.id + 1 WHERE b.code = 97"
        )
        .await,
        "17"
    );
    assert_eq!(
        texts(c, "SELECT group_concat(name, '') FROM (SELECT name FROM look ORDER BY grp, code DESC LIMIT 3)").await,
        "onm"
    );
}

#[tokio::test]
async fn a_blob_that_cannot_be_read_is_an_error_and_the_next_query_works() {
    let (mut connection, _dir, _node) = with_rows(&["abc"]).await;
    let bad = "INSERT INTO packed (id, first, content) VALUES (100, 100, x'00')";
    connection.exec_sql(bad, &[]).await.unwrap();
    let error = query(&mut connection, "SELECT name FROM look")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("table unpacked: it is too short"),
        "{error}"
    );
    let found = texts(&mut connection, "SELECT name FROM look WHERE grp = 1").await;
    assert_eq!(found, "a b c");
    connection
        .exec_sql("DELETE FROM packed", &[])
        .await
        .unwrap();
    assert_eq!(
        texts(&mut connection, "SELECT count(*) FROM look").await,
        "0"
    );
}

#[tokio::test]
async fn a_panic_ends_the_query_only() {
    let (mut connection, _dir, _node) = with_rows(&["panic"]).await;
    assert!(
        query(&mut connection, "SELECT name FROM look")
            .await
            .is_err()
    );
    assert_eq!(
        texts(&mut connection, "SELECT count(*) FROM packed").await,
        "1"
    );
}

#[tokio::test]
async fn the_table_cannot_be_written() {
    let (mut connection, _dir, _node) = with_rows(&["abc"]).await;
    for sql in [
        "DELETE FROM unpacked",
        "INSERT INTO unpacked (id) VALUES (7)",
    ] {
        assert!(connection.exec_sql(sql, &[]).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn what_is_written_by_the_same_transaction_is_read() {
    let (mut connection, _dir, _node) = with_rows(&["abc"]).await;
    let content = [&i64::to_le_bytes(50)[..], b"xyz"].concat();
    connection.exec_sql("BEGIN", &[]).await.unwrap();
    let insert = "INSERT INTO packed (id, first, content) VALUES (52, 50, ?)";
    connection
        .exec_sql(insert, &[Param::Blob(&content)])
        .await
        .unwrap();
    assert_eq!(
        texts(&mut connection, "SELECT name FROM look").await,
        "a b c x y z"
    );
    connection.exec_sql("ROLLBACK", &[]).await.unwrap();
    assert_eq!(
        texts(&mut connection, "SELECT name FROM look").await,
        "a b c"
    );
}
