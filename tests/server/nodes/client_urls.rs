//! The nodes tell each other where clients reach them.

use etcd_proto::etcdserverpb::{MemberListRequest, MemberRemoveRequest, StatusRequest};

use super::trio::Trio;
use crate::harness::*;

/// The client URLs that a node lists, in order.
async fn listed(node: &Server) -> Vec<String> {
    let api = node.api().await;
    let answer = api.try_ask(MemberListRequest::default()).await;
    let members = answer.map(|answer| answer.members).unwrap_or_default();
    let urls = members.into_iter().flat_map(|member| member.client_ur_ls);
    let mut urls: Vec<_> = urls.collect();
    urls.sort_unstable();
    urls
}

fn urls(nodes: &[Server]) -> Vec<String> {
    let mut urls: Vec<_> = nodes.iter().map(Server::client_url).collect();
    urls.sort_unstable();
    urls
}

async fn wait_until_listed(node: &Server, expected: &[String]) {
    until("the node lists these URLs", async || {
        listed(node).await == expected
    })
    .await;
}

#[tokio::test]
async fn every_node_lists_the_urls_of_all_whichever_are_down() {
    let mut trio = Trio::start().await;
    let all = urls(&trio.nodes);
    for node in &trio.nodes {
        wait_until_listed(node, &all).await;
    }
    check_with_etcdctl(&trio.nodes[0], &all);
    for down in 0..3 {
        let [restarted, other] = trio.others(down);
        assert!(trio.nodes[down].terminate().await.success());
        assert_eq!(listed(&trio.nodes[restarted]).await, all);
        assert_eq!(listed(&trio.nodes[other]).await, all);
        trio.nodes[restarted].kill9();
        trio.nodes[restarted].launch();
        trio.nodes[restarted].ready().await;
        // It has them from the others or from its disk: the one that is down cannot tell.
        wait_until_listed(&trio.nodes[restarted], &all).await;
        trio.nodes[down].restart().await;
        trio.wait_for_voters(3).await;
    }
}

/// etcdctl finds all members by asking one.
fn check_with_etcdctl(asked: &Server, all: &[String]) {
    for (check, found) in [("health", " is healthy"), ("status", ", ")] {
        let Some(mut etcdctl) = etcdctl(asked, &["endpoint", check, "--cluster"]) else {
            return;
        };
        let output = etcdctl.output().unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{printed}");
        for url in all {
            let times = printed.matches(&format!("{url}{found}")).count();
            assert_eq!(times, 1, "{check} of {url}: {printed}");
        }
    }
}

#[tokio::test]
async fn urls_of_a_removed_node_go_with_it() {
    let mut trio = Trio::start().await;
    let all = urls(&trio.nodes);
    wait_until_listed(&trio.nodes[0], &all).await;
    let leader = trio.leader().await;
    let [gone, near] = trio.others(leader);
    let status = trio.nodes[gone].api().await.ask(StatusRequest {}).await;
    let id = status.header.unwrap().member_id;
    let left = trio.nodes[near]
        .api()
        .await
        .ask(MemberRemoveRequest { id })
        .await
        .members;
    assert!(left.iter().all(|member| member.client_ur_ls.len() == 1));
    trio.nodes[gone].process().wait().await;
    let line = "forgetting the client URLs of a node that was removed";
    until("the leader has forgotten them", async || {
        let mut outputs = [leader, near].map(|at| trio.nodes[at].output()).into_iter();
        outputs.any(|output| output.contains(line))
    })
    .await;
    assert_eq!(listed(&trio.nodes[near]).await.len(), 2);
}

#[tokio::test]
async fn urls_of_the_operator_are_listed_until_there_are_others() {
    let advertise = |urls: &str| Options::flags(&[&format!("--advertise-client-urls={urls}")]);
    let options = advertise("http://b.example:2,https://a.example:1");
    let mut server = Server::start_with(Kind::K8sDqlite, options).await;
    let expected = ["http://b.example:2", "https://a.example:1"];
    assert_eq!(listed(&server).await, expected);
    server.terminate().await;
    server.add_flags(&["--advertise-client-urls=http://c.example:3".to_owned()]);
    server.restart().await;
    assert_eq!(listed(&server).await, ["http://c.example:3"]);
}
