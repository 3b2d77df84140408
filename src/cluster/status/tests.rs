//! Reports of clusters in each state.

use dqlite::wire::{NodeId, Role, Server};
use etcd_proto::etcdserverpb::{AlarmMember, AlarmType};
use peer_proto::{AboutResponse, Details, View};

use super::{judge::Kind, *};

const NOW_S: i64 = 1_700_000_000;

fn server(id: u64) -> Server {
    Server {
        id: NodeId::new(id),
        address: format!("10.0.0.{id}:9000"),
        role: Role::Voter,
    }
}

fn targets(count: u64) -> StatusTargets {
    StatusTargets {
        own: server(1),
        servers: (1..=count).map(server).collect(),
        tls: None,
        cluster_id: Some(7),
        certificate_expires_s: None,
    }
}

/// Returns the answer of a node that follows node 1, or is it.
fn about(id: u64) -> AboutResponse {
    AboutResponse {
        member_id: id,
        view: Some(View {
            leader_id: 1,
            leader_address: server(1).address,
            term: 3,
        }),
        revision: 10,
        compact_revision: -1,
        version: "1".to_owned(),
        details: Some(Details {
            is_ready: true,
            ..Details::default()
        }),
        cluster_id: 7,
        newest_schema: 0,
    }
}

fn gathered(answers: Vec<Result<AboutResponse, bool>>) -> Gathered {
    let count = answers.len() as u64;
    let answers = (1..).zip(answers).map(|(id, answer)| NodeAnswer {
        address: server(id).address,
        listens: *answer.as_ref().err().unwrap_or(&true),
        info: answer.map_err(|_| "refused".to_owned()),
        servers: (1..=count).map(server).collect(),
    });
    Gathered {
        answers: answers.collect(),
        cluster_id: Some(7),
    }
}

fn report(answers: Vec<Result<AboutResponse, bool>>) -> Report {
    let targets = targets(answers.len() as u64);
    Report::new(&targets, gathered(answers), NOW_S)
}

/// A node that does not run.
const DOWN: Result<AboutResponse, bool> = Err(false);

#[test]
fn a_healthy_cluster_tells_how_many_may_fail() {
    for (count, tolerated, summary) in [
        (1, 0, "without it nothing does"),
        (2, 0, "both are needed"),
        (3, 1, "all 3 voters work, and 1 of them may fail"),
        (5, 2, "all 5 voters work, and 2 of them may fail"),
    ] {
        let report = report((1..=count).map(|id| Ok(about(id))).collect());
        assert_eq!(report.health, Health::Healthy, "{count}");
        assert_eq!(report.tolerated_failures, Some(tolerated), "{count}");
        assert!(report.summary.contains(summary), "{}", report.summary);
        assert_eq!(report.compact_revision, None);
        // Two are not simply healthy.
        assert_eq!(report.remedy.is_some(), count == 2, "{count}");
    }
}

#[test]
fn a_lost_node_and_a_lost_majority_are_told_apart() {
    let one = report(vec![Ok(about(1)), Ok(about(2)), DOWN]);
    assert_eq!(
        (one.health, one.tolerated_failures),
        (Health::Degraded, Some(0))
    );
    assert!(
        one.summary.starts_with("10.0.0.3:9000 cannot be reached"),
        "{}",
        one.summary
    );
    let most = report(vec![DOWN, Ok(about(2)), DOWN]);
    assert_eq!(
        (most.health, most.tolerated_failures),
        (Health::NoLeader, None)
    );
    assert!(
        most.summary
            .ends_with("1 of 3 voters work, and writes need 2"),
        "{}",
        most.summary
    );
    assert_eq!(most.section, Some("When a majority is lost"));
}

#[test]
fn an_expired_pair_is_not_taken_for_a_lost_leader() {
    let mut targets = targets(3);
    targets.certificate_expires_s = Some(NOW_S - DAY_S);
    // Nobody may ask, but they listen.
    let told = Report::new(&targets, gathered(vec![Err(true), Err(true), DOWN]), NOW_S);
    assert_eq!(told.health, Health::Degraded);
    assert_eq!(told.problems.len(), 1, "{:?}", told.problems);
    assert!(
        told.summary.contains("has expired (1 day ago)"),
        "{}",
        told.summary
    );
    assert_eq!(told.section, Some("Certificates"));
    let told = Report::new(&targets, gathered(vec![DOWN, DOWN, DOWN]), NOW_S);
    assert_eq!(told.health, Health::NoLeader);
}

