//! Mistakes of operators and strangers: a readable error, and no harm.

pub mod certificates;
mod directory;
mod flags;
mod full_disk;
mod garbage;
mod http;
mod ports;
mod schema;

use crate::harness::*;

/// A k8s-dqlite that has not been started.
fn prepare() -> Server {
    Server::prepare(Kind::K8sDqlite, Options::default())
}

/// Starts a server that must give up, with this exit code (docs/operations.md); returns what it says.
pub async fn refuses_to_start(server: &mut Server, code: i32) -> String {
    let before = server.output().len();
    server.launch();
    let status = server.process().wait().await;
    let output = server.output().split_off(before);
    assert_eq!(status.code(), Some(code), "{output}");
    assert!(!output.contains("panicked"), "{output}");
    assert!(output.contains("ERROR"), "{output}");
    server.kill9();
    output
}
