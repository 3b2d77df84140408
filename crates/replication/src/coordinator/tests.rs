use super::*;

const OWN: u64 = 1;

/// A coordinator, and the facts that it decides with.
struct Node {
    coordinator: Coordinator,
    facts: Facts,
    now: Duration,
}

impl Node {
    fn new() -> Self {
        let facts = Facts {
            is_converted: true,
            ..Facts::default()
        };
        Self {
            coordinator: Coordinator::new(OWN),
            facts,
            now: Duration::from_secs(1),
        }
    }

    fn decide(&mut self, event: Event) -> Vec<Command> {
        self.coordinator.decide(event, &self.facts, self.now)
    }

    fn sees(&mut self, leader: u64, term: u64) -> Vec<Command> {
        self.facts.view = view(leader, term);
        self.decide(Event::Looked)
    }

    /// A node that writes in term 5.
    fn writing() -> Self {
        let mut node = Self::new();
        node.facts.view = view(OWN, 5);
        assert_eq!(node.decide(Event::Started), [Command::Open]);
        assert_eq!(node.decide(Event::Opened), [Command::AskEngine]);
        let said = Event::EngineSaid(Some(view(OWN, 5)));
        assert_eq!(node.decide(said), [Command::Write { term: 5 }]);
        node
    }
}

fn view(leader: u64, term: u64) -> View {
    View {
        leader: (leader != 0).then(|| (leader, leader.to_string())),
        term,
    }
}

fn follow(leader: u64) -> Command {
    Command::Follow {
        address: leader.to_string(),
    }
}

fn pause(node: &Node) -> Command {
    Command::Wait {
        until: Some(node.now + RETRY_PAUSE),
    }
}

#[test]
fn a_node_follows_the_leader_and_goes_over_to_the_next() {
    let mut node = Node::new();
    assert_eq!(node.decide(Event::Started), [Command::Wait { until: None }]);
    assert_eq!(node.sees(2, 5), [follow(2)]);
    assert_eq!(
        node.sees(0, 5),
        [Command::GoOn],
        "its session may outlive an election"
    );
    assert_eq!(node.sees(3, 6), [Command::StopFollowing]);
    assert_eq!(node.decide(Event::SessionEnded), [pause(&node)]);
    node.now += RETRY_PAUSE;
    assert_eq!(node.decide(Event::TimeIsUp), [follow(3)]);
}

#[test]
fn a_database_that_may_have_an_older_schema_is_converted_before_it_is_opened() {
    let mut node = Node::new();
    node.facts.is_converted = false;
    node.facts.view = view(OWN, 5);
    assert_eq!(node.decide(Event::Started), [Command::Convert]);
    assert_eq!(node.decide(Event::NotConverted), [pause(&node)]);
    node.now += RETRY_PAUSE;
    assert_eq!(node.decide(Event::TimeIsUp), [Command::Convert]);
    assert_eq!(node.sees(2, 6), [Command::HaltConversion]);
    assert_eq!(
        node.sees(OWN, 7),
        [Command::GoOn],
        "it has been told to halt"
    );
    assert_eq!(node.decide(Event::Converted), [Command::Convert]);
    assert_eq!(node.decide(Event::Converted), [Command::Open]);
}

#[test]
fn a_database_that_was_opened_in_another_term_is_opened_again() {
    let mut node = Node::new();
    node.facts.view = view(OWN, 5);
    node.decide(Event::Started);
    node.decide(Event::Opened);
    let said = Event::EngineSaid(Some(view(OWN, 6)));
    assert_eq!(node.decide(said), [pause(&node)]);
}

#[test]
fn a_leader_stops_when_its_engine_names_another_node_or_term() {
    for (leader, term) in [(2, 6), (0, 5), (OWN, 6)] {
        let mut node = Node::writing();
        let stop = [Command::StopWriting(Stop::Deposed)];
        assert_eq!(node.sees(leader, term), stop);
        assert_eq!(node.sees(leader, term), [Command::GoOn], "once");
    }
    let mut node = Node::writing();
    node.facts.is_single = true;
    assert_eq!(
        node.sees(0, 5),
        [Command::GoOn],
        "the only node finds out by itself"
    );
    let stop = [Command::StopWriting(Stop::Deposed)];
    assert_eq!(node.sees(2, 6), stop, "it was the only one");
}

