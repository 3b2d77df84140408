//! A node in a process of its own, which is killed.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dqlite::wire::Role::{Spare, StandBy, Voter};

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
}

impl Drop for Process {
    /// SIGKILL.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seat_of_a_killed_process_moves_and_it_stands_by_when_it_is_back() {
    let mut cluster = Cluster::start(1, None).await;
    let a = cluster.addresses().remove(0);
    let (dir, b) = (tempfile::tempdir().unwrap(), free_address().await);
    let start = || Process::start(dir.path(), &b, &a);
    let process = tokio::task::block_in_place(start);
    let c = cluster.grow(None).await.address.clone();
    let d = cluster.grow(None).await.address.clone();
    let before = [(a.as_str(), Voter), (&b, Voter), (&c, Voter), (&d, StandBy)];
    cluster.nodes[0].until_roles(&before).await;
    drop(process);
    let after = [(a.as_str(), Voter), (&b, Spare), (&c, Voter), (&d, Voter)];
    cluster.nodes[0].until_roles(&after).await;
    let _again = tokio::task::block_in_place(start);
    let back = [(a.as_str(), Voter), (&b, StandBy), (&c, Voter), (&d, Voter)];
    cluster.nodes[0].until_roles(&back).await;
}
