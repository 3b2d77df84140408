//! The command against daemons in processes of their own.

mod daemon;
mod datastore;
mod joins;
mod node;
mod three;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};

use daemon::{Daemon, wait_for};

#[test]
fn three_nodes_join_by_token_and_a_removed_name_is_free_again() {
    let first = Daemon::bootstrapped("node1");
    let mut others = Vec::new();
    for name in ["node2", "node3"] {
        let node = Daemon::start();
        let token = first.good(&["token", "add", name]);
        node.good(&[
            "join",
            token.trim(),
            "--name",
            name,
            "--address",
            &node.address,
        ]);
        let again = Daemon::start();
        let join = [
            "join",
            token.trim(),
            "--name",
            name,
            "--address",
            &again.address,
        ];
        assert!(again.bad(&join).contains("No matching join token found"));
        others.push(node);
    }
    wait_for("three voters", || {
        first.good(&["members"]).matches("voter").count() == 3
    });
    assert_eq!(first.good(&["cluster", "check"]), "");
    others[0].good(&["remove", "node3"]);
    wait_for("the removed node to be outside", || {
        let told = others[1].run(&["status"]).stderr;
        String::from_utf8_lossy(&told).contains("not yet initialized")
    });
    let token = first.good(&["token", "add", "node3"]);
    let address = others[1].address.clone();
    others[1].good(&[
        "join",
        token.trim(),
        "--name",
        "node3",
        "--address",
        &address,
    ]);
    // Killed, it is removed by force alone.
    drop(others.pop());
    assert!(first.bad(&["remove", "node3"]).contains("not reachable"));
    first.good(&["remove", "node3", "--force"]);
    assert_eq!(first.good(&["members"]).matches("node").count(), 2);
    assert_eq!(first.good(&["cluster", "check"]), "");
}

#[test]
fn a_join_that_fails_leaves_nothing_behind() {
    let first = Daemon::bootstrapped("node1");
    let node = Daemon::start();
    let token = first.good(&["token", "add", "other"]);
    let join = |token: &str| {
        node.bad(&[
            "join",
            token.trim(),
            "--name",
            "node2",
            "--address",
            &node.address,
        ])
    };
    assert!(
        join(&token).contains("No matching join token"),
        "the name is another"
    );
    assert!(join("bm9uc2Vuc2U=").contains("Invalid join token"));
    let expired = first.good(&["token", "add", "node2", "--ttl", "1"]);
    wait_for("the token to expire", || {
        first
            .good(&[
                "sql",
                "--format",
                "csv",
                "select count(*) from core_token_records \
            where name = 'node2' and cast(expiry_date as integer) < unixepoch()",
            ])
            .contains("\r\n1\r\n")
    });
    let told = join(&expired);
    assert!(
        told.contains("expired") || told.contains("No matching"),
        "{told}"
    );
    // Another cluster's certificate is not the one that the token names.
    let stranger = Daemon::bootstrapped("node1");
    let foreign = stranger.good(&["token", "add", "node2"]);
    drop(stranger);
    assert!(join(&foreign).contains("Failed to join"));
    assert_eq!(first.good(&["members"]).matches("node").count(), 1);
    let _ = first.run(&["token", "revoke", "node2"]);
    let token = first.good(&["token", "add", "node2"]);
    node.good(&[
        "join",
        token.trim(),
        "--name",
        "node2",
        "--address",
        &node.address,
    ]);
}

#[test]
fn sql_splits_as_sqlite_does_and_prints_all_results() {
    let node = Daemon::bootstrapped("node1");
    let text = "create table t (a, b);\ninsert into t values (9007199254740993, ';'), (null, x'ff');\n\n \
        with x as (select * from t) select * from x; -- end;\n";
    let out = node.good(&["sql", text]);
    assert!(out.contains("=> Query 1:\nRows affected: 2\n"), "{out}");
    assert!(
        out.contains("9007199254740993  ;\nNULL              x'ff'\n"),
        "{out}"
    );
    assert_eq!(
        node.good(&["sql", "--format", "go", "select 1, null, 1000000"]),
        "[[1 <nil> 1e+06]]\n"
    );
    assert!(
        node.bad(&["sql", "select * from nope"])
            .contains("no such table: nope")
    );
    assert!(node.bad(&["sql", ";"]).contains("No query provided"));
    node.good(&[
        "sql",
        "create table flags (enabled BOOLEAN, share REAL); insert into flags values (1, 0.5)",
    ]);
    let dump = node.good(&["sql", ".dump"]);
    assert!(
        dump.contains("INSERT INTO \"flags\" VALUES(1,0.5);"),
        "{dump}"
    );
    assert!(
        node.good(&["sql", ".tables"])
            .contains("core_cluster_members")
    );
    let failed = "insert into t values (1, 1); select * from nope";
    node.bad(&["sql", "--transaction", failed]);
    assert_eq!(
        node.good(&["sql", "--format", "go", "select count(*) from t"]),
        "[[2]]\n"
    );
}

#[test]
fn nothing_is_open_to_the_network_without_a_members_certificate() {
    let node = Daemon::bootstrapped("node1");
    for request in [
        "GET /core/1.0",
        "GET /core/1.0/ready",
        "GET /core/1.0/cluster",
        "GET /core/internal/sql",
        "POST /core/internal/sql",
        "POST /core/internal/truststore",
        "POST /core/internal/database",
        "POST /core/control",
        "POST /core/control/tokens",
        "POST /core/internal/cluster",
        "PUT /core/internal/cluster/node1",
        "DELETE /core/1.0/cluster/node1",
        "POST /core/control/shutdown",
    ] {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        let stream = TcpStream::connect(&node.address).unwrap();
        let mut stream = connector.build().connect("node1", stream).unwrap();
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: x\r\nUpgrade: dqlite\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 403", "{request}");
    }
    node.good(&["status"]);
}
