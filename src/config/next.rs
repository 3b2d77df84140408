//! `DIR.next`: a storage directory that takes the place of `DIR` at the next start, such as that of a node that is
//! to join another cluster. Its init.yaml is written last, and says that it is complete.
//!
//! Invariant: whatever is cut short, both directories are there, and the next start goes on.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{ConfigError, INIT};

/// The directory that waits for the place of this one.
pub fn next_of(dir: &Path) -> PathBuf {
    beside(dir, ".next")
}

/// Replaces the storage directory by the prepared next one. Returns the new path of the old one, if there was a next
/// one. `now_s` is in seconds since 1970.
pub fn take_next(dir: &Path, now_s: i64) -> Result<Option<PathBuf>, ConfigError> {
    let next = next_of(dir);
    if !next.join(INIT).exists() {
        return Ok(None);
    }
    let old = beside(dir, &format!(".replaced-{now_s}"));
    // The first of the two may have been done by a start that was cut short.
    match fs::rename(dir, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ConfigError::Unwritable {
                path: old,
                source: error,
            });
        }
        _ => {}
    }
    fs::rename(&next, dir).map_err(|source| ConfigError::Unwritable {
        path: dir.to_owned(),
        source,
    })?;
    Ok(Some(old))
}

fn beside(dir: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = dir.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    dir.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(parent: &Path) -> (PathBuf, PathBuf) {
        let dir = parent.join("data");
        let next = next_of(&dir);
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(&next).unwrap();
        fs::write(dir.join("info.yaml"), "old").unwrap();
        (dir, next)
    }

    #[test]
    fn a_complete_directory_takes_the_place() {
        let parent = tempfile::tempdir().unwrap();
        let (dir, next) = tree(parent.path());
        assert_eq!(take_next(&dir, 7).unwrap(), None);
        fs::write(next.join(INIT), "Address: 10.0.0.1:1").unwrap();
        let old = take_next(&dir, 7).unwrap().unwrap();
        assert_eq!(old, parent.path().join("data.replaced-7"));
        assert_eq!(fs::read_to_string(old.join("info.yaml")).unwrap(), "old");
        assert!(dir.join(INIT).exists() && !next.exists());
        assert_eq!(take_next(&dir, 8).unwrap(), None);
    }

    #[test]
    fn a_start_that_was_cut_short_is_finished() {
        let parent = tempfile::tempdir().unwrap();
        let (dir, next) = tree(parent.path());
        fs::write(next.join(INIT), "Address: 10.0.0.1:1").unwrap();
        fs::rename(&dir, parent.path().join("data.replaced-7")).unwrap();
        assert!(take_next(&dir, 9).unwrap().is_some());
        assert!(dir.join(INIT).exists() && !next.exists());
    }
}
