//! Ends the process when the engine's own work on its files fails.
//!
//! libdqlite swallows errors of its background work: a rename, truncation, sync or open that fails while a
//! segment of the log is finished sets a flag that nothing reads (dqlite: src/raft/uv_finalize.c, uv_truncate.c,
//! uv_snapshot.c). The node goes on acknowledging, and a later start serves an older state. So every call of the
//! engine on a file is seen ([`super::file_calls`], [`super::aio`]) and the first failure that is not part of a
//! known course ends the process; the next start reads the log and judges it.
//!
//! Invariants: only directories of nodes that run are watched; a failure while a node starts is remembered and
//! counts when the engine has started all the same, and is the reason where it has not, but for a directory that cannot be
//! listed, which ends the process at once; a
//! full disk is left to the engine where it refuses the write cleanly ([`is_expected`]).

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

/// A call of the engine on a file that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFailure {
    /// The system call, or the function of libc.
    pub call: &'static str,
    pub path: PathBuf,
    pub errno: i32,
}

impl FileFailure {
    /// Returns whether the call failed only because the disk is full.
    pub fn is_disk_full(&self) -> bool {
        is_full(self.errno)
    }

    /// Returns whether the call failed because this user lacks the permission.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.errno, libc::EACCES | libc::EPERM)
    }
}

/// Returns what a person is to do about a call on a file that fails with this error.
pub(super) fn advice(errno: i32) -> &'static str {
    match errno {
        libc::EMFILE | libc::ENFILE => {
            "raise the limit of open files (LimitNOFILE=, ulimit -n, fs.file-max), then start again"
        }
        libc::EAGAIN => "raise fs.aio-max-nr, then start again",
        libc::EINTR => "start again",
        libc::ENOMEM => "give this machine or service more memory, then start again",
        libc::ENOSPC | libc::EDQUOT => "make room on the disk, then start again",
        libc::EROFS => "find out why the disk is mounted read-only, then start again",
        libc::EACCES | libc::EPERM => {
            "give this user the directory and its files, then start again"
        }
        libc::ENOENT => "find out what removes files of this directory, then start again",
        _ => {
            "look for the disk's errors (dmesg, smartctl); if it has to be replaced, the other nodes have the data \
             (k8s-dqlite recover --reseed), or a backup"
        }
    }
}

impl fmt::Display for FileFailure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} of {} failed: {}; this process ends before it acknowledges anything more: {}",
            self.call,
            self.path.display(),
            io::Error::from_raw_os_error(self.errno),
            advice(self.errno)
        )
    }
}

impl std::error::Error for FileFailure {}

/// Says what happened, and returns the exit code with which the process is to end.
pub type FailureHandler = fn(&FileFailure) -> u8;

static HANDLER: OnceLock<FailureHandler> = OnceLock::new();

/// Sets what is done at the first failure, on the thread that met it. The first handler stays; without one the
/// process is aborted with the message on standard error.
pub fn on_file_failure(handler: FailureHandler) {
    let _ = HANDLER.set(handler);
}

fn end(failure: &FileFailure) -> ! {
    let Some(handler) = HANDLER.get() else {
        eprintln!("{failure}");
        process::abort();
    };
    let code = handler(failure);
    // The other threads must acknowledge nothing more, so nothing is stopped or handed over.
    // SAFETY: ends the process.
    unsafe { libc::_exit(code.into()) }
}

