//! Whatever is killed at whatever moment: nothing is left of a member that is none, and its name is free again.
//!
//! Debug builds alone can be killed at a chosen point, and be made to wait for less than minutes.

use crate::daemon::{Daemon, wait_for};

/// Makes the waits of minutes last seconds.
const QUICK: &[(&str, &str)] = &[
    ("K8SD_INTERVAL_MS", "500"),
    ("K8SD_REMOVAL_MS", "500"),
    ("K8SD_GHOST_MS", "3000"),
    ("K8SD_PENDING_MS", "5000"),
];

fn failing_at(point: &str) -> Vec<(&str, &str)> {
    let mut env: Vec<(&str, &str)> = QUICK.to_vec();
    env.push(("K8SD_FAIL_AT", point));
    env
}

fn join(node: &Daemon, token: &str, name: &str) -> std::process::Output {
    let token = token.trim();
    node.run(&["join", token, "--name", name, "--address", &node.address])
}

fn good_join(first: &Daemon, node: &Daemon, name: &str) {
    let mut token = String::new();
    // Leadership may be on its way to another node.
    wait_for("a token", || {
        let added = first.run(&["token", "add", name]);
        token = String::from_utf8_lossy(&added.stdout).into_owned();
        added.status.success() || {
            first.run(&["token", "revoke", name]);
            false
        }
    });
    let joined = join(node, &token, name);
    let errors = String::from_utf8_lossy(&joined.stderr);
    assert!(joined.status.success(), "{name}: {errors}");
}

fn members(node: &Daemon) -> String {
    // No leader, for a moment.
    String::from_utf8_lossy(&node.run(&["members"]).stdout).into_owned()
}

fn wait_for_voters(node: &Daemon, voters: usize) {
    wait_for("the voters", || {
        let members = members(node);
        members.matches("voter").count() == voters && members.matches("ONLINE").count() == voters
    });
}

/// So many, and none of them pending.
fn wait_for_members(node: &Daemon, count: usize) {
    wait_for("the members", || {
        let members = members(node);
        members.matches("ONLINE").count() == count && !members.contains("PENDING")
    });
}

fn wait_until_in_step(node: &Daemon) {
    wait_for("a cluster in step", || {
        let checked = node.run(&["cluster", "check"]);
        checked.status.success() && checked.stdout.is_empty()
    });
}

fn is_outside(node: &Daemon) -> bool {
    let told = node.run(&["status"]).stderr;
    String::from_utf8_lossy(&told).contains("not yet initialized")
}

/// The number of removals to try until the first node carries one to the chosen point by itself.
const TRIES: usize = 5;

/// Returns whether the first node ended at this point of removing node3. On a busy machine the leader may take the
/// removal over and finish it before that.
fn ends_while_it_removes(first: &mut Daemon, others: &[Daemon; 2], point: &str) -> bool {
    good_join(first, &others[1], "node3");
    wait_for_voters(first, 3);
    first.restart(&failing_at(point));
    wait_for_voters(first, 3);
    if first.run(&["remove", "node3"]).status.success() {
        return false;
    }
    let mut has_ended = false;
    wait_for("the removal to be carried on", || {
        has_ended = first.has_ended();
        has_ended || is_outside(&others[1])
    });
    has_ended || first.has_ended()
}

#[test]
fn a_removal_that_is_killed_at_any_step_completes_and_the_name_is_free() {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut first = Daemon::start_with(QUICK);
    let address = first.address.clone();
    first.good(&["bootstrap", "--name", "node1", "--address", &address]);
    let others = [Daemon::start_with(QUICK), Daemon::start_with(QUICK)];
    good_join(&first, &others[0], "node2");
    for point in ["begun", "datastore", "server", "row", "told", "reset"] {
        let mut tries = 0..TRIES;
        while !ends_while_it_removes(&mut first, &others, point) {
            assert!(tries.next().is_some(), "{point} is never reached");
            wait_for("the removed node to be outside", || is_outside(&others[1]));
            wait_until_in_step(&first);
        }
        first.restart(QUICK);
        wait_for("the removed node to be outside", || is_outside(&others[1]));
        wait_for("the removed member to be gone", || {
            let members = members(&others[0]);
            members.contains("node1") && !members.contains("node3")
        });
        // One that has heard of it, and could not say so, is looked for for a day.
        wait_for("the removal to be over", || {
            let count = "select count(*) from member_removals";
            let asked = others[0].run(&["sql", "--format", "go", count]);
            asked.stdout == b"[[0]]\n" || (point == "reset" && asked.stdout == b"[[1]]\n")
        });
        wait_until_in_step(&first);
    }
    good_join(&first, &others[1], "node3");
    wait_for_voters(&first, 3);
}

