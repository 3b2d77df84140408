//! Reads the contents of state directories, from copies: the engine writes where it reads.

use std::path::{Path, PathBuf};

use dqlite::{
    node::{DirLock, LastEntry, last_entry},
    wire::Server,
};

use crate::{Error, copy, offline::check_whole};

pub struct Surveyed {
    pub dir: PathBuf,
    /// The state of its node, or the reason why the directory cannot be used.
    pub found: Result<Found, String>,
}

#[derive(Debug, Clone)]
pub struct Found {
    pub own: Server,
    pub last_entry: LastEntry,
}

/// Fails only where nothing can be said, such as on a directory in use.
pub fn survey(dir: &Path) -> Result<Surveyed, Error> {
    let _lock = DirLock::acquire_unchanged(dir)?;
    let found = match look(dir) {
        Err(Error::Damaged { reason, .. } | Error::DamagedDatabase { reason, .. }) => Err(reason),
        Err(error @ (Error::Node(_) | Error::NodeFile(_))) => Err(error.to_string()),
        found => Ok(found?),
    };
    Ok(Surveyed {
        dir: dir.to_owned(),
        found,
    })
}

fn look(dir: &Path) -> Result<Found, Error> {
    let own = check_whole(dir)?;
    let work = tempfile::Builder::new().prefix("k8sd-survey-").tempdir();
    let work = work.map_err(Error::file(std::env::temp_dir()))?;
    copy::copy(dir, work.path())?;
    let last_entry = last_entry(&DirLock::acquire(work.path())?)?;
    Ok(Found { own, last_entry })
}

fn newest(surveyed: &[Surveyed]) -> Option<LastEntry> {
    let found = surveyed.iter().filter_map(|dir| dir.found.as_ref().ok());
    found.map(|found| found.last_entry).max()
}

/// One that reaches further than the first.
pub fn newer(surveyed: &[Surveyed]) -> Option<&Path> {
    let entry = |dir: &Surveyed| dir.found.as_ref().ok().map(|found| found.last_entry);
    let newest = newest(surveyed);
    let first = surveyed.first().and_then(entry);
    let newer = surveyed.iter().find(|dir| entry(dir) == newest);
    newer
        .filter(|_| newest > first)
        .map(|dir| dir.dir.as_path())
}

/// One line for each directory.
pub fn table(surveyed: &[Surveyed]) -> String {
    let newest = newest(surveyed);
    let mut text = String::new();
    for dir in surveyed {
        let path = dir.dir.display();
        text += &match &dir.found {
            Ok(Found { own, last_entry }) => {
                let LastEntry { term, index } = last_entry;
                let is_newest = Some(*last_entry) == newest;
                let rank = if is_newest { "the newest" } else { "STALE" };
                format!(
                    "{path}: node at {}, term {term}, index {index}: {rank}\n",
                    own.address
                )
            }
            Err(reason) => format!("{path}: of no use: {reason}\n"),
        };
    }
    text
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
            found: Ok(Found {
                own,
                last_entry: LastEntry { term, index },
            }),
        }
    }

    #[test]
    fn a_higher_term_is_newer_than_a_longer_log() {
        let mut dirs = vec![dir("a", 2, 100), dir("b", 3, 50), dir("c", 3, 50)];
        dirs.push(Surveyed {
            dir: "d".into(),
            found: Err("gone".to_owned()),
        });
        assert_eq!(newer(&dirs), Some(Path::new("b")));
        assert_eq!(newer(&dirs[1..]), None);
        let table = table(&dirs);
        assert!(table.contains("term 2, index 100: STALE"), "{table}");
        assert_eq!(table.matches("the newest").count(), 2, "{table}");
        assert!(table.contains("d: of no use: gone"), "{table}");
    }
}
