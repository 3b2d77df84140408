//! Three nodes, or one: processes on loopback, or in network namespaces of their own, whose links can be cut.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_proto::etcdserverpb::{
    MemberListRequest, MemberRemoveRequest, MoveLeaderRequest, StatusRequest,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::faults::shim::{Armed, preload_unarmed};
use crate::harness::*;
use crate::nodes::trio::{Trio, empty};

/// The timeout of questions to nodes that may be dead or paused.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The time within which a stopped or lost node works again, on a busy machine.
const RECOVERY: Duration = Duration::from_secs(90);

/// Shells and scripts add it to the number of the signal that ended a process.
const SIGNALLED: i32 = 128;

/// The number of times that libdqlite ended a node by itself.
pub static ABORTS: AtomicUsize = AtomicUsize::new(0);

pub enum Nodes {
    Loopback(Vec<Server>),
    Namespaces(Namespaces),
}

/// A cluster of `scripts/cluster`.
pub struct Namespaces {
    dir: TempDir,
    urls: Vec<String>,
}

impl Nodes {
    /// One or three.
    pub async fn start(count: usize, in_namespaces: bool) -> Self {
        if in_namespaces {
            let mut nodes = Self::Namespaces(Namespaces::start(count));
            nodes.wait_until_well().await;
            return nodes;
        }
        if count == 1 {
            return Self::Loopback(vec![Server::start(Kind::K8sDqlite).await]);
        }
        assert_eq!(count, 3, "one node or three");
        Self::Loopback(Trio::start().await.nodes)
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Loopback(nodes) => nodes.len(),
            Self::Namespaces(namespaces) => namespaces.urls.len(),
        }
    }

    pub fn is_in_namespaces(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }

    pub fn urls(&self) -> Vec<String> {
        match self {
            Self::Loopback(nodes) => nodes.iter().map(Server::client_url).collect(),
            Self::Namespaces(namespaces) => namespaces.urls.clone(),
        }
    }

    pub fn kill(&mut self, node: usize) {
        match self {
            Self::Loopback(nodes) => nodes[node].kill9(),
            Self::Namespaces(namespaces) => namespaces.run("kill", &[node]),
        }
    }

    pub fn launch(&mut self, node: usize) {
        match self {
            Self::Loopback(nodes) => nodes[node].launch(),
            Self::Namespaces(namespaces) => namespaces.run("start", &[node]),
        }
    }

    /// Starts a node of which one call on a file will fail.
    pub fn launch_to_fail(&mut self, node: usize, log: &Path, armed: &Armed) {
        let data = self.data(node);
        let change = |command: &mut Command| preload_unarmed(command, &data, log, armed);
        match self {
            Self::Loopback(nodes) => nodes[node].launch_with(|command, _| change(command)),
            Self::Namespaces(namespaces) => {
                let mut command = namespaces.command("start", &[node]);
                change(&mut command);
                output(command);
            }
        }
    }

    /// Returns the exit code.
    pub async fn terminate(&mut self, node: usize) -> i32 {
        match self {
            Self::Loopback(nodes) => {
                nodes[node].process().signal(Signal::SIGTERM);
                // Not the harness's timeout: a node that waits for a majority takes its time.
                let gone = timeout(RECOVERY, async {
                    loop {
                        if let Some(status) = nodes[node].process().exited() {
                            return status;
                        }
                        tokio::time::sleep(POLL_INTERVAL).await;
                    }
                });
                let status = gone.await.expect("a node that was asked to stop ends");
                nodes[node].forget();
                code(status)
            }
            Self::Namespaces(namespaces) => {
                namespaces.run("stop", &[node]);
                let mut code = None;
                until("the exit code is written down", async || {
                    code = namespaces.ended(node);
                    code.is_some()
                })
                .await;
                code.unwrap()
            }
        }
    }

    /// Kills a node, where it runs, and empties its disk.
    pub fn wipe(&mut self, node: usize) {
        let other = (node + 1) % self.len();
        match self {
            Self::Loopback(nodes) => {
                if nodes[node].is_started() {
                    nodes[node].kill9();
                }
                empty(&nodes[node], &nodes[other]);
            }
            Self::Namespaces(namespaces) => namespaces.run("wipe", &[node]),
        }
    }

    pub fn pause(&mut self, node: usize) {
        match self {
            Self::Loopback(nodes) => nodes[node].process().signal(Signal::SIGSTOP),
            Self::Namespaces(namespaces) => namespaces.run("pause", &[node]),
        }
    }

    pub fn wake(&mut self, node: usize) {
        match self {
            Self::Loopback(nodes) => nodes[node].process().signal(Signal::SIGCONT),
            Self::Namespaces(namespaces) => namespaces.run("wake", &[node]),
        }
    }

    pub fn cut(&self, a: usize, b: usize) {
        self.namespaces().run("cut", &[a, b]);
    }

    pub fn cut_one_way(&self, from: usize, to: usize) {
        self.namespaces().run("cut-one-way", &[from, to]);
    }

    pub fn fill(&self, node: usize) {
        self.namespaces().run("fill", &[node]);
    }

    pub fn heal(&self) {
        self.namespaces().run("heal", &[]);
    }

    fn namespaces(&self) -> &Namespaces {
        match self {
            Self::Namespaces(namespaces) => namespaces,
            Self::Loopback(_) => panic!("loopback cannot be cut"),
        }
    }

    /// Asks the leader to let another node lead. It may refuse, as when there is none.
    pub async fn transfer(&self, to: usize) {
        let (Some(leader), Some(target_id)) = (self.leader().await, self.id(to).await) else {
            return;
        };
        self.try_ask(leader, MoveLeaderRequest { target_id }).await;
    }

    /// Asks another node to remove one from the cluster, which may be refused as well.
    pub async fn remove(&self, node: usize) {
        if let Some(id) = self.id(node).await {
            let other = (node + 1) % self.len();
            self.try_ask(other, MemberRemoveRequest { id }).await;
        }
    }

    async fn id(&self, node: usize) -> Option<u64> {
        let status = self.try_ask(node, StatusRequest {}).await?;
        Some(status.header?.member_id)
    }

    async fn try_ask<C: Call>(&self, node: usize, request: C) -> Option<C::Answer> {
        let asked = async {
            let api = Api::try_connect(&self.urls()[node]).await?;
            api.try_ask(request).await.ok()
        };
        timeout(ASK_TIMEOUT, asked).await.ok().flatten()
    }

    /// Waits until each node is a voter of the cluster, and says so.
    pub async fn wait_until_all_vote(&mut self) {
        let count = self.len();
        for node in 0..count {
            let all_vote = timeout(RECOVERY, async {
                loop {
                    self.restart_aborted();
                    let found = self.try_ask(node, MemberListRequest::default()).await;
                    let members = found.map(|found| found.members).unwrap_or_default();
                    if members.len() == count && members.iter().all(|m| !m.is_learner) {
                        return;
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            });
            assert!(all_vote.await.is_ok(), "not all vote after {RECOVERY:?}");
        }
    }

    /// The node that says that it leads, if one does.
    pub async fn leader(&self) -> Option<usize> {
        for (node, url) in self.urls().iter().enumerate() {
            let asked = async {
                let status = Api::try_connect(url).await?.try_ask(StatusRequest {}).await;
                let status = status.ok()?;
                (status.leader == status.header?.member_id).then_some(node)
            };
            if let Ok(Some(leader)) = timeout(ASK_TIMEOUT, asked).await {
                return Some(leader);
            }
        }
        None
    }

    /// Waits until one of the others leads, if there are any.
    pub async fn wait_for_a_leader_but(&mut self, node: usize) {
        if self.len() == 1 {
            return;
        }
        let elected = timeout(RECOVERY, async {
            while self.leader().await.is_none_or(|leader| leader == node) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        assert!(elected.await.is_ok(), "no other node than {node} leads");
    }

    /// Starts nodes again that an assertion of libdqlite has ended, as a supervisor would; any other end
    /// fails the test. libdqlite 1.18.7 has such assertions that overlapping faults reach, in
    /// `replicationAppend` for one: the log on the disk is whole then.
    pub fn restart_aborted(&mut self) {
        for node in 0..self.len() {
            if let Some(code) = self.ended(node) {
                panic!(
                    "node {node} has ended with {code}: {}",
                    self.last_line(node)
                );
            }
        }
    }

    /// The exit code of a node that has ended by itself. One that an assertion has ended is started again.
    pub fn ended(&mut self, node: usize) -> Option<i32> {
        let code = match self {
            Self::Loopback(nodes) => {
                let status = nodes[node].process().exited()?;
                nodes[node].forget();
                code(status)
            }
            Self::Namespaces(namespaces) => namespaces.ended(node)?,
        };
        if code == SIGNALLED + libc::SIGABRT && is_assertion(&self.log(node)) {
            ABORTS.fetch_add(1, Ordering::Relaxed);
            self.launch(node);
            return None;
        }
        Some(code)
    }

    fn log(&self, node: usize) -> String {
        match self {
            Self::Loopback(nodes) => nodes[node].output(),
            Self::Namespaces(namespaces) => namespaces.log(node),
        }
    }

    /// Returns the last line that a node has printed.
    pub fn last_line(&self, node: usize) -> String {
        let log = self.log(node);
        log.lines().next_back().unwrap_or_default().to_owned()
    }

    /// The storage directory of a node.
    pub fn data(&self, node: usize) -> PathBuf {
        match self {
            Self::Loopback(nodes) => nodes[node].storage_dir(),
            Self::Namespaces(namespaces) => namespaces.home(node).join("data"),
        }
    }

    /// Waits until each node answers a linearizable read.
    pub async fn wait_until_well(&mut self) {
        for node in 0..self.len() {
            let well = timeout(RECOVERY, async {
                loop {
                    self.restart_aborted();
                    if self.try_ask(node, get("health")).await.is_some() {
                        return;
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            });
            assert!(
                well.await.is_ok(),
                "node {node} does not recover in {RECOVERY:?}"
            );
        }
    }

    /// Waits until a node answers a linearizable read, or has ended; returns its exit code then.
    pub async fn serves_or_ends(&mut self, node: usize) -> Option<i32> {
        let outcome = timeout(RECOVERY, async {
            loop {
                for other in (0..self.len()).filter(|other| *other != node) {
                    if let Some(code) = self.ended(other) {
                        panic!(
                            "node {other} has ended with {code}: {}",
                            self.last_line(other)
                        );
                    }
                }
                if let Some(code) = self.ended(node) {
                    return Some(code);
                }
                if self.try_ask(node, get("health")).await.is_some() {
                    return None;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        let outcome = outcome.await;
        outcome.unwrap_or_else(|_| panic!("node {node} neither serves nor ends in {RECOVERY:?}"))
    }
}

impl Namespaces {
    fn start(count: usize) -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut namespaces = Self {
            dir,
            urls: Vec::new(),
        };
        namespaces.run("up", &[count - 1]);
        let shown = namespaces.output("urls", &[]);
        namespaces.urls = shown.lines().map(str::to_owned).collect();
        assert_eq!(namespaces.urls.len(), count, "{shown}");
        namespaces
    }

    /// The exit code of a process that has ended, and has not been started again.
    fn ended(&self, node: usize) -> Option<i32> {
        let pid = std::fs::read_to_string(self.home(node).join("pid")).unwrap();
        if std::fs::read_link(format!("/proc/{}/exe", pid.trim())).is_ok() {
            return None;
        }
        // Written a moment later.
        let code = std::fs::read_to_string(self.home(node).join("exit")).ok()?;
        code.trim().parse().ok()
    }

    fn log(&self, node: usize) -> String {
        let log = std::fs::read(self.home(node).join("log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn home(&self, node: usize) -> PathBuf {
        self.path().join((node + 1).to_string())
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    fn run(&self, verb: &str, nodes: &[usize]) {
        self.output(verb, nodes);
    }

    fn output(&self, verb: &str, nodes: &[usize]) -> String {
        output(self.command(verb, nodes))
    }

    fn command(&self, verb: &str, nodes: &[usize]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster");
        let mut command = Command::new(script);
        command.arg("--dir").arg(self.path());
        command.args(["--binary", env!("CARGO_BIN_EXE_k8s-dqlite"), verb]);
        // The script counts from one.
        command.args(nodes.iter().map(|node| (node + 1).to_string()));
        command
    }
}

fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn code(status: ExitStatus) -> i32 {
    let signal = || status.signal().unwrap_or_default();
    status.code().unwrap_or_else(|| SIGNALLED + signal())
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.output("logs", &[]));
        }
        self.run("down", &[]);
    }
}
