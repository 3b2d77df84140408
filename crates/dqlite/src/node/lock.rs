//! The lock on a data directory.
//!
//! libdqlite locks the file `dqlite-lock` in `dqlite_node_start`, but `dqlite_node_create` and
//! `dqlite_node_describe_last_entry` already load the term and vote, delete files and rename
//! segments. On a directory in use that loses data at the next restart (dqlite: src/raft/uv.c,
//! `uvMaintenance`). So two locks are taken before any call:
//!
//! - a `flock` on the directory itself, kept until the engine is gone. It keeps out every other
//!   process of this program, without a gap and without a file of our own.
//! - a `flock` on `dqlite-lock`, which keeps out everything else that embeds libdqlite, such as the
//!   Go k8s-dqlite. It has to be given up right before `dqlite_node_start`, which takes it through
//!   a descriptor of its own. Somebody who gets in between makes that start fail, which is the
//!   right outcome; only a process that starts *and* stops within those microseconds would go
//!   unnoticed.
//!
//! The locks belong to open file descriptions and vanish with the process, however it ends.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::NodeError;

/// The file that libdqlite locks (dqlite: src/server.c).
const ENGINE_LOCK: &str = "dqlite-lock";

/// libdqlite gives its lock up by closing the file. A child process that is being started at that
/// moment has a copy, and keeps the lock until it executes its program; and a process that was
/// killed may not have exited yet. Both take milliseconds, under load tens of them.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// A directory that no other process works on while this lives.
#[derive(Debug)]
pub struct DirLock {
    dir: PathBuf,
    /// `None` while the engine holds this one itself.
    engine: Option<Flock<File>>,
    _directory: Flock<File>,
}

impl DirLock {
    /// Lock an existing directory, or fail within a second with [`NodeError::DirectoryHeld`].
    pub fn acquire(dir: &Path) -> Result<Self, NodeError> {
        let unusable = |source| NodeError::Directory {
            dir: dir.to_owned(),
            source,
        };
        let directory = File::open(dir).map_err(unusable)?;
        if !directory.metadata().map_err(unusable)?.is_dir() {
            return Err(unusable(std::io::ErrorKind::NotADirectory.into()));
        }
        let directory = lock(dir, directory)?;
        let engine = Some(lock_engine(dir)?);
        Ok(Self {
            dir: dir.to_owned(),
            engine,
            _directory: directory,
        })
    }

    /// The same without writing to the directory, to copy it: a missing `dqlite-lock` stays missing.
    pub fn acquire_unchanged(dir: &Path) -> Result<Self, NodeError> {
        let unusable = |source| NodeError::Directory {
            dir: dir.to_owned(),
            source,
        };
        let directory = lock(dir, File::open(dir).map_err(unusable)?)?;
        let engine = match File::open(dir.join(ENGINE_LOCK)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            file => Some(lock(dir, file.map_err(unusable)?)?),
        };
        Ok(Self {
            dir: dir.to_owned(),
            engine,
            _directory: directory,
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Let `dqlite_node_start` take its own lock. Call it last.
    pub(super) fn yield_to_engine(&mut self) {
        self.engine = None;
    }

    /// Takes the lock back from an engine that is gone.
    pub(super) fn take_from_engine(&mut self) -> Result<(), NodeError> {
        self.engine = Some(lock_engine(&self.dir)?);
        Ok(())
    }
}

fn lock_engine(dir: &Path) -> Result<Flock<File>, NodeError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(ENGINE_LOCK))
        .map_err(|source| NodeError::Directory {
            dir: dir.to_owned(),
            source,
        })?;
    lock(dir, file)
}

fn lock(dir: &Path, mut file: File) -> Result<Flock<File>, NodeError> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((file, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file,
            Err((file, Errno::EWOULDBLOCK)) => {
                let holder = holder(&file);
                return Err(NodeError::DirectoryHeld {
                    dir: dir.to_owned(),
                    holder,
                });
            }
            Err((_, error)) => {
                return Err(NodeError::Directory {
                    dir: dir.to_owned(),
                    source: error.into(),
                });
            }
        };
        thread::sleep(LOCK_RETRY);
    }
}

/// Describe who holds the lock of `file`, as far as the kernel tells.
fn holder(file: &File) -> String {
    let Some(pid) = holder_pid(file) else {
        return "another process".to_owned();
    };
    if pid == std::process::id() {
        return "this process".to_owned();
    }
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}

/// Find the lock in /proc/locks, whose lines read `1: FLOCK ADVISORY WRITE <pid>
/// <major>:<minor>:<inode> ...`.
fn holder_pid(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let device = metadata.dev();
    let id = format!(
        "{:02x}:{:02x}:{}",
        libc::major(device),
        libc::minor(device),
        metadata.ino()
    );
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let kind = fields.iter().position(|field| *field == "FLOCK")?;
        (fields.get(kind + 4) == Some(&id.as_str())).then(|| fields.get(kind + 3)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        let error = DirLock::acquire(dir.path()).unwrap_err();
        assert!(
            matches!(&error, NodeError::DirectoryHeld { holder, .. } if holder == "this process"),
            "{error}"
        );
        drop(first);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_stays_locked_while_the_engine_has_its_own_lock() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = DirLock::acquire(dir.path()).unwrap();
        first.yield_to_engine();
        assert!(matches!(
            DirLock::acquire(dir.path()),
            Err(NodeError::DirectoryHeld { .. })
        ));
    }

    #[test]
    fn a_lock_to_copy_a_directory_leaves_it_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let copying = DirLock::acquire_unchanged(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(DirLock::acquire(dir.path()).is_err());
        drop(copying);
        let using = DirLock::acquire(dir.path()).unwrap();
        assert!(DirLock::acquire_unchanged(dir.path()).is_err());
        drop(using);
    }

    #[test]
    fn a_missing_directory_and_a_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = DirLock::acquire(&missing).unwrap_err().to_string();
        assert!(
            error.contains("missing") && error.contains("No such file"),
            "{error}"
        );
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DirLock::acquire(&file).unwrap_err().to_string();
        assert!(error.contains("not a directory"), "{error}");
    }
}
