//! The Election service.

use bytes::Bytes;
use etcd_proto::etcdserverpb::CompactionRequest;
use etcd_proto::v3electionpb::*;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::harness::*;

parity! {
    a_candidate_alone_is_elected,
    who_leads_is_not_known_without_a_leader,
    candidates_are_elected_in_order,
    a_leader_that_runs_again_changes_its_value,
    a_leader_proclaims_values,
    only_the_leader_proclaims,
    resigning_without_leading_changes_nothing,
    the_end_of_the_leaders_lease_elects_the_next,
    a_candidate_that_leaves_makes_room_for_those_behind,
    an_observer_hears_of_leaders_and_values,
    an_observer_waits_for_the_first_leader,
    observers_and_watchers_go_on_across_compactions,
    what_cannot_be_elected,
}

/// Leaders that an observer may have heard of before the test looks.
const HEARD: usize = 64;

fn campaign(lease: i64, value: &'static str) -> CampaignRequest {
    CampaignRequest {
        name: "name".into(),
        lease,
        value: value.into(),
    }
}

fn leader() -> LeaderRequest {
    LeaderRequest {
        name: "name".into(),
    }
}

fn proclaim(leader: &LeaderKey, value: &'static str) -> ProclaimRequest {
    ProclaimRequest {
        leader: Some(leader.clone()),
        value: value.into(),
    }
}

fn resign(leader: &LeaderKey) -> ResignRequest {
    ResignRequest {
        leader: Some(leader.clone()),
    }
}

async fn elect(api: &Api, value: &'static str) -> LeaderKey {
    api.ask(campaign(0, value)).await.leader.unwrap()
}

async fn candidates(api: &Api) -> i64 {
    api.ask(get_prefix("name/")).await.count
}

/// Runs for the name, and waits until there are `place` candidates.
async fn run_in_place(api: &Api, value: &'static str, place: i64) -> JoinHandle<CampaignResponse> {
    let running = tokio::spawn({
        let api = api.clone();
        async move { api.ask(campaign(0, value)).await }
    });
    until("the candidate's key is there", async || {
        candidates(api).await == place
    })
    .await;
    running
}

async fn leading_value(api: &Api) -> Bytes {
    api.ask(leader()).await.kv.unwrap().value
}

fn unknown(text: &str) -> (Code, String) {
    (Code::Unknown, text.to_owned())
}

/// Returns the responses to one observer. etcd does not even begin its answer before there is
/// something.
fn observe(api: &Api) -> mpsc::Receiver<Result<LeaderResponse, Status>> {
    let (heard, receiver) = mpsc::channel(HEARD);
    let api = api.clone();
    tokio::spawn(async move {
        let mut client = api.election.clone();
        let mut leaders = match client.observe(api.request(leader())).await {
            Ok(leaders) => leaders.into_inner(),
            Err(status) => return drop(heard.send(Err(status)).await),
        };
        while let Some(next) = leaders.message().await.transpose() {
            if heard.send(next).await.is_err() {
                return;
            }
        }
    });
    receiver
}

async fn next(
    observed: &mut mpsc::Receiver<Result<LeaderResponse, Status>>,
) -> Result<LeaderResponse, Status> {
    let next = tokio::time::timeout(TIMEOUT, observed.recv()).await;
    next.expect("the observer hears something")
        .expect("the stream goes on")
}

async fn next_value(observed: &mut mpsc::Receiver<Result<LeaderResponse, Status>>) -> Bytes {
    next(observed).await.unwrap().kv.unwrap().value
}

async fn a_candidate_alone_is_elected(server: Server) {
    let api = server.api().await;
    let lease = api.ask(grant(600)).await.id;
    let elected = api.ask(campaign(lease, "me")).await;
    assert_eq!(elected.header.unwrap().revision, 2);
    let key = elected.leader.unwrap();
    assert_eq!(
        key,
        LeaderKey {
            name: "name".into(),
            key: format!("name/{lease:x}").into(),
            rev: 2,
            lease,
        }
    );
    api.put("other", "").await;
    let known = api.ask(leader()).await;
    assert_eq!(known.header.unwrap().revision, 3);
    let kv = known.kv.unwrap();
    assert_eq!((kv.key, kv.value), (key.key.clone(), "me".into()));
    assert_eq!((kv.lease, kv.create_revision), (lease, 2));
    let resigned = api.ask(resign(&key)).await;
    assert_eq!(resigned.header.unwrap().revision, 4);
    assert_eq!(candidates(&api).await, 0);
}

