use dqlite::wire::NodeId;
use proptest::prelude::*;

use super::*;

const NOW_S: i64 = 1_700_000_000;

const GRACE_PERIODS: GracePeriods = GracePeriods {
    pending: Duration::from_secs(300),
    ghost: Duration::from_secs(60),
    removal: Duration::from_secs(20),
};

fn server(id: u64, role: Role) -> Server {
    Server {
        id: NodeId::new(id),
        address: format!("10.0.0.{id}:6400"),
        role,
    }
}

fn row(id: u64, role: &str, heartbeat_s: i64) -> Record {
    Record {
        member: ClusterMember {
            name: format!("node{id}"),
            address: format!("10.0.0.{id}:6400"),
            role: role.to_owned(),
            ..ClusterMember::default()
        },
        heartbeat_s,
    }
}

fn records(members: Vec<Record>) -> Records {
    Records {
        members,
        ..Records::default()
    }
}

/// Returns the findings when things have been as they are for `seconds`; node 1 looks.
fn after(
    seconds: u64,
    servers: &[Server],
    records: &Records,
    trusted: &[&str],
) -> Vec<(String, Option<Repair>, Due)> {
    let begin = Instant::now();
    let mut memory = Memory::default();
    memory.note(servers, records, begin);
    let now = begin + Duration::from_secs(seconds);
    memory.note(servers, records, now);
    let trusted: Vec<String> = trusted.iter().map(|name| (*name).to_owned()).collect();
    let now = (now, NOW_S + seconds.cast_signed());
    findings(
        servers,
        records,
        &trusted,
        &memory,
        GRACE_PERIODS,
        NodeId::new(1),
        now,
    )
    .into_iter()
    .map(|f| (f.text, f.repair, f.due))
    .collect()
}

#[test]
fn a_cluster_in_step_has_no_findings() {
    let servers = [server(1, Role::Voter), server(2, Role::Spare)];
    let records = records(vec![row(1, "voter", NOW_S), row(2, "spare", NOW_S)]);
    assert_eq!(after(999, &servers, &records, &["node1", "node2"]), []);
}

#[test]
fn a_server_of_no_member_goes_when_no_join_can_be_under_way_and_a_voter_only_when_asked() {
    let records = records(vec![row(1, "voter", NOW_S)]);
    for (role, seconds, due) in [
        (Role::Spare, 59, Due::Later),
        (Role::Spare, 60, Due::Now),
        (Role::StandBy, 60, Due::Now),
        (Role::Voter, 59, Due::Later),
        (Role::Voter, 60, Due::Asked),
    ] {
        let servers = [server(1, Role::Voter), server(2, role)];
        let found = after(seconds, &servers, &records, &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, Some(Repair::RemoveServer(NodeId::new(2))));
        assert_eq!(found[0].2, due, "{role:?} {seconds}");
    }
    let own = after(
        999,
        &[server(1, Role::Voter)],
        &self::records(vec![row(2, "voter", NOW_S)]),
        &[],
    );
    assert_eq!(own[0].1, None, "a node does not remove itself");
}

#[test]
fn a_pending_member_is_given_up_by_its_time_and_never_while_it_may_still_join() {
    let servers = [server(1, Role::Voter), server(2, Role::Spare)];
    let day = 24 * 3600;
    for (let_in_s, seconds, due) in [
        (NOW_S, 299, Due::Later),
        (NOW_S, 300, Due::Now),
        // The clock of whoever let it in is behind, ahead.
        (NOW_S - day, 59, Due::Later),
        (NOW_S - day, 60, Due::Now),
        (NOW_S + day, 299, Due::Later),
        (NOW_S + day, 300, Due::Now),
    ] {
        let records = records(vec![row(1, "voter", NOW_S), row(2, PENDING, let_in_s)]);
        let found = after(seconds, &servers, &records, &["node1", "node2"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].2, due, "{let_in_s} {seconds}");
        let only_pending = true;
        let name = "node2".to_owned();
        assert_eq!(found[0].1, Some(Repair::Remove { name, only_pending }));
    }
}

#[test]
fn a_member_without_a_server_is_removed_only_when_asked() {
    let records = records(vec![row(1, "voter", NOW_S), row(2, "spare", NOW_S)]);
    let servers = [server(1, Role::Voter)];
    let found = after(60, &servers, &records, &[]);
    assert_eq!(found[0].2, Due::Asked);
    assert_eq!(after(59, &servers, &records, &[])[0].2, Due::Later);
}

