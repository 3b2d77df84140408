//! Decides the next step of all nodes from what each of them says. Pure.

use dqlite::tls::Fingerprint;
use peer_proto::{CertificateStep, CertificatesResponse};

/// The pair of a node, as it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    pub address: String,
    pub step: CertificateStep,
    pub shown: Fingerprint,
    pub trusted: Vec<Fingerprint>,
    /// Of both pairs, while there are two.
    pub pairs: Option<(Fingerprint, Fingerprint)>,
    pub not_after_s: i64,
    /// The reason why it could not make the first step.
    pub hindrance: Option<String>,
}

impl NodeState {
    pub fn new(address: &str, told: CertificatesResponse) -> Self {
        let step = told.step();
        let pairs = || {
            (
                Fingerprint::new(told.new.clone()),
                Fingerprint::new(told.former.clone()),
            )
        };
        Self {
            address: address.to_owned(),
            step,
            shown: Fingerprint::new(told.shown.clone()),
            trusted: told.trusted.iter().cloned().map(Fingerprint::new).collect(),
            pairs: (step != CertificateStep::None).then(pairs),
            not_after_s: told.not_after_s,
            hindrance: Some(told.hindrance).filter(|it| !it.is_empty()),
        }
    }

    fn has_ended(&self, new: &Fingerprint) -> bool {
        self.pairs.is_none() && self.shown == *new
    }
}

/// The next step, and the positions of the nodes that have not made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// No node is on its way to another pair than this one, which all show.
    Begin(Fingerprint),
    Step(CertificateStep, Vec<usize>),
    Done,
}

/// The reason why the nodes cannot go on together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("{0} shows another certificate than {1}: give all nodes the same pair by hand first")]
    Different(String, String),
    #[error(
        "{0} and {1} are on their way to different pairs: delete cluster-rotation.yaml on a node whose pair is not wanted, and \
         start that again"
    )]
    Several(String, String),
    #[error("{0} could not take a new pair: {1}. Nothing was changed")]
    Hindered(String, String),
    #[error("{0} shows the new certificate already: it cannot be cancelled, only finished")]
    InUse(String),
}

/// Decides the next step. `known`: the new and the former pair, as far as the caller knows the nodes to be on their way from
/// the one to the other.
pub fn next(
    states: &[NodeState],
    known: Option<&(Fingerprint, Fingerprint)>,
) -> Result<Next, Conflict> {
    let Some(new) = target(states, known.map(|(new, _)| new))? else {
        return begin(states);
    };
    let at = |wanted: &dyn Fn(&NodeState) -> bool| -> Vec<usize> {
        let positions = states.iter().enumerate();
        positions
            .filter(|(_, state)| wanted(state))
            .map(|(at, _)| at)
            .collect()
    };
    let former = states.iter().find_map(|state| state.pairs.as_ref());
    // The caller knows it still when every node that had both has ended.
    let former = former.or(known).map(|(_, former)| former);
    let trusts_former = |state: &NodeState| former.is_some_and(|it| state.trusted.contains(it));
    let steps = [
        (
            CertificateStep::Trust,
            at(&|state| match state.step {
                CertificateStep::Trust => !state.trusted.contains(&new),
                _ => state.pairs.is_none() && !state.has_ended(&new),
            }),
        ),
        (
            CertificateStep::Use,
            at(&|state| state.step == CertificateStep::Trust),
        ),
        (
            CertificateStep::Drop,
            at(&|state| {
                state.step == CertificateStep::Use
                    || (state.has_ended(&new) && trusts_former(state))
            }),
        ),
    ];
    let missing = steps.into_iter().find(|(_, nodes)| !nodes.is_empty());
    Ok(missing.map_or(Next::Done, |(step, nodes)| Next::Step(step, nodes)))
}

/// Returns the nodes that have to forget the new pair.
pub fn cancel(states: &[NodeState]) -> Result<Vec<usize>, Conflict> {
    let Some(new) = target(states, None)? else {
        return Ok(Vec::new());
    };
    let uses = |state: &&NodeState| state.shown == new;
    if let Some(state) = states.iter().find(uses) {
        return Err(Conflict::InUse(state.address.clone()));
    }
    let on_their_way = states.iter().enumerate();
    let on_their_way = on_their_way.filter(|(_, state)| state.pairs.is_some());
    Ok(on_their_way.map(|(at, _)| at).collect())
}

/// Returns the pair to which the nodes are on their way.
fn target(
    states: &[NodeState],
    known: Option<&Fingerprint>,
) -> Result<Option<Fingerprint>, Conflict> {
    let mut first: Option<(&NodeState, &Fingerprint)> = None;
    for state in states {
        let Some((new, _)) = &state.pairs else {
            continue;
        };
        match first {
            Some((other, wanted)) if wanted != new => {
                return Err(Conflict::Several(
                    other.address.clone(),
                    state.address.clone(),
                ));
            }
            _ => first = Some((state, new)),
        }
    }
    Ok(first.map(|(_, new)| new).or(known).cloned())
}

