//! The client against a server that follows a script.

mod fake;

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
const PATIENCE: Duration = Duration::from_secs(20);

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
        connect_timeout: PATIENCE,
        request_timeout: PATIENCE,
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

#[tokio::test]
async fn requests_carry_what_the_server_expects() {
    let steps = [PREPARED, INSERTED, INSERTED, Reply::Empty]
        .map(Step::reply)
        .to_vec();
    let (mut connection, server) = opened(steps).await;
    let insert = connection.prepare(INSERT).await.unwrap();
    assert_eq!(insert.params(), 1);
    let result = connection
        .exec(&insert, &[Param::Integer(5)])
        .await
        .unwrap();
    assert_eq!(
        result,
        ExecResult {
            last_insert_rowid: 7,
            rows_affected: 1
        }
    );
    connection.exec_sql("DELETE FROM t", &[]).await.unwrap();
    connection.finalize(insert).await.unwrap();
    let kinds = server.requests();
    assert_eq!(
        kinds,
        [
            RequestKind::Open,
            RequestKind::Prepare,
            RequestKind::Exec,
            RequestKind::ExecSql,
            RequestKind::Finalize
        ]
    );
}

#[tokio::test]
async fn replies_that_arrive_byte_by_byte_are_put_together() {
    // The server sends the second part without another request.
    let parts = [bytes_of(&part(&[1, 2], true)), bytes_of(&part(&[3], false))].concat();
    let replies = [
        bytes_of(&PREPARED),
        bytes_of(&INSERTED),
        parts,
        bytes_of(&INSERTED),
    ];
    let steps = replies.map(Step::Dribble).to_vec();
    let (mut connection, _server) = opened(steps).await;
    let insert = connection.prepare(INSERT).await.unwrap();
    connection.exec(&insert, &[Param::Null]).await.unwrap();
    let rows = connection.query_sql("SELECT n FROM t", &[]).await.unwrap();
    assert_eq!(rows.columns(), ["n"]);
    assert_eq!(integers(&rows.collect(10).await.unwrap()), [1, 2, 3]);
    connection.exec(&insert, &[Param::Null]).await.unwrap();
}

#[tokio::test]
async fn result_comes_part_by_part_and_leaves_the_connection_usable() {
    let parts = [part(&[1, 2], true), part(&[3], true), part(&[], false)];
    let all: Vec<u8> = parts.iter().flat_map(bytes_of).collect();
    let (mut connection, _server) = opened(vec![Step::Send(all), Step::reply(INSERTED)]).await;
    let mut rows = connection.query_sql("SELECT n FROM t", &[]).await.unwrap();
    assert_eq!(integers(&rows.next_part().await.unwrap().unwrap()), [1, 2]);
    assert_eq!(integers(&rows.next_part().await.unwrap().unwrap()), [3]);
    assert_eq!(rows.next_part().await.unwrap(), None);
    assert_eq!(rows.next_part().await.unwrap(), None);
    connection.exec_sql("DELETE FROM t", &[]).await.unwrap();
}

#[tokio::test]
async fn failure_in_the_middle_of_a_result_leaves_the_connection_usable() {
    let all = [
        bytes_of(&part(&[1], true)),
        bytes_of(&failure(1, "integer overflow")),
    ]
    .concat();
    let (mut connection, _server) = opened(vec![Step::Send(all), Step::reply(INSERTED)]).await;
    let rows = connection
        .query_sql("SELECT abs(n) FROM t", &[])
        .await
        .unwrap();
    let error = rows.collect(10).await.unwrap_err();
    assert!(matches!(error, Error::Sql { code: 1, message } if message == "integer overflow"));
    connection.exec_sql("DELETE FROM t", &[]).await.unwrap();
}

#[tokio::test]
async fn result_over_the_row_bound_is_refused_and_poisons_what_is_unread() {
    let all = [bytes_of(&part(&[1, 2], true)), bytes_of(&part(&[3], false))].concat();
    let (mut connection, _server) = opened(vec![Step::Send(all)]).await;
    let rows = connection.query_sql("SELECT n FROM t", &[]).await.unwrap();
    assert!(matches!(
        rows.collect(1).await,
        Err(Error::TooLarge { limit: 1, .. })
    ));
    assert!(connection.is_poisoned());
}

