//! The search of Wing, Gong and Lowe for an order that explains a register's operations.
//!
//! It knows nothing of revisions, so it also judges the checker that trusts them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::history::{Call, Expected, History, Operation, Read};
use super::violation::{Kind, Violation};

/// Keys that are registers: written by puts and swaps of values only.
pub const PREFIX: &str = "/register/";

/// The most steps of a register, one for each bit of the set of those done. A register with more is not judged.
const MAX_OPERATIONS: usize = 128;

/// States looked at for one register; beyond, it is not judged.
const MAX_STATES: usize = 1_000_000;

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// None is a key that is not there.
    Read(Option<Bytes>),
    Write(Bytes),
    Swap {
        from: Bytes,
        to: Bytes,
    },
    /// The comparison did not hold, and this was there.
    SwapRefused {
        from: Bytes,
        found: Option<Bytes>,
    },
}

#[derive(Debug, Clone)]
pub struct Step {
    pub invoked: Duration,
    /// None: it may be done at any later time, or never.
    pub returned: Option<Duration>,
    pub action: Action,
}

pub enum Verdict {
    Linearizable,
    NotLinearizable,
    Unknown,
}

/// Judges all registers of a history. Returns how many there are, and how many were too much for it.
pub fn check(history: &History, found: &mut Vec<Violation>) -> (usize, usize) {
    let mut registers: BTreeMap<&Bytes, Vec<Step>> = BTreeMap::new();
    for operation in &history.operations {
        if let Some((key, step)) = step(operation) {
            registers.entry(key).or_default().push(step);
        }
    }
    let mut unjudged = 0;
    for (key, steps) in &registers {
        match judge(steps) {
            Verdict::Linearizable => (),
            Verdict::NotLinearizable => {
                let text = format!("{key:?}: {steps:?}");
                found.push(Violation::new(Kind::NotLinearizable, text));
            }
            Verdict::Unknown => unjudged += 1,
        }
    }
    (registers.len(), unjudged)
}

fn step(operation: &Operation) -> Option<(&Bytes, Step)> {
    let answer = operation.answer.as_ref();
    let found = || Some(answer?.kvs.first()?.value.clone());
    let (key, action) = match &operation.call {
        Call::Read(Read {
            key,
            revision: 0,
            serializable: false,
            range_end,
            ..
        }) if range_end.is_empty() => {
            answer?;
            (key, Action::Read(found()))
        }
        Call::Put { key, value, .. } => (key, Action::Write(value.clone())),
        Call::Swap {
            key,
            expected: Expected::Value(from),
            value,
        } => {
            let (from, to) = (from.clone(), value.clone());
            let action = if answer.is_none_or(|answer| answer.succeeded) {
                Action::Swap { from, to }
            } else {
                Action::SwapRefused {
                    from,
                    found: found(),
                }
            };
            (key, action)
        }
        _ => return None,
    };
    let step = Step {
        invoked: operation.invoked,
        returned: answer.map(|answer| answer.returned),
        action,
    };
    key.starts_with(PREFIX.as_bytes()).then_some((key, step))
}

/// The value after an action, if it can happen on this value.
fn apply(action: &Action, value: &Option<Bytes>) -> Option<Option<Bytes>> {
    match action {
        Action::Read(found) => (found == value).then(|| value.clone()),
        Action::Write(to) => Some(Some(to.clone())),
        Action::Swap { from, to } => (value.as_ref() == Some(from)).then(|| Some(to.clone())),
        Action::SwapRefused { from, found } => {
            (found == value && value.as_ref() != Some(from)).then(|| value.clone())
        }
    }
}

/// Returns whether some order of the steps, each between its invocation and its return, explains all of them.
pub fn judge(steps: &[Step]) -> Verdict {
    if steps.len() > MAX_OPERATIONS {
        return Verdict::Unknown;
    }
    let known = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step.returned.is_some())
        .fold(0u128, |set, (at, _)| set | 1 << at);
    let mut seen = HashSet::new();
    let mut open = vec![(0u128, None)];
    while let Some((done, value)) = open.pop() {
        if done & known == known {
            return Verdict::Linearizable;
        }
        if seen.len() > MAX_STATES {
            return Verdict::Unknown;
        }
        let waiting = || {
            steps
                .iter()
                .enumerate()
                .filter(|(at, _)| done & 1 << at == 0)
        };
        // What began after another one returned cannot be done before it.
        let earliest = waiting().filter_map(|(_, step)| step.returned).min();
        for (at, step) in waiting() {
            if earliest.is_some_and(|earliest| step.invoked > earliest) {
                continue;
            }
            if let Some(next) = apply(&step.action, &value) {
                let state = (done | 1 << at, next);
                if seen.insert(state.clone()) {
                    open.push(state);
                }
            }
        }
    }
    Verdict::NotLinearizable
}