struct Watched {
    /// The directory as the engine was given it, and as the kernel names it.
    dirs: [PathBuf; 2],
    is_running: bool,
    first: Option<FileFailure>,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

fn watched() -> MutexGuard<'static, Vec<Watched>> {
    // A list that is pushed to and taken from is whole at any time.
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches a directory until it is dropped.
pub(super) struct Watch {
    dir: PathBuf,
}

impl Watch {
    /// Begins before the engine starts.
    pub fn begin(dir: &Path) -> Self {
        let canonical = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        watched().push(Watched {
            dirs: [dir.to_owned(), canonical],
            is_running: false,
            first: None,
        });
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Returns the call that failed first while the engine started.
    pub fn failure(&self) -> Option<FileFailure> {
        let watched = watched();
        let of_this = watched.iter().find(|found| found.dirs[0] == self.dir);
        of_this.and_then(|found| found.first.clone())
    }

    /// Call it when the engine has started: from now on a failure ends the process, and so does one of before.
    pub fn running(&self) {
        let mut watched = watched();
        let of_this = |watched: &&mut Watched| watched.dirs[0] == self.dir;
        let failure = watched.iter_mut().find(of_this).and_then(|watched| {
            watched.is_running = true;
            watched.first.take()
        });
        drop(watched);
        if let Some(failure) = failure {
            end(&failure);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = watched();
        if let Some(at) = watched.iter().position(|found| found.dirs[0] == self.dir) {
            watched.swap_remove(at);
        }
    }
}

/// The kinds of calls, by what the engine does after one has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Create,
    Write,
    /// A write to the log by the kernel's asynchronous interface.
    LogWrite,
    Allocate,
    Unlink,
    Stat,
    /// Listing, after which the engine frees memory that it has not set (dqlite: src/raft/uv.c, `uvLoadSnapshotAndEntries`):
    /// the process ends also while a node starts or is recovered.
    List,
    /// Closing, truncating, synchronising, renaming, setting up asynchronous writes.
    Other,
}

/// Judges a call that failed. Returns if the engine may go on.
pub(super) fn failed(kind: Kind, call: &'static str, path: &Path, errno: i32) {
    if is_expected(kind, path, errno) {
        return;
    }
    let Some(dir) = path.parent() else { return };
    let mut watched = watched();
    let is_of = |watched: &&mut Watched| {
        watched
            .dirs
            .iter()
            .any(|found| found == dir || found == path)
    };
    let Some(found) = watched.iter_mut().find(is_of) else {
        return;
    };
    let failure = FileFailure {
        call,
        path: path.to_owned(),
        errno,
    };
    if found.is_running || kind == Kind::List {
        drop(watched);
        end(&failure);
    }
    found.first.get_or_insert(failure);
}

/// The same for a call on an open file.
pub(super) fn failed_on(kind: Kind, call: &'static str, file: i32, errno: i32) {
    // The engine goes on with a negative number where a temporary file could not be made.
    if file < 0 {
        return;
    }
    // Without /proc the file cannot be named; it is the engine's all the same.
    let path = fs::read_link(format!("/proc/self/fd/{file}"));
    let path = path.unwrap_or_else(|_| first_dir().join(format!("file {file}")));
    failed(kind, call, &path, errno);
}

/// The same for a call that names no file.
pub(super) fn failed_anywhere(call: &'static str, errno: i32) {
    failed(Kind::Other, call, &first_dir(), errno);
}

fn first_dir() -> PathBuf {
    let watched = watched();
    watched
        .first()
        .map_or_else(PathBuf::new, |watched| watched.dirs[0].clone())
}

fn is_full(errno: i32) -> bool {
    errno == libc::ENOSPC || errno == libc::EDQUOT
}

/// Returns whether the engine expects this failure and handles it: it reports it to whoever waits, and the log and the
/// engine's own view of it stay as they were.
///
/// - No room: a segment that cannot be prepared fails the writes that wait for it; a write that fails ends its
///   segment before that write (dqlite: src/raft/uv_prepare.c, uv_append.c); a snapshot is made again later.
/// - A metadata file is opened before it is created; a snapshot's files are removed also where it has none
///   (uv_fs.c, uv_snapshot.c); the existence of files is asked for.
/// - The log is first written without waiting, and then by a thread (uv_writer.c).
fn is_expected(kind: Kind, path: &Path, errno: i32) -> bool {
    let is_metadata = || {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("metadata"))
    };
    match kind {
        Kind::Create | Kind::Write | Kind::Allocate => is_full(errno),
        Kind::LogWrite => is_full(errno) || errno == libc::EAGAIN,
        Kind::Open => errno == libc::ENOENT && is_metadata(),
        Kind::Unlink | Kind::Stat => errno == libc::ENOENT,
        Kind::List | Kind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_engine_handles_is_expected() {
        let segment = Path::new("/d/open-3");
        for (kind, name, errno, expected) in [
            (Kind::Create, "open-3", libc::ENOSPC, true),
            (Kind::Create, "open-3", libc::EMFILE, false),
            (Kind::Create, "open-3", libc::EEXIST, false),
            (Kind::Allocate, "open-3", libc::EDQUOT, true),
            (Kind::Allocate, "open-3", libc::EIO, false),
            (Kind::Write, "tmp-a", libc::ENOSPC, true),
            (Kind::Write, "tmp-a", libc::EIO, false),
            (Kind::LogWrite, "open-3", libc::EAGAIN, true),
            (Kind::LogWrite, "open-3", libc::EIO, false),
            (Kind::LogWrite, "open-3", libc::EFBIG, false),
            (Kind::Open, "metadata1", libc::ENOENT, true),
            (Kind::Open, "metadata1", libc::EACCES, false),
            (Kind::Open, "open-3", libc::ENOENT, false),
            (Kind::Unlink, "open-3", libc::ENOENT, true),
            (Kind::Unlink, "open-3", libc::EROFS, false),
            (Kind::Stat, "metadata2", libc::ENOENT, true),
            (Kind::Other, "open-3", libc::ENOSPC, false),
            (Kind::List, "open-3", libc::ENOENT, false),
        ] {
            let path = segment.with_file_name(name);
            assert_eq!(
                is_expected(kind, &path, errno),
                expected,
                "{kind:?} {name} {errno}"
            );
        }
    }

    #[test]
    fn a_failure_while_a_node_starts_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::begin(dir.path());
        failed(Kind::Other, "rename", &dir.path().join("open-1"), libc::EIO);
        failed(Kind::Other, "fsync", dir.path(), libc::EIO);
        let first = watch.failure().unwrap();
        assert_eq!((first.call, first.errno), ("rename", libc::EIO));
        assert!(first.to_string().contains("open-1 failed"), "{first}");
        drop(watch);
        // Nobody's directory: nothing happens.
        failed(Kind::Other, "rename", &dir.path().join("open-1"), libc::EIO);
    }

    #[test]
    fn each_failure_names_its_remedy() {
        for (errno, expected) in [
            (libc::EMFILE, "LimitNOFILE"),
            (libc::ENOSPC, "make room"),
            (libc::EIO, "dmesg"),
            (libc::EROFS, "read-only"),
        ] {
            let failure = FileFailure {
                call: "open",
                path: "/d/open-1".into(),
                errno,
            };
            assert!(failure.to_string().contains(expected), "{failure}");
            assert_eq!(failure.is_disk_full(), errno == libc::ENOSPC);
        }
    }
}