async fn who_leads_is_not_known_without_a_leader(server: Server) {
    let api = server.api().await;
    assert_eq!(api.refused(leader()).await, unknown("election: no leader"));
}

async fn candidates_are_elected_in_order(server: Server) {
    let api = server.api().await;
    let first = elect(&api, "first").await;
    let second = run_in_place(&api, "second", 2).await;
    let third = run_in_place(&api, "third", 3).await;
    assert_eq!(leading_value(&api).await, "first");
    api.ask(resign(&first)).await;
    let elected = second.await.unwrap();
    let key = elected.leader.unwrap();
    // The revision of its coming, not of its election.
    assert_eq!(elected.header.unwrap().revision, key.rev);
    assert_eq!(leading_value(&api).await, "second");
    assert!(!third.is_finished());
    api.ask(resign(&key)).await;
    third.await.unwrap();
    assert_eq!(leading_value(&api).await, "third");
}

async fn a_leader_that_runs_again_changes_its_value(server: Server) {
    let api = server.api().await;
    let lease = api.ask(grant(600)).await.id;
    let first = api.ask(campaign(lease, "old")).await;
    let same = api.ask(campaign(lease, "old")).await;
    assert_eq!(same, first);
    let again = api.ask(campaign(lease, "new")).await;
    assert_eq!(again.leader, first.leader);
    assert_eq!(again.header.unwrap().revision, 2);
    assert_eq!(leading_value(&api).await, "new");
    assert_eq!(api.revision().await, 3);
}

async fn a_leader_proclaims_values(server: Server) {
    let api = server.api().await;
    let key = elect(&api, "old").await;
    let proclaimed = api.ask(proclaim(&key, "new")).await;
    assert_eq!(proclaimed.header.unwrap().revision, 3);
    let kv = api.ask(leader()).await.kv.unwrap();
    assert_eq!((kv.value, kv.create_revision), ("new".into(), 2));
    assert_eq!(kv.lease, key.lease);
}

async fn only_the_leader_proclaims(server: Server) {
    let api = server.api().await;
    let key = elect(&api, "mine").await;
    let not_leader = unknown("election: not leader");
    let of_other = LeaderKey {
        key: "name/other".into(),
        ..key.clone()
    };
    assert_eq!(api.refused(proclaim(&of_other, "x")).await, not_leader);
    let earlier = LeaderKey {
        rev: 1,
        ..key.clone()
    };
    assert_eq!(api.refused(proclaim(&earlier, "x")).await, not_leader);
    assert_eq!(
        api.refused(proclaim(
            &LeaderKey {
                lease: 9,
                ..key.clone()
            },
            "x"
        ))
        .await,
        unknown("etcdserver: requested lease not found")
    );
    let nobody = ProclaimRequest {
        leader: None,
        value: "x".into(),
    };
    assert_eq!(
        api.refused(nobody).await,
        unknown("\"leader\" field must be provided")
    );
    assert_eq!(
        api.refused(proclaim(&LeaderKey::default(), "x")).await,
        unknown("etcdserver: key is not provided")
    );
    api.ask(resign(&key)).await;
    assert_eq!(api.refused(proclaim(&key, "x")).await, not_leader);
}

async fn resigning_without_leading_changes_nothing(server: Server) {
    let api = server.api().await;
    let key = elect(&api, "mine").await;
    let earlier = LeaderKey {
        rev: 1,
        ..key.clone()
    };
    let answer = api.ask(resign(&earlier)).await;
    assert_eq!(answer.header.unwrap().revision, 2);
    assert_eq!(leading_value(&api).await, "mine");
    assert_eq!(
        api.refused(ResignRequest { leader: None }).await,
        unknown("\"leader\" field must be provided")
    );
    assert_eq!(
        api.refused(resign(&LeaderKey::default())).await,
        unknown("etcdserver: key is not provided")
    );
}

async fn the_end_of_the_leaders_lease_elects_the_next(server: Server) {
    let api = server.api().await;
    let lease = api.ask(grant(600)).await.id;
    api.ask(campaign(lease, "first")).await;
    let second = run_in_place(&api, "second", 2).await;
    api.ask(revoke(lease)).await;
    second.await.unwrap();
    assert_eq!(leading_value(&api).await, "second");
}

