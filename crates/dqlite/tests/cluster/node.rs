//! One node as a program would run it: directory, engine, port, membership.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dqlite::client::Resolve;
use dqlite::cluster::{
    Member, MemberOptions, MemberState, MemberStatus, Nodes, OwnNode, peer_resolver, resolver,
};
use dqlite::cluster_id::ClusterId;
use dqlite::files::{self, Wanted};
use dqlite::node::{DirLock, Node, NodeOptions};
use dqlite::proxy::{BoundPort, LocalEngine, Proxy, ProxyOptions, dialer};
use dqlite::roles::RoleTargets;
use dqlite::tls::Tls;
use dqlite::wire::{NodeId, Role, Server};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// Never reached by a test that passes.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The time between two looks at the cluster, so that tests do not wait for half a minute.
const INTERVAL: Duration = Duration::from_millis(100);

/// A port that was free a moment ago. The engine must know its address before it starts.
pub async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

pub struct TestNode {
    pub id: NodeId,
    pub address: String,
    pub member: Member,
    pub cluster_id: ClusterId,
    resolve: Resolve,
    node: Node,
    /// Dropped: the port and the membership end.
    stops: Vec<oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl TestNode {
    /// Starts a node on a directory that may be empty; `cluster` names the nodes to join.
    pub async fn start(dir: &Path, address: &str, cluster: &[&str], tls: Option<Tls>) -> Self {
        let cluster: Vec<String> = cluster.iter().map(ToString::to_string).collect();
        let (path, own_address) = (dir.to_owned(), address.to_owned());
        let (runtime, resolve) = (Handle::current(), resolver(tls.clone()));
        let started = spawn_blocking(move || {
            let lock = DirLock::acquire(&path).unwrap();
            let wanted = Wanted {
                address: Some(&own_address),
                cluster: &cluster,
            };
            let identity = files::identify(&lock, wanted).unwrap();
            let cluster_id = ClusterId::of(&path, &identity).unwrap();
            let resolve = peer_resolver(resolve, cluster_id.clone());
            let dial = dialer(runtime, resolve.clone());
            let mut options = NodeOptions::new(identity.id, &own_address, &path, dial);
            options.bootstrap = identity.bootstrap;
            options.bind_address = "@".into();
            options.network_latency = Some(Duration::from_millis(20));
            let mut node = Node::create_locked(&options, lock).unwrap();
            node.start().unwrap();
            files::bootstrapped(&path).unwrap();
            (node, identity, cluster_id, resolve)
        });
        let (node, identity, cluster_id, resolve) = started.await.unwrap();
        let port = BoundPort::bind(address).await.unwrap();
        let proxy = Proxy::listen(
            port,
            ProxyOptions {
                engine: LocalEngine::of(&node),
                tls,
                peers: None,
                cluster_id: Some(cluster_id.clone()),
            },
        );
        let proxy = proxy.unwrap();
        let own = OwnNode {
            id: identity.id,
            address: address.to_owned(),
        };
        let (member, task) = Member::new(MemberOptions {
            cluster_id: Some(cluster_id.clone()),
            is_joining: identity.is_joining,
            servers: identity.cluster,
            interval: INTERVAL,
            ..MemberOptions::new(own, dir, resolve.clone())
        });
        let (stop_port, port_stops) = oneshot::channel::<()>();
        let (stop_member, member_stops) = oneshot::channel::<()>();
        let ended = |stops: oneshot::Receiver<()>| async {
            let _ = stops.await;
        };
        let tasks = vec![
            tokio::spawn(task.run(ended(member_stops))),
            tokio::spawn(proxy.run(ended(port_stops))),
        ];
        TestNode {
            id: identity.id,
            address: address.to_owned(),
            member,
            cluster_id,
            resolve,
            node,
            stops: vec![stop_member, stop_port],
            tasks,
        }
    }

    /// Stops the node as a program ends after its handover, or suddenly without one.
    pub async fn stop(mut self) {
        self.stops.clear();
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
        let mut node = self.node;
        spawn_blocking(move || node.stop().unwrap()).await.unwrap();
    }

    /// Waits until this node has seen the cluster like this.
    pub async fn until(&self, is_so: impl FnMut(&MemberStatus) -> bool) -> MemberStatus {
        let mut status = self.member.status();
        if let Ok(status) = timeout(TIMEOUT, status.wait_for(is_so)).await {
            return status.unwrap().clone();
        }
        panic!("{}: {:?}", self.address, self.member.status().borrow());
    }

    pub async fn until_ready(&self) -> MemberStatus {
        self.until(|status| status.state == MemberState::Ready)
            .await
    }

    /// Waits until the cluster has these roles, by address, and no others.
    pub async fn until_roles(&self, expected: &[(&str, Role)]) -> MemberStatus {
        let expected: BTreeMap<&str, Role> = expected.iter().copied().collect();
        self.until(|status| {
            let found = status.servers.iter().map(|s| (s.address.as_str(), s.role));
            found.collect::<BTreeMap<_, _>>() == expected
        })
        .await
    }

    pub async fn until_led_by(&self, address: &str) -> MemberStatus {
        let leads =
            |status: &MemberStatus| status.leader.as_ref().is_some_and(|l| l.address == address);
        self.until(leads).await
    }

    /// The cluster from here.
    pub fn nodes(&self) -> Nodes {
        let servers = self.member.status().borrow().servers.to_vec();
        Nodes::new(&servers, self.resolve.clone(), RoleTargets::default())
    }
}

/// Nodes and their directories; the first one began the cluster.
pub struct Cluster {
    pub nodes: Vec<TestNode>,
    pub dirs: Vec<TempDir>,
}

impl Cluster {
    /// One after the other, each with its place before the next.
    pub async fn start(count: usize, tls: Option<Tls>) -> Cluster {
        let mut cluster = Cluster {
            nodes: Vec::new(),
            dirs: Vec::new(),
        };
        for _ in 0..count {
            cluster.grow(tls.clone()).await;
        }
        cluster
    }

    pub async fn grow(&mut self, tls: Option<Tls>) -> &TestNode {
        let dir = tempfile::tempdir().unwrap();
        let address = free_address().await;
        let first: Vec<&str> = self
            .nodes
            .iter()
            .take(1)
            .map(|n| n.address.as_str())
            .collect();
        let node = TestNode::start(dir.path(), &address, &first, tls).await;
        node.until_ready().await;
        self.nodes.push(node);
        self.dirs.push(dir);
        self.nodes.last().unwrap()
    }

    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }
}

pub fn with_role(servers: &[Server], role: Role) -> Vec<&str> {
    let found = servers.iter().filter(|server| server.role == role);
    found.map(|server| server.address.as_str()).collect()
}
