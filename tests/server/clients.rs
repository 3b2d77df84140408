//! The server as programs of others use it: unmodified clients (`tests/clients`).
//!
//! GO_CLIENT_BIN and RUST_CLIENT_BIN name the programs once built, PYTHON_WITH_ETCD3 and PYTHON_WITH_ETCD3GW a Python
//! that has that module; without one, this says so and does nothing.

use std::process::Command;

use crate::harness::*;

parity! {
    gos_client_and_its_recipes_work,
    pythons_client_works,
    pythons_client_of_the_gateway_works,
}

parity! {
    // Cheap passwords: what they cost is not what is tested.
    with Options::flags(&["--bcrypt-cost=4"]);
    rusts_client_works,
}

parity! {
    with mutual_tls();
    rusts_client_works_with_certificates,
}

fn mutual_tls() -> Options {
    let pki = Pki::new();
    Options {
        flags: pki.mutual_flags(),
        tls: Some(pki.client(Some(pki.pair("root")))),
    }
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
    let Some(mut client) = named_by("GO_CLIENT_BIN", "the built tests/clients/go") else {
        return;
    };
    client.arg(server.client_url());
    check(client, 14);
}

fn rust_client(server: &Server) -> Option<Command> {
    let mut client = named_by("RUST_CLIENT_BIN", "the built tests/clients/rust")?;
    client.arg(server.client_url());
    Some(client)
}

async fn rusts_client_works(server: Server) {
    if let Some(client) = rust_client(&server) {
        check(client, 14);
    }
}

async fn rusts_client_works_with_certificates(server: Server) {
    let Some(mut client) = rust_client(&server) else {
        return;
    };
    let pki = server.tls().pki();
    let pair = pki.pair("alice");
    client.args([pki.authority(), pair.certificate, pair.key]);
    check(client, 13);
}

/// A program that takes host and port.
fn python_client(variable: &str, module: &str, program: &str, server: &Server) -> Option<Command> {
    let mut python = named_by(variable, &format!("a Python with the module {module}"))?;
    python
        .arg(format!(
            "{}/tests/clients/python/{program}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .args(["127.0.0.1", &server.client_port().to_string()])
        // What the module leaves behind would be in the tree.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Some(python)
}

async fn pythons_client_works(server: Server) {
    if let Some(client) = python_client("PYTHON_WITH_ETCD3", "etcd3", "client.py", &server) {
        check(client, 6);
    }
}

async fn pythons_client_of_the_gateway_works(server: Server) {
    if let Some(client) = python_client("PYTHON_WITH_ETCD3GW", "etcd3gw", "gateway.py", &server) {
        check(client, 9);
    }
}
