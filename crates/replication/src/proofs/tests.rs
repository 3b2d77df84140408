use super::*;

const OWN: u64 = 1;
const TERM: u64 = 7;

fn names(id: u64, term: u64) -> View {
    View {
        leader: Some((id, id.to_string())),
        term,
    }
}

fn own_view() -> View {
    names(OWN, TERM)
}

/// Begins a proof among the voters 1 to 3, up to the question to the nodes.
fn asked(proofs: &mut Proofs, told: Option<(u64, View)>) -> (ProofId, Option<Command>) {
    let now = Duration::from_secs(1);
    let Some(Command::AskEngine { proof, .. }) = proofs.decide(Event::Wanted { told }, now) else {
        panic!("the own engine is asked first");
    };
    let view = Some(own_view());
    let command = proofs.decide(Event::EngineSaid { proof, view }, now);
    assert_eq!(command, Some(Command::AskVoters { proof }));
    let voters = Some(vec![1, 2, 3]);
    (
        proof,
        proofs.decide(Event::VotersAre { proof, voters }, now),
    )
}

fn settled(proof: ProofId, is_proven: bool) -> Option<Command> {
    Some(Command::Settle { proof, is_proven })
}

#[test]
fn a_majority_that_names_the_node_in_its_term_is_a_proof() {
    let mut proofs = Proofs::new(OWN, TERM);
    let (proof, command) = asked(&mut proofs, None);
    assert!(matches!(command, Some(Command::AskNodes { .. })));
    let now = Duration::from_secs(1);
    for (id, view) in [
        (2, names(OWN, TERM + 1)),
        (2, names(3, TERM)),
        (4, own_view()),
    ] {
        let event = Event::NodeSaid { id, proof, view };
        assert_eq!(proofs.decide(event, now), None);
    }
    let view = own_view();
    let event = Event::NodeSaid { id: 3, proof, view };
    assert_eq!(proofs.decide(event.clone(), now), settled(proof, true));
    assert_eq!(proofs.decide(event, now), None, "it has ended");
}

#[test]
fn what_a_follower_told_with_its_question_counts() {
    let mut proofs = Proofs::new(OWN, TERM);
    let (proof, command) = asked(&mut proofs, Some((2, own_view())));
    assert_eq!(command, settled(proof, true));
    let (_, command) = asked(&mut proofs, Some((2, names(OWN, TERM - 1))));
    assert!(matches!(command, Some(Command::AskNodes { .. })));
}

#[test]
fn nodes_are_asked_beside_the_engine_once_they_were_needed() {
    let mut proofs = Proofs::new(OWN, TERM);
    let now = Duration::from_secs(1);
    let begun = |proofs: &mut Proofs, told| {
        let command = proofs.decide(Event::Wanted { told }, now);
        let Some(Command::AskEngine { proof, and_nodes }) = command else {
            panic!("the own engine is asked first");
        };
        (proof, and_nodes)
    };
    assert!(!begun(&mut proofs, None).1, "there may be no other");
    asked(&mut proofs, None);
    assert!(!begun(&mut proofs, Some((2, own_view()))).1);
    let (proof, and_nodes) = begun(&mut proofs, None);
    assert!(and_nodes);
    // The answer of another node comes first.
    let view = own_view();
    let said = Event::NodeSaid { id: 3, proof, view };
    assert_eq!(proofs.decide(said, now), None);
    let view = Some(own_view());
    proofs.decide(Event::EngineSaid { proof, view }, now);
    let voters = Some(vec![1, 2, 3]);
    let command = proofs.decide(Event::VotersAre { proof, voters }, now);
    assert_eq!(command, settled(proof, true));
    let (proof, _) = begun(&mut proofs, None);
    let view = Some(own_view());
    proofs.decide(Event::EngineSaid { proof, view }, now);
    let voters = Some(vec![1]);
    proofs.decide(Event::VotersAre { proof, voters }, now);
    assert!(!begun(&mut proofs, None).1, "it is the only voter now");
}

#[test]
fn a_node_whose_engine_names_another_proves_nothing() {
    let mut proofs = Proofs::new(OWN, TERM);
    let told = Some((2, own_view()));
    for view in [None, Some(names(2, TERM)), Some(names(OWN, TERM + 1))] {
        let now = Duration::ZERO;
        let wanted = Event::Wanted { told: told.clone() };
        let Some(Command::AskEngine { proof, .. }) = proofs.decide(wanted, now) else {
            panic!("the own engine is asked first");
        };
        let command = proofs.decide(Event::EngineSaid { proof, view }, now);
        assert_eq!(command, settled(proof, false));
    }
}

#[test]
fn a_proof_is_given_up_after_its_time_and_not_before() {
    let mut proofs = Proofs::new(OWN, TERM);
    let (proof, command) = asked(&mut proofs, None);
    let Some(Command::AskNodes { until, .. }) = command else {
        panic!("the nodes are asked");
    };
    let early = until - Duration::from_millis(1);
    assert_eq!(proofs.decide(Event::TimeIsUp { proof }, early), None);
    let command = proofs.decide(Event::TimeIsUp { proof }, until);
    assert_eq!(command, settled(proof, false));
}

#[test]
fn proofs_that_nobody_waits_for_are_forgotten() {
    let mut proofs = Proofs::new(OWN, TERM);
    for second in 0..100 {
        proofs.decide(Event::Wanted { told: None }, Duration::from_secs(second));
    }
    assert!(proofs.under_way.len() <= 7);
}

proptest::proptest! {
    /// A proof is never settled as proven by fewer than a majority of the voters that named the node in its term, whatever
    /// comes in whatever order.
    #[test]
    fn no_proof_without_a_majority(
        voters in proptest::collection::btree_set(1_u64..8, 1..6),
        events in proptest::collection::vec((0_u8..4, 1_u64..8, 0_u64..3), 0..40),
    ) {
        let mut proofs = Proofs::new(OWN, TERM);
        let mut named_by: BTreeMap<ProofId, BTreeSet<u64>> = BTreeMap::new();
        for (kind, id, term) in events {
            let proof = id % 3 + 1;
            let view = names(OWN, TERM - 1 + term);
            let is_named = view.names(OWN, TERM);
            let said = named_by.entry(proof).or_default();
            let event = match kind {
                0 => Event::Wanted { told: None },
                1 => {
                    if is_named {
                        said.insert(OWN);
                    }
                    Event::EngineSaid { proof, view: Some(view) }
                }
                2 if said.contains(&OWN) => {
                    Event::VotersAre { proof, voters: Some(voters.iter().copied().collect()) }
                }
                2 => continue,
                _ => {
                    if is_named {
                        said.insert(id);
                    }
                    Event::NodeSaid { id, proof, view }
                }
            };
            if let Some(Command::Settle { proof, is_proven: true }) = proofs.decide(event, Duration::ZERO) {
                let confirmed = named_by[&proof].intersection(&voters).count();
                proptest::prop_assert!(confirmed * 2 > voters.len());
            }
        }
    }
}