fn begin(states: &[NodeState]) -> Result<Next, Conflict> {
    let Some(first) = states.first() else {
        return Ok(Next::Done);
    };
    let hindered = |state: &NodeState| Some((state.address.clone(), state.hindrance.clone()?));
    if let Some((address, reason)) = states.iter().find_map(hindered) {
        return Err(Conflict::Hindered(address, reason));
    }
    match states.iter().find(|state| state.shown != first.shown) {
        Some(other) => Err(Conflict::Different(
            other.address.clone(),
            first.address.clone(),
        )),
        None => Ok(Next::Begin(first.shown.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(number: u8) -> Fingerprint {
        Fingerprint::new([number])
    }

    const OLD: u8 = 1;
    const NEW: u8 = 2;

    fn node(address: &str, step: CertificateStep) -> NodeState {
        let shown = match step {
            CertificateStep::Use | CertificateStep::Drop => NEW,
            _ => OLD,
        };
        let is_on_its_way = matches!(step, CertificateStep::Trust | CertificateStep::Use);
        let trusted = match is_on_its_way {
            true => vec![print(OLD), print(NEW)],
            false => vec![print(shown)],
        };
        NodeState {
            address: address.to_owned(),
            step: if is_on_its_way {
                step
            } else {
                CertificateStep::None
            },
            shown: print(shown),
            trusted,
            pairs: is_on_its_way.then(|| (print(NEW), print(OLD))),
            not_after_s: 0,
            hindrance: None,
        }
    }

    fn nodes(steps: [CertificateStep; 3]) -> Vec<NodeState> {
        let addresses = ["a:1", "b:1", "c:1"];
        let nodes = addresses.iter().zip(steps);
        nodes.map(|(address, step)| node(address, step)).collect()
    }

    /// From every state that a crash can leave, and with every order within a step.
    #[test]
    fn a_step_waits_until_all_have_made_the_one_before() {
        use CertificateStep::{Drop, None, Trust, Use};
        for (steps, step, missing) in [
            ([Trust, None, None], Trust, vec![1, 2]),
            ([Trust, Trust, None], Trust, vec![2]),
            ([Trust, Trust, Trust], Use, vec![0, 1, 2]),
            ([Use, Trust, Trust], Use, vec![1, 2]),
            // One that was begun meanwhile, with the former pair.
            ([Use, Use, None], Trust, vec![2]),
            ([Use, Use, Use], Drop, vec![0, 1, 2]),
            ([Drop, Use, Drop], Drop, vec![1]),
        ] {
            let next = next(&nodes(steps), Option::None).unwrap();
            assert_eq!(next, Next::Step(step, missing), "{steps:?}");
        }
        let new = (print(NEW), print(OLD));
        assert_eq!(next(&nodes([Drop; 3]), Some(&new)), Ok(Next::Done));
        assert_eq!(
            next(&nodes([None; 3]), Option::None),
            Ok(Next::Begin(print(OLD)))
        );
        assert_eq!(
            next(&nodes([None; 3]), Some(&new)),
            Ok(Next::Step(Trust, vec![0, 1, 2]))
        );
    }

    /// Its files say that it is on its way, and its connections do not know it.
    #[test]
    fn a_node_that_does_not_trust_the_new_pair_is_asked_again() {
        use CertificateStep::Trust;
        let mut states = nodes([Trust; 3]);
        states[1].trusted = vec![print(OLD)];
        let next = next(&states, None).unwrap();
        assert_eq!(next, Next::Step(Trust, vec![1]));
    }

    /// It was begun with files of a node that was on its way.
    #[test]
    fn a_node_that_trusts_both_without_a_step_drops_the_former() {
        use CertificateStep::{Drop, Use};
        let mut states = nodes([Drop, Use, Drop]);
        states[0].trusted.push(print(OLD));
        let step = next(&states, None).unwrap();
        assert_eq!(step, Next::Step(Drop, vec![0, 1]));
        // All others have ended, and the caller remembers the former pair.
        let mut states = nodes([Drop; 3]);
        states[0].trusted.push(print(OLD));
        let known = (print(NEW), print(OLD));
        let step = next(&states, Some(&known)).unwrap();
        assert_eq!(step, Next::Step(Drop, vec![0]));
    }

    #[test]
    fn nothing_begins_while_a_node_could_not_make_the_first_step() {
        use CertificateStep::{None, Trust};
        let mut states = nodes([None; 3]);
        states[2].hindrance = Some("it is mounted".to_owned());
        let hindered = Conflict::Hindered("c:1".into(), "it is mounted".into());
        assert_eq!(next(&states, Option::None), Err(hindered));
        // What has begun is finished all the same: the node says itself what is in the way.
        let mut states = nodes([Trust, None, None]);
        states[2].hindrance = Some("it is mounted".to_owned());
        assert!(next(&states, Option::None).is_ok());
    }

    #[test]
    fn nodes_of_different_pairs_do_not_begin() {
        use CertificateStep::{Drop, None, Trust, Use};
        let different = next(&nodes([None, None, Drop]), Option::None);
        assert_eq!(
            different,
            Err(Conflict::Different("c:1".into(), "a:1".into()))
        );
        let mut states = nodes([Trust, Trust, None]);
        states[1].pairs = Some((print(3), print(OLD)));
        let several = Err(Conflict::Several("a:1".into(), "b:1".into()));
        assert_eq!(next(&states, Option::None), several);
        assert_eq!(cancel(&nodes([Trust, None, Trust])), Ok(vec![0, 2]));
        let in_use = Err(Conflict::InUse("b:1".into()));
        assert_eq!(cancel(&nodes([Trust, Use, Trust])), in_use);
        assert_eq!(cancel(&nodes([None; 3])), Ok(vec![]));
    }
}
