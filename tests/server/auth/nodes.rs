//! Permissions on a node that was away while they changed (issue 14571 of etcd, under faults).

use etcd_proto::etcdserverpb::RangeRequest;
use tokio::task::JoinSet;

use super::{management::until_signed_in, *};
use crate::nodes::{
    engine_log, stores_received,
    trio::{Trio, empty, persist},
};

/// Requests of each kind that wait in a sleeping node's sockets.
const WAITING: usize = 20;

const ROUNDS: usize = 4;

/// Users whose passwords change.
const PASSWORDS: usize = 10;

struct Cluster {
    trio: Trio,
    leader: usize,
    /// The node that is away for a while.
    away: usize,
    /// The other one.
    near: usize,
    /// Bob's and Carol's, from before.
    tokens: [String; 2],
}

fn revoke_permission(role: &str, key: &'static str) -> AuthRoleRevokePermissionRequest {
    AuthRoleRevokePermissionRequest {
        role: role.to_owned(),
        key: key.into(),
        range_end: "".into(),
    }
}

fn serializable(key: &'static str) -> RangeRequest {
    RangeRequest {
        serializable: true,
        ..get(key)
    }
}

impl Cluster {
    async fn start() -> Self {
        let trio = Trio::start_prepared(&cheap(), engine_log::keep_little).await;
        let leader = trio.leader().await;
        let [away, near] = trio.others(leader);
        let api = trio.nodes[near].api().await;
        add_role(&api, "role", &[permission(Type::Readwrite, "secret", "")]).await;
        for user in ["bob", "carol", "dave"] {
            add_user(&api, user, &["role"]).await;
        }
        let root = enable(&api).await;
        root.put("secret", "before").await;
        let mut tokens = [String::new(), String::new()];
        for (user, token) in ["bob", "carol"].into_iter().zip(&mut tokens) {
            *token = api.ask(authenticate(user, user)).await.token;
        }
        let cluster = Self {
            trio,
            leader,
            away,
            near,
            tokens,
        };
        for token in &cluster.tokens {
            let there = cluster.trio.nodes[away].api().await.with_token(token);
            persist(async || there.try_ask(get("secret")).await).await;
        }
        cluster
    }

    async fn root_at(&self, node: usize) -> Api {
        let api = self.trio.nodes[node].api().await;
        // There may be no leader for a moment.
        let signed_in = persist(async || api.try_ask(authenticate("root", "root")).await).await;
        api.with_token(&signed_in.token)
    }

    /// Changes permissions and users while a node is away.
    async fn change(&self) {
        let root = self.root_at(self.near).await;
        root.ask(revoke_permission("role", "secret")).await;
        root.ask(grant_permission(
            "role",
            permission(Type::Readwrite, "open", ""),
        ))
        .await;
        root.ask(user_delete("carol")).await;
        root.ask(change_password("dave", "changed")).await;
        add_user(&root, "erin", &["role"]).await;
        root.put("secret", "after").await;
        root.put("open", "after").await;
    }

    /// The node that was away answers by the permissions of now.
    async fn check(&self) {
        let node = &self.trio.nodes[self.away];
        let api = node.api().await;
        let [bob, carol] = [0, 1].map(|user| api.with_token(&self.tokens[user]));
        let erin = sign_in(&api, "erin").await;
        for (user, expected) in [(&bob, "denied"), (&erin, "denied"), (&carol, "bad token")] {
            for request in [serializable("secret"), get("secret")] {
                assert_eq!(outcome(&user.try_ask(request).await), expected);
            }
            assert_eq!(outcome(&user.try_ask(put("secret", "x")).await), expected);
        }
        assert_eq!(outcome(&api.try_ask(serializable("open")).await), "nobody");
        for user in [&bob, &erin] {
            assert_eq!(user.ask(serializable("open")).await.count, 1);
            assert_eq!(user.ask(get("open")).await.count, 1);
            user.put("open", "again").await;
        }
        api.refused(authenticate("dave", "dave")).await;
        api.ask(authenticate("dave", "changed")).await;
        let revision = async |node: usize| {
            let status = self.root_at(node).await.ask(AuthStatusRequest {}).await;
            status.auth_revision
        };
        assert_eq!(revision(self.away).await, revision(self.near).await);
    }

    /// Waits until the node that was away has all that was committed.
    async fn wait_until_caught_up(&self) {
        let root = self.root_at(self.away).await;
        persist(async || root.try_ask(get("secret")).await).await;
    }

    /// Makes the node that was away the leader: then the permissions are those of its own database.
    async fn let_it_lead(&self) {
        let away = self.root_at(self.away).await;
        let status = away.ask(StatusRequest {}).await;
        let target_id = status.header.unwrap().member_id;
        let others = [
            self.root_at(self.leader).await,
            self.root_at(self.near).await,
        ];
        until("the node is a voter, and leads", async || {
            // The one that leads does it.
            for other in &others {
                let _ = other.try_ask(MoveLeaderRequest { target_id }).await;
            }
            let asked = away.try_ask(StatusRequest {}).await;
            asked.is_ok_and(|status| status.leader == target_id)
        })
        .await;
        self.wait_until_caught_up().await;
    }
}

#[tokio::test]
async fn a_node_that_was_asleep_has_the_permissions_of_now() {
    let mut cluster = Cluster::start().await;
    cluster.trio.pause(cluster.away);
    cluster.change().await;
    cluster.trio.wake(cluster.away);
    cluster.wait_until_caught_up().await;
    cluster.check().await;
    cluster.let_it_lead().await;
    cluster.check().await;
}