#[tokio::test]
async fn reply_cut_at_any_byte_is_an_unknown_outcome_for_a_write() {
    let whole = bytes_of(&INSERTED);
    for kept in 0..whole.len() {
        let (mut connection, _server) =
            opened(vec![Step::SendAndClose(whole[..kept].into())]).await;
        let error = connection.exec_sql("DELETE FROM t", &[]).await.unwrap_err();
        assert!(
            matches!(error, Error::OutcomeUnknown(Loss::Closed)),
            "{kept} bytes: {error:?}"
        );
        assert!(!error.had_no_effect());
        let error = connection.exec_sql("DELETE FROM t", &[]).await.unwrap_err();
        assert!(matches!(error, Error::Poisoned), "{kept} bytes: {error:?}");
    }
}

#[tokio::test]
async fn reply_cut_at_any_byte_is_a_disconnect_for_a_read() {
    let servers = vec![Server {
        id: 1,
        address: "10.0.0.1:9000".into(),
        role: Role::Voter,
    }];
    let whole = bytes_of(&Reply::Servers(servers));
    for kept in 0..whole.len() {
        let (mut connection, _server) =
            opened(vec![Step::SendAndClose(whole[..kept].into())]).await;
        let error = connection.cluster().await.unwrap_err();
        assert!(
            matches!(error, Error::Disconnected(Loss::Closed)),
            "{kept} bytes: {error:?}"
        );
    }
}

#[tokio::test]
async fn later_part_cut_at_any_byte_is_an_error_not_an_end() {
    let first = bytes_of(&part(&[1], true));
    let second = bytes_of(&part(&[2], false));
    for kept in 0..second.len() {
        let sent = [&first[..], &second[..kept]].concat();
        let (mut connection, _server) = opened(vec![Step::SendAndClose(sent)]).await;
        let rows = connection.query_sql("SELECT n FROM t", &[]).await.unwrap();
        let error = rows.collect(10).await.unwrap_err();
        assert!(
            matches!(error, Error::OutcomeUnknown(Loss::Closed)),
            "{kept} bytes: {error:?}"
        );
        assert!(connection.is_poisoned());
    }
}

#[tokio::test]
async fn dropped_call_poisons_the_connection() {
    let (mut connection, _server) = opened(vec![Step::Silence]).await;
    give_up(connection.exec_sql("DELETE FROM t", &[])).await;
    assert!(matches!(connection.leader().await, Err(Error::Poisoned)));
}

#[tokio::test]
async fn call_that_was_never_polled_poisons_nothing() {
    let (mut connection, _server) = opened(vec![Step::reply(INSERTED)]).await;
    drop(connection.exec_sql("DELETE FROM t", &[]));
    connection.exec_sql("DELETE FROM t", &[]).await.unwrap();
}

#[tokio::test]
async fn unread_result_poisons_the_connection() {
    let all = [bytes_of(&part(&[1], true)), bytes_of(&part(&[2], false))].concat();
    let (mut connection, _server) = opened(vec![Step::Send(all)]).await;
    drop(connection.query_sql("SELECT n FROM t", &[]).await.unwrap());
    let error = connection
        .query_sql("SELECT n FROM t", &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Poisoned));
}

#[tokio::test]
async fn dropped_read_of_a_part_can_be_repeated() {
    let first = bytes_of(&part(&[1], true));
    let second = bytes_of(&part(&[2], false));
    let (head, tail) = second.split_at(Header::BYTES + 3);
    let (mut connection, server) = opened(vec![
        Step::Send([&first, head].concat()),
        Step::Gate,
        Step::Push(tail.into()),
    ])
    .await;
    let mut rows = connection.query_sql("SELECT n FROM t", &[]).await.unwrap();
    rows.next_part().await.unwrap();
    give_up(rows.next_part()).await;
    server.open_gate();
    assert_eq!(integers(&rows.next_part().await.unwrap().unwrap()), [2]);
    assert_eq!(rows.next_part().await.unwrap(), None);
}

