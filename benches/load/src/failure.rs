//! The errors of a run, and their number.

use std::collections::BTreeMap;

/// Distinct texts kept by one run; more are only counted, so that a broken server cannot fill memory.
const MAX_KINDS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    #[error("server answered {code:?}: {message}")]
    Refused { code: tonic::Code, message: String },
    #[error("wrong answer: {0}")]
    WrongAnswer(String),
    #[error("{0}")]
    Machine(String),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Failure::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

pub fn wrong<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::WrongAnswer(text.into()))
}

#[derive(Debug, Default, Clone)]
pub struct Failures {
    pub count: u64,
    pub kinds: BTreeMap<String, u64>,
}

impl Failures {
    pub fn add(&mut self, failure: &Failure) {
        self.add_kind(failure.to_string(), 1);
    }

    pub fn merge(&mut self, other: Failures) {
        let listed: u64 = other.kinds.values().sum();
        self.count += other.count - listed;
        for (kind, count) in other.kinds {
            self.add_kind(kind, count);
        }
    }

    fn add_kind(&mut self, kind: String, count: u64) {
        self.count += count;
        if self.kinds.len() < MAX_KINDS || self.kinds.contains_key(&kind) {
            *self.kinds.entry(kind).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_failure_and_keeps_few_texts() {
        let mut all = Failures::default();
        for part in 0..2 {
            let mut failures = Failures::default();
            for n in 0..20 {
                failures.add(&Failure::WrongAnswer(format!("{part} {n}")));
            }
            all.merge(failures);
        }
        assert_eq!((all.count, all.kinds.len()), (40, MAX_KINDS));
    }
}
