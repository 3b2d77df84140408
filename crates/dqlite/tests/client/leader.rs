//! Finding the leader among servers that follow scripts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dqlite::client::{ConnectOptions, Endpoint, Error, LeaderConnector, Resolve};
use dqlite::wire::{NodeId, Reply, RequestKind, Role, Server};

use super::fake::{FakeServer, Step};

/// Never reached by a test that passes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A time that is meant to pass.
const SHORT: Duration = Duration::from_millis(300);

/// The servers of a cluster, by the address that the cluster knows them by.
struct Cluster(HashMap<&'static str, FakeServer>);

impl Cluster {
    fn resolve(&self) -> Resolve {
        let endpoints: HashMap<_, _> = self
            .0
            .iter()
            .map(|(address, server)| (*address, server.endpoint().clone()))
            .collect();
        let nowhere = Endpoint::Abstract("dqlite-test-nobody-listens-here".into());
        Arc::new(move |address| endpoints.get(address).unwrap_or(&nowhere).clone())
    }

    fn connector(&self, addresses: &[&str]) -> LeaderConnector {
        let addresses = addresses.iter().map(|&address| address.into()).collect();
        LeaderConnector::new(addresses, self.resolve(), ConnectOptions::default())
    }
}

fn names(address: &str) -> Step {
    Step::reply(Reply::Server {
        id: NodeId::new(1),
        address: address.into(),
    })
}

fn welcomes() -> Step {
    Step::reply(Reply::Welcome {
        heartbeat_timeout_ms: 15_000,
    })
}

#[tokio::test]
async fn leader_is_found_through_another_node_and_asked_itself() {
    let cluster = Cluster(HashMap::from([
        ("a:1", FakeServer::start(vec![names("b:1")])),
        ("b:1", FakeServer::start(vec![names("b:1"), welcomes()])),
    ]));
    let mut connector = cluster.connector(&["a:1"]);
    let connection = connector.connect(TIMEOUT).await.unwrap();
    assert!(!connection.is_poisoned());
    assert_eq!(
        cluster.0["b:1"].requests(),
        [RequestKind::Leader, RequestKind::Client]
    );
    // From now on it is asked first, and alone.
    connector.connect(TIMEOUT).await.unwrap();
    assert_eq!(cluster.0["a:1"].requests().len(), 1);
    assert_eq!(cluster.0["b:1"].requests().len(), 4);
}

#[tokio::test]
async fn node_that_votes_not_is_asked_for_the_voters() {
    let server = |id, address: &str, role| Server {
        id: NodeId::new(id),
        address: address.into(),
        role,
    };
    let servers = vec![
        server(1, "a:1", Role::StandBy),
        server(2, "b:1", Role::Voter),
        server(3, "c:1", Role::Spare),
    ];
    let stand_by = vec![names(""), Step::reply(Reply::Servers(servers))];
    let cluster = Cluster(HashMap::from([
        ("a:1", FakeServer::start(stand_by)),
        ("b:1", FakeServer::start(vec![names("b:1"), welcomes()])),
        ("c:1", FakeServer::start(vec![Step::Silence])),
    ]));
    let mut connector = cluster.connector(&["a:1"]);
    connector.connect(TIMEOUT).await.unwrap();
    assert!(cluster.0["c:1"].requests().is_empty());
}

#[tokio::test]
async fn node_that_hangs_or_is_gone_holds_nobody_up() {
    let cluster = Cluster(HashMap::from([
        ("a:1", FakeServer::start(vec![Step::Silence])),
        ("b:1", FakeServer::start(vec![names("b:1"), welcomes()])),
    ]));
    cluster
        .connector(&["gone:1", "a:1", "b:1"])
        .connect(TIMEOUT)
        .await
        .unwrap();
}

#[tokio::test]
async fn claims_about_other_nodes_are_not_believed() {
    let cluster = Cluster(HashMap::from([
        ("a:1", FakeServer::start(vec![names("b:1")])),
        ("b:1", FakeServer::start(vec![names("")])),
        ("c:1", FakeServer::start(vec![names("a:1")])),
    ]));
    let error = cluster
        .connector(&["a:1", "b:1", "c:1"])
        .connect(SHORT)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoLeader { .. }), "{error}");
    assert!(error.had_no_effect());
}

#[tokio::test]
async fn search_is_repeated_and_ends_in_time_with_the_reason() {
    let alone = vec![names(""), Step::reply(Reply::Servers(Vec::new()))];
    let cluster = Cluster(HashMap::from([("a:1", FakeServer::start(alone))]));
    let error = cluster
        .connector(&["a:1", "gone:1"])
        .connect(SHORT)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a:1, gone:1: dqlite is not reachable"),
        "{error}"
    );
    assert!(cluster.0["a:1"].requests().len() > 2);
}

#[tokio::test]
async fn hanging_node_does_not_outlast_the_timeout() {
    let cluster = Cluster(HashMap::from([(
        "a:1",
        FakeServer::start(vec![Step::Silence]),
    )]));
    let search = cluster.connector(&["a:1"]).connect(SHORT).await;
    assert!(matches!(search, Err(Error::NoLeader { .. })));
}
