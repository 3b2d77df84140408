//! Several EXECs at a time.

use super::*;

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
