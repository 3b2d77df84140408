//! Lease: grant, revoke, list, time to live.

use etcd_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseLeasesRequest, LeaseTimeToLiveRequest, PutRequest,
};
use tonic::Code;

use crate::harness::*;

parity! {
    a_grant_without_id_gets_one,
    a_grant_keeps_a_chosen_id,
    a_granted_id_cannot_be_granted_again,
    a_short_ttl_is_raised_to_the_minimum,
    a_ttl_that_is_too_long_is_refused,
    a_grant_takes_no_revision,
    a_grant_is_answered_with_the_revision_before_all_puts_with_the_lease,
    a_revoked_lease_is_gone,
    an_unknown_lease_cannot_be_revoked,
    an_unknown_lease_has_a_time_to_live_of_minus_one,
    the_time_to_live_counts_down_from_the_granted,
    leases_are_listed_by_expiry,
    leases_survive_a_restart,
}

async fn a_grant_without_id_gets_one(server: Server) {
    let api = server.api().await;
    let first = api.ask(grant(600)).await;
    let second = api.ask(grant(600)).await;
    assert!(first.id > 0 && second.id > 0);
    assert_ne!(first.id, second.id);
    assert_eq!((first.ttl, first.error.as_str()), (600, ""));
    let header = first.header.unwrap();
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
}

async fn a_grant_keeps_a_chosen_id(server: Server) {
    let api = server.api().await;
    for id in [1, 3600, i64::MAX] {
        assert_eq!(api.ask(LeaseGrantRequest { ttl: 600, id }).await.id, id);
    }
}

async fn a_granted_id_cannot_be_granted_again(server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 7 }).await;
    let expected = (
        Code::FailedPrecondition,
        "etcdserver: lease already exists".to_owned(),
    );
    assert_eq!(
        api.refused(LeaseGrantRequest { ttl: 60, id: 7 }).await,
        expected
    );
    api.ask(revoke(7)).await;
    assert_eq!(api.ask(LeaseGrantRequest { ttl: 60, id: 7 }).await.ttl, 60);
}

async fn a_short_ttl_is_raised_to_the_minimum(server: Server) {
    let api = server.api().await;
    for ttl_s in [i64::MIN, -1, 0, 1, 2] {
        assert_eq!(api.ask(grant(ttl_s)).await.ttl, 2, "asked for {ttl_s}");
    }
    assert_eq!(api.ask(grant(3)).await.ttl, 3);
}

async fn a_ttl_that_is_too_long_is_refused(server: Server) {
    let api = server.api().await;
    assert_eq!(api.ask(grant(9_000_000_000)).await.ttl, 9_000_000_000);
    let expected = (
        Code::OutOfRange,
        "etcdserver: too large lease TTL".to_owned(),
    );
    assert_eq!(api.refused(grant(9_000_000_001)).await, expected);
}

async fn a_grant_takes_no_revision(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let granted = api.ask(grant(600)).await;
    assert_eq!(at(&granted.header), 2);
    assert_eq!(
        at(&api.ask(revoke(granted.id)).await.header),
        2,
        "it had no keys"
    );
    assert_eq!(api.revision().await, 2);
}

/// Others may put a key with the lease before the grant is answered: a watch from the revision after
/// that of the answer must not miss it.
async fn a_grant_is_answered_with_the_revision_before_all_puts_with_the_lease(server: Server) {
    let api = server.api().await;
    let others: Vec<_> = (0..4)
        .map(|writer| {
            let api = api.clone();
            tokio::spawn(async move {
                loop {
                    api.put(&format!("other{writer}"), "x").await;
                }
            })
        })
        .collect();
    for id in 1..=100 {
        let leased = PutRequest {
            lease: id,
            ..put("leased", "x")
        };
        let (granting, putting) = (api.clone(), api.clone());
        let put_revision = async {
            loop {
                match putting.try_ask(leased.clone()).await {
                    Ok(answer) => return at(&answer.header),
                    Err(status) => assert_eq!(status.code(), Code::NotFound),
                }
            }
        };
        let granted = granting.ask(LeaseGrantRequest { ttl: 600, id });
        let (granted, put_revision) = tokio::join!(granted, put_revision);
        assert!(at(&granted.header) < put_revision, "lease {id}");
    }
    others.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn a_revoked_lease_is_gone(server: Server) {
    let api = server.api().await;
    let id = api.ask(grant(600)).await.id;
    api.ask(revoke(id)).await;
    assert_eq!(api.ask(time_to_live(id)).await.ttl, -1);
    assert_eq!(api.refused(revoke(id)).await.0, Code::NotFound);
    assert_eq!(api.ask(LeaseLeasesRequest {}).await.leases, []);
}

async fn an_unknown_lease_cannot_be_revoked(server: Server) {
    let api = server.api().await;
    let expected = (
        Code::NotFound,
        "etcdserver: requested lease not found".to_owned(),
    );
    assert_eq!(api.refused(revoke(12345)).await, expected);
    assert_eq!(api.refused(revoke(0)).await, expected);
}

async fn an_unknown_lease_has_a_time_to_live_of_minus_one(server: Server) {
    let api = server.api().await;
    let answer = api.ask(time_to_live(12345)).await;
    assert_eq!((answer.id, answer.ttl, answer.granted_ttl), (12345, -1, 0));
    assert_eq!((at(&answer.header), answer.keys.len()), (1, 0));
}

async fn the_time_to_live_counts_down_from_the_granted(server: Server) {
    let api = server.api().await;
    let id = api.ask(grant(600)).await.id;
    let answer = api.ask(LeaseTimeToLiveRequest { id, keys: false }).await;
    assert_eq!(answer.granted_ttl, 600);
    assert!((590..=600).contains(&answer.ttl), "{}", answer.ttl);
    until("a second of the lease has passed", async || {
        let answer = api.ask(time_to_live(id)).await;
        assert_eq!(answer.granted_ttl, 600);
        answer.ttl < 599
    })
    .await;
}

async fn leases_are_listed_by_expiry(server: Server) {
    let api = server.api().await;
    for (id, ttl) in [(1, 900), (2, 300), (3, 600)] {
        api.ask(LeaseGrantRequest { ttl, id }).await;
    }
    let answer = api.ask(LeaseLeasesRequest {}).await;
    assert_eq!(
        answer
            .leases
            .iter()
            .map(|lease| lease.id)
            .collect::<Vec<_>>(),
        [2, 3, 1]
    );
    assert_eq!(at(&answer.header), 1);
}

async fn leases_survive_a_restart(mut server: Server) {
    let api = server.api().await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 7 }).await;
    api.ask(LeaseGrantRequest { ttl: 600, id: 8 }).await;
    let mut request = put("a", "1");
    request.lease = 7;
    api.ask(request).await;
    api.ask(revoke(8)).await;
    server.kill9();
    server.restart().await;
    let api = server.api().await;
    let answer = api.ask(time_to_live(7)).await;
    assert_eq!((answer.granted_ttl, answer.keys), (600, vec!["a".into()]));
    assert!((1..=600).contains(&answer.ttl), "{}", answer.ttl);
    assert_eq!(api.ask(time_to_live(8)).await.ttl, -1);
    assert_eq!(at(&api.ask(revoke(7)).await.header), 3);
    assert_eq!(api.ask(get("a")).await.count, 0);
}
