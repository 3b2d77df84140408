//! Requests, results and errors of a connection that works.

use dqlite::wire::NodeId;

use super::*;

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
async fn last_server_is_not_removed() {
    let server = |id| Server {
        id: NodeId::new(id),
        address: format!("10.0.0.{id}:9000"),
        role: Role::Voter,
    };
    let steps = vec![
        Step::reply(Reply::Servers(vec![server(1)])),
        Step::reply(Reply::Servers(vec![server(1), server(2)])),
        Step::reply(Reply::Empty),
    ];
    let (mut connection, server) = opened(steps).await;
    assert!(matches!(
        connection.remove(NodeId::new(1)).await,
        Err(Error::Invalid(_))
    ));
    connection.remove(NodeId::new(2)).await.unwrap();
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
            id: NodeId::UNKNOWN,
            address: String::new(),
        }),
        Step::reply(Reply::Server {
            id: NodeId::new(3),
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