#[test]
fn nodes_that_do_not_belong_stand_out() {
    let (mut ahead, mut old) = (about(2), about(3));
    ahead.revision = 12;
    old.version = "0".to_owned();
    let told = report(vec![Ok(about(1)), Ok(ahead), Ok(old)]);
    assert_eq!(told.nodes[1].ahead, Some(2));
    assert!(told.nodes[2].is_other_version);
    assert_eq!(told.health, Health::Degraded);
    assert_eq!(told.section, Some("A node is ahead of its leader"));
    assert_eq!(
        told.warnings,
        ["10.0.0.3:9000 runs version 0, the leader 1"]
    );
    let mut foreign = about(3);
    foreign.cluster_id = 8;
    let told = report(vec![Ok(about(1)), Ok(about(2)), Ok(foreign)]);
    assert_eq!(told.section, Some("Two histories"));
    let mut foreign = about(3);
    foreign.cluster_id = 8;
    foreign.revision = 20;
    raise(&mut foreign, AlarmType::Nospace);
    let told = report(vec![Ok(about(1)), Ok(about(2)), Ok(foreign)]);
    assert_eq!(told.problems.len(), 1, "{:?}", told.problems);
}

#[test]
fn a_leader_that_takes_no_writes_says_why() {
    use AlarmType::{Corrupt, Nospace};
    let space = "make space on its disk";
    let look = "look again in ten seconds";
    for (refused, alarm, expected) in [
        ("its disk is low", None, Some(space)),
        ("database space exceeded", None, Some(space)),
        ("request timed out", None, Some(look)),
        // The alarm says so already.
        ("database space exceeded", Some(Nospace), None),
        ("corrupt cluster", Some(Corrupt), None),
        // It is no consequence of the alarm.
        ("its disk is low", Some(Nospace), Some(space)),
        ("request timed out", Some(Corrupt), Some(look)),
    ] {
        let mut details = Details {
            write_refused: Some(refused.to_owned()),
            ..Details::default()
        };
        details.alarms.extend(alarm.map(raised));
        let found = report::not_writable(&details);
        assert_eq!(found.is_some(), expected.is_some(), "{refused} {alarm:?}");
        if let Some((found, remedy)) = found.zip(expected) {
            let text = format!("the leader does not take writes: {refused}");
            assert_eq!(found.text, text);
            assert!(found.remedy.starts_with(remedy), "{}", found.remedy);
        }
    }
    let mut leader = about(1);
    leader.details.as_mut().unwrap().write_refused = Some("request timed out".to_owned());
    let told = report(vec![Ok(leader)]);
    assert_eq!(told.health, Health::Degraded);
    assert_eq!(told.section, Some("Slow requests"));
}

#[test]
fn an_archive_that_is_not_written_is_a_warning() {
    let mut leader = about(1);
    let mut state = peer_proto::ArchiveState {
        last_revision: 7,
        behind_s: 90,
        ..Default::default()
    };
    leader.details.as_mut().unwrap().archive = Some(state.clone());
    let told = report(vec![Ok(leader.clone())]);
    assert!(told.warnings.is_empty());
    let archive = told.archive.unwrap();
    assert_eq!((archive.last_revision, archive.reason), (7, None));
    (state.failing_since_s, state.reason) = (5, "no answer".to_owned());
    leader.details.as_mut().unwrap().archive = Some(state);
    let told = report(vec![Ok(leader)]);
    assert_eq!(told.health, Health::Healthy);
    let expected =
        "the archive ends at revision 7, and lacks what was written in the last 90 s: no answer";
    assert_eq!(told.warnings, [expected]);
    assert_eq!(told.section, Some("The continuous archive"));
}

fn raised(alarm: AlarmType) -> AlarmMember {
    AlarmMember {
        member_id: 1,
        alarm: alarm.into(),
    }
}

fn raise(about: &mut AboutResponse, alarm: AlarmType) {
    let details = about.details.as_mut().unwrap();
    details.alarms.push(raised(alarm));
}

#[test]
fn each_alarm_has_its_own_remedy() {
    for (alarm, remedy, section) in [
        (
            AlarmType::Nospace,
            "make space",
            "When the quota is reached",
        ),
        (
            AlarmType::Corrupt,
            "write nothing, and compare the nodes",
            "When the alarm CORRUPT is raised",
        ),
    ] {
        let mut leader = about(1);
        raise(&mut leader, alarm);
        let told = report(vec![Ok(leader)]);
        assert!(
            told.summary.contains(alarm.as_str_name()),
            "{}",
            told.summary
        );
        assert!(told.remedy.unwrap().starts_with(remedy), "{alarm:?}");
        assert_eq!(told.section, Some(section));
    }
}

