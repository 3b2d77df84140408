use std::{ffi::OsString, fs, path::Path};

use dqlite::{
    cluster::{MemberState, MemberStatus},
    files::read_cluster,
    wire::NodeId,
};
use tokio::time::timeout;

use super::{membership::View, *};
use crate::{args::Args, config};

/// Never reached by a test that passes.
const TIMEOUT: Duration = Duration::from_secs(60);

struct TestNode {
    running: RunningNode,
    address: String,
    dir: tempfile::TempDir,
}

/// A port that was free a moment ago.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn load(dir: &Path) -> Result<ServerConfig, ConfigError> {
    let dir = OsString::from(format!("--storage-dir={}", dir.display()));
    let args = ["k8s-dqlite".into(), dir, "--enable-tls=false".into()];
    config::load(&Args::read(args).unwrap())
}

async fn start(dir: tempfile::TempDir, address: &str) -> TestNode {
    let running = RunningNode::start(&load(dir.path()).unwrap()).await;
    TestNode {
        running: running.unwrap(),
        address: address.to_owned(),
        dir,
    }
}

async fn start_new(cluster: &[&TestNode]) -> TestNode {
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let others: Vec<&str> = cluster.iter().map(|node| node.address.as_str()).collect();
    let text = format!("Address: {address}\nCluster: {others:?}\n");
    fs::write(dir.path().join("init.yaml"), text).unwrap();
    let node = start(dir, &address).await;
    let ready = timeout(TIMEOUT, node.running.member().ready()).await;
    ready.unwrap().unwrap();
    node
}

impl TestNode {
    /// Waits until the node has looked again and seen this.
    async fn until(&self, mut is_so: impl FnMut(&MemberStatus) -> bool) {
        let mut status = self.running.member().status();
        let seen = async {
            while !is_so(&status.borrow_and_update()) {
                self.running.member().notify();
                let _ = timeout(Duration::from_millis(100), status.changed()).await;
            }
        };
        if timeout(TIMEOUT, seen).await.is_err() {
            panic!("{:?}", self.running.member().status().borrow());
        }
    }
}

fn voters(status: &MemberStatus) -> usize {
    let is_voter = |server: &&Server| server.role == Role::Voter;
    status.servers.iter().filter(is_voter).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_by_init_yaml_and_any_of_them_changes_the_cluster() {
    let first = start_new(&[]).await;
    let second = start_new(&[&first]).await;
    let third = start_new(&[&second, &first]).await;
    for node in [&first, &second, &third] {
        node.until(|status| voters(status) == 3).await;
        assert!(!node.dir.path().join("init.yaml").exists());
        assert!(!node.dir.path().join("join").exists());
        assert_eq!(read_cluster(node.dir.path()).unwrap().unwrap().len(), 3);
    }
    let by_second = second.running.membership();
    let view = by_second.view().await.unwrap();
    assert_eq!(view.leader_id, Some(first.running.identity.id));
    let third_id = third.running.identity.id;
    let refused = by_second.move_leader(third_id).await.unwrap_err();
    assert!(matches!(refused, MembershipError::NotLeader), "{refused}");
    let refused = by_second.promote(third_id).await.unwrap_err();
    assert!(matches!(refused, MembershipError::NotLearner), "{refused}");
    let refused = by_second.remove(NodeId::new(7)).await.unwrap_err();
    assert!(matches!(refused, MembershipError::NotFound), "{refused}");
    // The leader itself, by another node.
    let left = by_second.remove(first.running.identity.id).await.unwrap();
    assert_eq!(left.len(), 2);
    first.until(|s| s.state == MemberState::Removed).await;
    for node in [first, second, third] {
        node.running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster_hands_over_stops_and_comes_back() {
    let first = start_new(&[]).await;
    let second = start_new(&[&first]).await;
    first.until(|status| status.servers.len() == 2).await;
    let done = first.running.handover(Box::pin(async {})).await.unwrap();
    assert_eq!(done.leadership_to.unwrap().address, second.address);
    let TestNode {
        running,
        address,
        dir,
    } = first;
    running.stop().await.unwrap();
    let again = start(dir, &address).await;
    let ready = timeout(TIMEOUT, again.running.member().ready()).await;
    let status = ready.unwrap().unwrap();
    assert_eq!(status.leader.unwrap().address, second.address);
    assert_eq!(status.role, Some(Role::StandBy));
    // Its engine begins with what its own log says, and hears of the rest.
    let expected = View {
        servers: status.servers.to_vec(),
        leader_id: Some(second.running.identity.id),
    };
    let membership = again.running.membership();
    let seen = async { while membership.view().await.unwrap() != expected {} };
    timeout(TIMEOUT, seen).await.unwrap();
    // The only voter may go, with a stand-by to follow it, and then nobody any more.
    let id = again.running.identity.id;
    let left = membership.remove(second.running.identity.id).await.unwrap();
    assert_eq!(
        left.iter().map(|s| (s.id, s.role)).collect::<Vec<_>>(),
        [(id, Role::Voter)]
    );
    let refused = membership.remove(id).await.unwrap_err();
    assert!(
        matches!(refused, MembershipError::NotEnoughStarted),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_join_keeps_init_yaml_for_the_next_start() {
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    let text = format!("Address: {address}\nCluster: ['{}']\n", free_address());
    fs::write(dir.path().join("init.yaml"), &text).unwrap();
    let node = start(dir, &address).await;
    node.until(|s| s.state == MemberState::Joining).await;
    let id = node.running.identity.id;
    node.running.stop().await.unwrap();
    assert!(node.dir.path().join("init.yaml").exists());
    let first = start_new(&[]).await;
    let text = format!("Address: {address}\nCluster: ['{}']\n", first.address);
    fs::write(node.dir.path().join("init.yaml"), text).unwrap();
    let node = start(node.dir, &address).await;
    timeout(TIMEOUT, node.running.member().ready())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(node.running.identity.id, id);
    assert!(!node.dir.path().join("init.yaml").exists());
}

/// A buffer that a test's log is written to.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The port used to end together with the task that talks to the engine through it, which warned of the lost connection.
#[test]
fn a_stop_in_the_middle_of_a_look_at_the_cluster_is_silent() {
    const ROUNDS: u32 = 20;
    let log = Log::default();
    let writer = log.clone();
    let warnings = tracing_subscriber::fmt()
        .with_env_filter("dqlite::cluster=warn")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let warnings = tracing::Dispatch::new(warnings);
    // The tasks are on other threads, which are this test's alone.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&warnings)))
        .build()
        .unwrap();
    runtime.block_on(async {
        for _ in 0..ROUNDS {
            let node = start_new(&[]).await;
            let member = node.running.member().clone();
            // One look follows the other.
            let looking = tokio::spawn(async move {
                loop {
                    member.notify();
                    tokio::task::yield_now().await;
                }
            });
            tokio::time::sleep(Duration::from_millis(5)).await;
            node.running.stop().await.unwrap();
            looking.abort();
        }
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log, "");
}
