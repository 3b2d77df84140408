//! Prometheus' own tool judges the metrics and the alert rules. PROMTOOL_BIN names it (scripts/promtool brings it).

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::gateway::client::request;
use crate::harness::*;

fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let Some(binary) = std::env::var_os("PROMTOOL_BIN") else {
        eprintln!("skipped: PROMTOOL_BIN names no promtool (scripts/promtool brings one)");
        return None;
    };
    let mut child = Command::new(binary)
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that does not read is done before.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Some(child.wait_with_output().unwrap())
}

fn texts(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// Names of etcd that break Prometheus' customs are kept.
#[tokio::test]
async fn the_metrics_are_what_prometheus_reads_and_ours_follow_its_customs() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    api.put("a", "1").await;
    api.ask(grant(60)).await;
    let page = server.http("GET", "/metrics").await.body;
    let Some(output) = promtool(&["check", "metrics"], &page) else {
        return;
    };
    const ONLY_CUSTOMS: i32 = 3;
    let found = texts(&output);
    assert!(
        matches!(output.status.code(), Some(0 | ONLY_CUSTOMS)),
        "{found}"
    );
    let ours: Vec<_> = found
        .lines()
        .filter(|line| !line.starts_with("etcd_"))
        .collect();
    assert_eq!(ours, [] as [&str; 0]);
}

#[tokio::test]
async fn etcds_own_metrics_break_the_same_customs() {
    let Some(etcd) = etcd_or_skip(Options::default()).await else {
        return;
    };
    let server = Server::start(Kind::K8sDqlite).await;
    let mut found = Vec::new();
    for server in [&server, &etcd] {
        let page = request(server, "GET", "/metrics", "", b"").await.body;
        let page = String::from_utf8(page).unwrap();
        let Some(output) = promtool(&["check", "metrics"], &page) else {
            return;
        };
        found.push(texts(&output));
    }
    for line in found[0].lines() {
        assert!(found[1].contains(line), "{line}");
    }
}

#[test]
fn the_alert_rules_are_valid_and_fire_when_they_should() {
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
    ] {
        let Some(output) = promtool(&arguments, "") else {
            return;
        };
        assert!(output.status.success(), "{}", texts(&output));
    }
}
