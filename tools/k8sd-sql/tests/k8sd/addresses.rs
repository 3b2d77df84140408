//! Addresses that this machine cannot have.

use std::{fs, net::TcpListener};

use super::daemon::Daemon;

fn names(daemon: &Daemon) -> Vec<String> {
    let names = fs::read_dir(daemon.state()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_node_begins_no_cluster_under_an_address_of_elsewhere() {
    let daemon = Daemon::start();
    let before = names(&daemon);
    let occupant = TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = occupant.local_addr().unwrap().to_string();
    for (address, told) in [
        ("0.0.0.0:6400", "cannot reach it"),
        ("127.0.0.1:0", "cannot reach it"),
        // Of the documentation range, which no machine has.
        ("192.0.2.1:6400", "this machine does not have the address"),
        (&occupied, "in use"),
    ] {
        let refused = daemon.bad(&["bootstrap", "--name", "node1", "--address", address]);
        assert!(refused.contains(told), "{address}: {refused}");
        assert_eq!(names(&daemon), before, "{address}");
    }
    let bootstrap = ["bootstrap", "--name", "node1", "--address", &daemon.address];
    let storage = tempfile::tempdir().unwrap();
    let storage = storage.path().to_str().unwrap();
    let datastore = [
        "--datastore-dir",
        storage,
        "--datastore-address",
        "192.0.2.1:9000",
    ];
    let refused = daemon.bad(&[&bootstrap[..], &datastore[..]].concat());
    assert!(refused.contains("datastore: cannot listen on"), "{refused}");
    assert_eq!(names(&daemon), before);
    daemon.good(&bootstrap);
}

#[test]
fn a_node_does_not_ask_to_be_let_in_under_an_address_of_elsewhere() {
    let first = Daemon::bootstrapped("node1");
    let node = Daemon::start();
    let token = first.good(&["token", "add", "node2"]);
    let join = |address| {
        [
            "join",
            token.trim(),
            "--name",
            "node2",
            "--address",
            address,
        ]
    };
    let refused = node.bad(&join("192.0.2.1:6400"));
    assert!(refused.contains("does not have the address"), "{refused}");
    // The token is still good.
    node.good(&join(&node.address));
}
