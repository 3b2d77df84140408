//! Connections that break, hang or are given up: what the caller learns, and that nobody gets the reply
//! of another request.

use dqlite::wire::NodeId;

use super::*;

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
        id: NodeId::new(1),
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