#[test]
fn a_leader_that_hands_over_writes_again_only_if_nobody_took_over() {
    let mut node = Node::writing();
    let order = Event::Ordered(Order::HandOver);
    assert_eq!(
        node.decide(order.clone()),
        [Command::StopWriting(Stop::HandOver)]
    );
    let until = Some(node.now + HAND_OVER_TIMEOUT);
    let waits = [Command::AnswerHandOver, Command::Wait { until }];
    assert_eq!(node.decide(Event::WriterEnded), waits);
    assert_eq!(node.decide(Event::Looked), [Command::GoOn]);
    assert_eq!(node.decide(order), [Command::AnswerHandOver, Command::GoOn]);
    assert_eq!(node.decide(Event::TimeIsUp), [Command::GoOn], "not yet");
    assert_eq!(node.sees(2, 6), [follow(2)]);

    let mut node = Node::writing();
    node.decide(Event::Ordered(Order::HandOver));
    node.decide(Event::WriterEnded);
    assert_eq!(node.decide(Event::Ordered(Order::LeadOn)), [Command::Open]);
}

#[test]
fn a_node_that_stops_commits_what_is_queued_if_it_leads() {
    let mut node = Node::writing();
    let order = Event::Ordered(Order::Stop);
    assert_eq!(
        node.decide(order.clone()),
        [Command::StopWriting(Stop::Close)]
    );
    assert_eq!(node.decide(Event::WriterEnded), [Command::End]);

    let mut node = Node::new();
    node.facts.view = view(2, 5);
    node.decide(Event::Started);
    assert_eq!(node.decide(order.clone()), [Command::StopFollowing]);
    assert_eq!(node.decide(Event::SessionEnded), [Command::End]);

    // It has handed over to nobody.
    let mut node = Node::writing();
    node.decide(Event::Ordered(Order::HandOver));
    node.decide(Event::WriterEnded);
    assert_eq!(node.decide(order), [Command::Open]);
    node.decide(Event::Opened);
    let said = Event::EngineSaid(Some(view(OWN, 5)));
    assert_eq!(node.decide(said), [Command::Write { term: 5 }]);
    assert_eq!(
        node.decide(Event::Looked),
        [Command::StopWriting(Stop::Close)]
    );
}

/// Returns an event that may happen while a command is carried out.
fn event(number: u8, view: &View) -> Event {
    match number {
        0 => Event::Ordered(Order::HandOver),
        1 => Event::Ordered(Order::LeadOn),
        2 => Event::Converted,
        3 => Event::NotConverted,
        4 => Event::Opened,
        5 => Event::NotOpened,
        6 => Event::EngineSaid(Some(view.clone())),
        7 => Event::WriterEnded,
        8 => Event::SessionEnded,
        9 => Event::TimeIsUp,
        _ => Event::Looked,
    }
}

proptest::proptest! {
    /// A node writes only in a term in which it opened the database and asked its engine afterwards, and whatever
    /// comes, each decision ends with a command.
    #[test]
    fn a_node_writes_only_in_a_term_that_it_has_checked(
        steps in proptest::collection::vec((0_u8..14, 0_u64..3, 1_u64..4), 0..80),
    ) {
        let mut node = Node::new();
        let mut checked = None;
        for (number, leader, term) in steps {
            node.now += RETRY_PAUSE;
            node.facts.view = view(leader, term);
            let event = event(number, &node.facts.view);
            let said = match &event {
                Event::EngineSaid(Some(view)) => Some(view.clone()),
                _ => None,
            };
            let commands = node.decide(event);
            proptest::prop_assert!(!commands.is_empty());
            for command in commands {
                match command {
                    Command::Open => checked = None,
                    Command::AskEngine => checked = Some(()),
                    Command::Write { term } => {
                        proptest::prop_assert!(checked.take().is_some());
                        let names_this = said.as_ref().is_some_and(|view| view.names(OWN, term));
                        proptest::prop_assert!(names_this);
                    }
                    _ => {}
                }
            }
        }
    }
}
