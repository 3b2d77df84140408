//! Tests of k8sd with a storage directory, and with a datastore that runs already or not at all.

use std::{fs, path::Path};

use k8sd::time::now_s;

use crate::{
    daemon::{Daemon, wait_for},
    node::{Node, Place, server_binary},
};

fn token(first: &Node, name: &str) -> String {
    first.good(&["token", "add", name]).trim().to_owned()
}

#[test]
fn a_datastore_that_runs_is_taken_over_with_all_its_nodes() {
    let Some(binary) = server_binary() else {
        return;
    };
    let [first, second] = Place::on_loopback(["node1", "node2"]);
    let [mut first, mut second] = [first, second].map(|place| Node::start(place, &binary));
    first.bootstrap();
    first.start_server();
    second.join(&token(&first, "node2"));
    second.start_server();
    wait_for("both nodes", || first.server_addresses().len() == 2);
    first.put("key", "value");
    let key = fs::read_to_string(first.data().join("cluster.key")).unwrap();
    // The cluster manager is lost, and the datastore runs on.
    for node in [&mut first, &mut second] {
        node.kill_daemon();
        fs::remove_dir_all(node.state()).unwrap();
        node.start_daemon();
    }
    first.bootstrap();
    second.join(&token(&first, "node2"));
    let roles = first.datastore_roles();
    assert_eq!(roles[&first.place.datastore], "voter");
    assert!(roles[&second.place.datastore] != "none", "{roles:?}");
    assert_eq!(
        fs::read_to_string(second.data().join("cluster.key")).unwrap(),
        key
    );
    assert!(!second.data().join("init.yaml").exists());
    assert_eq!(second.get("key"), "value");
    // A removal that was interrupted, or done by other means, is finished by the same request.
    first.remove_server(&second.place.datastore);
    assert_eq!(first.datastore_roles()[&second.place.datastore], "none");
    // A member shows up a moment after its join, and is found missing until then.
    wait_for("a check that finds the server alone", || {
        let found = String::from_utf8(first.run(&["cluster", "check"]).stdout).unwrap();
        found.starts_with("node2 has no server in the datastore")
    });
    first.good(&["remove", "node2"]);
    assert_eq!(first.good(&["members"]).matches("node").count(), 1);
    assert_eq!(first.good(&["cluster", "check"]), "");
}

#[test]
fn a_member_is_removed_from_a_datastore_that_is_down_by_force_alone() {
    let [mut first, second] =
        Place::on_loopback(["node1", "node2"]).map(|place| Node::start(place, Path::new("")));
    first.bootstrap();
    second.join(&token(&first, "node2"));
    let roles = first.datastore_roles();
    assert!(roles.values().all(String::is_empty), "{roles:?}");
    let told = first.bad(&["remove", "node2"]);
    assert!(
        told.contains("could not be removed from the datastore"),
        "{told}"
    );
    assert_eq!(first.good(&["members"]).matches("node").count(), 2);
    first.good(&["remove", "node2", "--force"]);
    assert!(
        first
            .logged("k8sd.log")
            .contains("the datastore may still have this node")
    );
    // No server ever used what was written there.
    wait_for("the directory to be gone", || !second.data().exists());
    let logs = [first.logged("k8sd.log"), second.logged("k8sd.log")].concat();
    assert!(!logs.contains("PRIVATE KEY"));
    first.kill_daemon();
}

#[test]
fn what_a_killed_bootstrap_wrote_is_replaced_by_the_next() {
    let [place] = Place::on_loopback(["node1"]);
    let mut node = Node::start(place, Path::new(""));
    node.bootstrap();
    let read = |node: &Node| fs::read_to_string(node.data().join("cluster.crt")).unwrap();
    let before = read(&node);
    // As if it had been killed before its last step.
    node.kill_daemon();
    fs::remove_file(node.state().join("daemon.yaml")).unwrap();
    node.start_daemon();
    node.bootstrap();
    assert_ne!(read(&node), before, "nothing is left of it");
    // What somebody has changed since is theirs.
    node.kill_daemon();
    fs::remove_file(node.state().join("daemon.yaml")).unwrap();
    let init = node.data().join("init.yaml");
    fs::write(&init, "Address: 10.0.0.1:9000\n").unwrap();
    node.start_daemon();
    let told = node.bad(&node.bootstrap_args());
    assert!(told.contains("says something else"), "{told}");
    assert_eq!(
        fs::read_to_string(&init).unwrap(),
        "Address: 10.0.0.1:9000\n"
    );
}

