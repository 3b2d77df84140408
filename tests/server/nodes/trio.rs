//! Three nodes on loopback.

use std::time::Duration;

use etcd_proto::etcdserverpb::{MemberListRequest, StatusRequest};
use nix::sys::signal::Signal;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use crate::{harness::*, wrong_input::certificates::make_pair};

/// The longest that one call may hang at a node that lost its leader.
const CALL_TIMEOUT: Duration = Duration::from_secs(9);

pub struct Trio {
    pub nodes: Vec<Server>,
}

impl Trio {
    /// Three nodes, each of them a voter.
    pub async fn start() -> Self {
        Self::start_with(&Options::default()).await
    }

    pub async fn start_with(options: &Options) -> Self {
        Self::start_prepared(options, |_| {}).await
    }

    /// Starts three nodes with more files in the directories before the first start.
    pub async fn start_prepared(options: &Options, prepare: impl Fn(&Server)) -> Self {
        let nodes: Vec<_> = (0..3)
            .map(|_| Server::prepare(Kind::K8sDqlite, options.clone()))
            .collect();
        let first = nodes[0].node_port();
        for node in &nodes[1..] {
            write_init(node, first);
        }
        if options.flags.contains(&"--enable-tls=true".to_owned()) {
            share_pair(&nodes);
        }
        nodes.iter().for_each(prepare);
        let mut trio = Self { nodes };
        for node in &mut trio.nodes {
            node.launch();
        }
        for node in &mut trio.nodes {
            node.ready().await;
        }
        trio.wait_for_voters(3).await;
        trio
    }

    /// Waits for this many voters. Until then, the loss of a node may be the loss of the majority.
    pub async fn wait_for_voters(&self, count: usize) {
        self.wait_for_voters_at(0, count).await;
    }

    /// Like [`wait_for_voters`](Self::wait_for_voters), but asks the node at `asked`.
    pub async fn wait_for_voters_at(&self, asked: usize, count: usize) {
        until("all nodes are voters", async || {
            let api = self.nodes[asked].api().await;
            let members = api.try_ask(MemberListRequest::default()).await;
            members.is_ok_and(|answer| {
                answer.members.len() == count && answer.members.iter().all(|m| !m.is_learner)
            })
        })
        .await;
    }

    /// The position of the leader among the nodes that answer.
    pub async fn leader(&self) -> usize {
        self.leader_of(&[0, 1, 2]).await
    }

    /// Returns the leader, asking only some nodes: the others may be dead or asleep.
    pub async fn leader_of(&self, asked: &[usize]) -> usize {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            for at in asked {
                let Some(api) = Api::try_connect(&self.nodes[*at].client_url()).await else {
                    continue;
                };
                let status = timeout(CALL_TIMEOUT, api.try_ask(StatusRequest {})).await;
                if let Ok(Ok(status)) = status
                    && status.leader == status.header.unwrap().member_id
                {
                    return *at;
                }
            }
            assert!(Instant::now() < deadline, "no node leads");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    pub fn others(&self, at: usize) -> [usize; 2] {
        [(at + 1) % 3, (at + 2) % 3]
    }

    /// Empties the directory of a node that has ended, and lets it join the one at `other`.
    pub fn wipe(&mut self, at: usize, other: usize) {
        self.nodes[at].forget_process();
        empty(&self.nodes[at], &self.nodes[other]);
    }

    pub fn pause(&mut self, at: usize) {
        self.nodes[at].process().signal(Signal::SIGSTOP);
    }

    pub fn wake(&mut self, at: usize) {
        self.nodes[at].process().signal(Signal::SIGCONT);
    }
}

/// Empties the directory of a node that does not run, and lets it join another one.
pub fn empty(node: &Server, other: &Server) {
    let dir = node.storage_dir();
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::create_dir(&dir).unwrap();
    write_init(node, other.node_port());
}

/// Gives all nodes the pair of one cluster.
fn share_pair(nodes: &[Server]) {
    make_pair(&nodes[0].storage_dir());
    for node in &nodes[1..] {
        for name in ["cluster.crt", "cluster.key"] {
            let copy = node.storage_dir().join(name);
            std::fs::copy(nodes[0].storage_dir().join(name), copy).unwrap();
        }
    }
}

/// Makes a node that was not started yet join the one on a port.
pub fn write_init(node: &Server, first: u16) {
    let init = format!(
        "Address: 127.0.0.1:{}\nCluster:\n- 127.0.0.1:{first}\n",
        node.node_port()
    );
    std::fs::write(node.storage_dir().join("init.yaml"), init).unwrap();
}

/// Repeats a call as clients do, for as long as the node says that it may succeed later.
pub async fn persist<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert_eq!(error.code(), Code::Unavailable, "{error}");
                assert!(Instant::now() < deadline, "still: {error}");
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
