//! `k8s-dqlite status`: what a script and a person see of a cluster, from the directory of any node.

use std::process::Output;

use serde_json::Value;

use super::nodes::trio::Trio;
use crate::harness::*;

const DEGRADED: i32 = 10;
const NO_LEADER: i32 = 11;

/// Blocks: the servers are other processes.
pub fn status(node: &Server, arguments: &[&str]) -> Output {
    run(&[&["status"], arguments].concat(), &node.storage_dir())
}

/// The sub-command with `--storage-dir` at its end.
pub fn run(arguments: &[&str], dir: &std::path::Path) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.args(arguments).arg("--storage-dir").arg(dir);
    command.output().unwrap()
}

/// The document, and the exit code.
fn report(node: &Server) -> (Value, i32) {
    let output = status(node, &["--json"]);
    let report = serde_json::from_slice(&output.stdout);
    let error = || String::from_utf8_lossy(&output.stderr).into_owned();
    (
        report.unwrap_or_else(|_| panic!("{}", error())),
        output.status.code().unwrap(),
    )
}

async fn until_code(node: &Server, code: i32) -> Value {
    let mut last = Value::Null;
    until("the status is as expected", async || {
        let (report, found) = report(node);
        last = report;
        found == code
    })
    .await;
    last
}

fn node_at<'a>(report: &'a Value, node: &Server) -> &'a Value {
    let address = format!("127.0.0.1:{}", node.node_port());
    let nodes = report["nodes"].as_array().unwrap();
    let found = nodes.iter().find(|node| node["address"] == *address);
    found.unwrap_or_else(|| panic!("{address} is not in {report}"))
}

#[tokio::test]
async fn a_node_alone_is_healthy_and_a_stopped_one_has_no_leader() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    api.ask(grant(60)).await;
    let revision = api.put("key", "value").await;
    let (report, code) = report(&server);
    assert_eq!(
        (code, &report["health"]),
        (0, &"healthy".into()),
        "{report}"
    );
    assert_eq!(report["revision"], revision);
    assert_eq!(report["tolerated_failures"], 0);
    assert_eq!(report["compact_revision"], Value::Null);
    let table = String::from_utf8(status(&server, &[]).stdout).unwrap();
    for text in [", not compacted yet\n", "\nTolerates  no failure\n"] {
        assert!(table.contains(text), "{table}");
    }
    assert_eq!(report["leases"], 1);
    assert!(report["database_bytes"].as_u64().unwrap() > 4096);
    let own = node_at(&report, &server);
    assert_eq!(
        (&own["is_own"], &own["is_leader"]),
        (&true.into(), &true.into())
    );
    assert!(own["log_bytes"].as_u64().unwrap() > 0);
    assert!(server.terminate().await.success());
    let (report, code) = self::report(&server);
    assert_eq!((code, &report["health"]), (NO_LEADER, &"no-leader".into()));
    let own = node_at(&report, &server);
    assert!(own["error"].as_str().unwrap().contains("refused"), "{own}");
}

#[tokio::test]
async fn every_node_tells_of_all_and_of_those_that_it_cannot_reach() {
    let mut trio = Trio::start_with(&Options::flags(&["--enable-tls=true"])).await;
    let leader = trio.leader().await;
    let [near, far] = trio.others(leader);
    trio.nodes[near].api().await.put("key", "value").await;
    for node in &trio.nodes {
        let report = until_code(node, 0).await;
        let address = format!("127.0.0.1:{}", trio.nodes[leader].node_port());
        assert_eq!(report["leader"]["address"], *address);
        for other in &trio.nodes {
            let seen = node_at(&report, other);
            assert_eq!(seen["role"], "voter");
            assert_eq!(seen["is_ready"], true);
            assert_eq!(seen["lag"], 0, "{report}");
            assert!(seen["certificate_expires_s"].as_i64().unwrap() > 0);
        }
    }
    let table = status(&trio.nodes[near], &[]).stdout;
    let table = String::from_utf8(table).unwrap();
    assert!(
        table.starts_with("Cluster    healthy\nCluster ID ")
            && table.contains("\nLeader     127.0.0.1:"),
        "{table}"
    );
    assert_eq!(table.matches(" follower ").count(), 2, "{table}");
    assert!(table.contains("\nTolerates  1 more failure\n"), "{table}");
    trio.nodes[far].kill9();
    let report = until_code(&trio.nodes[near], DEGRADED).await;
    assert_eq!(report["tolerated_failures"], 0, "{report}");
    assert_eq!(report["section"], "Several nodes", "{report}");
    assert_eq!(report["health"], "degraded");
    assert_eq!(node_at(&report, &trio.nodes[far])["is_reachable"], false);
    trio.nodes[leader].kill9();
    let report = until_code(&trio.nodes[near], NO_LEADER).await;
    assert_eq!(node_at(&report, &trio.nodes[near])["is_reachable"], true);
    let summary = report["summary"].as_str().unwrap();
    assert!(
        summary.ends_with("1 of 3 voters work, and writes need 2"),
        "{summary}"
    );
    assert_eq!(report["section"], "When a majority is lost");
    // The directory of a node that does not run is as good.
    let report = until_code(&trio.nodes[far], NO_LEADER).await;
    assert_eq!(node_at(&report, &trio.nodes[near])["is_reachable"], true);
}

#[test]
fn a_directory_of_no_node_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["status"], dir.path());
    assert_eq!(output.status.code(), Some(3));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("there is no info.yaml"), "{error}");
}
