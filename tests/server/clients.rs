//! The server as programs in other languages use it: unmodified clients (`tests/clients`).
//!
//! GO_CLIENT_BIN names the Go program once built, PYTHON_WITH_ETCD3 a Python that has that module;
//! without one, this says so and does nothing.

use std::process::Command;

use crate::harness::*;

parity! {
    gos_client_and_its_recipes_work,
    pythons_client_works,
}

/// Every check prints a line.
fn check(mut command: Command, checks: usize) {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{complaint}");
    let passed = printed.lines().filter(|line| line.starts_with("ok "));
    assert_eq!(passed.count(), checks, "{printed}");
}

async fn gos_client_and_its_recipes_work(server: Server) {
    let Some(binary) = std::env::var_os("GO_CLIENT_BIN") else {
        eprintln!("skipped: GO_CLIENT_BIN does not name the built tests/clients/go");
        return;
    };
    let mut command = Command::new(binary);
    command.arg(server.client_url());
    check(command, 14);
}

async fn pythons_client_works(server: Server) {
    let Some(python) = std::env::var_os("PYTHON_WITH_ETCD3") else {
        eprintln!("skipped: PYTHON_WITH_ETCD3 does not name a Python with the module etcd3");
        return;
    };
    let mut command = Command::new(python);
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/python/client.py"
        ))
        .args(["127.0.0.1", &server.client_port().to_string()])
        // What the module leaves behind would be in the tree.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    check(command, 6);
}
