//! Writes to the storage directory, and undoes it.
//!
//! Invariants: datastore.yaml in the state directory says what is written before it is; a file is taken back
//! only as it was written, and only while no node has begun to run in the directory; nothing that is there
//! is replaced.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use dqlite::files::{TEMPORARY_PREFIX, without_mark};
use openssl::sha::sha256;
use serde::{Deserialize, Serialize};

use super::directory::has_data;
use crate::{
    Error,
    api::DatastoreRequest,
    copy::sync,
    state::{self, PRIVATE, StateDir},
};

const DIR_MODE: u32 = 0o700;

#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    dir: PathBuf,
    address: String,
    /// The directory was not there.
    made_dir: bool,
    /// SHA-256 of each file, by its name.
    wrote: BTreeMap<String, String>,
}

/// The result of a withdrawal for the directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// There was nothing of ours.
    Nothing,
    /// All that was written is gone.
    All(PathBuf),
    /// A node has run in it: all of it is left.
    Kept(PathBuf),
}

pub fn write(
    state: &StateDir,
    request: &DatastoreRequest,
    files: &[(&'static str, String)],
) -> Result<(), Error> {
    let dir = &request.dir;
    let journal = Journal {
        dir: dir.clone(),
        address: request.address.clone(),
        made_dir: !dir.exists(),
        wrote: files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), digest(text)))
            .collect(),
    };
    let text = serde_yaml::to_string(&journal).map_err(|e| Error::Internal(e.to_string()))?;
    state::write(&path(state), text.as_bytes(), PRIVATE)?;
    if journal.made_dir {
        let made = DirBuilder::new().mode(DIR_MODE).create(dir);
        made.map_err(Error::file(dir))?;
        sync(dir.parent().unwrap_or(Path::new("/")))?;
    }
    for (name, text) in files {
        write_new(dir, name, text)?;
    }
    sync(dir)
}

/// Removes the files that were written for a membership that failed.
pub fn withdraw(state: &StateDir) -> Result<Withdrawn, Error> {
    let path = path(state);
    let Some(text) = state::read(&path)? else {
        return Ok(Withdrawn::Nothing);
    };
    let journal: Journal =
        serde_yaml::from_str(without_mark(&text)).map_err(|error| Error::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
    let dir = journal.dir.clone();
    let done = match has_data(&dir)? {
        Some(true) => Withdrawn::Kept(dir),
        Some(false) => {
            take_back(&journal)?;
            Withdrawn::All(dir)
        }
        None => Withdrawn::All(dir),
    };
    state::remove_file(&path)?;
    Ok(done)
}

fn take_back(journal: &Journal) -> Result<(), Error> {
    // init.yaml is the last by name as well, and goes first: no server starts from the rest.
    for (name, expected) in journal.wrote.iter().rev() {
        state::remove_file(&temporary(&journal.dir, name))?;
        let path = journal.dir.join(name);
        if let Ok(Some(text)) = state::read(&path)
            && digest(&text) == *expected
        {
            state::remove_file(&path)?;
        }
    }
    if journal.made_dir {
        match fs::remove_dir(&journal.dir) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                return Err(Error::file(&journal.dir)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn path(state: &StateDir) -> PathBuf {
    state.root().join("datastore.yaml")
}

fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{TEMPORARY_PREFIX}k8sd-{name}"))
}

fn digest(text: &str) -> String {
    hex::encode(sha256(text.as_bytes()))
}

/// Creates a file completely or not at all, and only if there was none.
fn write_new(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let (temporary, path) = (temporary(dir, name), dir.join(name));
    state::remove_file(&temporary)?;
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(PRIVATE);
    let mut file = opened.open(&temporary).map_err(Error::file(&temporary))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(Error::file(&temporary))?;
    let linked = fs::hard_link(&temporary, &path).map_err(Error::file(&path));
    state::remove_file(&temporary)?;
    linked
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Fixture {
        _root: tempfile::TempDir,
        state: StateDir,
        request: DatastoreRequest,
    }

    fn fixture() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::new(root.path().join("state"));
        state.create().unwrap();
        let request = DatastoreRequest {
            dir: root.path().join("data"),
            address: "10.0.0.1:9000".to_owned(),
            failure_domain: None,
        };
        Fixture {
            _root: root,
            state,
            request,
        }
    }

    fn files() -> Vec<(&'static str, String)> {
        vec![
            ("cluster.key", "key".to_owned()),
            ("init.yaml", "init".to_owned()),
        ]
    }

    #[test]
    fn what_was_written_is_private_and_goes_again() {
        let Fixture { state, request, .. } = &fixture();
        write(state, request, &files()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&request.dir), 0o700);
        assert_eq!(mode(&request.dir.join("cluster.key")), 0o600);
        assert_eq!(mode(&request.dir.join("init.yaml")), 0o600);
        assert_eq!(fs::read_dir(&request.dir).unwrap().count(), 2);
        assert_eq!(
            withdraw(state).unwrap(),
            Withdrawn::All(request.dir.clone())
        );
        assert!(!request.dir.exists());
        assert_eq!(withdraw(state).unwrap(), Withdrawn::Nothing);
    }

    #[test]
    fn what_is_there_is_neither_replaced_nor_taken() {
        let Fixture { state, request, .. } = &fixture();
        fs::create_dir(&request.dir).unwrap();
        fs::write(request.dir.join("tuning.yaml"), "mine").unwrap();
        fs::write(request.dir.join("init.yaml"), "mine").unwrap();
        assert!(write(state, request, &files()).is_err());
        withdraw(state).unwrap();
        let read = |name: &str| fs::read_to_string(request.dir.join(name)).unwrap();
        assert_eq!(
            (read("tuning.yaml"), read("init.yaml")),
            ("mine".into(), "mine".into())
        );
        assert_eq!(fs::read_dir(&request.dir).unwrap().count(), 2);
    }

    #[test]
    fn a_write_that_was_killed_half_way_is_taken_back_as_well() {
        let Fixture { state, request, .. } = &fixture();
        write(state, request, &files()).unwrap();
        fs::remove_file(request.dir.join("init.yaml")).unwrap();
        fs::write(temporary(&request.dir, "init.yaml"), "in").unwrap();
        withdraw(state).unwrap();
        assert!(!request.dir.exists());
    }

    #[test]
    fn a_directory_in_which_a_node_has_run_is_left_as_it_is() {
        let Fixture { state, request, .. } = &fixture();
        write(state, request, &files()).unwrap();
        fs::write(request.dir.join("info.yaml"), "").unwrap();
        assert_eq!(
            withdraw(state).unwrap(),
            Withdrawn::Kept(request.dir.clone())
        );
        assert!(request.dir.join("cluster.key").exists());
        assert_eq!(withdraw(state).unwrap(), Withdrawn::Nothing);
    }
}
