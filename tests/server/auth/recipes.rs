//! Locks and elections for some.

use etcd_proto::v3electionpb::{CampaignRequest, LeaderRequest};
use etcd_proto::v3lockpb::{LockRequest, UnlockRequest};

use super::*;

parity! {
    with cheap();
    locks_take_permission_for_the_keys_below_the_name,
    elections_take_permission_for_the_keys_below_the_name,
}

fn lock(name: &'static str) -> LockRequest {
    LockRequest {
        name: name.into(),
        lease: 0,
    }
}

fn campaign(name: &'static str) -> CampaignRequest {
    CampaignRequest {
        name: name.into(),
        lease: 0,
        value: "value".into(),
    }
}

fn unknown(text: &str) -> (Code, String) {
    (Code::Unknown, text.to_owned())
}

/// Returns root, and a user who may use the name `theirs`.
async fn people(api: &Api) -> (Api, Api) {
    let theirs = [permission(Type::Readwrite, "theirs/", "theirs0")];
    add_role(api, "some", &theirs).await;
    add_user(api, "somebody", &["some"]).await;
    let root = enable(api).await;
    (root, sign_in(api, "somebody").await)
}

async fn locks_take_permission_for_the_keys_below_the_name(server: Server) {
    let nobody = server.api().await;
    let (root, somebody) = people(&nobody).await;
    let taken = somebody.ask(lock("theirs")).await;
    let waiting = tokio::spawn({
        let root = root.clone();
        async move { root.ask(lock("theirs")).await }
    });
    until("both keys are there", async || {
        root.ask(get_prefix("theirs/")).await.count == 2
    })
    .await;
    somebody.ask(UnlockRequest { key: taken.key }).await;
    waiting.await.unwrap();
    let denied = unknown("etcdserver: permission denied");
    assert_eq!(somebody.refused(lock("other")).await, denied);
    let unlock = UnlockRequest {
        key: "other/1".into(),
    };
    assert_eq!(somebody.refused(unlock.clone()).await, denied);
    let empty = unknown("etcdserver: user name is empty");
    assert_eq!(nobody.refused(lock("theirs")).await, empty);
    assert_eq!(nobody.refused(unlock).await, empty);
    let stranger = nobody.with_token("no.1");
    let invalid = unknown("etcdserver: invalid auth token");
    assert_eq!(stranger.refused(lock("theirs")).await, invalid);
}

async fn elections_take_permission_for_the_keys_below_the_name(server: Server) {
    let nobody = server.api().await;
    let (root, somebody) = people(&nobody).await;
    somebody.ask(campaign("theirs")).await;
    root.ask(campaign("other")).await;
    let denied = unknown("etcdserver: permission denied");
    assert_eq!(somebody.refused(campaign("other")).await, denied);
    let leader = LeaderRequest {
        name: "other".into(),
    };
    assert_eq!(somebody.refused(leader.clone()).await, denied);
    assert_eq!(
        nobody.refused(leader.clone()).await,
        unknown("etcdserver: user name is empty")
    );
    let mut client = somebody.election.clone();
    let mut observed = client
        .observe(somebody.request(leader))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(observed.message().await.unwrap(), None);
}