async fn a_candidate_that_leaves_makes_room_for_those_behind(server: Server) {
    let api = server.api().await;
    let first = elect(&api, "first").await;
    let second = run_in_place(&api, "second", 2).await;
    let third = run_in_place(&api, "third", 3).await;
    second.abort();
    until("the key of the second is gone", async || {
        candidates(&api).await == 2
    })
    .await;
    api.ask(resign(&first)).await;
    third.await.unwrap();
    assert_eq!(leading_value(&api).await, "third");
}

async fn an_observer_hears_of_leaders_and_values(server: Server) {
    let api = server.api().await;
    let first = elect(&api, "a1").await;
    api.put("other", "").await;
    let mut observed = observe(&api);
    let known = next(&mut observed).await.unwrap();
    assert_eq!(known.header.unwrap().revision, 3);
    assert_eq!(known.kv.unwrap().value, "a1");
    api.ask(proclaim(&first, "a2")).await;
    let proclaimed = next(&mut observed).await.unwrap();
    assert_eq!(proclaimed.header.unwrap().revision, 4);
    assert_eq!(proclaimed.kv.unwrap().value, "a2");
    let second = run_in_place(&api, "b1", 2).await;
    api.ask(resign(&first)).await;
    let second = second.await.unwrap().leader.unwrap();
    assert_eq!(next_value(&mut observed).await, "b1");
    api.ask(proclaim(&second, "b2")).await;
    assert_eq!(next_value(&mut observed).await, "b2");
    api.ask(resign(&second)).await;
    elect(&api, "c").await;
    assert_eq!(next_value(&mut observed).await, "c");
}

async fn an_observer_waits_for_the_first_leader(server: Server) {
    let api = server.api().await;
    let mut observed = observe(&api);
    let key = elect(&api, "a").await;
    let first = next(&mut observed).await.unwrap();
    assert_eq!(first.header.unwrap().revision, 2);
    assert_eq!(first.kv.unwrap().key, key.key);
    api.ask(proclaim(&key, "b")).await;
    assert_eq!(next_value(&mut observed).await, "b");
}

async fn observers_and_watchers_go_on_across_compactions(server: Server) {
    let api = server.api().await;
    let key = elect(&api, "a1").await;
    let mut observed = observe(&api);
    let (mut watcher, _) = Watcher::open(&api, watch_prefix("name/")).await;
    assert_eq!(next_value(&mut observed).await, "a1");
    for value in ["a2", "a3"] {
        api.ask(proclaim(&key, value)).await;
        assert_eq!(next_value(&mut observed).await, value);
        assert_eq!(watcher.next().await.events.len(), 1);
    }
    let compact_now = async || {
        let request = CompactionRequest {
            physical: true,
            ..compact(api.revision().await)
        };
        api.ask(request).await;
    };
    compact_now().await;
    let mut late = observe(&api);
    assert_eq!(next_value(&mut late).await, "a3");
    api.ask(proclaim(&key, "a4")).await;
    for observed in [&mut observed, &mut late] {
        assert_eq!(next_value(observed).await, "a4");
    }
    assert_eq!(watcher.next().await.events.len(), 1);
    api.ask(resign(&key)).await;
    compact_now().await;
    let mut latest = observe(&api);
    let next_key = elect(&api, "b").await;
    for observed in [&mut observed, &mut late, &mut latest] {
        assert_eq!(next_value(observed).await, "b");
    }
    let mut events = watcher.events(2).await;
    let elected = events.remove(1).kv.unwrap();
    assert_eq!((elected.key, elected.value), (next_key.key, "b".into()));
}

async fn what_cannot_be_elected(server: Server) {
    let api = server.api().await;
    assert_eq!(
        api.refused(campaign(999, "x")).await,
        unknown("etcdserver: requested lease not found")
    );
    assert_eq!(candidates(&api).await, 0);
}

#[tokio::test]
async fn candidates_and_observers_are_sent_elsewhere_when_the_server_stops() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let api = server.api().await;
    elect(&api, "first").await;
    let mut observed = observe(&api);
    assert_eq!(next_value(&mut observed).await, "first");
    let waiting = tokio::spawn({
        let api = api.clone();
        async move { api.refused(campaign(0, "second")).await }
    });
    until("the candidate's key is there", async || {
        candidates(&api).await == 2
    })
    .await;
    assert!(server.terminate().await.success());
    assert_eq!(waiting.await.unwrap().0, Code::Unavailable);
    let ended = next(&mut observed).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
}
