//! The command against daemons in processes of their own.

mod addresses;
mod daemon;
mod damage;
mod datastore;
mod doctor;
mod ghosts;
mod joins;
mod microcluster;
mod node;
mod oracle;
mod recover;
mod security;
mod service_manager;
mod sql;
mod stopping;
mod terminal;
mod three;

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
    assert!(
        first
            .bad(&["remove", "node3"])
            .contains("cannot be reached")
    );
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
