//! Daemons that stop: in order, and where a majority is gone.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    daemon::{Daemon, wait_for},
    recover::{count, three},
};

/// An election that finds nobody, which begins after 1.5 s, half a second in which a leader may still show up, and what a
/// busy machine adds.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

const NO_LEADER: i32 = 11;

#[test]
fn a_member_without_a_majority_stops_at_once_and_loses_nothing() {
    let mut nodes = three();
    let log = nodes[0].dir().join("log");
    nodes[0].kill();
    nodes[0].launch_with_log(&log);
    wait_for("the database to be open", || {
        nodes[0].run(&["members"]).status.success()
    });
    for gone in &mut nodes[1..] {
        gone.kill();
    }
    wait_for("the status to tell of no majority", || {
        let asked = nodes[0].run(&["status"]);
        let told = String::from_utf8(asked.stderr).unwrap();
        asked.status.code() == Some(NO_LEADER) && told.contains("no majority")
    });
    let told = fs::metadata(&log).unwrap().len() as usize;
    let began = Instant::now();
    let status = nodes[0].terminate();
    let log = fs::read_to_string(&log).unwrap();
    assert!(!log.contains('\x1b'), "{log}");
    assert_eq!(status.code(), Some(0), "{log}");
    let took = began.elapsed();
    assert!(took < STOP_TIMEOUT, "{took:?}: {log}");
    for level in [" WARN ", " ERROR "] {
        assert!(!log[told..].contains(level), "{log}");
    }
    for node in &mut nodes {
        node.launch();
    }
    wait_for("the database to be open again", || {
        nodes[0].run(&["members"]).status.success()
    });
    assert_eq!(count(&nodes[0], "select sum(a) from t"), "42");
}

#[test]
fn a_shutdown_returns_when_the_daemon_has_ended() {
    let mut daemon = Daemon::bootstrapped("node1");
    daemon.good(&["shutdown"]);
    assert!(daemon.has_ended());
    let told = daemon.bad(&["shutdown"]);
    assert!(told.contains("The daemon does not run"), "{told}");
}