#[test]
fn a_cluster_without_a_datastore_hands_none_out_and_takes_members_without_one() {
    let [first, second] =
        Place::on_loopback(["node1", "node2"]).map(|place| Node::start(place, Path::new("")));
    let plain = [
        "bootstrap",
        "--name",
        "node1",
        "--address",
        &first.place.k8sd,
    ];
    first.good(&plain);
    assert!(!first.good(&["members", "--json"]).contains("datastore"));
    let token = token(&first, "node2");
    let told = second.bad(&second.join_args(&token));
    assert!(told.contains("runs a datastore"), "{told}");
    assert!(!second.data().exists());
    let address = &second.place.k8sd;
    second.good(&["join", &token, "--name", "node2", "--address", address]);
    first.good(&["remove", "node2"]);
}

#[test]
fn a_failure_domain_is_written_and_the_flags_belong_together() {
    let [place] = Place::on_loopback(["node1"]);
    let node = Node::start(place, Path::new(""));
    let half = [
        "bootstrap",
        "--name",
        "node1",
        "--address",
        "127.0.0.1:1",
        "--datastore-dir",
        "/x",
    ];
    assert!(node.bad(&half).contains("--datastore-address"));
    let mut args = node.bootstrap_args();
    args.extend(["--failure-domain", "zone-a"]);
    node.good(&args);
    let written = fs::read_to_string(node.data().join("failure-domain")).unwrap();
    assert_eq!(written, "36929118209194167");
}

#[test]
fn a_pair_that_is_there_is_the_clusters_or_is_refused() {
    let [first, second, other] = Place::on_loopback(["node1", "node2", "other"])
        .map(|place| Node::start(place, Path::new("")));
    other.bootstrap();
    let copy = |to: &Node| {
        fs::create_dir(to.data()).unwrap();
        for name in ["cluster.crt", "cluster.key"] {
            fs::copy(other.data().join(name), to.data().join(name)).unwrap();
        }
    };
    copy(&first);
    first.bootstrap();
    let key = |node: &Node| fs::read_to_string(node.data().join("cluster.key")).unwrap();
    assert_eq!(key(&first), key(&other));
    copy(&second);
    second.join(&token(&first, "node2"));
    assert!(second.data().join("init.yaml").exists());
    first.good(&["remove", "node2", "--force"]);
    wait_for("what was written to be gone", || {
        !second.data().join("init.yaml").exists()
    });
    assert_eq!(key(&second), key(&other), "the pair was there before");

    let [third] = Place::on_loopback(["node1"]).map(|place| Node::start(place, Path::new("")));
    third.bootstrap();
    let told = second.bad(&second.join_args(&token(&third, "node2")));
    assert!(told.contains("those of another cluster"), "{told}");
    assert_eq!(key(&second), key(&other));
    assert_eq!(third.good(&["members"]).matches("node").count(), 1);
}

#[test]
fn a_removal_that_is_killed_after_the_datastore_was_told_is_finished_by_the_same_request() {
    let Some(binary) = server_binary() else {
        return;
    };
    let [first, second] = Place::on_loopback(["node1", "node2"]);
    let [mut first, mut second] = [first, second].map(|place| Node::start(place, &binary));
    first.bootstrap();
    first.start_server();
    second.join(&token(&first, "node2"));
    second.start_server();
    wait_for("both nodes", || first.server_addresses().len() == 2);
    for point in ["begun", "datastore"] {
        first.kill_daemon();
        first.start_daemon_that_fails_at(point);
        wait_for("the database", || first.run(&["members"]).status.success());
        first.bad(&["remove", "node2"]);
        let is_told = point == "datastore";
        assert_eq!(first.server_addresses().len() == 1, is_told, "{point}");
    }
    first.kill_daemon();
    first.start_daemon();
    wait_for("the database", || first.run(&["members"]).status.success());
    // Or the leader has finished it by itself.
    first.run(&["remove", "node2"]);
    assert_eq!(first.good(&["members"]).matches("node").count(), 1);
    assert_eq!(first.server_addresses(), [first.place.datastore.clone()]);
    assert_eq!(first.good(&["cluster", "check"]), "");
    assert!(second.data().join("info.yaml").exists());
}

