//! `recover --addresses`: the whole cluster has moved to other addresses.

use std::{fs, process::Output};

use etcd_proto::etcdserverpb::MemberListRequest;

use crate::{
    harness::*,
    nodes::trio::{Trio, persist},
};

const CONFIG: i32 = 3;
const REFUSED: i32 = 12;

fn recover(node: &Server, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command
        .arg("recover")
        .arg(node.storage_dir())
        .args(arguments);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(&[&out[..], &err[..]].concat()).into_owned()
}

fn exists(node: &Server, name: &str) -> bool {
    node.storage_dir().join(name).exists()
}

/// Other addresses of loopback, as if it were another network.
fn mapping(trio: &Trio, from: u8, to: u8) -> Vec<String> {
    let ports = trio.nodes.iter().map(Server::node_port);
    ports
        .enumerate()
        .map(|(at, port)| {
            let host = |net: u8| match net {
                0 => "127.0.0.1".to_owned(),
                net => format!("127.0.{net}.{}", at + 1),
            };
            format!("{}:{port}={}:{port}", host(from), host(to))
        })
        .collect()
}

async fn members(node: &Server) -> Vec<String> {
    let answer = node.api().await.ask(MemberListRequest::default()).await;
    let mut urls: Vec<String> = answer
        .members
        .into_iter()
        .flat_map(|member| member.peer_ur_ls)
        .collect();
    urls.sort();
    urls
}

#[tokio::test]
async fn a_cluster_goes_on_at_other_addresses_with_one_command_for_each_node() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [near, far] = trio.others(leader);
    let cluster_id = |node: &Server| fs::read(node.storage_dir().join("cluster-id.yaml")).unwrap();
    let histories: Vec<_> = trio.nodes.iter().map(cluster_id).collect();
    let api = trio.nodes[near].api().await;
    for round in 0..50 {
        persist(async || api.try_ask(put("key", format!("{round}"))).await).await;
    }
    // It stays behind, so that the logs are of different lengths.
    trio.nodes[far].kill9();
    for round in 50..300 {
        persist(async || api.try_ask(put("key", format!("{round}"))).await).await;
    }
    let revision = api.revision().await;
    trio.nodes[near].kill9();
    let list = mapping(&trio, 0, 7).join(",");
    // The leader runs on, without a majority.
    let output = recover(&trio.nodes[near], &["--addresses", &list, "--yes"]);
    assert_eq!(output.status.code(), Some(REFUSED), "{}", text(&output));
    let running = format!("127.0.0.1:{}", trio.nodes[leader].node_port());
    assert!(text(&output).contains(&running), "{}", text(&output));
    assert!(trio.nodes[leader].terminate().await.success());
    let part = mapping(&trio, 0, 7)[..2].join(",");
    let output = recover(&trio.nodes[0], &["--addresses", &part, "--yes"]);
    assert_eq!(output.status.code(), Some(REFUSED), "{}", text(&output));
    assert!(text(&output).contains("is missing"), "{}", text(&output));
    let swap = mapping(&trio, 0, 0)[..2].to_vec();
    let halves: Vec<_> = swap
        .iter()
        .map(|it| it.split_once('=').unwrap().0)
        .collect();
    let swap = format!("{0}={1},{1}={0}", halves[0], halves[1]);
    let output = recover(&trio.nodes[0], &["--addresses", &swap, "--yes"]);
    assert_eq!(output.status.code(), Some(REFUSED), "{}", text(&output));
    for node in &trio.nodes {
        let before = fs::read(node.storage_dir().join("info.yaml")).unwrap();
        let output = recover(node, &["--addresses", &list]);
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(
            fs::read(node.storage_dir().join("info.yaml")).unwrap(),
            before
        );
        let output = recover(node, &["--addresses", &list, "--yes"]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("127.0.7."), "{}", text(&output));
        assert!(!exists(node, "readdressing"));
        // Again, which changes nothing.
        let output = recover(node, &["--addresses", &list, "--yes"]);
        assert!(text(&output).contains("already"), "{}", text(&output));
    }
    for node in &mut trio.nodes {
        node.launch();
    }
    for node in &mut trio.nodes {
        node.ready().await;
    }
    trio.wait_for_voters(3).await;
    let mut wanted: Vec<String> = (1..)
        .zip(&trio.nodes)
        .map(|(at, node)| format!("http://127.0.7.{at}:{}", node.node_port()))
        .collect();
    wanted.sort();
    for (node, history) in trio.nodes.iter().zip(&histories) {
        assert_eq!(members(node).await, wanted);
        let found = node.api().await.ask(get("key")).await;
        assert_eq!(found.kvs[0].value, "299");
        assert!(at(&found.header) >= revision);
        assert_eq!(cluster_id(node), *history, "it is the same cluster");
    }
    let api = trio.nodes[far].api().await;
    persist(async || api.try_ask(put("key", "after")).await).await;
}

#[tokio::test]
async fn a_change_that_was_cut_short_goes_on_and_no_server_starts_before() {
    let mut trio = Trio::start().await;
    for node in &mut trio.nodes {
        assert!(node.terminate().await.success());
    }
    let list = mapping(&trio, 0, 9);
    let mut sorted = list.clone();
    sorted.sort();
    let list = list.join(",");
    let node = &mut trio.nodes[0];
    let dir = node.storage_dir();
    let info = fs::read(dir.join("info.yaml")).unwrap();
    assert!(
        recover(node, &["--addresses", &list, "--yes"])
            .status
            .success()
    );
    // As it was after the log, and before the files.
    fs::write(dir.join("info.yaml"), info).unwrap();
    fs::write(dir.join("readdressing"), sorted.join(",")).unwrap();
    node.launch();
    let status = node.process().wait().await;
    assert_eq!(status.code(), Some(CONFIG));
    assert!(
        node.output().contains("--addresses 127.0.0.1:"),
        "{}",
        node.output()
    );
    node.forget();
    let other = list.replace("127.0.9.", "127.0.8.");
    let output = recover(node, &["--addresses", &other, "--yes"]);
    assert_eq!(output.status.code(), Some(REFUSED), "{}", text(&output));
    let output = recover(node, &["--addresses", &list, "--yes"]);
    assert!(output.status.success(), "{}", text(&output));
    let info = fs::read_to_string(dir.join("info.yaml")).unwrap();
    assert!(info.contains("127.0.9.1"), "{info}");
    for node in &trio.nodes[1..] {
        assert!(
            recover(node, &["--addresses", &list, "--yes"])
                .status
                .success()
        );
    }
    for node in &mut trio.nodes {
        node.launch();
    }
    for node in &mut trio.nodes {
        node.ready().await;
    }
    trio.nodes[2].api().await.put("key", "1").await;
}
