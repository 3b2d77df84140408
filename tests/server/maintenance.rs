//! The Maintenance, Cluster and health services.

use etcd_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, MemberListRequest, StatusRequest,
    alarm_request::AlarmAction,
};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::*;

parity! {
    the_version_turns_on_consistent_reads_from_cache,
    the_status_names_the_leader_and_the_size,
    the_only_member_has_a_client_url,
    an_alarm_is_raised_listed_and_lowered,
    the_health_service_serves,
    the_member_keeps_its_identity_over_a_restart,
}

async fn the_version_turns_on_consistent_reads_from_cache(server: Server) {
    let api = server.api().await;
    let version = api.ask(StatusRequest {}).await.version;
    let parts: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    let [major, minor, patch] = parts[..] else {
        panic!("{version}")
    };
    // kube-apiserver's table of versions whose RequestProgress it trusts.
    assert!((major, minor, patch) >= (3, 5, 13), "{version}");
}

async fn the_status_names_the_leader_and_the_size(server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let status = api.ask(StatusRequest {}).await;
    let header = status.header.unwrap();
    assert_eq!(header.revision, 2);
    assert_eq!(status.leader, header.member_id);
    assert_eq!(status.raft_term, header.raft_term);
    assert!(status.db_size > 0 && status.db_size_in_use > 0);
    assert!(status.db_size_in_use <= status.db_size);
    assert!(status.raft_index > 0 && status.raft_applied_index > 0);
    assert_eq!((status.errors.len(), status.is_learner), (0, false));
}

async fn the_only_member_has_a_client_url(server: Server) {
    let api = server.api().await;
    for linearizable in [false, true] {
        let answer = api.ask(MemberListRequest { linearizable }).await;
        let header = answer.header.unwrap();
        let [member] = &answer.members[..] else {
            panic!("{:?}", answer.members)
        };
        assert_eq!(member.id, header.member_id);
        assert_eq!(member.client_ur_ls, [server.client_url()]);
        assert!(!member.name.is_empty() && !member.is_learner);
    }
}

async fn an_alarm_is_raised_listed_and_lowered(server: Server) {
    let api = server.api().await;
    assert_eq!(api.ask(AlarmRequest::default()).await.alarms, []);
    let alarm = AlarmMember {
        member_id: 7,
        alarm: AlarmType::Corrupt.into(),
    };
    let request = |action: AlarmAction| AlarmRequest {
        action: action.into(),
        member_id: alarm.member_id,
        alarm: alarm.alarm,
    };
    for action in [
        AlarmAction::Activate,
        AlarmAction::Get,
        AlarmAction::Deactivate,
    ] {
        assert_eq!(api.ask(request(action)).await.alarms, [alarm], "{action:?}");
    }
    assert_eq!(api.ask(request(AlarmAction::Deactivate)).await.alarms, []);
    assert_eq!(api.ask(AlarmRequest::default()).await.alarms, []);
}

async fn the_health_service_serves(server: Server) {
    let mut health = HealthClient::new(server.api().await.channel);
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
}

async fn the_member_keeps_its_identity_over_a_restart(mut server: Server) {
    let before = server.api().await.ask(get("a")).await.header.unwrap();
    assert!(server.terminate().await.code().is_none_or(|code| code == 0));
    server.restart().await;
    let after = server.api().await.ask(get("a")).await.header.unwrap();
    assert_eq!(
        (before.cluster_id, before.member_id),
        (after.cluster_id, after.member_id)
    );
    assert!(before.raft_term <= after.raft_term);
}
