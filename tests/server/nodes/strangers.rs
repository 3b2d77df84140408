//! Connections to the dqlite port that never show the cluster's certificate.

use tokio::time::{Duration, timeout};

use super::trio::{Trio, persist};
use crate::harness::*;

/// More than there are places for strangers.
const SILENT: usize = 300;

/// A fail-over takes about a second, and some on a busy machine. What has to be told from it is an election whose messages
/// wait until silent connections time out.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_leader_is_elected_beside_silent_connections() {
    let mut trio = Trio::start_with(&Options::flags(&["--enable-tls=true"])).await;
    let leader = trio.leader().await;
    let mut crowds = Vec::new();
    for node in &trio.nodes {
        crowds.push(crowd(node.node_port(), SILENT, &[b"", CLIENT_HELLO]).await);
    }
    trio.nodes[leader].kill9();
    for at in trio.others(leader) {
        let api = trio.nodes[at].api().await;
        let written = persist(async || api.try_ask(put("key", "value")).await);
        let written = timeout(WRITTEN_WITHIN, written).await;
        assert!(written.is_ok(), "no write within {WRITTEN_WITHIN:?}");
    }
    drop(crowds);
}
