//! A directory of dqlite, copied file by file.
//!
//! Invariants: links are not followed, and nothing but regular files is copied; the copy is bounded, and
//! readable by its owner alone; what cannot be completed is an error.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::Path,
};

use dqlite::files::sync_dir;
use nix::{
    fcntl::{AtFlags, OFlag},
    sys::statvfs::statvfs,
    unistd::{Gid, Uid, fchownat, geteuid},
};

use crate::{Error, state::PRIVATE};

/// dqlite keeps a few segments of 8 MiB and two snapshots.
pub const MAX_FILES: usize = 10_000;

/// The most bytes of all files: far more than a database of members has.
pub const MAX_BYTES: u64 = 64 << 30;

/// Additional bytes for the engine: segments that it allocates before it writes.
const HEADROOM_BYTES: u64 = 64 << 20;

/// Returns the names of the regular files in a directory, and their sizes in bytes.
pub fn files(dir: &Path) -> Result<(Vec<String>, u64), Error> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    for entry in fs::read_dir(dir).map_err(Error::file(dir))? {
        let entry = entry.map_err(Error::file(dir))?;
        let metadata = entry.metadata().map_err(Error::file(entry.path()))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        bytes += metadata.len();
        names.push(name);
        if names.len() > MAX_FILES || bytes > MAX_BYTES {
            return Err(Error::Damaged {
                path: dir.to_owned(),
                reason: format!("has more than {MAX_FILES} files or {} GiB", MAX_BYTES >> 30),
            });
        }
    }
    names.sort();
    Ok((names, bytes))
}

/// Copies the files into an existing directory, and returns once they are on the disk.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let (names, bytes) = files(from)?;
    let space = statvfs(to).map_err(|errno| Error::file(to)(errno.into()))?;
    let free_bytes = space.blocks_available() * space.fragment_size();
    if free_bytes < bytes + HEADROOM_BYTES {
        let needed = (bytes + HEADROOM_BYTES) >> 20;
        let full = format!("{needed} MiB are needed, {} are free", free_bytes >> 20);
        return Err(Error::file(to)(io::Error::new(
            io::ErrorKind::StorageFull,
            full,
        )));
    }
    for name in names {
        let path = from.join(&name);
        copy_file(&path, &to.join(&name)).map_err(Error::file(path))?;
    }
    sync(to)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let source = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(from)?;
    let metadata = source.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other(
            "was replaced while it was copied: it is not a file any more",
        ));
    }
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(to)?;
    let copied = io::copy(&mut source.take(metadata.len()), &mut target)?;
    if copied != metadata.len() {
        return Err(io::Error::other("was truncated while it was copied"));
    }
    target.sync_all()
}

/// Makes an empty directory, and deletes one that an earlier attempt has left.
pub fn fresh_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file(path)(error));
        }
        _ => {}
    }
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(Error::file(path))
}

/// A user and a group, to whom a directory belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    pub fn of(path: &Path) -> Result<Self, Error> {
        let found = fs::metadata(path).map_err(Error::file(path))?;
        Ok(Self {
            uid: found.uid(),
            gid: found.gid(),
        })
    }

    /// Gives a directory that this process has made, and the files in it. Links are not followed. Only root gives
    /// anything; what others make is theirs already.
    pub fn give_dir(self, path: &Path) -> Result<(), Error> {
        if !geteuid().is_root() || Self::of(path)? == self {
            return Ok(());
        }
        let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let dir = opened.map_err(Error::file(path))?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        for name in files(path)?.0 {
            let given = fchownat(
                &dir,
                name.as_str(),
                Some(uid),
                Some(gid),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            );
            given.map_err(|errno| Error::file(path.join(&name))(errno.into()))?;
        }
        // Last: until then nobody else can put anything into it.
        self.give(&dir).map_err(Error::file(path))
    }

    /// Gives an open file, as [`Self::give_dir`] does.
    pub fn give(self, file: &File) -> io::Result<()> {
        match geteuid().is_root() {
            true => fchown(file, Some(self.uid), Some(self.gid)),
            false => Ok(()),
        }
    }
}

/// Syncs a directory, so that new and renamed files survive a power failure.
pub fn sync(dir: &Path) -> Result<(), Error> {
    sync_dir(dir).map_err(Error::file(dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn files_are_copied_and_links_are_not() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("metadata1"), b"abc").unwrap();
        fs::create_dir(from.path().join("lost+found")).unwrap();
        symlink("/etc/passwd", from.path().join("snapshot-1-1-1")).unwrap();
        copy(from.path(), to.path()).unwrap();
        let found: Vec<_> = fs::read_dir(to.path()).unwrap().collect();
        assert_eq!(found.len(), 1);
        let path = to.path().join("metadata1");
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(
            copy(from.path(), to.path()).is_err(),
            "nothing is written over"
        );
    }
}