#[tokio::test]
async fn silence_ends_at_the_deadline_as_unknown_outcome_or_disconnect() {
    let (mut connection, _server) = opened(vec![Step::Silence]).await;
    connection.set_request_timeout(SHORT);
    let error = connection.exec_sql("DELETE FROM t", &[]).await.unwrap_err();
    assert!(
        matches!(error, Error::OutcomeUnknown(Loss::TimedOut(SHORT))),
        "{error:?}"
    );

    let (mut connection, _server) = opened(vec![Step::Silence]).await;
    connection.set_request_timeout(SHORT);
    let error = connection.leader().await.unwrap_err();
    assert!(
        matches!(error, Error::Disconnected(Loss::TimedOut(SHORT))),
        "{error:?}"
    );
    assert!(connection.is_poisoned());
}

#[tokio::test]
async fn request_that_could_not_be_written_whole_had_no_effect() {
    let (mut connection, _server) = opened(vec![Step::Deaf]).await;
    connection.set_request_timeout(SHORT);
    // More than the socket buffers of both sides hold.
    let value = vec![0; 8 << 20];
    let error = connection
        .exec_sql(INSERT, &[Param::Blob(&value)])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert!(error.had_no_effect());
    assert!(connection.is_poisoned());
}

#[tokio::test]
async fn server_that_is_gone_is_unreachable() {
    let nowhere = Endpoint::Abstract("dqlite-test-nobody-listens-here".into());
    let error = Connection::connect(&nowhere, options()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn failures_are_errors_and_leave_the_connection_usable() {
    let steps = vec![
        Step::reply(failure(1555, "UNIQUE constraint failed: t.id")),
        Step::reply(failure(10250, "not leader")),
        Step::reply(failure(10506, "leadership lost")),
        Step::reply(failure(10506, "leadership lost")),
        Step::reply(INSERTED),
    ];
    let (mut connection, _server) = opened(steps).await;
    let error = connection.exec_sql("INSERT", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Constraint { code: 1555, .. }));
    let error = connection.exec_sql("INSERT", &[]).await.unwrap_err();
    assert!(matches!(error, Error::NotLeader));
    let error = connection.exec_sql("INSERT", &[]).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown(Loss::LeadershipLost)));
    // A request that changes nothing leaves no doubt.
    let error = connection.prepare("SELECT 1").await.unwrap_err();
    assert!(matches!(error, Error::NotLeader));
    connection.exec_sql("INSERT", &[]).await.unwrap();
}

#[tokio::test]
async fn statement_is_refused_on_another_connection_and_after_another_open() {
    let (mut first, _server) = opened(vec![Step::reply(PREPARED), Step::reply(OPENED)]).await;
    let (mut second, _other) = opened(vec![Step::reply(INSERTED)]).await;
    let insert = first.prepare(INSERT).await.unwrap();
    let params = [Param::Integer(1)];
    assert!(matches!(
        second.exec(&insert, &params).await,
        Err(Error::Invalid(_))
    ));
    first.open("db").await.unwrap();
    assert!(matches!(
        first.exec(&insert, &params).await,
        Err(Error::Invalid(_))
    ));
    second.exec_sql("DELETE FROM t", &[]).await.unwrap();
}

#[tokio::test]
async fn wrong_number_of_parameters_is_refused_before_anything_is_sent() {
    let (mut connection, _server) =
        opened(vec![Step::reply(PREPARED), Step::reply(INSERTED)]).await;
    let insert = connection.prepare(INSERT).await.unwrap();
    assert!(matches!(
        connection.exec(&insert, &[]).await,
        Err(Error::Invalid(_))
    ));
    connection.exec(&insert, &[Param::Null]).await.unwrap();
}

