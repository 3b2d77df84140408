//! Three nodes: processes on loopback, or in network namespaces of their own, whose links can be cut.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_proto::etcdserverpb::{
    MemberListRequest, MemberRemoveRequest, MoveLeaderRequest, StatusRequest,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::harness::*;
use crate::nodes::trio::Trio;

/// For questions to nodes that may be dead or asleep.
const ASK_PATIENCE: Duration = Duration::from_secs(2);

/// A stopped or lost node is well again within this, on a machine that does much else.
const RECOVERY: Duration = Duration::from_secs(90);

const NODES: usize = 3;

/// How often libdqlite ended a node by itself.
pub static ABORTS: AtomicUsize = AtomicUsize::new(0);

pub enum Nodes {
    Loopback(Trio),
    Namespaces(Namespaces),
}

/// A cluster of `scripts/cluster`.
pub struct Namespaces {
    dir: TempDir,
    urls: Vec<String>,
}

impl Nodes {
    pub async fn start(in_namespaces: bool) -> Self {
        if in_namespaces {
            let mut nodes = Self::Namespaces(Namespaces::start());
            nodes.wait_until_well().await;
            return nodes;
        }
        Self::Loopback(Trio::start().await)
    }

    pub fn len(&self) -> usize {
        NODES
    }

    pub fn is_in_namespaces(&self) -> bool {
        matches!(self, Self::Namespaces(_))
    }

    pub fn urls(&self) -> Vec<String> {
        match self {
            Self::Loopback(trio) => trio.nodes.iter().map(Server::client_url).collect(),
            Self::Namespaces(namespaces) => namespaces.urls.clone(),
        }
    }

    pub fn kill(&mut self, node: usize) {
        match self {
            Self::Loopback(trio) => trio.nodes[node].kill9(),
            Self::Namespaces(namespaces) => namespaces.run("kill", &[node]),
        }
    }

    pub fn launch(&mut self, node: usize) {
        match self {
            Self::Loopback(trio) => trio.nodes[node].launch(),
            Self::Namespaces(namespaces) => namespaces.run("start", &[node]),
        }
    }

    pub async fn terminate(&mut self, node: usize) {
        match self {
            Self::Loopback(trio) => {
                trio.nodes[node].process().signal(Signal::SIGTERM);
                // Not the harness's patience: a node that waits for a majority takes its time.
                let gone = timeout(RECOVERY, async {
                    while trio.nodes[node].process().exited().is_none() {
                        tokio::time::sleep(POLL_INTERVAL).await;
                    }
                });
                gone.await.expect("a node that was asked to stop ends");
                trio.nodes[node].forget();
            }
            Self::Namespaces(namespaces) => namespaces.run("stop", &[node]),
        }
    }

    /// Kills a node and empties its disk.
    pub fn wipe(&mut self, node: usize) {
        match self {
            Self::Loopback(trio) => {
                trio.nodes[node].kill9();
                trio.empty(node, (node + 1) % NODES);
            }
            Self::Namespaces(namespaces) => namespaces.run("wipe", &[node]),
        }
    }

    pub fn pause(&mut self, node: usize) {
        match self {
            Self::Loopback(trio) => trio.pause(node),
            Self::Namespaces(namespaces) => namespaces.run("pause", &[node]),
        }
    }

    pub fn wake(&mut self, node: usize) {
        match self {
            Self::Loopback(trio) => trio.wake(node),
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
            self.try_ask((node + 1) % NODES, MemberRemoveRequest { id })
                .await;
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
        timeout(ASK_PATIENCE, asked).await.ok().flatten()
    }

    /// Until each node is a voter of the cluster, and says so.
    pub async fn wait_until_all_vote(&mut self) {
        for node in 0..NODES {
            let all_vote = timeout(RECOVERY, async {
                loop {
                    self.restart_aborted();
                    let found = self.try_ask(node, MemberListRequest::default()).await;
                    let members = found.map(|found| found.members).unwrap_or_default();
                    if members.len() == NODES && members.iter().all(|m| !m.is_learner) {
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
            if let Ok(Some(leader)) = timeout(ASK_PATIENCE, asked).await {
                return Some(leader);
            }
        }
        None
    }

    /// Starts nodes again that an assertion of libdqlite has ended, as a supervisor would; any other end
    /// fails the test. libdqlite 1.18.7 has such assertions that overlapping faults reach, in
    /// `replicationAppend` for one: the log on the disk is whole then.
    pub fn restart_aborted(&mut self) {
        for node in 0..NODES {
            let aborted = match self {
                Self::Loopback(trio) => trio.nodes[node].forget_aborted(),
                Self::Namespaces(namespaces) => namespaces.is_aborted(node),
            };
            if aborted {
                ABORTS.fetch_add(1, Ordering::Relaxed);
                self.launch(node);
            }
        }
    }

    /// Until each node answers a linearizable read.
    pub async fn wait_until_well(&mut self) {
        for url in self.urls() {
            let well = timeout(RECOVERY, async {
                loop {
                    self.restart_aborted();
                    let asked = async {
                        let api = Api::try_connect(&url).await?;
                        api.try_ask(get("health")).await.ok()
                    };
                    if let Ok(Some(_)) = timeout(ASK_PATIENCE, asked).await {
                        return;
                    }
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            });
            assert!(well.await.is_ok(), "{url} does not recover in {RECOVERY:?}");
        }
    }
}

impl Namespaces {
    fn start() -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut namespaces = Self {
            dir,
            urls: Vec::new(),
        };
        namespaces.run("up", &[NODES - 1]);
        let shown = namespaces.output("urls", &[]);
        namespaces.urls = shown.lines().map(str::to_owned).collect();
        assert_eq!(namespaces.urls.len(), NODES, "{shown}");
        namespaces
    }

    /// Its process has ended, by an assertion of libdqlite.
    fn is_aborted(&self, node: usize) -> bool {
        let home = self.path().join((node + 1).to_string());
        let pid = std::fs::read_to_string(home.join("pid")).unwrap();
        let running = std::fs::read_link(format!("/proc/{}/exe", pid.trim()));
        if running.is_ok() {
            return false;
        }
        let log = std::fs::read(home.join("log")).unwrap();
        let log = String::from_utf8_lossy(&log);
        assert!(is_assertion(&log), "node {node} has ended");
        true
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    fn run(&self, verb: &str, nodes: &[usize]) {
        self.output(verb, nodes);
    }

    fn output(&self, verb: &str, nodes: &[usize]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster");
        let mut command = Command::new(script);
        command.arg("--dir").arg(self.path());
        command.args(["--binary", env!("CARGO_BIN_EXE_k8s-dqlite"), verb]);
        // The script counts from one.
        command.args(nodes.iter().map(|node| (node + 1).to_string()));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.output("logs", &[]));
        }
        self.run("down", &[]);
    }
}