/// The peer service sends it everything anew, beside which its old permissions must not stay.
#[tokio::test]
async fn a_node_that_missed_a_compaction_has_the_permissions_of_now() {
    let mut cluster = Cluster::start().await;
    // A session with a follower that sleeps goes on where it was.
    std::mem::swap(&mut cluster.away, &mut cluster.leader);
    let before = stores_received(&cluster.trio.nodes[cluster.away]);
    let root = cluster.root_at(cluster.near).await;
    cluster.trio.pause(cluster.away);
    persist(async || root.try_ask(put("elected", "x")).await).await;
    cluster.change().await;
    root.ask(compact(root.revision().await)).await;
    cluster.trio.wake(cluster.away);
    cluster.wait_until_caught_up().await;
    let after = stores_received(&cluster.trio.nodes[cluster.away]);
    assert_eq!(after, before + 1);
    cluster.check().await;
    cluster.let_it_lead().await;
    cluster.check().await;
}

#[tokio::test]
async fn a_node_that_caught_up_by_a_snapshot_has_the_permissions_of_now() {
    let mut cluster = Cluster::start().await;
    let away = cluster.away;
    cluster.trio.nodes[away].kill9();
    let former = engine_log::newest_snapshot(&cluster.trio.nodes[away]);
    cluster.change().await;
    let root = cluster.root_at(cluster.near).await;
    engine_log::write_entries(&root).await;
    cluster.trio.nodes[away].launch();
    until_signed_in(&cluster.trio.nodes[away]).await;
    cluster.check().await;
    engine_log::wait_for_snapshot(&cluster.trio.nodes[away], former).await;
    cluster.let_it_lead().await;
    cluster.check().await;
}

#[tokio::test]
async fn a_node_that_lost_its_disk_has_the_permissions_of_now() {
    let mut cluster = Cluster::start().await;
    let away = cluster.away;
    cluster.trio.nodes[away].kill9();
    let nodes = &cluster.trio.nodes;
    empty(&nodes[away], &nodes[cluster.near]);
    cluster.change().await;
    cluster.trio.nodes[away].launch();
    until_signed_in(&cluster.trio.nodes[away]).await;
    cluster.check().await;
    cluster.let_it_lead().await;
    cluster.check().await;
}

/// Requests that arrive after a revocation was acknowledged, at a node that has not heard of it: it may answer
/// with what it knows, but not with what was written since, and write nothing.
#[tokio::test]
async fn a_node_that_is_behind_lets_nobody_in_by_permissions_of_the_past() {
    let mut cluster = Cluster::start().await;
    for round in 0..ROUNDS {
        // Each node in turn, and so the leader as well.
        let (asleep, awake) = (round % 3, (round + 1) % 3);
        let root = cluster.root_at(awake).await;
        let secret = permission(Type::Readwrite, "secret", "");
        persist(async || root.try_ask(grant_permission("role", secret.clone())).await).await;
        let mut callers = Vec::new();
        for _ in 0..WAITING {
            let api = cluster.trio.nodes[asleep].api().await;
            callers.push(api.with_token(&cluster.tokens[0]));
        }
        until("the grant has arrived", async || {
            callers[0].try_ask(get("secret")).await.is_ok()
        })
        .await;
        cluster.trio.pause(asleep);
        persist(async || root.try_ask(revoke_permission("role", "secret")).await).await;
        let written = format!("round {round}");
        persist(async || root.try_ask(put("secret", written.clone())).await).await;
        let mut waiting = JoinSet::new();
        for caller in callers {
            let one = caller.clone();
            waiting.spawn(async move { one.try_ask(get("secret")).await.is_ok() });
            let (one, written) = (caller.clone(), written.clone());
            waiting.spawn(async move {
                let found = one.try_ask(serializable("secret")).await;
                found.is_ok_and(|found| found.kvs[0].value == written)
            });
            waiting.spawn(async move { caller.try_ask(put("secret", "x")).await.is_ok() });
        }
        cluster.trio.wake(asleep);
        let let_in = waiting.join_all().await;
        let let_in = let_in.into_iter().filter(|is_let_in| *is_let_in).count();
        assert_eq!(let_in, 0, "in round {round}, by node {asleep}");
        let found = persist(async || root.try_ask(get("secret")).await).await;
        assert_eq!(found.kvs[0].value, written, "in round {round}");
    }
}

/// A change at one node, which any other knows when somebody signs in there.
#[tokio::test]
async fn all_nodes_sign_in_by_the_passwords_of_now() {
    let trio = Trio::start_with(&cheap()).await;
    let leader = trio.leader().await;
    let mut others = Vec::new();
    for at in trio.others(leader) {
        others.push(trio.nodes[at].api().await);
    }
    let root = enable(&trio.nodes[leader].api().await).await;
    for round in 0..PASSWORDS {
        let user = format!("user {round}");
        root.ask(user_add(&user, "first")).await;
        others[0].ask(authenticate(&user, "first")).await;
        root.ask(change_password(&user, "second")).await;
        others[1].refused(authenticate(&user, "first")).await;
        others[1].ask(authenticate(&user, "second")).await;
        root.ask(user_delete(&user)).await;
        others[0].refused(authenticate(&user, "second")).await;
    }
}
