//! The quota and its alarm; what alarms refuse.

use etcd_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, DefragmentRequest, StatusRequest,
    alarm_request::AlarmAction,
};
use tonic::Code;

use crate::harness::*;

/// Room for some values of [`VALUE_BYTES`], on top of what an empty database holds.
const QUOTA_BYTES: i64 = 1024 * 1024;
const VALUE_BYTES: usize = 32 * 1024;

parity! {
    with Options::flags(&["--quota-backend-bytes", "1048576"]);
    the_quota_refuses_what_grows_and_nothing_else,
    space_that_is_freed_can_be_used_after_the_alarm_is_disarmed,
    the_alarm_survives_a_restart,
}

parity! {
    defragmentation_gives_free_pages_back,
    without_a_flag_the_quota_is_two_gibibytes,
    an_alarm_of_any_member_refuses_what_grows,
    a_corrupt_cluster_takes_no_writes,
}

parity! {
    with Options::flags(&["--quota-backend-bytes=-1"]);
    a_negative_quota_is_none,
}

fn no_space() -> (Code, String) {
    let text = "etcdserver: mvcc: database space exceeded";
    (Code::ResourceExhausted, text.to_owned())
}

/// Puts keys that begin with `k` until there is no space, and returns how many fit.
async fn fill(api: &Api) -> usize {
    // etcd notices only once its backend has committed, each 100 ms.
    for count in 0..1000 {
        let value = incompressible(count as u64, VALUE_BYTES);
        let put = put(format!("k{count:03}"), value);
        if let Err(status) = api.try_ask(put).await {
            assert_eq!((status.code(), status.message().to_owned()), no_space());
            return count;
        }
    }
    panic!("more fits than the quota allows")
}

async fn alarm(api: &Api, action: AlarmAction, member_id: u64, alarm: AlarmType) {
    let request = AlarmRequest {
        action: action.into(),
        member_id,
        alarm: alarm.into(),
    };
    api.ask(request).await;
}

async fn own_id(api: &Api) -> u64 {
    api.ask(StatusRequest {}).await.header.unwrap().member_id
}

async fn disarm(api: &Api) {
    let member_id = own_id(api).await;
    alarm(api, AlarmAction::Deactivate, member_id, AlarmType::Nospace).await;
}

async fn assert_only_growth_is_refused(api: &Api) {
    assert_eq!(api.refused(put("a", "1")).await, no_space());
    assert_eq!(api.refused(txn().then(put("a", "1"))).await, no_space());
    let unused_branch = txn().then(get("a")).or_else(put("a", "1"));
    assert_eq!(api.refused(unused_branch).await, no_space());
    let nested = txn().then(txn().then(put("a", "1")));
    assert_eq!(api.refused(nested).await, no_space());
    assert_eq!(api.refused(grant(100)).await, no_space());
    assert_eq!(api.ask(get("k000")).await.count, 1);
    assert!(api.ask(txn().then(delete("k000"))).await.succeeded);
    assert_eq!(api.ask(delete("k001")).await.deleted, 1);
    let revision = api.revision().await;
    api.ask(compact(revision)).await;
}

async fn the_quota_refuses_what_grows_and_nothing_else(server: Server) {
    let api = server.api().await;
    api.ask(etcd_proto::etcdserverpb::LeaseGrantRequest { ttl: 1000, id: 77 })
        .await;
    let count = fill(&api).await;
    assert!(count > QUOTA_BYTES as usize / VALUE_BYTES / 2, "{count}");
    let member_id = own_id(&api).await;
    let raised = AlarmMember {
        member_id,
        alarm: AlarmType::Nospace.into(),
    };
    assert_eq!(api.ask(AlarmRequest::default()).await.alarms, [raised]);
    let status = api.ask(StatusRequest {}).await;
    assert_eq!(
        words(&status.errors),
        [format!("memberID:{member_id} alarm:NOSPACE")]
    );
    assert_eq!(status.db_size_quota, QUOTA_BYTES);
    // etcd's applier writes the first key that it refuses, where it and not the API finds that there is no space.
    let refused_and_there = api.ask(get_prefix("k")).await.count - count as i64;
    let most = i64::from(server.kind() == Kind::Etcd);
    assert!(
        (0..=most).contains(&refused_and_there),
        "{refused_and_there} of {count}"
    );
    assert_only_growth_is_refused(&api).await;
    api.ask(revoke(77)).await;
}

