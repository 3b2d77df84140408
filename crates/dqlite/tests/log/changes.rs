//! Files that were changed behind the engine's back: each change is noticed, or costs nothing, or is
//! one of those that the head of the module `log` says cannot be noticed.

use std::collections::BTreeMap;

use dqlite::log::{Error, Report};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    child::Writer,
    files::{Memory, content_len, last_entry},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    FlipBit { at: usize, bit: u8 },
    Garbage { at: usize },
    Cut { len: usize },
    Zero { from: usize, to: usize },
    Delete,
    OlderCopy,
}

struct Original<'a> {
    files: &'a Memory,
    older: &'a Memory,
    report: Report,
}

impl Original<'_> {
    fn changes(&self, name: &str, random: &mut StdRng) -> Vec<Change> {
        let bytes = &self.files.0[name];
        let end = content_len(bytes);
        let mut changes = vec![Change::Delete, Change::Cut { len: 0 }];
        changes.push(Change::Zero {
            from: 0,
            to: bytes.len(),
        });
        if self.older.0.get(name).is_some_and(|older| older != bytes) {
            changes.push(Change::OlderCopy);
        }
        if end < 32 {
            return changes;
        }
        for at in (0..64.min(end)).step_by(4) {
            changes.push(Change::FlipBit {
                at,
                bit: random.random_range(0..8),
            });
        }
        for _ in 0..20 {
            let (at, bit) = (random.random_range(0..end), random.random_range(0..8));
            changes.push(Change::FlipBit { at, bit });
        }
        // The last batch, too.
        for at in (end.saturating_sub(300)..end).step_by(29) {
            changes.push(Change::FlipBit { at, bit: 3 });
        }
        for _ in 0..4 {
            let at = random.random_range(0..end.saturating_sub(4).max(1));
            changes.push(Change::Garbage { at });
            changes.push(Change::Cut { len: at });
            changes.push(Change::Zero {
                from: at,
                to: (at + 600).min(end),
            });
        }
        changes.push(Change::Cut { len: end - 1 });
        changes.push(Change::Cut {
            len: end / 4096 * 4096,
        });
        changes.push(Change::Zero {
            from: 0,
            to: 512.min(end),
        });
        changes
    }

    fn apply(&self, name: &str, change: Change) -> Memory {
        let mut bytes = self.files.0[name].to_vec();
        match change {
            Change::FlipBit { at, bit } => bytes[at] ^= 1 << bit,
            Change::Garbage { at } => {
                let end = (at + 4).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0xa7);
            }
            Change::Cut { len } => bytes.truncate(len),
            Change::Zero { from, to } => bytes[from..to].fill(0),
            Change::Delete => return self.files.without(name),
            Change::OlderCopy => bytes = self.older.0[name].to_vec(),
        }
        self.files.with(name, bytes)
    }

    /// Returns whether the log module's head names this change as one that leaves no trace in the files.
    fn leaves_no_trace(&self, name: &str, change: Change) -> bool {
        let last_closed = self.report.closed.last().map(|file| &file.name[..]);
        let last_used = self.report.open.iter().rfind(|open| open.entries.is_some());
        let is_last_open = last_used.is_some_and(|open| open.name == name);
        match change {
            Change::Delete => is_last_open || last_closed == Some(name),
            // Emptied; or the last batch is torn, or looks so.
            Change::Cut { len: 0 } | Change::OlderCopy => is_last_open,
            Change::Zero { .. } | Change::Garbage { .. } => is_last_open,
            Change::Cut { .. } | Change::FlipBit { .. } => false,
        }
    }
}

/// The numbers of changes that were noticed, cost nothing, or could not be noticed.
#[derive(Debug, Default)]
struct Tally {
    noticed: usize,
    harmless: usize,
    without_trace: usize,
}

fn change_all(files: &Memory, older: &Memory, seed: u64) -> Tally {
    let report = files.verify().unwrap();
    let original = Original {
        files,
        older,
        report,
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    for name in files.0.keys() {
        for change in original.changes(name, &mut random) {
            let changed = original.apply(name, change);
            let report = match changed.verify() {
                Ok(report) => report,
                Err(Error::Damaged(damage)) => {
                    assert!(!damage.to_string().is_empty());
                    tally.noticed += 1;
                    continue;
                }
                Err(error) => panic!("{name} {change:?}: {error}"),
            };
            // What is accepted is what the engine makes of it.
            let found = last_entry(&report);
            assert_eq!(changed.engine_says(), found, "{name} {change:?}");
            if found == last_entry(&original.report) {
                tally.harmless += 1;
            } else {
                let is_known = original.leaves_no_trace(name, change);
                assert!(is_known, "seed {seed}, {name}, {change:?}: {report:#?}");
                assert!(found < last_entry(&original.report));
                tally.without_trace += 1;
            }
        }
    }
    tally
}

#[test]
fn changes_of_a_stopped_directory_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut older = Memory::default();
    for _ in 0..3 {
        older = Memory::of(dir.path());
        let mut node = Writer::start(dir.path(), 40);
        node.rows(90);
        node.stop();
    }
    let tally = change_all(&Memory::of(dir.path()), &older, 1);
    println!("{tally:?}");
    assert!(tally.noticed > 200 && tally.without_trace <= 1, "{tally:?}");
}

#[test]
fn changes_of_a_killed_directory_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut copies = BTreeMap::new();
    for (round, rows) in [60, 7, 30].into_iter().enumerate() {
        let mut node = Writer::start(dir.path(), 40);
        node.rows(rows);
        node.kill();
        copies.insert(round, Memory::of(dir.path()));
    }
    let tally = change_all(&copies[&2], &copies[&1], 2);
    println!("{tally:?}");
    assert!(tally.noticed > 200, "{tally:?}");
}

/// A single voter keeps its term, so the term does not tell.
#[test]
fn an_open_segment_that_was_closed_since_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Writer::start(dir.path(), 1000);
    node.rows(20);
    node.kill();
    let killed = Memory::of(dir.path());
    let mut node = Writer::start(dir.path(), 1000);
    node.rows(20);
    node.stop();
    let stopped = Memory::of(dir.path());
    let stale = stopped.with("open-1", killed.0["open-1"].to_vec());
    let Err(Error::Damaged(damage)) = stale.verify() else {
        panic!("it is older")
    };
    let text = damage.to_string();
    assert!(
        text.starts_with("open-1 is an older copy of 0000000000000002-"),
        "{text}"
    );
    assert_eq!(
        last_entry(&stopped.verify().unwrap()),
        stopped.engine_says()
    );
}
