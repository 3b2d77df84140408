//! The committed history, with which the answers to clients, indexes and watchers are compared.
//!
//! The state of the store is the list of its writes. So an order that explains all answers exists exactly if each
//! operation can stand at the revision that it was answered with: not before anything that had ended when it began, and
//! not before the writes that it saw.

use std::{fmt, rc::Rc};

use super::{
    engine::{Entry, What},
    index::{Index, Live, Row},
};
use etcd_state::mvcc::Revision;

/// A violation of the guarantees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The engine has committed two different entries in one place.
    EngineForgot {
        place: usize,
    },
    /// The committed rows are not consecutive.
    Gap {
        revision: Revision,
    },
    WrittenTwice {
        operation: usize,
    },
    /// The client was told that it was not done, and it was.
    DoneAfterAll {
        operation: usize,
    },
    /// The client was told another revision than that of its write, or there is no such write.
    AnsweredWrongly {
        operation: usize,
    },
    /// Something that had ended before the operation began was not seen by it.
    Stale {
        operation: usize,
        revision: Revision,
        floor: Revision,
    },
    /// The write stands before something that had ended before it began.
    OutOfOrder {
        operation: usize,
    },
    /// A node's index is not what is committed up to its revision.
    NotAPrefix {
        node: usize,
        reason: String,
    },
    /// A client heard of something that the index of its node does not have.
    AnswerBeforeRows {
        node: usize,
        operation: usize,
    },
    /// A watcher missed rows or saw them twice.
    WatchBroken {
        node: usize,
        revision: Revision,
    },
    /// The nodes did not come together after all faults had ended.
    NoConvergence {
        reason: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Write {
        key: usize,
    },
    /// A request that takes its place in the order of writes, and changes nothing.
    Check,
    /// A linearizable read.
    Read,
    /// A read of what this node has.
    Serializable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    At(Revision),
    /// Not done.
    Failed,
    Unknown,
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub kind: Kind,
    /// The newest revision that anybody had been told of when it began.
    floor: Revision,
    pub answer: Option<Answer>,
    written: Option<Revision>,
}

#[derive(Debug, Default)]
pub struct Truth {
    entries: Vec<Rc<Entry>>,
    rows: Vec<Row>,
    live: Vec<Live>,
    operations: Vec<Operation>,
    told: Revision,
    pub violation: Option<Violation>,
}

impl Truth {
    pub fn new() -> Self {
        Self {
            // Revision 1 is that of the empty store.
            live: vec![Live::default(); 2],
            told: Revision::FIRST,
            ..Self::default()
        }
    }

    pub fn revision(&self) -> Revision {
        self.rows.last().map_or(Revision::FIRST, |row| row.revision)
    }

    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub fn operation(&self, operation: usize) -> &Operation {
        &self.operations[operation]
    }

    pub fn report(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// A node knows that an entry is committed.
    pub fn committed(&mut self, place: usize, entry: &Rc<Entry>) {
        if let Some(known) = self.entries.get(place) {
            if (known.term, known.ticket) != (entry.term, entry.ticket) {
                self.report(Violation::EngineForgot { place });
            }
            return;
        }
        self.entries.push(entry.clone());
        if let What::Batch(batch) = &entry.what {
            for row in &batch.rows {
                self.row(*row);
            }
        }
    }

    fn row(&mut self, row: Row) {
        if row.revision != self.revision().next() {
            return self.report(Violation::Gap {
                revision: row.revision,
            });
        }
        let mut live = self.live.last().copied().unwrap_or_default();
        live[row.key] = Some(row);
        self.live.push(live);
        self.rows.push(row);
        let index = row.operation;
        let operation = &mut self.operations[index];
        let is_second = operation.written.replace(row.revision).is_some();
        let is_early = row.revision <= operation.floor;
        let answer = operation.answer;
        if is_second {
            self.report(Violation::WrittenTwice { operation: index });
        } else if is_early {
            self.report(Violation::OutOfOrder { operation: index });
        } else if answer == Some(Answer::Failed) {
            self.report(Violation::DoneAfterAll { operation: index });
        }
    }

    /// A client begins an operation.
    pub fn begin(&mut self, kind: Kind) -> usize {
        self.operations.push(Operation {
            kind,
            floor: self.told,
            answer: None,
            written: None,
        });
        self.operations.len() - 1
    }

    /// A client hears how its operation ended; what comes after its first answer is nothing to it.
    pub fn answer(&mut self, index: usize, answer: Answer) {
        let operation = &mut self.operations[index];
        if operation.answer.is_some() {
            return;
        }
        operation.answer = Some(answer);
        let Operation {
            kind,
            floor,
            written,
            ..
        } = *operation;
        let violation = match (kind, answer) {
            (Kind::Write { .. }, Answer::At(revision)) if written != Some(revision) => {
                Some(Violation::AnsweredWrongly { operation: index })
            }
            (Kind::Write { .. }, Answer::Failed) if written.is_some() => {
                Some(Violation::DoneAfterAll { operation: index })
            }
            (Kind::Read | Kind::Check, Answer::At(revision)) if revision < floor => {
                Some(Violation::Stale {
                    operation: index,
                    revision,
                    floor,
                })
            }
            (_, Answer::At(revision)) if revision > self.revision() => {
                Some(Violation::AnsweredWrongly { operation: index })
            }
            _ => None,
        };
        if let Some(violation) = violation {
            self.report(violation);
        }
        if let Answer::At(revision) = answer {
            self.told = self.told.max(revision);
        }
    }

    /// The index of a node has changed.
    pub fn check_index(&mut self, node: usize, index: &Index) {
        let revision = index.state.revision;
        let is_prefix = self.live.get(revision.number() as usize) == Some(&index.live);
        if !is_prefix {
            let reason = format!("at revision {revision} of {}", self.revision());
            self.report(Violation::NotAPrefix { node, reason });
        }
    }

    /// A watcher gets a row after those up to `revision`.
    pub fn check_watched(&mut self, node: usize, revision: Revision, row: Row) {
        let is_next = row.revision == revision.next();
        if !is_next || self.rows.get(row.revision.number() as usize - 2) != Some(&row) {
            let revision = row.revision;
            self.report(Violation::WatchBroken { node, revision });
        }
        self.told = self.told.max(row.revision);
    }
}
