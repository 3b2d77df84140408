//! A client that is told one endpoint, and finds the other nodes by their client URLs.
//!
//! GO_CLIENT_BIN names the built `tests/clients/go`; without it, this says so and does nothing.

use nix::sys::signal::Signal;

use super::trio::Trio;
use crate::harness::*;

/// Answers of a node that show that the client uses it.
const ANSWERS: usize = 20;

/// The number of calls that each node has answered, as the client prints it.
fn answers(client: &Process, nodes: &[&Server]) -> Vec<usize> {
    let printed = client.output();
    let answered = |node: &&Server| {
        let line = format!("ok 127.0.0.1:{}\n", node.client_port());
        printed.matches(&line).count()
    };
    nodes.iter().map(answered).collect()
}

/// Waits until each of the nodes has answered more calls.
async fn wait_until_used(client: &Process, nodes: &[&Server]) {
    let before = answers(client, nodes);
    until("these nodes answer the client", async || {
        let now = answers(client, nodes);
        let mut counts = now.iter().zip(&before);
        counts.all(|(now, before)| now - before >= ANSWERS)
    })
    .await;
}

#[tokio::test]
async fn a_client_of_one_endpoint_fails_no_call_whichever_node_stops() {
    let Some(mut command) = named_by("GO_CLIENT_BIN", "the built tests/clients/go") else {
        return;
    };
    let mut trio = Trio::start().await;
    let first = trio.leader().await;
    command.args(["--sync", &trio.nodes[first].client_url()]);
    let mut client = Process::spawn(command, &trio.nodes[first].path().join("client"));
    for down in [first, (first + 1) % 3, (first + 2) % 3] {
        wait_until_used(&client, &trio.nodes.iter().collect::<Vec<_>>()).await;
        assert!(trio.nodes[down].terminate().await.success());
        wait_until_used(&client, &trio.others(down).map(|at| &trio.nodes[at])).await;
        trio.nodes[down].restart().await;
        trio.wait_for_voters(3).await;
    }
    wait_until_used(&client, &trio.nodes.iter().collect::<Vec<_>>()).await;
    client.signal(Signal::SIGTERM);
    let status = client.wait().await;
    let printed = client.output();
    let failed: Vec<_> = printed.lines().filter(|l| !l.starts_with("ok ")).collect();
    assert!(
        status.success() && failed.is_empty(),
        "{status}: {failed:?}"
    );
}
