use super::*;

const OWN: u64 = 1;

fn names(id: u64, term: u64) -> View {
    View {
        leader: Some((id, id.to_string())),
        term,
    }
}

fn nobody(term: u64) -> View {
    View { leader: None, term }
}

fn members() -> Vec<Member> {
    let member = |(id, is_voter): (u64, bool)| Member {
        id,
        address: id.to_string(),
        is_voter,
    };
    [(1, true), (4, false), (2, true), (3, true)]
        .map(member)
        .to_vec()
}

/// A cluster that answers all questions the same way.
struct Cluster {
    engine: Option<View>,
    others: Option<View>,
}

impl Cluster {
    /// Runs one round of questions at `now`; returns all commands.
    fn round(&self, monitor: &mut Monitor, now: Duration) -> Vec<Command> {
        let mut all = Vec::new();
        let mut event = Event::TimeToAsk;
        loop {
            let commands = monitor.decide(event, now);
            all.extend(commands.iter().cloned());
            event = match commands.last() {
                Some(Command::AskEngine) => Event::EngineSaid {
                    view: self.engine.clone(),
                },
                Some(Command::AskMembers { .. }) => Event::MembersAre {
                    members: self.engine.as_ref().map(|_| members()),
                },
                Some(Command::AskOthers { .. }) => Event::OthersSaid {
                    view: self.others.clone(),
                },
                _ => return all,
            };
        }
    }
}

fn published(commands: &[Command]) -> (View, bool) {
    match commands.last() {
        Some(Command::Publish { view, is_lost }) => (view.clone(), *is_lost),
        other => panic!("nothing is published: {other:?}"),
    }
}

#[test]
fn what_the_engine_says_is_published() {
    let mut monitor = Monitor::new(OWN, Vec::new(), Duration::ZERO);
    let cluster = Cluster {
        engine: Some(names(2, 5)),
        others: None,
    };
    let commands = cluster.round(&mut monitor, INTERVAL);
    assert_eq!(published(&commands), (names(2, 5), false));
    let count = |commands: &[Command]| {
        let is_count = |command: &&Command| matches!(command, Command::NoteNodes { .. });
        commands.iter().filter(is_count).count()
    };
    assert_eq!(
        count(&commands),
        0,
        "only the leader's engine knows the nodes"
    );
    let cluster = Cluster {
        engine: Some(names(OWN, 6)),
        others: None,
    };
    assert_eq!(count(&cluster.round(&mut monitor, 2 * INTERVAL)), 1);
    let again = cluster.round(&mut monitor, 3 * INTERVAL);
    assert_eq!(count(&again), 0, "other nodes come and go rarely");
    let later = cluster.round(&mut monitor, 3 * INTERVAL + NODES_INTERVAL);
    assert_eq!(count(&later), 1);
}

#[test]
fn a_node_that_was_alone_is_not_when_another_one_leads() {
    let mut monitor = Monitor::new(OWN, Vec::new(), Duration::ZERO);
    let notes = |commands: &[Command]| {
        let noted = commands.iter().filter_map(|command| match command {
            Command::NoteNodes { is_alone, .. } => Some(*is_alone),
            _ => None,
        });
        noted.collect::<Vec<_>>()
    };
    let mut hears = |leader: u64, only: u64, at: Duration| {
        monitor.decide(Event::TimeToAsk, at);
        let view = Some(names(leader, 5));
        let mut commands = monitor.decide(Event::EngineSaid { view }, at);
        if matches!(commands[..], [Command::AskMembers { .. }]) {
            let mut members = members();
            members.retain(|member| member.id == only);
            let members = Some(members);
            commands = monitor.decide(Event::MembersAre { members }, at);
        }
        notes(&commands)
    };
    assert_eq!(hears(OWN, OWN, INTERVAL), [true]);
    assert_eq!(hears(2, OWN, 2 * INTERVAL), [false]);
    assert_eq!(hears(2, OWN, 3 * INTERVAL), [false; 0]);
    // One that removes itself leads others for a moment.
    assert_eq!(hears(OWN, 2, 4 * INTERVAL), [false]);
}

