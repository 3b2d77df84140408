//! Three nodes of k8sd and k8s-dqlite, from their first start to the loss of one.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::{
    daemon::wait_for,
    node::{Node, Place, server_binary},
};

const NAMES: [&str; 3] = ["node1", "node2", "node3"];

#[test]
fn three_nodes_on_loopback_run_the_datastore_lose_one_and_get_it_back() {
    let Some(binary) = server_binary() else {
        return;
    };
    live(Place::on_loopback(NAMES), &binary);
}

#[test]
fn three_nodes_in_namespaces_run_the_datastore_lose_one_and_get_it_back() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let Some(binary) = server_binary() else {
        return;
    };
    let Some(network) = Network::new() else {
        eprintln!("skipped: network namespaces cannot be made here");
        return;
    };
    let place = |at: usize| Place {
        name: NAMES[at],
        namespace: Some(network.namespace(at)),
        k8sd: format!("{}:6400", network.address(at)),
        datastore: format!("{}:9000", network.address(at)),
        client: format!("{}:2379", network.address(at)),
    };
    live([place(0), place(1), place(2)], &binary);
}

#[test]
fn two_of_three_are_lost_for_good_and_come_back_under_their_names() {
    let Some(binary) = server_binary() else {
        return;
    };
    let [mut kept, lost @ ..] = started(Place::on_loopback(NAMES), &binary);
    let places = lost.each_ref().map(|node| node.place.clone());
    // With their directories.
    drop(lost);
    kept.kill_daemon();
    kept.kill_server();
    let told = kept.good(&["recover", "--yes"]);
    assert!(told.contains("k8sd token add node2"), "{told}");
    kept.recover_server();
    kept.start_daemon();
    kept.start_server();
    wait_for("the datastore to be one node", || {
        kept.server_addresses() == [kept.place.datastore.clone()]
    });
    wait_for("the database", || kept.run(&["members"]).status.success());
    assert_eq!(kept.datastore_roles().len(), 1);
    assert_eq!(kept.good(&["cluster", "check"]), "");
    let rows = "select count(*) from cluster_configs where key like 'datastore::member::%'";
    let counted = kept.good(&["sql", "--format", "csv", rows]);
    assert!(counted.contains("\r\n1\r\n"), "{counted}");
    assert_eq!(kept.get("first-node1"), "value");

    let again = places.map(|place| {
        let node = Node::start(place, &binary);
        node.join(&kept.good(&["token", "add", node.place.name]));
        check_files(&node, &kept);
        node
    });
    let mut nodes: Vec<Node> = [kept].into_iter().chain(again).collect();
    nodes[1..].iter_mut().for_each(Node::start_server);
    agree(&nodes);
    serve(&nodes, "second");
    for node in &nodes {
        assert_eq!(node.good(&["cluster", "check"]), "");
    }
}

fn live(places: [Place; 3], binary: &Path) {
    let mut nodes = started(places, binary);
    // One that is well is removed, and told so.
    nodes[0].good(&["remove", "node3"]);
    wait_for("the removed node to be outside", || {
        let told = nodes[2].run(&["status"]).stderr;
        String::from_utf8_lossy(&told).contains("not yet initialized")
    });
    let gone = nodes[2].place.datastore.clone();
    assert!(!nodes[0].server_addresses().contains(&gone));
    assert!(nodes[2].data().join("cluster.key").exists());
    assert!(nodes[2].logged("k8sd.log").contains("move all of it away"));
    nodes[2].kill_server();
    let token = nodes[0].good(&["token", "add", "node3"]);
    let told = nodes[2].bad(&nodes[2].join_args(&token));
    assert!(told.contains("does not have any more"), "{told}");
    fs::rename(nodes[2].data(), nodes[2].data().with_extension("old")).unwrap();
    nodes[2].join(&token);
    nodes[2].start_server();
    agree(&nodes);
    serve(&nodes, "second");

    // One that is lost with its disk comes back under its name and addresses.
    nodes[1].kill_daemon();
    nodes[1].kill_server();
    let told = nodes[0].bad(&["remove", "node2"]);
    assert!(told.contains("cannot be reached"), "{told}");
    nodes[0].good(&["remove", "node2", "--force"]);
    let place = nodes[1].place.clone();
    assert!(!nodes[0].server_addresses().contains(&place.datastore));
    nodes[1] = Node::start(place, binary);
    let token = nodes[2].good(&["token", "add", "node2"]);
    nodes[1].join(&token);
    nodes[1].start_server();
    agree(&nodes);
    serve(&nodes, "third");
    assert_eq!(nodes[0].good(&["cluster", "check"]), "");

    // The first of all, by another.
    nodes[2].good(&["remove", "node1"]);
    let [first, rest @ ..] = &nodes;
    for node in rest {
        wait_for("the datastore to have two nodes", || {
            let addresses = node.server_addresses();
            addresses.len() == 2 && !addresses.contains(&first.place.datastore)
        });
    }
    serve(rest, "fourth");
}

