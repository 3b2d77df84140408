//! The survey of directories: what each holds.

use std::path::{Path, PathBuf};

use dqlite::{
    cluster::listening,
    files::{read_cluster, read_info},
    log::verify_directory,
    node::{
        DirLock, EngineState, LastEntry, NodeError, PlannedCut, engine_state, find_damage,
        last_entry, plan_cut,
    },
    wire::Server,
};

use super::RecoverError;
use crate::config::ConfigError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    pub dir: PathBuf,
    /// The state, or why it is of no use.
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

/// Surveys a directory. Fails only where nothing can be said, such as on a directory in use. With
/// `may_cut` a damaged one counts by what would be left of it.
pub fn survey(dir: &Path, may_cut: bool) -> Result<Surveyed, RecoverError> {
    let lock = DirLock::acquire(dir)?;
    Ok(Surveyed {
        dir: dir.to_owned(),
        state: look(dir, &lock, may_cut)?,
    })
}

fn look(
    dir: &Path,
    lock: &DirLock,
    may_cut: bool,
) -> Result<Result<DirState, String>, RecoverError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: dir.to_owned(),
        source,
    };
    match engine_state(dir).map_err(unreadable)? {
        EngineState::Present => {}
        EngineState::Empty => return Ok(Err("it has no data of dqlite".to_owned())),
        EngineState::WithoutMetadata => {
            return Ok(Err("metadata1 and metadata2 are missing".to_owned()));
        }
    }
    // Before the engine, which deletes what is half there.
    let cut = match may_cut {
        false => {
            if let Some(damage) = find_damage(dir)? {
                return Ok(Err(damage));
            }
            None
        }
        true => match plan_cut(lock) {
            Err(NodeError::Damaged { reason, .. }) => return Ok(Err(reason)),
            planned => planned?,
        },
    };
    let Some(own) = read_info(dir).map_err(ConfigError::from)? else {
        return Ok(Err("it has no info.yaml".to_owned()));
    };
    let end = match &cut {
        Some(cut) => Ok(cut.end),
        None => last_entry(lock),
    };
    match end {
        Ok(last_entry) => Ok(Ok(DirState {
            own,
            last_entry,
            cut,
        })),
        Err(NodeError::Damaged { reason, .. }) => Ok(Err(reason)),
        Err(NodeError::Engine { message, .. }) => Ok(Err(message)),
        Err(error) => Err(error.into()),
    }
}

/// Returns the addresses at which nodes of the cluster of a directory still run.
pub async fn running(dir: &Path) -> Result<Vec<String>, RecoverError> {
    let mut known = read_cluster(dir)
        .map_err(ConfigError::from)?
        .unwrap_or_default();
    // That of a damaged log, which is to be cut, is not known.
    let configuration = verify_directory(dir).ok().and_then(|log| log.configuration);
    known.extend(configuration.into_iter().flat_map(|it| it.servers));
    let addresses = known.into_iter().map(|server| server.address);
    Ok(listening(addresses).await)
}

/// The first of those that reach furthest.
pub fn newest(surveyed: &[Surveyed]) -> Option<&Surveyed> {
    let usable = surveyed.iter().filter(|dir| dir.state.is_ok());
    usable.rev().max_by_key(|dir| entry(dir))
}

fn entry(surveyed: &Surveyed) -> Option<LastEntry> {
    let state = surveyed.state.as_ref().ok()?;
    Some(state.last_entry)
}

/// Returns a table with a line for each directory.
pub fn table(surveyed: &[Surveyed]) -> String {
    let newest = newest(surveyed).and_then(entry);
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
                let rank = if Some(*last_entry) == newest {
                    "the newest"
                } else {
                    "STALE"
                };
                let damage = cut.as_ref().map(given_up).unwrap_or_default();
                format!(
                    "{path}: node {:x} at {}, term {term}, index {index}: {rank}\n{damage}",
                    own.id, own.address
                )
            }
            Err(reason) => format!("{path}: of no use: {reason}\n"),
        };
    }
    text
}

fn given_up(cut: &PlannedCut) -> String {
    let (reason, index, last) = (&cut.reason, cut.end.index, cut.last_known);
    let count = last.saturating_sub(index);
    match count {
        0 => format!(
            "  damaged: {reason}\n  What can be named is left; what came after it is given up.\n"
        ),
        _ => format!(
            "  damaged: {reason}\n  At least {count} entries are given up, {} to {last}, and what came after them.\n",
            index + 1
        ),
    }
}

#[cfg(test)]
mod tests {
    use dqlite::wire::Role;

    use super::*;

    fn dir(name: &str, term: u64, index: u64) -> Surveyed {
        let own = Server {
            id: 1,
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
        assert_eq!(newest(&dirs).unwrap().dir, PathBuf::from("b"));
        let table = table(&dirs);
        assert!(
            table.contains("a: node 1 at a:1, term 2, index 100: STALE"),
            "{table}"
        );
        assert_eq!(table.matches("the newest").count(), 2, "{table}");
        assert!(table.contains("d: of no use: gone"), "{table}");
        assert_eq!(newest(&dirs[3..]), None);
    }
}