#[test]
fn a_node_that_leads_alone_is_asked_rarely_and_each_time_for_others() {
    let mut monitor = Monitor::new(OWN, Vec::new(), Duration::ZERO);
    assert_eq!(monitor.interval(), INTERVAL);
    let mut round = |members: Vec<Member>, at: Duration| {
        monitor.decide(Event::TimeToAsk, at);
        let view = Some(names(OWN, 5));
        let asked = monitor.decide(Event::EngineSaid { view }, at);
        assert!(matches!(asked[..], [Command::AskMembers { .. }]));
        let members = Some(members);
        let said = monitor.decide(Event::MembersAre { members }, at);
        assert!(matches!(said[0], Command::NoteNodes { .. }));
        monitor.interval()
    };
    let alone = vec![members().swap_remove(0)];
    assert_eq!(round(alone.clone(), INTERVAL), ALONE_INTERVAL);
    assert_eq!(round(alone, 2 * INTERVAL), ALONE_INTERVAL);
    assert_eq!(round(members(), 3 * INTERVAL), INTERVAL);
}

#[test]
fn a_node_that_is_told_of_no_leader_asks_the_others_voters_first() {
    let mut monitor = Monitor::new(OWN, vec!["9".into()], Duration::ZERO);
    let cluster = Cluster {
        engine: Some(nobody(0)),
        others: Some(names(2, 5)),
    };
    let early = cluster.round(&mut monitor, ASK_INTERVAL);
    assert_eq!(published(&early), (nobody(0), false));
    let asked_at = ASK_INTERVAL + INTERVAL;
    let asked = cluster.round(&mut monitor, asked_at);
    let addresses = vec!["2".into(), "3".into(), "4".into()];
    assert!(asked.contains(&Command::AskOthers { addresses }));
    assert_eq!(published(&asked), (names(2, 0), false));
    // What they said counts until they are asked again.
    let between = cluster.round(&mut monitor, asked_at + ASK_INTERVAL);
    assert_eq!(published(&between), (names(2, 0), false));
    assert!(
        !between
            .iter()
            .any(|command| matches!(command, Command::AskOthers { .. }))
    );
}

#[test]
fn what_others_said_does_not_outlive_the_term() {
    let mut monitor = Monitor::new(OWN, Vec::new(), Duration::ZERO);
    let mut cluster = Cluster {
        engine: Some(nobody(4)),
        others: Some(names(2, 4)),
    };
    let asked_at = ASK_INTERVAL + INTERVAL;
    cluster.round(&mut monitor, asked_at);
    cluster.engine = Some(nobody(5));
    let commands = cluster.round(&mut monitor, asked_at + INTERVAL);
    assert_eq!(published(&commands), (nobody(5), false));
}

#[test]
fn a_cluster_without_a_leader_for_long_is_lost() {
    let mut monitor = Monitor::new(OWN, Vec::new(), Duration::ZERO);
    let cluster = Cluster {
        engine: None,
        others: None,
    };
    let commands = cluster.round(&mut monitor, LOST_AFTER);
    assert_eq!(published(&commands), (nobody(0), false));
    let commands = cluster.round(&mut monitor, LOST_AFTER + INTERVAL);
    assert_eq!(published(&commands), (nobody(0), true));
    let cluster = Cluster {
        engine: Some(names(3, 9)),
        others: None,
    };
    let commands = cluster.round(&mut monitor, LOST_AFTER + 2 * INTERVAL);
    assert_eq!(published(&commands), (names(3, 9), false));
}

#[test]
fn a_round_that_takes_long_and_ends_with_a_leader_is_no_loss() {
    let mut monitor = Monitor::new(OWN, Vec::new(), Duration::ZERO);
    let asked = monitor.decide(Event::TimeToAsk, INTERVAL);
    assert_eq!(asked, [Command::AskEngine]);
    let view = Some(names(2, 5));
    let asked = monitor.decide(Event::EngineSaid { view }, 2 * LOST_AFTER);
    assert!(matches!(asked[..], [Command::AskMembers { .. }]));
    let members = Some(members());
    let said = monitor.decide(Event::MembersAre { members }, 3 * LOST_AFTER);
    assert_eq!(published(&said), (names(2, 5), false));
}
