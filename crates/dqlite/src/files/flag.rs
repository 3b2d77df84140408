//! Empty files that say what is still to be done.

use std::path::Path;

use super::{FileError, atomic};

pub(super) const JOIN: &str = "join";
pub(super) const MOVE: &str = "move";
pub(super) const BOOTSTRAP: &str = "bootstrap";

pub(super) fn is_set(dir: &Path, flag: &str) -> Result<bool, FileError> {
    let path = dir.join(flag);
    path.try_exists().map_err(FileError::io("look for", &path))
}

pub(super) fn set(dir: &Path, flag: &str) -> Result<(), FileError> {
    atomic::write(&dir.join(flag), "")
}

pub(super) fn clear(dir: &Path, flag: &str) -> Result<(), FileError> {
    atomic::remove(&dir.join(flag))
}