#[test]
fn a_removal_is_carried_on_until_only_the_node_has_to_hear_of_it() {
    let removal = Removal {
        name: "node2".to_owned(),
        address: "10.0.0.2:6400".to_owned(),
        server: Some(NodeId::new(2)),
        force: false,
        nonce: "n".to_owned(),
        started_s: NOW_S,
    };
    let (with, without) = (
        [server(1, Role::Voter), server(2, Role::Voter)],
        [server(1, Role::Voter)],
    );
    let known = |members| Records {
        members,
        removals: vec![removal.clone()],
        ..Records::default()
    };
    let both = known(vec![row(1, "voter", NOW_S), row(2, "voter", NOW_S)]);
    let one = known(vec![row(1, "voter", NOW_S)]);
    for (servers, records) in [(&with[..], &both), (&without, &both), (&with, &one)] {
        let found = after(20, servers, records, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (&found[0].1, found[0].2),
            (&Some(Repair::Finish(removal.clone())), Due::Now)
        );
        assert_eq!(after(19, servers, records, &[])[0].2, Due::Later);
    }
    assert_eq!(after(99, &without, &one, &[]), []);
}

#[test]
fn roles_are_noted_when_they_change_and_times_now_and_then() {
    let servers = [server(1, Role::Voter), server(2, Role::Voter)];
    let answered = BTreeSet::from(["node1".to_owned(), "node2".to_owned()]);
    let noted = |members: Vec<Record>, answered: &BTreeSet<String>| {
        let notes = notes(&servers, &records(members), answered, NOW_S);
        let short = notes.into_iter().map(|n| (n.name, n.role, n.heartbeat_s));
        short.collect::<Vec<_>>()
    };
    let members = vec![row(1, "voter", NOW_S - 29), row(2, "spare", NOW_S - 29)];
    let changed = ("node2".to_owned(), "voter".to_owned(), NOW_S);
    assert_eq!(noted(members.clone(), &answered), [changed]);
    let silent = noted(members, &BTreeSet::new());
    assert_eq!(silent[0].2, NOW_S - 29, "who is silent is not alive");
    let old = vec![row(1, "voter", NOW_S - 30)];
    assert_eq!(noted(old.clone(), &answered).len(), 1);
    assert_eq!(noted(old, &BTreeSet::new()).len(), 0);
    let pending = vec![row(2, PENDING, NOW_S)];
    assert_eq!(noted(pending.clone(), &answered)[0].1, "voter");
    assert_eq!(noted(pending, &BTreeSet::new()), []);
    let outside = vec![row(3, PENDING, NOW_S), row(4, "voter", NOW_S)];
    let gone = ("node4".to_owned(), String::new(), NOW_S);
    assert_eq!(noted(outside, &answered), [gone]);
}

proptest! {
    /// Whatever there is: who is a member in both places is never touched, and nobody removes itself.
    #[test]
    fn what_is_in_step_is_never_repaired(
        rows in proptest::collection::btree_map(1u64..8, 0usize..4, 0..7),
        servers in proptest::collection::btree_map(1u64..8, 0usize..3, 0..7),
        seconds in 0u64..1000,
    ) {
        let roles = ["voter", "stand-by", "spare", PENDING];
        let kinds = [Role::Voter, Role::StandBy, Role::Spare];
        let members = rows.iter().map(|(id, role)| row(*id, roles[*role], NOW_S)).collect();
        let all: Vec<Server> = servers.iter().map(|(id, role)| server(*id, kinds[*role])).collect();
        for (_, repair, due) in after(seconds, &all, &records(members), &[]) {
            match repair {
                Some(Repair::Remove { name, only_pending }) => {
                    let id: u64 = name[4..].parse().unwrap();
                    prop_assert_eq!(only_pending, roles[rows[&id]] == PENDING);
                    prop_assert!(only_pending || !servers.contains_key(&id));
                    prop_assert!(only_pending || due != Due::Now);
                }
                Some(Repair::RemoveServer(id)) => {
                    prop_assert!(id != NodeId::new(1) && !rows.contains_key(&id.number()));
                }
                _ => {}
            }
        }
    }
}
