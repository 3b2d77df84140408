//! Mistakes and failures, and the messages about them.

use std::fs;
use std::io::Read;
use std::net::TcpListener;

use crate::cluster::Cluster;
use crate::pair::{Flaw, Pair};
use crate::run::{OURS, REFUSED, run, run_with_input};

const USAGE: i32 = 2;
const UNREACHABLE: i32 = 13;
const TIMED_OUT: i32 = 14;

fn with_pair(cluster: &Cluster, pair: &Pair, more: &[&str]) -> crate::run::Ran {
    let (certificate, key) = (
        pair.certificate.to_str().unwrap(),
        pair.key.to_str().unwrap(),
    );
    let flags = [
        "-s",
        &cluster.nodes[0].address,
        "-c",
        certificate,
        "-k",
        key,
        "--timeout",
        "3000",
    ];
    run(OURS, &[&flags[..], more].concat())
}

#[test]
fn wrong_certificates_are_told_apart() {
    let cluster = Cluster::start(1);
    let own = cluster.pair.clone().unwrap();
    let other = Pair::make(&cluster.path().join("other"), Flaw::default());
    let error = with_pair(&cluster, &other, &[".leader"]).failed(UNREACHABLE);
    assert!(
        error.contains("certificate is not accepted: self-signed"),
        "{error}"
    );
    let mixed = Pair {
        certificate: own.certificate.clone(),
        key: other.key.clone(),
    };
    let error = with_pair(&cluster, &mixed, &[".leader"]).failed(USAGE);
    assert!(
        error.contains("does not belong to the certificate"),
        "{error}"
    );
    let missing = Pair {
        certificate: cluster.path().join("missing.crt"),
        key: own.key.clone(),
    };
    let error = with_pair(&cluster, &missing, &[".leader"]).failed(USAGE);
    assert!(error.contains("missing.crt"), "{error}");
    let error =
        with_pair(&cluster, &own, &["--server-name", "elsewhere", ".leader"]).failed(UNREACHABLE);
    assert!(
        error.contains("ertificate") || error.contains("hostname"),
        "{error}"
    );
    // Trusting only the other's, although the own one would do.
    let ca = other.certificate.to_str().unwrap();
    with_pair(&cluster, &own, &["--ca", ca, ".leader"]).failed(UNREACHABLE);
    let ca = own.certificate.to_str().unwrap();
    with_pair(&cluster, &own, &["--ca", ca, ".leader"]).good();
    with_pair(
        &cluster,
        &own,
        &["--ca", ca, "--server-name", "node", ".leader"],
    )
    .good();
    // In clear, to a port with TLS.
    let plain = run(
        OURS,
        &[
            "-s",
            &cluster.nodes[0].address,
            "--timeout",
            "1000",
            ".leader",
        ],
    );
    assert!([UNREACHABLE, TIMED_OUT].contains(&plain.code), "{plain:?}");
}

#[test]
fn a_certificate_without_a_dns_name_works() {
    // The original crashes.
    let flaw = Flaw {
        lacks_name: true,
        ..Flaw::default()
    };
    let cluster = Cluster::start_with(1, Some(flaw));
    let own = cluster.pair.clone().unwrap();
    with_pair(&cluster, &own, &[".leader"]).good();
    let error =
        with_pair(&cluster, &own, &["--server-name", "node", ".leader"]).failed(UNREACHABLE);
    assert!(error.contains("hostname mismatch"), "{error}");
}

