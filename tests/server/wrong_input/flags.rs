//! The command line.

use std::process::{Command, Output};

fn run(flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"))
        .args(flags)
        .output()
        .unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    (status.code(), text)
}

/// The exit code for a wrong command line.
const USAGE: i32 = 2;

#[test]
fn wrong_values_are_named_with_the_right_ones() {
    for (flag, expected) in [
        ("--min-tls-version=tls9", "tls13"),
        ("--low-available-storage-action=panic", "handover"),
        ("--watch-progress-notify-interval=soon", "soon"),
        ("--listen=ftp://x", "tcp://"),
        ("--listen=tcp://a:1,https://a:1", "the same"),
        ("--auth-token=jwt,sign-method=none", "RS256"),
        ("--enable-tls=perhaps", "perhaps"),
        ("--no-such-flag", "--no-such-flag"),
    ] {
        let (code, output) = run(&[flag]);
        assert_eq!(code, Some(USAGE), "{flag}: {output}");
        assert!(output.contains(expected), "{flag}: {output}");
    }
}

#[test]
fn versions_and_help_are_printed() {
    let (code, output) = run(&["version"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("dqlite: 1."), "{output}");
    let (code, output) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(output.contains("--storage-dir"), "{output}");
}