#[test]
fn a_joiner_that_is_killed_and_never_comes_back_blocks_its_name_for_a_while_only() {
    if !cfg!(debug_assertions) {
        return;
    }
    let first = Daemon::start_with(QUICK);
    first.good(&["bootstrap", "--name", "node1", "--address", &first.address]);
    for point in ["admitted", "trusting", "entered"] {
        let mut node = Daemon::start_with(&failing_at(point));
        let token = first.good(&["token", "add", "node2"]);
        assert!(!join(&node, &token, "node2").status.success(), "{point}");
        node.wait_for_end();
        assert!(members(&first).contains("PENDING"), "{point}");
        let checked = first.run(&["cluster", "check"]);
        assert!(
            String::from_utf8_lossy(&checked.stdout).contains("has not shown up"),
            "{point}"
        );
        wait_for("the pending member to be given up", || {
            !members(&first).contains("node2")
        });
        wait_until_in_step(&first);
    }
    let node = Daemon::start_with(QUICK);
    good_join(&first, &node, "node2");
    wait_for_members(&first, 2);
}

#[test]
fn a_member_that_is_killed_while_it_lets_a_node_in_forgets_that_node() {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut first = Daemon::start_with(&failing_at("let_in"));
    let address = first.address.clone();
    first.good(&["bootstrap", "--name", "node1", "--address", &address]);
    let node = Daemon::start_with(QUICK);
    let token = first.good(&["token", "add", "node2"]);
    assert!(!join(&node, &token, "node2").status.success());
    assert!(is_outside(&node));
    first.wait_for_end();
    first.restart(QUICK);
    wait_for("the pending member", || members(&first).contains("PENDING"));
    wait_for("the pending member to be given up", || {
        members(&first).contains("node1") && !members(&first).contains("node2")
    });
    wait_until_in_step(&first);
    // The token was used up.
    assert!(!join(&node, &token, "node2").status.success());
    good_join(&first, &node, "node2");
}

#[test]
fn a_bootstrap_that_is_killed_can_be_repeated() {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut node = Daemon::start_with(&failing_at("bootstrapped"));
    let bootstrap = ["bootstrap", "--name", "node1", "--address"];
    let address = node.address.clone();
    assert!(
        !node
            .run(&[&bootstrap[..], &[&address]].concat())
            .status
            .success()
    );
    node.wait_for_end();
    node.restart(QUICK);
    wait_for("the node to be outside", || is_outside(&node));
    node.good(&[&bootstrap[..], &[&address]].concat());
    assert_eq!(node.good(&["cluster", "check"]), "");
}

#[test]
fn a_joiner_that_is_killed_and_comes_back_gives_its_place_up_at_once() {
    if !cfg!(debug_assertions) {
        return;
    }
    // With the usual grace periods, which are minutes.
    let first = Daemon::bootstrapped("node1");
    for point in ["trusting", "entered"] {
        let mut node = Daemon::start_with(&failing_at(point));
        let token = first.good(&["token", "add", "node2"]);
        assert!(!join(&node, &token, "node2").status.success(), "{point}");
        node.wait_for_end();
        assert!(members(&first).contains("PENDING"), "{point}");
        node.restart(&[]);
        wait_for("the pending member to be gone", || {
            !members(&first).contains("node2")
        });
        wait_for("the node to be outside", || is_outside(&node));
        wait_until_in_step(&first);
        good_join(&first, &node, "node2");
        first.good(&["remove", "node2"]);
        wait_for("the node to be outside", || is_outside(&node));
    }
}

#[test]
fn a_pending_member_is_removed_by_force_at_once() {
    if !cfg!(debug_assertions) {
        return;
    }
    let first = Daemon::bootstrapped("node1");
    let mut node = Daemon::start_with(&failing_at("entered"));
    let token = first.good(&["token", "add", "node2"]);
    assert!(!join(&node, &token, "node2").status.success());
    node.wait_for_end();
    assert!(
        first
            .bad(&["token", "add", "node2"])
            .contains("exists already")
    );
    assert!(
        first
            .bad(&["remove", "node2"])
            .contains("cannot be reached")
    );
    first.good(&["remove", "node2", "--force"]);
    assert_eq!(first.good(&["cluster", "check"]), "");
    let another = Daemon::start();
    good_join(&first, &another, "node2");
}

