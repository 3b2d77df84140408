//! A node in a process of its own, which is killed or paused.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dqlite::wire::Role::{self, Spare, StandBy, Voter};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::node::{Cluster, TestNode, free_address};

/// Tells the test below that it is the node: directory, own address, and one to join.
const NODE: &str = "CLUSTER_TEST_NODE";

/// Says so once it has its place, and lives until it is killed or its parent is gone.
#[tokio::test(flavor = "multi_thread")]
async fn node_process() {
    let Ok(node) = env::var(NODE) else { return };
    let [dir, address, first] = node.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{node}")
    };
    let node = TestNode::start(Path::new(dir), address, &[first], None).await;
    node.until_ready().await;
    println!("ready");
    let read_to_end = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = tokio::task::spawn_blocking(read_to_end).await;
}

struct Process(Child);

impl Process {
    fn start(dir: &Path, address: &str, first: &str) -> Process {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "process::node_process", "--nocapture"])
            .env(NODE, format!("{} {address} {first}", dir.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("ready")));
        Process(child)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().cast_signed());
        kill(pid, signal).unwrap();
    }
}

impl Drop for Process {
    /// SIGKILL.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Four nodes, of which the second is a process; it votes, and the fourth stands by.
struct WithProcess {
    cluster: Cluster,
    dir: TempDir,
    addresses: [String; 4],
}

impl WithProcess {
    async fn start() -> (WithProcess, Process) {
        let mut cluster = Cluster::start(1, None).await;
        let a = cluster.addresses().remove(0);
        let (dir, b) = (tempfile::tempdir().unwrap(), free_address().await);
        let process = tokio::task::block_in_place(|| Process::start(dir.path(), &b, &a));
        let c = cluster.grow(None).await.address.clone();
        let d = cluster.grow(None).await.address.clone();
        let nodes = WithProcess {
            cluster,
            dir,
            addresses: [a, b, c, d],
        };
        nodes.until_roles([Voter, Voter, Voter, StandBy]).await;
        (nodes, process)
    }

    async fn until_roles(&self, roles: [Role; 4]) {
        let addresses = self.addresses.iter().map(String::as_str);
        let expected: Vec<_> = addresses.zip(roles).collect();
        self.cluster.nodes[0].until_roles(&expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seat_of_a_killed_process_moves_and_it_stands_by_when_it_is_back() {
    let (nodes, process) = WithProcess::start().await;
    drop(process);
    nodes.until_roles([Voter, Spare, Voter, Voter]).await;
    let [a, b, ..] = &nodes.addresses;
    let start = || Process::start(nodes.dir.path(), b, a);
    let _again = tokio::task::block_in_place(start);
    nodes.until_roles([Voter, StandBy, Voter, Voter]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seat_of_a_paused_process_moves_and_it_stands_by_when_it_goes_on() {
    let (nodes, process) = WithProcess::start().await;
    process.signal(Signal::SIGSTOP);
    nodes.until_roles([Voter, Spare, Voter, Voter]).await;
    process.signal(Signal::SIGCONT);
    nodes.until_roles([Voter, StandBy, Voter, Voter]).await;
}
