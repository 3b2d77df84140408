//! A cluster of several nodes whose data is converted.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{OPERATIONS, hash, model, random, seed, table::GoTable};
use crate::{harness::*, nodes::trio::Trio};

/// The time after which the leader of a conversion is killed: the conversion takes a second or two.
const KILLED_AFTER_MS: std::ops::Range<u64> = 0..1500;

/// Three nodes that have stopped, with the data of Go k8s-dqlites.
async fn with_data_of(table: &GoTable) -> Trio {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    table.plant(trio.nodes[leader].node_port()).await;
    trio.nodes.iter_mut().for_each(Server::kill9);
    trio
}

#[tokio::test]
async fn nothing_is_converted_before_every_node_is_there() {
    let mut random = StdRng::seed_from_u64(seed());
    let table = random::table(&mut random, 1 << 16, OPERATIONS);
    let mut trio = with_data_of(&table).await;
    trio.nodes[0].launch();
    trio.nodes[1].launch();
    let missing = format!("127.0.0.1:{}", trio.nodes[2].node_port());
    until("the leader says who is missing", async || {
        let mut lines = trio.nodes[..2].iter().flat_map(|node| {
            let output = node.output();
            output.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines.any(|line| line.contains("every node") && line.contains(&missing))
    })
    .await;
    assert!(
        trio.nodes[..2]
            .iter()
            .all(|node| !node.output().contains("the conversion begins"))
    );
    trio.nodes[2].launch();
    for node in &mut trio.nodes {
        node.ready().await;
    }
    for node in &trio.nodes {
        model::compare(&node.api().await, &table).await;
    }
    let revision = trio.nodes[1].api().await.put("after", "1").await;
    assert_eq!(revision, table.revision() + 1);
    let found = trio.nodes[2].api().await.ask(get("after")).await;
    assert_eq!(found.count, 1);
}

#[tokio::test]
async fn another_leader_goes_on_with_the_conversion() {
    let mut random = StdRng::seed_from_u64(seed());
    let table = random::large(&mut random, 20_000);
    let mut trio = with_data_of(&table).await;
    trio.nodes.iter_mut().for_each(Server::launch);
    let mut leader = None;
    until("a node has begun", async || {
        leader = (0..3).find(|at| trio.nodes[*at].output().contains("the conversion begins"));
        leader.is_some()
    })
    .await;
    let leader = leader.unwrap();
    let after = Duration::from_millis(random.random_range(KILLED_AFTER_MS));
    tokio::time::sleep(after).await;
    trio.nodes[leader].kill9();
    let others = trio.others(leader);
    for at in others {
        trio.nodes[at].ready().await;
    }
    trio.nodes[leader].restart().await;
    let revision = table.revision();
    let expected = hash(&trio.nodes[others[0]].api().await).await;
    for node in &trio.nodes {
        let api = node.api().await;
        assert_eq!(
            (api.revision().await, hash(&api).await),
            (revision, expected)
        );
        let found = api.ask(model::everything(0)).await.kvs;
        assert_eq!(found, model::Model::of(&table).range(revision));
    }
}
