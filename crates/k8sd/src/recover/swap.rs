//! One directory in the place of another.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
};

use crate::{
    Error,
    copy::{Owner, sync},
    state::StateDir,
};

/// Puts `new` in the place of the database, to whose owner it is given, and returns where the old one is. On most file
/// systems there is a database at every moment; on others a crash in between is mended by the next start.
pub fn swap(state: &StateDir, new: &Path, now_s: i64) -> Result<PathBuf, Error> {
    let database = state.database();
    let backup = state.root().join(format!("db_backup.{now_s}"));
    if backup.exists() {
        return Err(Error::Conflict(format!(
            "{} is there already: run this again",
            backup.display()
        )));
    }
    // Root recovers for the user that the daemon runs as.
    Owner::of(&database)?.give_dir(new)?;
    sync(new)?;
    fs::rename(new, &backup).map_err(Error::file(new))?;
    let exchanged = renameat2(
        AT_FDCWD,
        &backup,
        AT_FDCWD,
        &database,
        RenameFlags::RENAME_EXCHANGE,
    );
    match exchanged {
        Ok(()) => {}
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::ENOTSUP) => {
            fs::rename(&backup, new).map_err(Error::file(&backup))?;
            fs::rename(&database, &backup).map_err(Error::file(&database))?;
            fs::rename(new, &database).map_err(Error::file(new))?;
        }
        Err(errno) => return Err(Error::file(&database)(errno.into())),
    }
    sync(state.root())?;
    Ok(backup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_directory_stays_as_the_backup() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        state.create().unwrap();
        fs::write(state.database().join("x"), "old").unwrap();
        let new = dir.path().join("new");
        fs::create_dir(&new).unwrap();
        fs::write(new.join("x"), "new").unwrap();
        let backup = swap(&state, &new, 7).unwrap();
        assert_eq!(fs::read(state.database().join("x")).unwrap(), b"new");
        assert_eq!(fs::read(backup.join("x")).unwrap(), b"old");
        assert!(!new.exists());
        fs::create_dir(&new).unwrap();
        assert!(
            swap(&state, &new, 7).is_err(),
            "a backup is never written over"
        );
    }
}