#[test]
fn a_member_moves_to_other_addresses_together_with_its_datastore_server() {
    let [place, to] = Place::on_loopback(["node1", "node1"]);
    let mut node = Node::start(place, Path::new(""));
    node.bootstrap();
    node.kill_daemon();
    let server = format!("{}={}", node.place.datastore, to.datastore);
    let member = format!("{}={}", node.place.k8sd, to.k8sd);
    let told = node.bad(&["recover", "--addresses", &member, "--yes"]);
    assert!(told.contains(&node.place.datastore), "{told}");
    let both = format!("{member},{server}");
    node.good(&["recover", "--addresses", &both, "--yes"]);
    node.start_daemon();
    wait_for("the new addresses", || {
        let members = String::from_utf8(node.run(&["members", "--json"]).stdout).unwrap();
        members.contains(&to.k8sd) && members.contains(&to.datastore)
    });
    node.kill_daemon();
}

#[test]
fn a_node_that_joins_after_a_rotation_gets_the_new_pair() {
    let Some(binary) = server_binary() else {
        return;
    };
    let [first, second] = Place::on_loopback(["node1", "node2"]);
    let [mut first, second] = [first, second].map(|place| Node::start(place, &binary));
    first.bootstrap();
    first.start_server();
    wait_for("the node", || first.server_addresses().len() == 1);
    let key = |node: &Node| fs::read_to_string(node.data().join("cluster.key")).unwrap();
    let before = key(&first);
    // Where nobody tells k8sd, it says what to do.
    first.rotate_pair(None);
    wait_for("k8sd to miss the datastore", || {
        let found = String::from_utf8(first.run(&["cluster", "check"]).stdout).unwrap();
        found.contains("k8sd certs take DIR")
    });
    let data = first.data().display().to_string();
    assert!(
        first
            .good(&["certs", "take", &data])
            .contains("from now on")
    );
    assert!(first.good(&["certs", "take", &data]).contains("already"));
    let state = first.state();
    assert!(first.rotate_pair(Some(&state)).contains("from now on"));
    assert_ne!(key(&first), before);
    let mut second = second;
    second.join(&token(&first, "node2"));
    assert_eq!(key(&second), key(&first));
    second.start_server();
    wait_for("both nodes", || first.server_addresses().len() == 2);
    // One that the datastore does not know is not taken.
    let stranger = tempfile::tempdir().unwrap();
    let pair = k8sd::certificate::generate("node1", 1_700_000_000).unwrap();
    fs::write(stranger.path().join("cluster.crt"), pair.certificate).unwrap();
    fs::write(stranger.path().join("cluster.key"), pair.key).unwrap();
    let told = first.bad(&["certs", "take", &stranger.path().display().to_string()]);
    assert!(told.contains("nothing was changed"), "{told}");
}

#[test]
fn without_a_datastore_there_is_no_pair_to_take() {
    let member = Daemon::bootstrapped("node1");
    let dir = tempfile::tempdir().unwrap();
    let pair = k8sd::certificate::generate("node1", now_s()).unwrap();
    fs::write(dir.path().join("cluster.crt"), pair.certificate).unwrap();
    fs::write(dir.path().join("cluster.key"), pair.key).unwrap();
    let told = member.good(&["certs", "take", &dir.path().display().to_string()]);
    assert!(told.contains("knows of no datastore"), "{told}");
}
