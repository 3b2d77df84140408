//! The node that is asked, in a process of its own: it may end by itself.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use dqlite::node::{BOOTSTRAP_ID, limit_statements};

use crate::proxy::{Server, free_address};

/// Tells the test below that it is the node: the address, and the directory.
const NODE: &str = "PORT_TEST_NODE";

/// A client may leave statements behind, each of which computes and holds the lock.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);

/// Says when it listens, and lives until it is killed, or its parent lets it stop.
#[tokio::test(flavor = "multi_thread")]
async fn node_process() {
    let Ok(node) = env::var(NODE) else { return };
    let (address, dir) = node.split_once(' ').unwrap();
    limit_statements(STATEMENT_TIMEOUT);
    let mut server = Server::start_in(Path::new(dir), address, BOOTSTRAP_ID, None, None).await;
    println!("ready");
    let read_to_end = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = tokio::task::spawn_blocking(read_to_end).await;
    server.stop().await;
    println!("stopped");
}

pub struct Process {
    child: Child,
    dir: tempfile::TempDir,
    pub address: String,
}

impl Process {
    pub async fn start() -> Process {
        let (dir, address) = (tempfile::tempdir().unwrap(), free_address().await);
        let child = Process::spawn(dir.path(), &address);
        Process {
            child,
            dir,
            address,
        }
    }

    /// Starts it again with what it has on disk.
    pub fn start_again(&mut self) {
        self.child = Process::spawn(self.dir.path(), &self.address);
    }

    fn spawn(dir: &Path, address: &str) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.with_extension("log"))
            .unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "random::node::node_process", "--nocapture"])
            .env(NODE, format!("{address} {}", dir.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        // Without it the process ends, which whoever talks to it will see.
        lines.any(|line| line.unwrap().ends_with("ready"));
        child
    }

    /// Returns how it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// SIGKILL. Returns how it ended, unless by that.
    pub fn kill(&mut self) -> Result<(), ExitStatus> {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        match status.signal() {
            Some(libc::SIGKILL) => Ok(()),
            _ => Err(status),
        }
    }

    /// Lets it stop.
    pub fn stop(&mut self) -> Result<(), ExitStatus> {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        match status.success() {
            true => Ok(()),
            false => Err(status),
        }
    }

    /// Returns what it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.dir.path().with_extension("log"));
    }
}