/// Three members, each with a server of the datastore, and a value from each.
fn started(places: [Place; 3], binary: &Path) -> [Node; 3] {
    let [first, second, third] = places.map(|place| Node::start(place, binary));
    let mut nodes = [first, second, third];
    nodes[0].bootstrap();
    nodes[0].start_server();
    for at in [1, 2] {
        let token = nodes[0].good(&["token", "add", NAMES[at]]);
        nodes[at].join(&token);
        check_files(&nodes[at], &nodes[0]);
        nodes[at].start_server();
        wait_for("the datastore to have the node", || {
            nodes[0]
                .server_addresses()
                .contains(&nodes[at].place.datastore)
        });
    }
    agree(&nodes);
    serve(&nodes, "first");
    nodes
}

fn check_files(node: &Node, first: &Node) {
    let read = |node: &Node, name: &str| fs::read_to_string(node.data().join(name)).unwrap();
    for name in ["cluster.crt", "cluster.key", "init.yaml"] {
        let mode = fs::metadata(node.data().join(name)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(read(node, "cluster.key"), read(first, "cluster.key"));
    let init = read(node, "init.yaml");
    assert!(init.starts_with(&format!("Address: {}\nCluster:\n- ", node.place.datastore)));
    assert_eq!(init.matches(&node.place.datastore).count(), 1, "{init}");
    assert!(init.contains(&first.place.datastore));
}

/// k8sd and k8s-dqlite name the same three, all of them voters, on every node.
fn agree(nodes: &[Node]) {
    let mut expected: Vec<String> = nodes.iter().map(|n| n.place.datastore.clone()).collect();
    expected.sort();
    for node in nodes {
        wait_for("k8sd's members", || {
            let roles = node.datastore_roles();
            roles.keys().eq(expected.iter()) && roles.values().all(|role| role == "voter")
        });
        wait_for("k8s-dqlite's members", || {
            node.server_addresses() == expected
        });
    }
    wait_for("three voters of k8sd", || {
        nodes[0]
            .good(&[
                "sql",
                "--format",
                "csv",
                "select count(*) from core_cluster_members \
            where role = 'voter'",
            ])
            .contains("\r\n3\r\n")
    });
}

fn serve(nodes: &[Node], round: &str) {
    for writer in nodes {
        let key = format!("{round}-{}", writer.place.name);
        writer.put(&key, "value");
        for reader in nodes {
            assert_eq!(reader.get(&key), "value", "{key} on {}", reader.place.name);
        }
    }
}

/// Three namespaces on a bridge that this one has an address on. Removed when it is dropped.
struct Network {
    tag: String,
    subnet: String,
}

/// Networks of this process.
static MADE: AtomicU8 = AtomicU8::new(0);

impl Network {
    /// `None`: this machine does not let us.
    fn new() -> Option<Self> {
        let number = std::process::id() * 4 + u32::from(MADE.fetch_add(1, Ordering::Relaxed));
        // 198.18.0.0/15 is for tests of networks.
        let network = Self {
            tag: format!("kt{:04x}", number % 0x1_0000),
            subnet: format!("198.{}.{}", 18 + number / 256 % 2, number % 256),
        };
        let Self { tag, subnet } = &network;
        if !try_ip(&format!("link add {tag}br type bridge")) {
            return None;
        }
        ip(&format!("address add {subnet}.254/24 dev {tag}br"));
        ip(&format!("link set {tag}br up"));
        for at in 0..NAMES.len() {
            let (namespace, address) = (network.namespace(at), network.address(at));
            ip(&format!("netns add {namespace}"));
            ip(&format!(
                "link add {tag}{at} type veth peer name eth0 netns {namespace}"
            ));
            ip(&format!("link set {tag}{at} master {tag}br up"));
            ip(&format!("-n {namespace} address add {address}/24 dev eth0"));
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("-n {namespace} link set eth0 up"));
        }
        Some(network)
    }

    fn namespace(&self, at: usize) -> String {
        format!("{}-{at}", self.tag)
    }

    fn address(&self, at: usize) -> String {
        format!("{}.{}", self.subnet, at + 1)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let tag = &self.tag;
        for at in 0..NAMES.len() {
            try_ip(&format!("link del {tag}{at}"));
            try_ip(&format!("netns del {}", self.namespace(at)));
        }
        try_ip(&format!("link del {tag}br"));
    }
}

fn ip(args: &str) {
    assert!(try_ip(args), "ip {args}");
}

fn try_ip(args: &str) -> bool {
    let done = Command::new("ip").args(args.split(' ')).status();
    done.is_ok_and(|status| status.success())
}
