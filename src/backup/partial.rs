//! A file that gets its name when it is complete.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use dqlite::files::{parent, sync_dir};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2},
};

use super::{BackupError, HEAD_BYTES, Head};

/// Appended to the name while the file is not complete.
const SUFFIX: &str = ".part";

/// Deleted when it is dropped, unless it was completed.
#[derive(Debug)]
pub struct PartialFile {
    file: Flock<File>,
    path: PathBuf,
    target: PathBuf,
    may_replace: bool,
    is_complete: bool,
}

impl PartialFile {
    /// Creates the file. It replaces one that a killed process has left there, and nothing else.
    pub fn create(target: &Path, may_replace: bool) -> Result<Self, BackupError> {
        if !may_replace && target.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(target.to_owned()));
        }
        let mut path = target.as_os_str().to_owned();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        let unwritable = |source| BackupError::Unwritable {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(unwritable)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Err(BackupError::Held(path)),
            Err((_, error)) => return Err(unwritable(error.into())),
        };
        // Who had it before may have given it its final name, or deleted it.
        if !is_still_at(&file, &path) {
            return Err(BackupError::Held(path));
        }
        if !is_left_behind(&mut file).map_err(unwritable)? {
            return Err(BackupError::ForeignPartial(path));
        }
        file.set_len(0).map_err(unwritable)?;
        io::Seek::rewind(&mut *file).map_err(unwritable)?;
        Ok(Self {
            file,
            path,
            target: target.to_owned(),
            may_replace,
            is_complete: false,
        })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The error of writing to it.
    pub fn unwritable(&self, source: io::Error) -> BackupError {
        BackupError::Unwritable {
            path: self.path.clone(),
            source,
        }
    }

    /// Gives the file its name, once it is on the disk.
    pub fn complete(mut self) -> Result<(), BackupError> {
        self.file
            .sync_all()
            .map_err(|error| self.unwritable(error))?;
        match self.rename() {
            Ok(()) => self.is_complete = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(self.target.clone()));
            }
            Err(error) => return Err(self.unwritable(error)),
        }
        sync_dir(parent(&self.target)).map_err(|error| self.unwritable(error))
    }

    fn rename(&self) -> io::Result<()> {
        if self.may_replace {
            return fs::rename(&self.path, &self.target);
        }
        let flags = RenameFlags::RENAME_NOREPLACE;
        match renameat2(AT_FDCWD, &self.path, AT_FDCWD, &self.target, flags) {
            // Not every file system can; then somebody may come in between.
            Err(Errno::EINVAL | Errno::ENOSYS) if self.target.symlink_metadata().is_err() => {
                fs::rename(&self.path, &self.target)
            }
            Err(Errno::EINVAL | Errno::ENOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
            other => other.map_err(io::Error::from),
        }
    }
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let open = file.metadata().map(identity).ok();
    open.is_some() && open == path.symlink_metadata().map(identity).ok()
}

/// Returns whether the file is empty or begins as a backup does: then a backup that was killed has
/// left it.
fn is_left_behind(file: &mut File) -> io::Result<bool> {
    let mut begin = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut begin)?;
    // It may have been cut off anywhere.
    let expected = Head { created_s: 0 }.encode();
    let constant = HEAD_BYTES - 8 - 10;
    let known = begin.len().min(constant);
    Ok(begin[..known] == expected[..known])
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_complete {
            // If it stays, the next backup of this name overwrites it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_name_appears_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        let partial = PartialFile::create(&target, false).unwrap();
        partial.file().write_all(b"all").unwrap();
        assert_eq!(names(dir.path()), ["backup.part"]);
        partial.complete().unwrap();
        assert_eq!(names(dir.path()), ["backup"]);
        let refused = PartialFile::create(&target, false).unwrap_err();
        assert!(matches!(refused, BackupError::Exists(_)), "{refused}");
        drop(PartialFile::create(&target, true).unwrap());
        assert_eq!(fs::read(&target).unwrap(), b"all");
        PartialFile::create(&target, true)
            .unwrap()
            .complete()
            .unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"");
        assert_eq!(names(dir.path()), ["backup"]);
    }

    #[test]
    fn one_that_appears_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        let partial = PartialFile::create(&target, false).unwrap();
        fs::write(&target, "other").unwrap();
        assert!(matches!(partial.complete(), Err(BackupError::Exists(_))));
        assert_eq!(fs::read(&target).unwrap(), b"other");
        assert_eq!(names(dir.path()), ["backup"]);
    }

    #[test]
    fn only_what_a_backup_left_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        let part = dir.path().join("backup.part");
        let mut left = Head { created_s: 77 }.encode();
        left.extend_from_slice(b"and more");
        for length in [0, 1, 12, HEAD_BYTES, left.len()] {
            fs::write(&part, &left[..length]).unwrap();
            drop(PartialFile::create(&target, false).unwrap());
        }
        fs::write(&part, "a letter").unwrap();
        let refused = PartialFile::create(&target, false).unwrap_err();
        assert!(
            matches!(refused, BackupError::ForeignPartial(_)),
            "{refused}"
        );
        assert_eq!(fs::read(&part).unwrap(), b"a letter");
    }

    #[test]
    fn two_do_not_write_the_same_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        let _first = PartialFile::create(&target, false).unwrap();
        let second = PartialFile::create(&target, false).unwrap_err();
        assert!(matches!(second, BackupError::Held(_)), "{second}");
    }
}
