//! `k8sd doctor`: what it finds of a member whose daemon runs, and of one that does not.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::daemon::{Daemon, wait_for};

/// Its sections are named in findings.
const PAGE: &str = include_str!("../../../../docs/k8sd.md");

fn doctor(daemon: &Daemon) -> (Value, i32) {
    let output = daemon.run(&["doctor", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    for finding in document["findings"].as_array().unwrap() {
        if let Some(section) = finding["section"].as_str() {
            assert!(
                PAGE.contains(&format!("# {section}\n")),
                "{section} is no section"
            );
        }
    }
    (document, output.status.code().unwrap())
}

fn has(document: &Value, subject: &str, severity: &str, part: &str) -> bool {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().any(|it| {
        it["subject"] == subject
            && it["severity"] == severity
            && it["text"].as_str().unwrap().contains(part)
    })
}

#[test]
fn a_member_that_runs_and_one_that_stopped_have_no_problem() {
    let mut first = Daemon::bootstrapped("node1");
    let (told, code) = doctor(&first);
    assert_eq!(code, 0, "{told:#}");
    for (subject, part) in [
        ("directory", "node1"),
        ("truststore", "members: 1"),
        ("certificates", "of the cluster is valid"),
        ("database", "a majority"),
        ("members", "1 of 1"),
        ("check", "agree"),
    ] {
        assert!(has(&told, subject, "ok", part), "{subject}: {told:#}");
    }
    first.terminate();
    let (told, code) = doctor(&first);
    assert_eq!(code, 0, "{told:#}");
    assert!(has(&told, "database", "ok", "whole"), "{told:#}");
    assert!(has(&told, "address", "ok", "its port is free"), "{told:#}");
    let text = String::from_utf8(first.run(&["doctor"]).stdout).unwrap();
    assert!(text.contains(": 0 problems, 0 warnings\n"), "{text}");
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let mut first = Daemon::bootstrapped("node1");
    let mut second = Daemon::start();
    second.joined(&first, "node2");
    second.kill();
    let (told, code) = doctor(&second);
    assert_eq!(code, 0, "{told:#}");
    assert!(has(&told, "members", "ok", &first.address), "{told:#}");
    wait_for("the member to be missed", || doctor(&first).1 != 0);
    let (told, code) = doctor(&first);
    let is_missed = has(&told, "members", "problem", "node2");
    assert!(
        is_missed || has(&told, "database", "problem", ""),
        "{told:#}"
    );
    assert!([10, 11].contains(&code), "{code}: {told:#}");
    first.kill();
    let key = first.dir().join("cluster.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let taken = TcpListener::bind(&first.address).unwrap();
    let (told, code) = doctor(&first);
    assert!(
        has(&told, "permissions", "warning", "cluster.key"),
        "{told:#}"
    );
    assert!(has(&told, "address", "problem", "in use"), "{told:#}");
    assert!(
        has(&told, "database", "problem", "no other member"),
        "{told:#}"
    );
    assert_eq!(code, 4);
    drop(taken);
    // A damaged log is the worst.
    let database = first.dir().join("database");
    let files = fs::read_dir(&database)
        .unwrap()
        .map(|it| it.unwrap().path());
    let segment = files.into_iter().find(|it| {
        let name = it.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("0000") && name.contains('-')
    });
    if let Some(segment) = segment {
        let mut bytes = fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(&segment, bytes).unwrap();
        let (told, code) = doctor(&first);
        assert_eq!(code, 6, "{told:#}");
    }
}