#[tokio::test]
async fn reply_of_another_kind_poisons_the_connection() {
    let (mut connection, _server) = opened(vec![Step::reply(Reply::Empty)]).await;
    let error = connection.exec_sql("DELETE FROM t", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
    assert!(matches!(connection.leader().await, Err(Error::Poisoned)));
}

#[tokio::test]
async fn part_without_rows_that_promises_more_poisons_the_connection() {
    let all = [bytes_of(&part(&[1], true)), bytes_of(&part(&[], true))].concat();
    let (mut connection, _server) = opened(vec![Step::Send(all)]).await;
    let rows = connection.query_sql("SELECT n FROM t", &[]).await.unwrap();
    assert!(matches!(rows.collect(10).await, Err(Error::Protocol(_))));
    assert!(connection.is_poisoned());
}

#[tokio::test]
async fn announced_size_over_the_limit_is_refused() {
    let header = [0xff, 0xff, 0xff, 0x0f, 6, 0, 0, 0];
    let (mut connection, _server) = opened(vec![Step::Send(header.into())]).await;
    let error = connection.exec_sql("DELETE FROM t", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error:?}");
}

#[tokio::test]
async fn pipeline_answers_in_order_and_goes_on_after_a_failed_request() {
    let steps = vec![
        Step::reply(PREPARED),
        Step::reply(INSERTED),
        Step::reply(failure(1555, "UNIQUE constraint failed: t.id")),
        Step::reply(Reply::Result {
            last_insert_rowid: 9,
            rows_affected: 1,
        }),
        Step::reply(INSERTED),
    ];
    let (mut connection, _server) = opened(steps).await;
    let insert = connection.prepare(INSERT).await.unwrap();
    let mut pipeline = connection.pipeline().unwrap();
    for value in 0..3 {
        pipeline.exec(&insert, &[Param::Integer(value)]).unwrap();
    }
    pipeline.send().await.unwrap();
    assert_eq!(pipeline.next().await.unwrap().unwrap().last_insert_rowid, 7);
    assert!(matches!(
        pipeline.next().await,
        Some(Err(Error::Constraint { .. }))
    ));
    assert_eq!(pipeline.next().await.unwrap().unwrap().last_insert_rowid, 9);
    assert!(pipeline.next().await.is_none());
    connection.exec_sql("DELETE FROM t", &[]).await.unwrap();
}

#[tokio::test]
async fn pipeline_that_loses_its_connection_leaves_every_request_unknown() {
    let steps = vec![Step::reply(INSERTED), Step::SendAndClose(vec![])];
    let (mut connection, _server) = opened(steps).await;
    let mut pipeline = connection.pipeline().unwrap();
    for _ in 0..4 {
        pipeline.exec_sql("DELETE FROM t", &[]).unwrap();
    }
    pipeline.send().await.unwrap();
    pipeline.next().await.unwrap().unwrap();
    for _ in 0..3 {
        assert!(matches!(
            pipeline.next().await,
            Some(Err(Error::OutcomeUnknown(_)))
        ));
    }
    assert!(pipeline.next().await.is_none());
    assert!(connection.is_poisoned());
}

#[tokio::test]
async fn pipeline_has_a_bounded_depth_and_poisons_when_it_is_given_up() {
    let (mut connection, _server) = opened(vec![Step::Silence]).await;
    {
        let mut pipeline = connection.pipeline().unwrap();
        for _ in 0..MAX_PIPELINE_DEPTH {
            pipeline.exec_sql("DELETE FROM t", &[]).unwrap();
        }
        let error = pipeline.exec_sql("DELETE FROM t", &[]).unwrap_err();
        assert!(matches!(
            error,
            Error::TooLarge {
                limit: MAX_PIPELINE_DEPTH,
                ..
            }
        ));
    }
    assert!(matches!(connection.pipeline(), Err(Error::Poisoned)));
}

#[tokio::test]
async fn last_server_is_not_removed() {
    let server = |id| Server {
        id,
        address: format!("10.0.0.{id}:9000"),
        role: Role::Voter,
    };
    let steps = vec![
        Step::reply(Reply::Servers(vec![server(1)])),
        Step::reply(Reply::Servers(vec![server(1), server(2)])),
        Step::reply(Reply::Empty),
    ];
    let (mut connection, server) = opened(steps).await;
    assert!(matches!(connection.remove(1).await, Err(Error::Invalid(_))));
    connection.remove(2).await.unwrap();
    assert_eq!(
        server.requests()[1..],
        [
            RequestKind::Cluster,
            RequestKind::Cluster,
            RequestKind::Remove
        ]
    );
}

#[tokio::test]
async fn unknown_leader_is_none() {
    let steps = vec![
        Step::reply(Reply::Server {
            id: 0,
            address: String::new(),
        }),
        Step::reply(Reply::Server {
            id: 3,
            address: "10.0.0.3:9000".into(),
        }),
    ];
    let (mut connection, _server) = opened(steps).await;
    assert_eq!(connection.leader().await.unwrap(), None);
    assert_eq!(
        connection.leader().await.unwrap().unwrap().address,
        "10.0.0.3:9000"
    );
}
