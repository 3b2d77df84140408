//! Readiness is whether a write could succeed, liveness whether a restart could help: in each state that a
//! node may be in. Low and full disks are in `wrong_input::full_disk`, a node that loads in `page`.

use etcd_proto::etcdserverpb::{AlarmRequest, AlarmType, alarm_request::AlarmAction};
use nix::sys::signal::Signal;

use crate::harness::*;
use crate::nodes::trio::Trio;

async fn status(server: &Server, path: &str) -> u16 {
    server.http("GET", path).await.status
}

async fn until_ready(server: &Server, expected: bool) -> String {
    let mut last = String::new();
    until(&format!("ready: {expected}"), async || {
        let answer = server.http("GET", "/readyz").await;
        last = answer.body;
        (answer.status == 200) == expected
    })
    .await;
    last
}

#[tokio::test]
async fn checks_beyond_etcds_are_served_by_themselves() {
    let server = Server::start(Kind::K8sDqlite).await;
    for path in ["/livez/engine", "/readyz/loaded", "/readyz/writable"] {
        let answer = server.http("GET", &format!("{path}?verbose")).await;
        let name = path.rsplit('/').next().unwrap();
        let body = format!("[+]{name} ok\nok\n");
        assert_eq!((answer.status, answer.body), (200, body));
    }
    assert_eq!(status(&server, "/livez/writable").await, 404);
}

/// A probe changes nothing: not the revision, not what is counted.
#[tokio::test]
async fn asking_for_readiness_writes_nothing() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let before = api.revision().await;
    for _ in 0..20 {
        assert_eq!(status(&server, "/readyz").await, 200);
    }
    assert_eq!(api.revision().await, before);
    assert_eq!(api.ask(get("\0")).await.count, 0);
    let metrics = server.http("GET", "/metrics").await.body;
    for line in [
        "etcd_mvcc_put_total 0",
        "k8s_dqlite_write_duration_seconds_count 0",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{metrics}");
    }
}

#[tokio::test]
async fn an_alarm_makes_a_node_unready_until_it_is_disarmed() {
    let server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    let alarm = async |action: AlarmAction, alarm: AlarmType| {
        api.ask(AlarmRequest {
            action: action.into(),
            member_id: 0,
            alarm: alarm.into(),
        })
        .await
    };
    for (kind, reason) in [
        (
            AlarmType::Nospace,
            "etcdserver: mvcc: database space exceeded (alarm activated: NOSPACE)",
        ),
        (AlarmType::Corrupt, "etcdserver: corrupt cluster"),
    ] {
        alarm(AlarmAction::Activate, kind).await;
        let answer = server.http("GET", "/readyz/writable").await;
        let body = format!("[-]writable failed: {reason}\n\n");
        assert_eq!((answer.status, answer.body), (503, body));
        assert_eq!(status(&server, "/readyz").await, 503);
        assert_eq!(status(&server, "/livez").await, 200);
        alarm(AlarmAction::Deactivate, kind).await;
        assert_eq!(status(&server, "/readyz").await, 200);
    }
}

#[tokio::test]
async fn a_node_at_its_quota_is_unready_until_there_is_space() {
    let options = Options::flags(&["--quota-backend-bytes=400000"]);
    let server = Server::start_with(Kind::K8sDqlite, options).await;
    let api = server.api().await;
    assert_eq!(status(&server, "/readyz").await, 200);
    let value = vec![b'x'; 100_000];
    while api.try_ask(put("big", value.clone())).await.is_ok() {}
    assert_eq!(status(&server, "/readyz").await, 503);
    assert_eq!(status(&server, "/livez").await, 200);
    api.ask(delete("big")).await;
    let revision = api.revision().await;
    let mut compaction = compact(revision);
    compaction.physical = true;
    api.ask(compaction).await;
    assert_eq!(status(&server, "/readyz").await, 503, "the alarm stays");
    for raised in api.ask(AlarmRequest::default()).await.alarms {
        let disarm = AlarmRequest {
            action: AlarmAction::Deactivate.into(),
            member_id: raised.member_id,
            alarm: raised.alarm,
        };
        api.ask(disarm).await;
    }
    let ready = server.http("GET", "/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    api.put("big", "1").await;
}

/// A follower is ready for a write only if a leader takes it.
#[tokio::test]
async fn nodes_without_a_leader_are_unready_and_alive() {
    let mut trio = Trio::start().await;
    for node in &trio.nodes {
        until_ready(node, true).await;
    }
    let leader = trio.leader().await;
    let [near, far] = trio.others(leader);
    trio.nodes[leader].kill9();
    // The two that are left elect one of them.
    for at in [near, far] {
        until_ready(&trio.nodes[at], true).await;
    }
    trio.pause(far);
    let reason = until_ready(&trio.nodes[near], false).await;
    assert!(reason.contains("[-]writable failed: "), "{reason}");
    assert!(reason.contains("[+]serializable_read ok"), "{reason}");
    assert_eq!(status(&trio.nodes[near], "/livez").await, 200);
    trio.nodes[far].process().signal(Signal::SIGCONT);
    until_ready(&trio.nodes[near], true).await;
    trio.nodes[leader].restart().await;
    until_ready(&trio.nodes[leader], true).await;
}