async fn space_that_is_freed_can_be_used_after_the_alarm_is_disarmed(server: Server) {
    let api = server.api().await;
    fill(&api).await;
    disarm(&api).await;
    let value = incompressible(0, VALUE_BYTES);
    assert_eq!(api.refused(put("more", value.clone())).await, no_space());
    assert_eq!(
        api.ask(AlarmRequest::default()).await.alarms.len(),
        1,
        "raised again"
    );
    api.ask(delete_prefix("k")).await;
    let mut compact = compact(api.revision().await);
    compact.physical = true;
    api.ask(compact).await;
    api.ask(DefragmentRequest {}).await;
    assert_eq!(api.refused(put("more", value.clone())).await, no_space());
    disarm(&api).await;
    api.ask(put("more", value)).await;
    assert_eq!(api.ask(AlarmRequest::default()).await.alarms, []);
    assert_eq!(api.ask(StatusRequest {}).await.errors, [""; 0]);
}

async fn the_alarm_survives_a_restart(mut server: Server) {
    let api = server.api().await;
    fill(&api).await;
    server.kill9();
    server.restart().await;
    assert_eq!(server.api().await.refused(put("a", "1")).await, no_space());
}

async fn defragmentation_gives_free_pages_back(server: Server) {
    let api = server.api().await;
    api.put("kept", "1").await;
    for count in 0..100 {
        let value = incompressible(count, VALUE_BYTES);
        api.ask(put(format!("k{count:03}"), value)).await;
    }
    api.ask(delete_prefix("k0")).await;
    let mut compact = compact(api.revision().await);
    compact.physical = true;
    api.ask(compact).await;
    let writer = tokio::spawn({
        let api = api.clone();
        async move {
            for count in 0..50 {
                api.put(&format!("meanwhile{count}"), "1").await;
            }
        }
    });
    api.ask(DefragmentRequest {}).await;
    writer.await.unwrap();
    let after = api.ask(StatusRequest {}).await;
    assert!(after.db_size < 100 * VALUE_BYTES as i64 / 2, "{after:?}");
    assert_eq!(api.ask(get_prefix("meanwhile")).await.count, 50);
    assert_eq!(api.ask(get("kept")).await.count, 1);
    api.ask(DefragmentRequest {}).await;
}

async fn without_a_flag_the_quota_is_two_gibibytes(server: Server) {
    let api = server.api().await;
    let status = api.ask(StatusRequest {}).await;
    assert_eq!(status.db_size_quota, 2 << 30);
    assert_eq!(status.downgrade_info, Some(Default::default()));
}

/// etcd has one or two blanks between fields, depending on its build.
fn words(errors: &[String]) -> Vec<String> {
    let words = |error: &String| error.split_whitespace().collect::<Vec<_>>().join(" ");
    errors.iter().map(words).collect()
}

async fn an_alarm_of_any_member_refuses_what_grows(server: Server) {
    let api = server.api().await;
    api.put("k000", "1").await;
    api.put("k001", "1").await;
    alarm(&api, AlarmAction::Activate, 7, AlarmType::Nospace).await;
    let status = api.ask(StatusRequest {}).await;
    assert_eq!(words(&status.errors), ["memberID:7 alarm:NOSPACE"]);
    assert_only_growth_is_refused(&api).await;
    alarm(&api, AlarmAction::Deactivate, 7, AlarmType::Nospace).await;
    api.put("a", "1").await;
}

async fn a_corrupt_cluster_takes_no_writes(server: Server) {
    let api = server.api().await;
    let lease = api.ask(grant(1000)).await.id;
    api.put("a", "1").await;
    alarm(&api, AlarmAction::Activate, 0, AlarmType::Corrupt).await;
    let corrupt = (Code::DataLoss, "etcdserver: corrupt cluster".to_owned());
    assert_eq!(api.refused(put("a", "2")).await, corrupt);
    assert_eq!(api.refused(delete("a")).await, corrupt);
    assert_eq!(api.refused(txn().then(put("a", "2"))).await, corrupt);
    assert_eq!(
        api.refused(txn().then(get("a")).or_else(delete("a"))).await,
        corrupt
    );
    assert_eq!(api.refused(compact(2)).await, corrupt);
    assert_eq!(api.refused(grant(100)).await, corrupt);
    assert_eq!(api.refused(revoke(lease)).await, corrupt);
    assert_eq!(api.ask(get("a")).await.count, 1);
    assert!(api.ask(txn().then(get("a"))).await.succeeded);
    let status = api.ask(StatusRequest {}).await;
    assert_eq!(words(&status.errors), ["alarm:CORRUPT"]);
    alarm(&api, AlarmAction::Deactivate, 0, AlarmType::Corrupt).await;
    assert_eq!(api.put("a", "2").await, 3);
}

async fn a_negative_quota_is_none(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    assert_eq!(api.ask(StatusRequest {}).await.db_size_quota, -1);
}