#[test]
fn a_node_is_judged_by_its_cluster_and_its_own_checks() {
    let healthy = report(vec![Ok(about(1))]);
    let lost = report(vec![DOWN, Ok(about(2)), DOWN]);
    let failed = Some("writable: no leader");
    for (report, is_loaded, failed, state) in [
        (Some(&healthy), true, None, NodeState::Healthy),
        (Some(&healthy), true, failed, NodeState::NotReady),
        (Some(&healthy), false, failed, NodeState::Starting),
        (Some(&lost), true, failed, NodeState::NoLeader),
        // Writes succeed: whoever could be asked, there is a leader.
        (Some(&lost), true, None, NodeState::Degraded),
        (None, true, failed, NodeState::NotReady),
        (None, true, None, NodeState::Healthy),
    ] {
        let verdict = judge(report, is_loaded, failed);
        assert_eq!(verdict.state, state, "{}", verdict.summary);
    }
}

/// The states of one cluster that a report tells, the worst first.
const STATES: &[(&str, Kind)] = &[
    ("no leader", Kind::NoLeader),
    ("ahead", Kind::Ahead),
    ("foreign", Kind::OtherHistory),
    ("corrupt", Kind::Corrupt),
    ("no space", Kind::WritesRefused),
    ("refused", Kind::WritesRefused),
    ("expired", Kind::ExpiredCertificate),
    ("down", Kind::Unreachable),
    ("not ready", Kind::Other),
];

/// Returns a report of a cluster of seven nodes in these states.
fn report_of(states: &[&str]) -> Report {
    let is = |state| states.contains(&state);
    let mut abouts: Vec<AboutResponse> = (1..=7).map(about).collect();
    if is("ahead") {
        abouts[1].revision += 2;
    }
    if is("foreign") {
        abouts[2].cluster_id = 8;
    }
    for about in &mut abouts {
        if is("corrupt") {
            raise(about, AlarmType::Corrupt);
        }
        if is("no space") {
            raise(about, AlarmType::Nospace);
        }
        if is("no leader") {
            about.view = None;
        }
    }
    if is("refused") {
        abouts[0].details.as_mut().unwrap().write_refused = Some("request timed out".to_owned());
    }
    if is("not ready") {
        abouts[4].details.as_mut().unwrap().is_ready = false;
    }
    let mut targets = targets(7);
    targets.certificate_expires_s = is("expired").then_some(NOW_S - DAY_S);
    let mut answers: Vec<_> = abouts.into_iter().map(Ok).collect();
    if is("down") {
        answers[3] = DOWN;
    }
    Report::new(&targets, gathered(answers), NOW_S)
}

#[test]
fn of_any_two_problems_the_worse_is_told() {
    for (at, (worse, kind)) in STATES.iter().enumerate() {
        let alone = report_of(&[worse]);
        assert_eq!(alone.worst, Some(*kind), "{worse}: {}", alone.summary);
        for (other, other_kind) in &STATES[at + 1..] {
            let told = report_of(&[other, worse]);
            let context = || format!("{worse}, {other}: {:?}", told.problems);
            // Without a leader nobody is ahead of it, and nobody refuses writes for it.
            let is_hidden = *worse == "no leader" && ["ahead", "refused"].contains(other);
            assert!(told.problems.len() >= 2 || is_hidden, "{}", context());
            assert_eq!(told.worst, Some(*kind), "{}", context());
            assert_eq!(told.section, alone.section, "{}", context());
            assert_eq!(told.summary, told.problems[0]);
            if kind != other_kind && *worse != "no leader" {
                assert_eq!(told.summary, alone.summary, "{}", context());
                assert_eq!(told.remedy, alone.remedy, "{}", context());
            }
        }
    }
}

#[test]
fn a_failed_check_wins_where_the_cluster_does_not_explain_it() {
    let failed = "writable: database space exceeded (alarm activated: NOSPACE)";
    let names_check = |states: &[&str]| {
        let report = report_of(states);
        let verdict = judge(Some(&report), true, Some(failed));
        let of_cluster = verdict.summary.contains(&report.summary);
        (of_cluster, verdict.summary.contains(failed))
    };
    for (states, expected) in [
        (&["no leader", "down"][..], (true, false)),
        (&["corrupt", "down"], (true, false)),
        (&["no space", "down"], (true, false)),
        (&["refused", "expired"], (true, false)),
        // The report is older than the alarm.
        (&["down"], (false, true)),
        (&["expired", "down"], (false, true)),
        (&["not ready"], (false, true)),
        // Both are told, and the remedy is that of the worse.
        (&["ahead", "down"], (true, true)),
        (&["foreign", "no space"], (true, true)),
    ] {
        assert_eq!(names_check(states), expected, "{states:?}");
    }
    let report = report_of(&["no space", "down"]);
    let verdict = judge(Some(&report), true, Some(failed));
    assert!(verdict.summary.contains("NOSPACE"), "{}", verdict.summary);
    assert_eq!(verdict.section, Some("When the quota is reached"));
    let report = report_of(&["ahead", "down"]);
    let verdict = judge(Some(&report), true, Some(failed));
    assert_eq!(verdict.state, NodeState::NotReady);
    assert_eq!(verdict.section, Some("A node is ahead of its leader"));
}
