//! The client against servers that follow a script.

mod connection;
mod fake;
mod leader;
mod loss;
mod pipeline;

use std::future::Future;
use std::time::Duration;

use dqlite::client::{
    ConnectOptions, Connection, Endpoint, Error, ExecResult, Loss, MAX_PIPELINE_DEPTH,
};
use dqlite::wire::{
    Failure, Header, Param, Reply, RequestKind, Role, Row, RowsPart, Server, Value,
};
use fake::{FakeServer, Step, bytes_of};

/// Never reached by a test that passes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A request timeout that is meant to pass.
const SHORT: Duration = Duration::from_millis(50);

const OPENED: Reply = Reply::Database { id: 0 };
const PREPARED: Reply = Reply::Statement {
    db: 0,
    id: 4,
    params: 1,
};
const INSERTED: Reply = Reply::Result {
    last_insert_rowid: 7,
    rows_affected: 1,
};
const INSERT: &str = "INSERT INTO t VALUES (?)";

fn options() -> ConnectOptions {
    ConnectOptions {
        connect_timeout: TIMEOUT,
        request_timeout: TIMEOUT,
    }
}

fn failure(code: u64, message: &str) -> Reply {
    Reply::Failure(Failure {
        code,
        message: message.into(),
    })
}

fn part(values: &[i64], more: bool) -> Reply {
    let rows = values
        .iter()
        .map(|&value| Row(vec![Value::Integer(value)]))
        .collect();
    Reply::Rows(RowsPart {
        columns: vec!["n".into()],
        rows,
        more,
    })
}

/// A connection to a server that answers `OPEN` and then follows `steps`.
async fn opened(steps: Vec<Step>) -> (Connection, FakeServer) {
    let server = FakeServer::start([vec![Step::reply(OPENED)], steps].concat());
    let mut connection = Connection::connect(server.endpoint(), options())
        .await
        .unwrap();
    connection.open("db").await.unwrap();
    (connection, server)
}

fn integers(rows: &[Row]) -> Vec<i64> {
    rows.iter()
        .map(|row| row[0].as_integer().unwrap())
        .collect()
}

/// Polls `future` until it waits, then drops it.
async fn give_up<F: Future>(future: F) {
    let mut future = Box::pin(future);
    let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx)));
    assert!(waits.await.is_pending());
}
