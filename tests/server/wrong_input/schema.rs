//! A database that this version cannot serve.

use dqlite::client::{ConnectOptions, Connection, Endpoint};

use super::{prepare, refuses_to_start};
use crate::harness::*;

/// The exit code for data of another version or program.
const DATA: i32 = 6;

async fn execute(server: &Server, sql: &str) {
    let endpoint = Endpoint::Tcp(format!("127.0.0.1:{}", server.node_port()));
    let mut connection = Connection::connect(&endpoint, ConnectOptions::default())
        .await
        .expect("dqlite's port");
    connection.open("k8s").await.unwrap();
    connection.exec_sql(sql, &[]).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_kept() {
    let mut server = prepare();
    server.restart().await;
    server.api().await.put("a", "1").await;
    let newer = 99 << 16;
    execute(&server, &format!("PRAGMA user_version = {newer}")).await;
    assert!(server.terminate().await.success());
    let output = refuses_to_start(&mut server, DATA).await;
    assert!(output.contains("newer"), "{output}");
    assert!(output.contains("99"), "names the version: {output}");
    // It does not end itself for good: the same again, and no word about damage.
    let output = refuses_to_start(&mut server, DATA).await;
    assert!(output.contains("newer"), "{output}");
}
