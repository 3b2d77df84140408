//! Reads the contents of state directories, from copies: the engine writes where it reads.

use std::path::Path;

use dqlite::node::{
    DirLock, last_entry,
    survey::{self, DirState, Surveyed},
};

use crate::{Error, copy, offline::check_whole};

/// Fails only where nothing can be said, such as on a directory in use.
pub fn survey(dir: &Path) -> Result<Surveyed, Error> {
    let _lock = DirLock::acquire_unchanged(dir)?;
    let state = match look(dir) {
        Err(Error::Damaged { reason, .. } | Error::DamagedDatabase { reason, .. }) => Err(reason),
        Err(error @ (Error::Node(_) | Error::NodeFile(_))) => Err(error.to_string()),
        state => Ok(state?),
    };
    Ok(Surveyed {
        dir: dir.to_owned(),
        state,
    })
}

fn look(dir: &Path) -> Result<DirState, Error> {
    let own = check_whole(dir)?;
    let work = tempfile::Builder::new().prefix("k8sd-survey-").tempdir();
    let work = work.map_err(Error::file(std::env::temp_dir()))?;
    copy::copy(dir, work.path())?;
    let last_entry = last_entry(&DirLock::acquire(work.path())?)?;
    Ok(DirState {
        own,
        last_entry,
        cut: None,
    })
}

/// Returns a table with a line for each directory.
pub fn table(surveyed: &[Surveyed]) -> String {
    survey::table(surveyed, |own| format!("node at {}", own.address))
}
