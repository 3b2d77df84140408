//! A file that has no name until it is complete.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
};
use openssl::rand::rand_bytes;

/// Of files and directories: they hold Secrets.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The beginning of the name of a file that is being written, in the directory where it will be.
pub const TEMPORARY_PREFIX: &str = ".part-";

/// A file that is being written. Dropped, it is gone.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl NewFile {
    /// Begins a file, and makes the directories below `root` that lead to it.
    pub fn begin(root: &Path, path: &Path) -> io::Result<Self> {
        make_directories(root, parent(path))?;
        let mut random = [0; 8];
        rand_bytes(&mut random)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let random = u64::from_le_bytes(random);
        let temporary = path.with_file_name(format!("{TEMPORARY_PREFIX}{name}-{random:016x}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&temporary)?;
        Ok(Self {
            file,
            temporary,
            path: path.to_owned(),
        })
    }

    pub fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Gives the file its name, if nothing has it, and makes both last.
    pub fn publish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let named = match fs::hard_link(&self.temporary, &self.path) {
            Err(error) if has_no_links(&error) => self.rename(),
            // Over NFS, the answer to a request that succeeded may be lost, and the repeated one fails.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.has_name()? => Ok(()),
            linked => linked,
        };
        match named {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            // Another one may have been interrupted before its name was made to last.
            named => sync_parent(&self.path).and(named),
        }
    }

    fn rename(&self) -> io::Result<()> {
        let flags = RenameFlags::RENAME_NOREPLACE;
        let renamed = renameat2(AT_FDCWD, &self.temporary, AT_FDCWD, &self.path, flags);
        renamed.map_err(|errno| match errno {
            Errno::EINVAL | Errno::ENOSYS => io::Error::new(
                ErrorKind::Unsupported,
                "this file system has neither hard links nor a rename that replaces nothing",
            ),
            errno => errno.into(),
        })
    }

    /// Returns whether the name is that of this file.
    fn has_name(&self) -> io::Result<bool> {
        let (own, found) = (self.file.metadata()?, fs::symlink_metadata(&self.path)?);
        Ok((own.dev(), own.ino()) == (found.dev(), found.ino()))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // What stays has no name that anybody reads.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// FAT says that it is not permitted.
fn has_no_links(error: &io::Error) -> bool {
    const SAYINGS: [Errno; 3] = [Errno::EPERM, Errno::EOPNOTSUPP, Errno::ENOSYS];
    let errno = error.raw_os_error();
    SAYINGS.iter().any(|&known| errno == Some(known as i32))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Makes what was created and deleted beside a file last.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

/// Makes the directories between `root`, which has to be there, and `dir`.
fn make_directories(root: &Path, dir: &Path) -> io::Result<()> {
    if dir == root || dir.is_dir() {
        return Ok(());
    }
    make_directories(root, parent(dir))?;
    match DirBuilder::new().mode(DIRECTORY_MODE).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| sync_parent(dir)),
    }
}
