//! Directories of one cluster side by side: how far the log of each reaches, and which has the newest data. Pure.

use std::path::PathBuf;

use super::{LastEntry, PlannedCut};
use crate::wire::Server;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    pub dir: PathBuf,
    /// The state, or the reason why the directory cannot be recovered.
    pub state: Result<DirState, String>,
}

#[derive(Debug, Clone)]
pub struct DirState {
    pub own: Server,
    pub last_entry: LastEntry,
    /// The entries that are given up for that.
    pub cut: Option<PlannedCut>,
}

/// States are equal if the same can be recovered from them.
impl PartialEq for DirState {
    fn eq(&self, other: &Self) -> bool {
        self.last_entry == other.last_entry
    }
}

impl Eq for DirState {}

impl Surveyed {
    fn last_entry(&self) -> Option<LastEntry> {
        let state = self.state.as_ref().ok()?;
        Some(state.last_entry)
    }
}

/// Returns the first of those that reach furthest.
pub fn newest(surveyed: &[Surveyed]) -> Option<&Surveyed> {
    let usable = surveyed.iter().filter(|dir| dir.state.is_ok());
    usable.rev().max_by_key(|dir| dir.last_entry())
}

/// Returns one that reaches further than the first.
pub fn newer(surveyed: &[Surveyed]) -> Option<&Surveyed> {
    let first = surveyed.first()?.last_entry();
    newest(surveyed).filter(|newest| newest.last_entry() > first)
}

/// Returns a table with a line for each directory, in which the node has this name.
pub fn table(surveyed: &[Surveyed], name: impl Fn(&Server) -> String) -> String {
    let newest = newest(surveyed).and_then(Surveyed::last_entry);
    let mut text = String::new();
    for dir in surveyed {
        let path = dir.dir.display();
        text += &match &dir.state {
            Ok(DirState {
                own,
                last_entry,
                cut,
            }) => {
                let LastEntry { term, index } = last_entry;
                let is_newest = Some(*last_entry) == newest;
                let rank = if is_newest { "the newest" } else { "STALE" };
                let damage = cut.as_ref().map(given_up).unwrap_or_default();
                let node = name(own);
                format!("{path}: {node}, term {term}, index {index}: {rank}\n{damage}")
            }
            Err(reason) => format!("{path}: cannot be recovered: {reason}\n"),
        };
    }
    text
}

fn given_up(cut: &PlannedCut) -> String {
    let (reason, index, last) = (&cut.reason, cut.end.index, cut.last_known);
    let count = last.saturating_sub(index);
    match count {
        0 => format!(
            "  damaged: {reason}\n  All entries that can be identified are kept; any later ones are given up.\n"
        ),
        1 => format!(
            "  damaged: {reason}\n  At least 1 entry is given up, {last}, and any later ones.\n"
        ),
        _ => format!(
            "  damaged: {reason}\n  At least {count} entries are given up, {} to {last}, and any later ones.\n",
            index + 1
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::wire::{NodeId, Role};

    fn dir(name: &str, term: u64, index: u64) -> Surveyed {
        let own = Server {
            id: NodeId::new(1),
            address: "a:1".to_owned(),
            role: Role::Voter,
        };
        Surveyed {
            dir: name.into(),
            state: Ok(DirState {
                own,
                last_entry: LastEntry { term, index },
                cut: None,
            }),
        }
    }

    #[test]
    fn a_higher_term_is_newer_than_a_longer_log() {
        let mut dirs = vec![dir("a", 2, 100), dir("b", 3, 50), dir("c", 3, 50)];
        dirs.push(Surveyed {
            dir: "d".into(),
            state: Err("gone".to_owned()),
        });
        for found in [newest(&dirs), newer(&dirs)] {
            assert_eq!(found.unwrap().dir, Path::new("b"));
        }
        assert_eq!(newer(&dirs[1..]), None);
        let table = table(&dirs, |own| format!("node {:x} at {}", own.id, own.address));
        assert!(
            table.contains("a: node 1 at a:1, term 2, index 100: STALE"),
            "{table}"
        );
        assert_eq!(table.matches("the newest").count(), 2, "{table}");
        assert!(table.contains("d: cannot be recovered: gone"), "{table}");
        assert_eq!(newest(&dirs[3..]), None);
    }
}
