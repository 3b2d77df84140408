//! Requests whose contents would end an engine, through the port to a real one.

use dqlite::client::{Connection, Error};
use dqlite::node::{BOOTSTRAP_ID, stored_term};
use dqlite::wire::{NodeId, Reply, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::proxy::{Server, TIMEOUT};
use super::raw::{Frame, Raw, text, words};

fn open(name: &str) -> Frame {
    (3, 0, [text(name), words(&[0]), text("")].concat())
}

/// A connection with an open database.
async fn opened(server: &Server) -> Raw {
    let mut raw = Raw::connect(&server.address).await;
    raw.send(&open("test")).await.unwrap();
    assert!(matches!(raw.reply().await.unwrap(), Reply::Database { .. }));
    raw
}

fn hostile() -> Vec<Frame> {
    let address = || text("10.0.0.1:9000");
    let sql = || [words(&[0]), text("SELECT ?")].concat();
    vec![
        open(""),
        open(":memory:"),
        open("file:x?mode=memory"),
        open("test-wal"),
        (15, 0, text("")),
        (15, 0, text("test-journal")),
        (12, 0, [words(&[0]), address()].concat()),
        (12, 0, [words(&[2]), text("")].concat()),
        (12, 0, [words(&[2]), text([0xff, 0xfe])].concat()),
        (13, 0, words(&[0])),
        (13, 0, words(&[0, 0])),
        (13, 0, words(&[BOOTSTRAP_ID.number(), 7])),
        (14, 0, words(&[0])),
        // The last voter.
        (14, 0, words(&[BOOTSTRAP_ID.number()])),
        (13, 0, words(&[BOOTSTRAP_ID.number(), 2])),
        (17, 0, words(&[0])),
        (18, 0, words(&[9])),
        (16, 0, words(&[7])),
        (2, 0, words(&[0])),
        (99, 0, words(&[0])),
        (0, 5, words(&[0])),
        // A blob whose length wraps around.
        (9, 0, [sql(), words(&[0x0401, u64::MAX])].concat()),
        (8, 1, [sql(), words(&[u64::MAX])].concat()),
        (8, 0, words(&[0, u64::MAX])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_would_end_an_engine_is_answered_and_the_connection_goes_on() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let mut raw = opened(&server).await;
    for frame in hostile() {
        // Some of them end an engine at the second or third time.
        for _ in 0..3 {
            let failure = raw.refused(&frame).await;
            assert!(!failure.message.is_empty(), "{frame:?}");
        }
        let mut other = server.connect().await;
        other.open("test").await.unwrap();
        other.query_sql("SELECT 1", &[]).await.unwrap();
    }
    raw.send(&(0, 0, words(&[0]))).await.unwrap();
    assert!(matches!(raw.reply().await.unwrap(), Reply::Server { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_port_keep_the_order_of_the_requests() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let mut raw = Raw::connect(&server.address).await;
    raw.send(&open("test")).await.unwrap();
    let rows = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9999) \
        SELECT x FROM n";
    raw.send(&(9, 0, [words(&[0]), text(rows)].concat()))
        .await
        .unwrap();
    for _ in 0..2 {
        raw.send(&(18, 0, words(&[9]))).await.unwrap();
        raw.send(&(18, 0, words(&[0]))).await.unwrap();
    }
    assert!(matches!(raw.reply().await.unwrap(), Reply::Database { .. }));
    let mut parts = 0;
    loop {
        match raw.reply().await.unwrap() {
            Reply::Rows(part) => {
                parts += 1;
                if !part.more {
                    break;
                }
            }
            other => panic!("{other:?} in the middle of rows"),
        }
    }
    assert!(parts > 2, "the answer came in {parts} parts");
    for _ in 0..2 {
        let refused = raw.reply().await.unwrap();
        assert!(matches!(refused, Reply::Failure(_)), "{refused:?}");
        let described = raw.reply().await.unwrap();
        assert!(matches!(described, Reply::Metadata { .. }), "{described:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_a_database_open_cannot_become_a_link() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let mut raw = opened(&server).await;
    let connect = [words(&[2]), text("10.0.0.1:9000")].concat();
    raw.send(&(11, 0, connect)).await.unwrap();
    assert!(raw.reply().await.is_err());
    assert!(server.connect().await.leader().await.is_ok());
}

/// Waits until the nodes change; this one is a spare.
async fn until_a_change(leader: &mut Connection, spare: NodeId) {
    // To become what it is would be an error of another kind.
    let begun = async {
        while !matches!(
            leader.assign(spare, Role::Spare).await,
            Err(Error::Busy { .. })
        ) {}
    };
    timeout(TIMEOUT, begun).await.expect("the change begins");
}

/// The change takes as long as the other node is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_nodes_change_keeps_no_lock() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let mut leader = server.connect().await;
    leader.add(NodeId::new(2), "127.0.0.1:1").await.unwrap();
    let mut raw = opened(&server).await;
    for sql in ["CREATE TABLE t (a)", "BEGIN IMMEDIATE"] {
        let exec = [words(&[0]), text(sql)].concat();
        raw.send(&(8, 0, exec)).await.unwrap();
        let reply = raw.reply().await.unwrap();
        assert!(matches!(reply, Reply::Result { .. }), "{reply:?}");
    }
    raw.send(&(13, 0, words(&[2, 0]))).await.unwrap();
    until_a_change(&mut leader, NodeId::new(2)).await;
    drop(raw);
    leader.open("test").await.unwrap();
    let written = async {
        while leader
            .exec_sql("INSERT INTO t VALUES (1)", &[])
            .await
            .is_err()
        {}
    };
    timeout(TIMEOUT, written).await.expect("others write");
}

/// The engine would abort at the end of a connection that has a database open and waits for such a change.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_while_another_one_is_to_become_a_voter() {
    let mut server = Server::start(BOOTSTRAP_ID, None).await;
    let mut leader = server.connect().await;
    // Nobody is there, so it never catches up.
    leader.add(NodeId::new(2), "127.0.0.1:1").await.unwrap();
    let mut raw = Raw::connect(&server.address).await;
    raw.send(&open("test")).await.unwrap();
    raw.send(&(13, 0, words(&[2, 0]))).await.unwrap();
    until_a_change(&mut leader, NodeId::new(2)).await;
    tokio::task::block_in_place(|| server.node.stop().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_voter_stays_and_another_one_may_go() {
    let first = Server::start(BOOTSTRAP_ID, None).await;
    let second = Server::start(NodeId::new(2), None).await;
    let mut leader = first.connect().await;
    leader.set_request_timeout(TIMEOUT);
    leader.add(NodeId::new(2), &second.address).await.unwrap();
    // The other node has no vote yet.
    for refused in [
        leader.remove(BOOTSTRAP_ID).await,
        leader.assign(BOOTSTRAP_ID, Role::Spare).await,
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("without a voter"), "{error}");
    }
    leader.assign(NodeId::new(2), Role::Voter).await.unwrap();
    leader.assign(NodeId::new(2), Role::Spare).await.unwrap();
    leader.remove(NodeId::new(2)).await.unwrap();
    assert_eq!(leader.cluster().await.unwrap().len(), 1);
}

/// The engine would read a null pointer where a statement is used that was freed before a later one.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_was_freed_is_not_found() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let mut raw = opened(&server).await;
    let prepare = |sql: &str| -> Frame { (4, 0, [words(&[0]), text(sql)].concat()) };
    let of = |kind: u8, id: u64| -> Frame { (kind, 0, words(&[id << 32])) };
    // Used before the answers to their preparation came, and freed in the same breath.
    for frame in [
        prepare("CREATE TABLE t (a)"),
        prepare("SELECT 1"),
        of(5, 0),
        of(6, 1),
        of(7, 0),
    ] {
        raw.send(&frame).await.unwrap();
    }
    for expected in ["Statement", "Statement", "Result", "Rows", "Empty"] {
        let reply = format!("{:?}", raw.reply().await.unwrap());
        assert!(reply.starts_with(expected), "{expected}: {reply}");
    }
    for kind in [5, 6, 7] {
        for id in [0, 2, u64::from(u32::MAX)] {
            let failure = raw.refused(&of(kind, id)).await;
            assert_eq!(
                (failure.code, &failure.message[..]),
                (12, "no statement with the given id")
            );
        }
    }
    // The number is given again.
    raw.send(&prepare("INSERT INTO t VALUES (1)"))
        .await
        .unwrap();
    assert!(matches!(
        raw.reply().await.unwrap(),
        Reply::Statement { id: 0, .. }
    ));
    raw.send(&of(5, 0)).await.unwrap();
    assert!(matches!(
        raw.reply().await.unwrap(),
        Reply::Result {
            rows_affected: 1,
            ..
        }
    ));
}

/// Returns a message of a leader of this term: empty AppendEntries, or a snapshot.
fn leaders(kind: u64, term: u64) -> Vec<u8> {
    match kind {
        1 => words(&[1, 40, term, 0, 0, 0, 0]),
        _ => {
            // Format, one node of number 7, its address, voter.
            let configuration = [&[1][..], &words(&[1, 7]), b"1\0\x01", &[0; 4]].concat();
            let mut message = words(&[5, 48 + 24, term, 0, 0, 0, 24]);
            message.extend(configuration);
            message.extend(words(&[0]));
            message
        }
    }
}

/// The engine would abort: a term has one leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_leader_of_a_term_is_not_heard() {
    let server = Server::start(BOOTSTRAP_ID, None).await;
    let mut leader = server.connect().await;
    leader.open("test").await.unwrap();
    let connect = (11, 0, [words(&[7]), text("127.0.0.1:1")].concat());
    let link = async |message: Vec<u8>| {
        let mut raw = Raw::connect(&server.address).await;
        raw.send(&connect).await.unwrap();
        raw.0.write_all(&message).await.unwrap();
        raw.0
    };
    // The node leads in the term 1, since its cluster began.
    for kind in [1, 5] {
        let mut refused = link(leaders(kind, 1)).await;
        let end = timeout(TIMEOUT, refused.read(&mut [0])).await;
        assert!(matches!(end.expect("an end in time"), Ok(0) | Err(_)));
        // The engine answers a former one, on a link of its own.
        let _former = link(leaders(kind, 0)).await;
        leader
            .exec_sql("CREATE TABLE IF NOT EXISTS t (v)", &[])
            .await
            .unwrap();
    }
    // It follows a newer one, and as the only voter leads in that term without an election.
    let mut newer = link(leaders(1, 9)).await;
    let leads = async {
        while stored_term(server.node.dir()).unwrap() < 9 {
            tokio::task::yield_now().await;
        }
        let mut other = server.connect().await;
        while other.open("test").await.is_err() {}
        let insert = "INSERT INTO t VALUES (1)";
        other.exec_sql(insert, &[]).await.unwrap();
    };
    timeout(TIMEOUT, leads).await.expect("a write in time");
    newer.write_all(&leaders(1, 9)).await.unwrap();
    let end = timeout(TIMEOUT, newer.read(&mut [0])).await;
    assert!(matches!(end.expect("an end in time"), Ok(0) | Err(_)));
    let mut last = server.connect().await;
    last.open("test").await.unwrap();
}

/// Returns the message of a leader of the term 9 to an empty log: a configuration of a node with this number.
fn first_configuration(id: u64) -> Vec<u8> {
    let configuration = [&[1][..], &words(&[1, id]), b"1\0\x01", &[0; 4]].concat();
    let entry = [9, 3 | (configuration.len() as u64) << 32];
    let header = words(&[1, 56, 9, 0, 0, 0, 1, entry[0], entry[1]]);
    [header, configuration].concat()
}

/// The engine would write it and abort, and at each start no log that can be read be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_ends_the_engine_is_not_written() {
    let server = Server::start(NodeId::new(7), None).await;
    let link = async |message: Vec<u8>| {
        let connect = (11, 0, [words(&[8]), text("127.0.0.1:1")].concat());
        let mut raw = Raw::connect(&server.address).await;
        raw.send(&connect).await.unwrap();
        raw.0.write_all(&message).await.unwrap();
        raw.0
    };
    let mut refused = link(first_configuration(0)).await;
    let end = timeout(TIMEOUT, refused.read(&mut [0])).await;
    assert!(matches!(end.expect("an end in time"), Ok(0) | Err(_)));
    let has_nodes = async || !server.connect().await.cluster().await.unwrap().is_empty();
    assert!(!has_nodes().await);
    // The same with a number is taken.
    let _taken = link(first_configuration(8)).await;
    let taken = async {
        while !has_nodes().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, taken).await.expect("nodes in time");
}
