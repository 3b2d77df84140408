//! The server as operators use it: through etcdctl, with `ETCDCTL_API=3` as old ones need it.
//!
//! ETCDCTL_BIN names the program; without it, this says so and does nothing.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::*;

parity! {
    keys_are_put_read_and_deleted,
    a_transaction_chooses_its_branch,
    a_watch_prints_what_happens,
    a_lease_is_granted_kept_and_revoked,
    a_compaction_hides_the_past,
    the_endpoint_is_healthy_and_has_a_status,
    members_and_alarms_are_listed,
}

fn etcdctl(server: &Server, arguments: &[&str]) -> Option<Command> {
    let Some(binary) = std::env::var_os("ETCDCTL_BIN") else {
        eprintln!("skipped: ETCDCTL_BIN does not name an etcdctl");
        return None;
    };
    let mut command = Command::new(binary);
    // Other ETCDCTL_ variables would be flags.
    command.env_remove("ETCDCTL_BIN").env("ETCDCTL_API", "3");
    command
        .args(["--endpoints", &server.client_url()])
        .args(arguments);
    Some(command)
}

/// Runs one command with `input`; returns what it prints, or nothing where there is no etcdctl.
fn run_with(server: &Server, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = etcdctl(server, arguments)?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (printed, complaint) = (text(output.stdout), text(output.stderr));
    assert!(
        output.status.success(),
        "{arguments:?}: {printed}{complaint}"
    );
    // `endpoint health` prints to either, by version.
    Some(if printed.is_empty() {
        complaint
    } else {
        printed
    })
}

fn run(server: &Server, arguments: &[&str]) -> Option<String> {
    run_with(server, arguments, "")
}

/// Runs commands one after the other and checks what each prints.
fn check(server: &Server, expected: &[(&[&str], &str)]) {
    for (arguments, expected) in expected {
        if let Some(printed) = run(server, arguments) {
            assert_eq!(&printed, expected, "{arguments:?}");
        }
    }
}

async fn keys_are_put_read_and_deleted(server: Server) {
    check(
        &server,
        &[
            (&["put", "greeting", "hello"], "OK\n"),
            (&["get", "greeting"], "greeting\nhello\n"),
            (&["put", "k1", "a"], "OK\n"),
            (&["put", "k2", "b"], "OK\n"),
            (&["put", "k2", "c", "--prev-kv"], "OK\nk2\nb\n"),
            (&["get", "--prefix", "k"], "k1\na\nk2\nc\n"),
            (&["get", "--prefix", "k", "--keys-only"], "k1\n\nk2\n\n"),
            (&["get", "--prefix", "k", "--limit", "1"], "k1\na\n"),
            (
                &["get", "--prefix", "k", "--order=DESCEND"],
                "k2\nc\nk1\na\n",
            ),
            (
                &["get", "k", "l", "--sort-by=MODIFY", "--order=DESCEND"],
                "k2\nc\nk1\na\n",
            ),
            (&["get", "k2", "--rev", "4"], "k2\nb\n"),
            (&["get", "--from-key", "k2", "--print-value-only"], "c\n"),
            (&["get", "missing"], ""),
            (&["del", "greeting"], "1\n"),
            (&["del", "--prefix", "k"], "2\n"),
            (&["del", "k1"], "0\n"),
        ],
    );
    let stored = server.api().await.ask(get_range("\0", "\0")).await;
    assert_eq!(stored.count, 0);
}

async fn a_transaction_chooses_its_branch(server: Server) {
    let transaction = "version(\"lock\") = \"0\"\n\nput lock mine\nget lock\n\nget lock\n\n";
    if let Some(printed) = run_with(&server, &["txn"], transaction) {
        assert_eq!(printed, "SUCCESS\n\nOK\n\nlock\nmine\n");
    }
    if let Some(printed) = run_with(&server, &["txn"], transaction) {
        assert_eq!(printed, "FAILURE\n\nlock\nmine\n");
    }
}

