//! The server as operators use it: through etcdctl.
//!
//! ETCDCTL_BIN names the program, 3.4 or newer; without it, this says so and does nothing.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::harness::*;

parity! {
    keys_are_put_read_and_deleted,
    a_transaction_chooses_its_branch,
    a_watch_prints_what_happens,
    a_lease_is_granted_kept_and_revoked,
    a_compaction_hides_the_past,
    the_endpoint_is_healthy_and_has_a_status,
    members_and_alarms_are_listed,
    a_command_runs_under_a_lock,
    a_candidate_is_elected,
    users_do_what_their_roles_permit,
    the_database_is_hashed_saved_and_defragmented,
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

async fn a_command_runs_under_a_lock(server: Server) {
    check(&server, &[(&["lock", "l", "--", "echo", "held"], "held\n")]);
    let left = server.api().await.ask(get_prefix("l/")).await;
    assert_eq!(left.count, 0);
}

async fn a_candidate_is_elected(server: Server) {
    let Some(command) = etcdctl(&server, &["elect", "e", "me"]) else {
        return;
    };
    let candidate = Process::spawn(command, &server.path().join("elect"));
    until("it says that it leads", async || {
        candidate.output().ends_with("\nme\n")
    })
    .await;
    let leader = server.api().await.ask(get_prefix("e/")).await.kvs;
    let key = String::from_utf8(leader[0].key.to_vec()).unwrap();
    assert_eq!(candidate.output(), format!("{key}\nme\n"));
}

async fn users_do_what_their_roles_permit(server: Server) {
    check(
        &server,
        &[
            (
                &["user", "add", "root", "--new-user-password=pw"],
                "User root created\n",
            ),
            (&["role", "add", "root"], "Role root created\n"),
            (
                &["user", "grant-role", "root", "root"],
                "Role root is granted to user root\n",
            ),
            (&["role", "add", "r"], "Role r created\n"),
            (
                &[
                    "role",
                    "grant-permission",
                    "r",
                    "readwrite",
                    "--prefix",
                    "a/",
                ],
                "Role r updated\n",
            ),
            (&["user", "add", "u:pw"], "User u created\n"),
            (
                &["user", "grant-role", "u", "r"],
                "Role r is granted to user u\n",
            ),
            (&["user", "list"], "root\nu\n"),
            (
                &["role", "get", "r"],
                "Role r\nKV Read:\n\t[a/, a0) (prefix a/)\nKV Write:\n\t[a/, a0) (prefix a/)\n",
            ),
            (&["auth", "enable"], "Authentication Enabled\n"),
            (&["--user=u:pw", "put", "a/1", "v"], "OK\n"),
            (&["--user=u:pw", "get", "a/1"], "a/1\nv\n"),
        ],
    );
    refuses(&server, &["get", "a/1"], "user name is empty");
    refuses(
        &server,
        &["--user=u:pw", "put", "b", "v"],
        "permission denied",
    );
    refuses(
        &server,
        &["--user=u:no", "get", "a/1"],
        "authentication failed",
    );
    check(
        &server,
        &[
            (
                &["--user=root:pw", "auth", "disable"],
                "Authentication Disabled\n",
            ),
            (&["user", "delete", "u"], "User u deleted\n"),
            (&["get", "a/1"], "a/1\nv\n"),
        ],
    );
}

async fn the_database_is_hashed_saved_and_defragmented(server: Server) {
    check(&server, &[(&["put", "k", "v"], "OK\n")]);
    let Some(hash) = run(&server, &["endpoint", "hashkv"]) else {
        return;
    };
    assert!(hash.starts_with(&server.client_url()), "{hash}");
    let saved = server.path().join("saved");
    let path = saved.to_str().unwrap();
    let printed = run(&server, &["snapshot", "save", path]).unwrap();
    assert!(printed.contains(&format!("Snapshot saved at {path}")));
    assert!(saved.metadata().unwrap().len() > 0);
    let printed = run(&server, &["defrag"]).unwrap();
    assert!(printed.contains("Finished defragmenting"), "{printed}");
    refuses(&server, &["move-leader", "1"], "bad leader transferee");
}

/// Runs a command that must fail.
fn refuses(server: &Server, arguments: &[&str], reason: &str) {
    let Some(mut command) = etcdctl(server, arguments) else {
        return;
    };
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(complaint.contains(reason), "{arguments:?}: {complaint}");
}

#[test]
fn a_named_etcdctl_is_there() {
    if let Some(binary) = std::env::var_os("ETCDCTL_BIN") {
        assert!(Path::new(&binary).exists(), "{binary:?}");
    }
}
