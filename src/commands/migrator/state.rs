//! The state of a copy until it is done, which shows that the keys in the target are its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dqlite::files::{remove_if_there, replace};
use serde::{Deserialize, Serialize};

use super::{MigrateError, directory::Directory};

const NAME: &str = "copy.json";

/// A copy between two stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// A URL's store by its id, a file by its path.
    pub from: String,
    pub to: String,
}

#[derive(Debug)]
pub struct State {
    path: PathBuf,
}

impl State {
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            path: dir.join(NAME),
        }
    }

    /// Returns whether this copy was begun before.
    pub fn is_begun(&self, copy: &Begun) -> Result<bool, MigrateError> {
        match fs::read(&self.path) {
            // Of another copy, or of another program: not this one.
            Ok(bytes) => Ok(serde_json::from_slice::<Begun>(&bytes).is_ok_and(|it| it == *copy)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(MigrateError::Unreadable {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Notes that the copy has begun. To be called before the first write to the target.
    pub fn begin(&self, copy: &Begun) -> Result<(), MigrateError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        Directory::create(dir)?;
        self.write(copy).map_err(|source| self.unwritable(source))
    }

    fn write(&self, copy: &Begun) -> io::Result<()> {
        replace(&self.path, &serde_json::to_vec(copy)?, 0o600).map(drop)
    }

    /// Notes that the copy is done.
    pub fn end(&self) -> Result<(), MigrateError> {
        let removed = remove_if_there(&self.path);
        removed.map(drop).map_err(|error| self.unwritable(error))
    }

    fn unwritable(&self, source: io::Error) -> MigrateError {
        MigrateError::Unwritable {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_copy_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let state = State::in_dir(&root.path().join("db"));
        let copy = |from: &str| Begun {
            from: from.to_owned(),
            to: "b".to_owned(),
        };
        assert!(!state.is_begun(&copy("a")).unwrap());
        state.begin(&copy("a")).unwrap();
        assert!(state.is_begun(&copy("a")).unwrap());
        assert!(!state.is_begun(&copy("c")).unwrap());
        state.end().unwrap();
        state.end().unwrap();
        assert!(!state.is_begun(&copy("a")).unwrap());
        fs::write(&state.path, "something").unwrap();
        assert!(!state.is_begun(&copy("a")).unwrap());
    }
}