#[test]
fn a_server_that_lost_its_row_is_taken_away_and_trusted_no_more() {
    if !cfg!(debug_assertions) {
        return;
    }
    let first = Daemon::start_with(QUICK);
    first.good(&["bootstrap", "--name", "node1", "--address", &first.address]);
    let node = Daemon::start_with(QUICK);
    good_join(&first, &node, "node2");
    wait_for_members(&first, 2);
    first.good(&[
        "sql",
        "delete from core_cluster_members where name = 'node2'",
    ]);
    let checked = first.run(&["cluster", "check", "--repair"]);
    let found = String::from_utf8_lossy(&checked.stdout);
    assert!(found.contains("belongs to no member (it may still be work in progress)"));
    assert_eq!(checked.status.code(), Some(1));
    wait_until_in_step(&first);
    assert!(!first.state().join("truststore/node2.yaml").exists());
    first.good(&["token", "add", "node2"]);
}

#[test]
fn a_member_that_was_down_while_it_was_removed_forgets_the_cluster_when_it_is_back() {
    if !cfg!(debug_assertions) {
        return;
    }
    let first = Daemon::start_with(QUICK);
    first.good(&["bootstrap", "--name", "node1", "--address", &first.address]);
    let mut node = Daemon::start_with(QUICK);
    good_join(&first, &node, "node2");
    node.kill();
    first.good(&["remove", "node2", "--force"]);
    assert_eq!(first.good(&["cluster", "check"]), "");
    node.restart(QUICK);
    wait_for("the node to be outside", || is_outside(&node));
    good_join(&first, &node, "node2");
}

#[test]
fn a_member_leaves_by_itself() {
    let first = Daemon::bootstrapped("node1");
    assert!(first.bad(&["remove", "node1"]).contains("Cannot leave"));
    let node = Daemon::start();
    good_join(&first, &node, "node2");
    node.good(&["remove", "node2"]);
    wait_for("the node to be outside", || is_outside(&node));
    assert_eq!(members(&first).matches("node").count(), 1);
    assert_eq!(first.good(&["cluster", "check"]), "");
}

#[test]
fn a_daemon_that_was_killed_starts_again_at_once_and_a_second_one_does_not() {
    let mut node = Daemon::bootstrapped("node1");
    for _ in 0..5 {
        node.restart(&[]);
        wait_for("the daemon to be ready", || {
            node.run(&["status"]).status.success()
        });
    }
    let second = node.run(&["daemon"]);
    assert_eq!(second.status.code(), Some(5), "held, as the server has it");
    assert!(String::from_utf8_lossy(&second.stderr).contains("already running"));
    node.good(&["status"]);
    assert!(node.terminate().success());
    let taken = std::net::TcpListener::bind(&node.address).unwrap();
    assert_eq!(node.serve_to_its_end().code(), Some(4), "its port is taken");
    drop(taken);
    node.start_again();
}

#[test]
fn times_that_microcluster_wrote_are_understood() {
    if !cfg!(debug_assertions) {
        return;
    }
    let node = Daemon::start_with(QUICK);
    node.good(&["bootstrap", "--name", "node1", "--address", &node.address]);
    node.good(&[
        "sql",
        "insert into core_token_records (name, secret, expiry_date) values \
            ('gone', 'a', '2024-01-02 03:04:05.123456789+00:00'), \
            ('good', 'b', '2124-01-02 03:04:05.123456789+01:00'), ('ever', 'c', null); \
            update core_cluster_members set role = 'spare', heartbeat = '2024-01-02 03:04:05.1+00:00'",
    ]);
    wait_for("the expired token to go", || {
        !node.good(&["token", "list"]).contains("gone")
    });
    let tokens = node.good(&["token", "list"]);
    assert!(tokens.contains("2124-01-02T02:04:05Z"), "{tokens}");
    assert!(tokens.contains("never"), "{tokens}");
    wait_for("a new time of the member", || {
        let members = node.good(&["members", "--json"]);
        members.contains("voter") && !members.contains("2024")
    });
}

#[test]
fn a_node_leaves_whether_its_daemon_runs_or_not() {
    let first = Daemon::bootstrapped("node1");
    let told = first.bad(&["leave"]);
    assert!(
        told.contains("Cannot leave a cluster with 1 members"),
        "{told}"
    );
    for is_stopped in [false, true] {
        let mut node = Daemon::start();
        node.joined(&first, "node2");
        if is_stopped {
            node.kill();
        }
        node.good(&["leave"]);
        wait_for("the node to be gone", || {
            first.good(&["members"]).matches("node").count() == 1
        });
    }
    let alone = Daemon::start();
    assert!(alone.run(&["leave"]).status.success());
}
