//! A copy of a directory, beside it.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use dqlite::{files::sync_dir, node::NodeError};

use super::RecoverError;
use crate::config::ConfigError;

/// Copies all files, and returns where they are once they are on the disk. What was copied is deleted
/// again when the rest cannot be.
pub fn copy(dir: &Path, now_s: i64) -> Result<PathBuf, RecoverError> {
    let to = create(dir, now_s)?;
    let copied = files(dir).and_then(|names| {
        for name in names {
            copy_file(&dir.join(&name), &to.join(&name))?;
        }
        sync_dir(&to)
    });
    match copied {
        Ok(()) => Ok(to),
        Err(error) => {
            // It was made a moment ago; what cannot be deleted is named by the error.
            let _ = fs::remove_dir_all(&to);
            Err(unwritable(&to, error))
        }
    }
}

/// Names of the files; a directory such as lost+found is none of ours, nor is a socket.
pub fn files(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

/// Makes the empty directory of a backup.
pub fn create(dir: &Path, now_s: i64) -> Result<PathBuf, RecoverError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let to = dir.with_file_name(format!("{name}.backup-{now_s}"));
    let created = DirBuilder::new().mode(0o700).create(&to);
    created.map_err(|source| unwritable(&to, source))?;
    Ok(to)
}

/// Moves a file, to another disk if it must: a storage directory may be a mount point.
pub fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy_file(from, to)?;
            fs::remove_file(from)
        }
        other => other,
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

pub fn unwritable(path: &Path, source: io::Error) -> RecoverError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::StorageFull {
        return NodeError::DiskFull {
            message: "for the backup".to_owned(),
            dir: path,
        }
        .into();
    }
    ConfigError::Unwritable { path, source }.into()
}
