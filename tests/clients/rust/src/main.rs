//! The calls that Rust programs make to etcd: the crate etcd-client, unmodified, against one
//! endpoint.
//!
//! ```text
//! rust-client ENDPOINT [AUTHORITY CERTIFICATE KEY]
//! ```
//!
//! The files are for TLS; without them, users and passwords are tried as well. Prints "ok NAME" or "fail NAME: ERROR"
//! per check; exits with 1 if one failed.

mod api;
mod auth;
mod recipes;

use std::fs;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};

/// Far above what a check takes, because the machine may have other work.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Check {
    name: &'static str,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (endpoint, tls) = match arguments.as_slice() {
        [endpoint] => (endpoint, None),
        [endpoint, files @ ..] if files.len() == 3 => (endpoint, Some(tls(files))),
        _ => {
            eprintln!("usage: rust-client ENDPOINT [AUTHORITY CERTIFICATE KEY]");
            return ExitCode::from(2);
        }
    };
    let has_users = tls.is_none();
    let options = tls.map(|tls| ConnectOptions::new().with_tls(tls));
    let client = Client::connect([endpoint], options).await.unwrap();
    let mut checks = checks(&client);
    if has_users {
        // The last one, because it changes what the others may do.
        checks.push(Check {
            name: "a user may do what the roles say",
            run: Box::pin(auth::users(endpoint.clone(), client.clone())),
        });
    }
    let mut has_failed = false;
    for check in checks {
        has_failed |= !passes(check).await;
    }
    ExitCode::from(u8::from(has_failed))
}

macro_rules! checks {
    ($client:expr; $($name:literal: $run:path,)*) => {
        vec![$(Check { name: $name, run: Box::pin($run($client.clone())) }),*]
    };
}

fn checks(client: &Client) -> Vec<Check> {
    checks! { client;
        "keys are put, read and deleted": api::keys,
        "a past revision can be read until it is compacted": api::past,
        "a transaction takes the branch that its comparison says": api::transaction,
        "a namespace hides its prefix": api::namespace,
        "a watch sees what it asked for": api::watch,
        "a watch resumes where another one ended": api::resumed_watch,
        "a watch below the compaction is cancelled": api::compacted_watch,
        "a lease is kept alive, and takes its keys with it": api::lease,
        "errors have their codes": api::errors,
        "the maintenance calls answer": api::maintenance,
        "a lock has one owner": recipes::lock,
        "a lock is handed over when its lease ends": recipes::orphaned_lock,
        "an election has one leader, whom observers see": recipes::election,
    }
}

/// Each in a task of its own, so that one that fails does not hide the others.
async fn passes(check: Check) -> bool {
    let outcome = tokio::spawn(tokio::time::timeout(TIMEOUT, check.run)).await;
    match &outcome {
        Ok(Ok(())) => println!("ok {}", check.name),
        Ok(Err(_)) => println!("fail {}: timed out", check.name),
        Err(panic) => println!("fail {}: {panic}", check.name),
    }
    matches!(outcome, Ok(Ok(())))
}

fn tls(files: &[String]) -> TlsOptions {
    let pem = |index: usize| fs::read(&files[index]).unwrap();
    TlsOptions::new()
        .ca_certificate(Certificate::from_pem(pem(0)))
        .identity(Identity::from_pem(pem(1), pem(2)))
}

/// The text that etcd has for it, below the crate's own error.
#[track_caller]
fn expect_refusal<T: std::fmt::Debug>(answer: Result<T, Error>, message: &str) {
    match answer {
        Err(Error::GRpcStatus(status)) => assert_eq!(status.message(), message),
        other => panic!("got {other:?}, not {message:?}"),
    }
}
