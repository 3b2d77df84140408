//! Starts servers, talks to them, and runs one case against k8s-dqlite and against etcd.

mod api;
mod crowd;
mod http;
#[macro_use]
mod parity;
mod ports;
mod process;
mod programs;
mod requests;
mod server;
mod tls;
mod watcher;

pub use api::{Api, Call};
pub use crowd::{CLIENT_HELLO, crowd};
pub use http::{HttpAnswer, http_over, try_http_over};
pub use parity::etcd_or_skip;
pub use ports::free as free_port;
pub use process::Process;
pub use programs::{etcdctl, named_by};
pub use requests::*;
pub use server::{Kind, Options, Server, is_assertion};
pub use tls::{Pki, TlsClient, write_expired_node_pair};
pub use watcher::Watcher;

use std::time::Duration;

/// The longest that a server that is alive may take for anything that a test waits for.
///
/// Far above what is expected, because two cores run everything at once.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two checks of a condition that nothing announces.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds; panics, naming `what`, when that takes longer than [`TIMEOUT`].
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "timed out waiting until {what}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
