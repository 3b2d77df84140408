//! A node that writes rows in a process of its own, until it is stopped or killed.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use dqlite::node::{NodeOptions, SnapshotOptions, Trailing};

use crate::engine::{Client, options, start};

/// Tells the test below that it is the node: how many entries make a snapshot, and the directory.
const NODE: &str = "LOG_TEST_NODE";

/// A line for each row that was acknowledged.
#[test]
fn node_process() {
    let Ok(node) = env::var(NODE) else { return };
    let (threshold, dir) = node.split_once(' ').unwrap();
    let threshold = threshold.parse().unwrap();
    let dir = Path::new(dir);
    let node = start(&NodeOptions {
        bootstrap: !dir.join("metadata1").exists(),
        snapshot: SnapshotOptions {
            threshold,
            threshold_max: threshold,
            trailing: threshold,
            strategy: Trailing::Static,
        },
        ..options(dir)
    });
    let mut client = Client::connect(&node);
    client.leader();
    client.open();
    client.exec("CREATE TABLE IF NOT EXISTS t (bytes BLOB)");
    let mut out = std::io::stdout();
    writeln!(out).unwrap();
    let stop = std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    });
    while !stop.is_finished() {
        client.exec("INSERT INTO t VALUES (randomblob(abs(random()) % 3000))");
        if writeln!(out, "row").is_err() {
            break;
        }
    }
}

pub struct Writer {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Writer {
    pub fn start(dir: &Path, threshold: u32) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child::node_process", "--nocapture"])
            .env(NODE, format!("{threshold} {}", dir.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Waits until so many more rows were acknowledged.
    pub fn rows(&mut self, count: usize) {
        let mut rows = self.lines.by_ref().map(Result::unwrap);
        let rows = rows.by_ref().filter(|line| line == "row").take(count);
        assert_eq!(rows.count(), count, "the node ended");
    }

    pub fn stop(&mut self) {
        drop(self.process.stdin.take());
        for line in self.lines.by_ref() {
            line.unwrap();
        }
        assert!(self.process.wait().unwrap().success());
    }

    /// SIGKILL, in the middle of whatever it writes. Returns how many more rows were acknowledged.
    pub fn kill(&mut self) -> usize {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let rows = self.lines.by_ref().map_while(Result::ok);
        rows.filter(|line| line == "row").count()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
