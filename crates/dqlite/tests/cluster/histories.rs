//! Nodes of different histories at the same addresses.

use dqlite::client::Endpoint;
use dqlite::files::{self, read_cluster_id};
use dqlite::wire::Role::Voter;

use crate::node::{Cluster, TIMEOUT, TestNode};

#[tokio::test(flavor = "multi_thread")]
async fn a_joining_node_adopts_the_history_of_its_cluster() {
    let cluster = Cluster::start(3, None).await;
    let id = cluster.nodes[0].cluster_id.known();
    assert!(id.is_some());
    for (node, dir) in cluster.nodes.iter().zip(&cluster.dirs) {
        assert_eq!(node.cluster_id.known(), id);
        let kept = read_cluster_id(dir.path()).unwrap();
        assert_eq!(kept.map(|history| history.id), id);
        let asked = Endpoint::Tcp(node.address.clone()).cluster_id().await;
        assert_eq!(asked.unwrap(), id);
    }
}

/// One member of three is restored on its machine while the others run on.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_history_at_the_address_of_a_member_stays_apart() {
    let mut cluster = Cluster::start(3, None).await;
    let addresses = cluster.addresses();
    let [a, b, c] = &addresses[..] else {
        unreachable!()
    };
    cluster.nodes[0]
        .until_roles(&[(a, Voter), (b, Voter), (c, Voter)])
        .await;
    let old = cluster.nodes[0].cluster_id.clone();
    cluster.nodes.pop().unwrap().stop().await;
    let dir = tempfile::tempdir().unwrap();
    let restored = TestNode::start(dir.path(), c, &[], None).await;
    restored.until_led_by(c).await;
    let new = restored.cluster_id.clone();
    assert_ne!(new.known(), old.known());
    // Both have noticed: their engines try for ever.
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while old.refused() == 0 || new.refused() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "nobody is refused");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // Each goes on by itself.
    let status = restored.until_roles(&[(c, Voter)]).await;
    assert_eq!(status.leader.unwrap().id, restored.id);
    let mut nodes = cluster.nodes[0].nodes();
    let mut leader = nodes.leader().await.unwrap();
    assert_eq!(leader.cluster().await.unwrap().len(), 3);
    let leader = leader.leader().await.unwrap().unwrap();
    assert!(leader.address == *a || leader.address == *b);
    restored.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_an_id_are_let_in() {
    let mut cluster = Cluster::start(2, None).await;
    let (a, b) = (
        cluster.addresses()[0].clone(),
        cluster.addresses()[1].clone(),
    );
    let second = cluster.nodes.pop().unwrap();
    second.stop().await;
    // As in a directory of an older version.
    let dir = &cluster.dirs[1];
    files::remove_file(&dir.path().join(files::CLUSTER_ID_FILE)).unwrap();
    let again = TestNode::start(dir.path(), &b, &[], None).await;
    again.until_ready().await;
    assert_eq!(again.cluster_id.known(), None);
    again.until_led_by(&a).await;
    again.stop().await;
}