async fn a_watch_prints_what_happens(server: Server) {
    let api = server.api().await;
    api.put("k1", "old").await;
    let arguments = ["watch", "--prefix", "k", "--rev", "2", "--prev-kv"];
    let Some(command) = etcdctl(&server, &arguments) else {
        return;
    };
    let log = server.path().join("watch");
    let watch = Process::spawn(command, &log);
    api.put("k1", "new").await;
    api.delete("k1").await;
    let expected = "PUT\nk1\nold\nPUT\nk1\nold\nk1\nnew\nDELETE\nk1\nnew\nk1\n\n";
    until("the watch has printed it", async || {
        watch.output().len() >= expected.len()
    })
    .await;
    assert_eq!(watch.output(), expected);
}

fn lease_id(granted: &str) -> String {
    granted.split(' ').nth(1).unwrap().to_owned()
}

async fn a_lease_is_granted_kept_and_revoked(server: Server) {
    let Some(granted) = run(&server, &["lease", "grant", "600"]) else {
        return;
    };
    let id = lease_id(&granted);
    assert_eq!(granted, format!("lease {id} granted with TTL(600s)\n"));
    check(
        &server,
        &[
            (&["put", "k", "v", &format!("--lease={id}")], "OK\n"),
            (
                &["lease", "keep-alive", "--once", &id],
                &format!("lease {id} keepalived with TTL(600)\n"),
            ),
            (&["lease", "list"], &format!("found 1 leases\n{id}\n")),
        ],
    );
    let ttl = run(&server, &["lease", "timetolive", "--keys", &id]).unwrap();
    assert!(
        ttl.starts_with(&format!("lease {id} granted with TTL(600s), remaining(")),
        "{ttl}"
    );
    assert!(ttl.ends_with("attached keys([k])\n"), "{ttl}");
    check(
        &server,
        &[
            (&["lease", "revoke", &id], &format!("lease {id} revoked\n")),
            (&["get", "k"], ""),
            (&["lease", "list"], "found 0 leases\n"),
            (
                &["lease", "timetolive", &id],
                &format!("lease {id} already expired\n"),
            ),
        ],
    );
}

async fn a_compaction_hides_the_past(server: Server) {
    let api = server.api().await;
    for value in ["1", "2", "3"] {
        api.put("k", value).await;
    }
    check(&server, &[(&["compaction", "3"], "compacted revision 3\n")]);
    let Some(mut command) = etcdctl(&server, &["get", "k", "--rev", "2"]) else {
        return;
    };
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        complaint.contains("required revision has been compacted"),
        "{complaint}"
    );
    check(&server, &[(&["get", "k", "--rev", "3"], "k\n2\n")]);
}

async fn the_endpoint_is_healthy_and_has_a_status(server: Server) {
    let Some(health) = run(&server, &["endpoint", "health"]) else {
        return;
    };
    let url = server.client_url();
    assert!(health.contains(&format!("{url} is healthy")), "{health}");
    let status = run(&server, &["endpoint", "status"]).unwrap();
    let fields: Vec<_> = status.trim().split(", ").collect();
    assert_eq!(fields[0], url);
    assert!(fields[2].starts_with("3."), "{status}");
    assert!(fields.contains(&"true"), "it leads: {status}");
    let all = run(
        &server,
        &["endpoint", "status", "--cluster", "--write-out=json"],
    )
    .unwrap();
    assert!(all.contains(&url), "{all}");
}

async fn members_and_alarms_are_listed(server: Server) {
    let Some(members) = run(&server, &["member", "list"]) else {
        return;
    };
    assert!(
        members.contains("started") && members.contains(&server.client_url()),
        "{members}"
    );
    assert_eq!(members.lines().count(), 1);
    check(&server, &[(&["alarm", "list"], "")]);
}

#[test]
fn a_named_etcdctl_is_there() {
    if let Some(binary) = std::env::var_os("ETCDCTL_BIN") {
        assert!(Path::new(&binary).exists(), "{binary:?}");
    }
}