#[test]
fn an_expired_certificate_is_told() {
    let flaw = Flaw {
        has_expired: true,
        ..Flaw::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let expired = Pair::make(dir.path(), flaw);
    let flags = [
        "-c",
        expired.certificate.to_str().unwrap(),
        "-k",
        expired.key.to_str().unwrap(),
    ];
    let error = run(
        OURS,
        &[&["-s", "127.0.0.1:1"], &flags[..], &[".leader"]].concat(),
    )
    .failed(USAGE);
    assert!(error.contains("expired on 2001-09-09"), "{error}");
    // A server's.
    let good = Cluster::start(1);
    let ca = good.pair.clone().unwrap();
    let error = with_pair(&good, &ca, &["--ca", flags[1], ".leader"]).failed(UNREACHABLE);
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn servers_that_do_not_answer_are_named() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let down = (leader + 1) % 3;
    cluster.nodes[down].kill();
    // One of three is no matter.
    cluster.shell(&[".cluster"]).good();
    let down_address = cluster.nodes[down].address.clone();
    let error = cluster
        .shell(&[&format!(".describe {down_address}")])
        .failed(UNREACHABLE);
    assert!(error.contains(&down_address), "{error}");
    let status = cluster.shell(&["-f", "jsonl", ".status"]).good();
    let rows: Vec<serde_json::Value> = status
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    for row in &rows {
        assert_eq!(row["reachable"], row["address"] != *down_address, "{row}");
        assert_eq!(
            row["leader"] == true,
            row["address"] == *cluster.nodes[leader].address,
            "{row}"
        );
    }
    // Two voters of three are left: another must not go.
    let third = &cluster.nodes[(leader + 2) % 3].address.clone();
    let error = cluster
        .shell(&["--yes", &format!(".remove {third}")])
        .failed(REFUSED);
    assert!(error.contains("no majority"), "{error}");
    let error = cluster
        .shell(&[&format!(".assign {third} spare")])
        .failed(REFUSED);
    assert!(error.contains("no majority"), "{error}");
    for node in &mut cluster.nodes {
        node.kill();
    }
    let addresses = cluster.addresses();
    for command in [".leader", "select 1"] {
        let error = run(
            OURS,
            &["-s", &addresses, "--timeout", "500", "k8s", command],
        )
        .failed(UNREACHABLE);
        assert!(
            error.contains("no dqlite leader") && error.contains(third),
            "{error}"
        );
    }
    let status = run(OURS, &["-s", &addresses, "--timeout", "500", ".status"]);
    assert_eq!(status.code, UNREACHABLE);
    assert_eq!(status.stdout.lines().count(), 4, "{}", status.stdout);
}

#[test]
fn a_server_that_says_nothing_is_a_timeout_or_no_leader() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink);
        sink.len()
    });
    let error = run(
        OURS,
        &[
            "-s",
            &address,
            "--timeout",
            "300",
            &format!(".describe {address}"),
        ],
    )
    .failed(TIMED_OUT);
    assert!(error.contains("no reply within 300ms"), "{error}");
    assert!(reader.join().unwrap() > 8);
}

#[test]
fn a_database_that_does_not_exist_is_noticed() {
    let cluster = Cluster::start(1);
    let error = cluster.shell(&["k8z", "select * from kine"]).failed(1);
    assert!(
        error.contains("no such table: kine") && error.contains("is its name right?"),
        "{error}"
    );
    let error = cluster.shell(&["k8s", "select * from kime"]).failed(1);
    assert_eq!(error, "Error: no such table: kime\n");
}

#[test]
fn a_statement_that_takes_too_long_says_what_may_come_of_it() {
    let cluster = Cluster::start(1);
    let address = &cluster.nodes[0].address;
    let slow = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 100000000) select count(*) from n";
    let own = cluster.pair.clone().unwrap();
    let flags = [
        "-c",
        own.certificate.to_str().unwrap(),
        "-k",
        own.key.to_str().unwrap(),
        "-s",
        address,
    ];
    let ran = run(
        OURS,
        &[&flags[..], &["--timeout", "3000", "k8s", slow]].concat(),
    );
    let error = ran.failed(TIMED_OUT);
    assert!(
        error.contains("may still run") && error.contains("rolled back"),
        "{error}"
    );
}

#[test]
fn wrong_flags_and_files_are_told_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = dir.path().join("cluster.yaml");
    fs::write(&yaml, "- ID: [\n").unwrap();
    let store = format!("file://{}", yaml.display());
    for (arguments, expected) in [
        (&["k8s", "select 1"][..], "no servers"),
        (&["-s", &store, "k8s", ".leader"], "is no list of servers"),
        (
            &["-s", "file:///nowhere/cluster.yaml", "k8s", ".leader"],
            "No such file",
        ),
        (
            &["-s", "127.0.0.1:1", "-c", "x", "k8s", ".leader"],
            "both TLS certificate and key",
        ),
        (
            &["-s", "127.0.0.1:1", "k8s", ".nothing"],
            "unknown command .nothing",
        ),
        (
            &["-s", "127.0.0.1:1", "k8s", ".weight a"],
            "should be: .weight <address> <n>",
        ),
        (
            &["-s", "127.0.0.1:1", "k8s", ".weight a -1"],
            "bad weight \"-1\"",
        ),
        (
            &["-s", "127.0.0.1:1", "k8s", ".mode xml"],
            "unknown format xml",
        ),
        (
            &["-s", "127.0.0.1:1", "k8s", ".read /nowhere"],
            "cannot read /nowhere",
        ),
    ] {
        let error = run(OURS, arguments).failed(USAGE);
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    fs::write(&yaml, "[]\n").unwrap();
    run(OURS, &["-s", &store, ".leader"]).failed(USAGE);
    assert_eq!(run(OURS, &["-s", "a", "-f", "xml", "k8s"]).code, USAGE);
    let sql_without_database = run_with_input(&["-s", "127.0.0.1:1"], "select 1;").failed(USAGE);
    assert!(
        sql_without_database.contains("needs a database"),
        "{sql_without_database}"
    );
}
