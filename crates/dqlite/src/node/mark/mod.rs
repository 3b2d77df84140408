//! Keeps beside the log how far it must reach: the file `high-water-mark`.
//!
//! Files alone cannot tell an older state of themselves from the newest: an open segment that was cut between two
//! batches, an older copy of it, a last segment that was deleted. So the node writes down what it knows: its id,
//! the index of the last entry that is on disk, which open segments it has made, and whether it stopped cleanly. A
//! later start compares ([`check()`]) and refuses what falls short or does not belong.
//!
//! This knowledge comes from the engine's own calls: its writes to the log ([`super::aio`]), and files that it creates,
//! renames and removes ([`super::file_calls`]); [`state`] derives the index from them. The mark never says more than is
//! on disk. It lacks what was written within the last [`FLUSH_INTERVAL`] before a kill, and what the kernel had not yet
//! written before a power failure; a clean stop makes it exact.
//!
//! Invariants: the file of a directory is written by the node that holds its lock; it says "not stopped cleanly"
//! before the engine touches a file; a segment is in it before its first entry is; what the engine takes back (a
//! conflict with the leader's log) is taken back in it first. A directory without one, of an earlier version or of
//! another program, is accepted and gets one.

mod check;
mod file;
mod state;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    LastEntry,
    poison::{self, Kind},
    snapshot_pace::Pace,
};
use crate::{
    log::{FileName, Report},
    wire::NodeId,
};
pub use check::{Mismatch, check, check_closed, check_open, check_snapshot};
pub use file::{ClosedSegment, Content, FILE_NAME, OpenSegment, SnapshotEnd, read};
use file::{SLOT_BYTES, create, encode, slot_offset};
use state::State;

/// The greatest age of the mark while the node writes.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// The mark of a node that runs. Dropped without [`Mark::finish`], it says that the node was killed.
pub(super) struct Mark {
    tracker: Arc<Tracker>,
    stop: Option<(SyncSender<()>, JoinHandle<()>)>,
}

/// The end of a node's log on the disk, to be looked at while the node runs.
#[derive(Clone)]
pub struct LogEnd(Arc<Tracker>);

impl LogEnd {
    /// Returns the last entry that is on the disk, or one that Raft holds to be earlier; `None` while that is not
    /// known: the engine takes entries back, or gets a snapshot.
    pub fn last_entry(&self) -> Option<LastEntry> {
        self.0.lock().state.last_entry()
    }
}

struct Tracker {
    dir: PathBuf,
    canonical_dir: PathBuf,
    /// The sequence of the newest content in the file. Held while that is written, so that a later content
    /// never comes before an earlier one.
    file: Mutex<(File, u64)>,
    /// Never held while something waits for the disk: the engine's loop needs it.
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    is_changed: bool,
    /// Files of open segments, by their descriptors.
    segments: Vec<(i32, u64)>,
    /// None if the threshold of snapshots is fixed, and after the end.
    pace: Option<Pace>,
}

/// The trackers of all nodes of this process.
static TRACKED: Mutex<Vec<Arc<Tracker>>> = Mutex::new(Vec::new());

fn tracked() -> MutexGuard<'static, Vec<Arc<Tracker>>> {
    // A list that is pushed to and taken from is whole at any time.
    TRACKED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mark {
    /// Writes the mark of a node that is about to start on a directory with this log, and follows its files.
    /// `pace` hears of what is written.
    pub fn begin(
        dir: &Path,
        node_id: NodeId,
        report: &Report,
        pace: Option<Pace>,
    ) -> io::Result<Self> {
        let snapshot = report.snapshot.as_ref();
        let snapshot = snapshot.map(|snapshot| SnapshotEnd::read(dir, snapshot.id));
        let state = State::new(node_id, report, snapshot.transpose()?);
        // The file is a new one, so there is no other slot that it would have to outdo.
        let sequence = 1;
        let file = create(dir, &state.content(sequence, false))?;
        let tracker = Arc::new(Tracker {
            dir: dir.to_owned(),
            canonical_dir: dir.canonicalize()?,
            file: Mutex::new((file, sequence)),
            inner: Mutex::new(Inner {
                state,
                is_changed: false,
                segments: Vec::new(),
                pace,
            }),
        });
        let (stop, stopped) = sync_channel(0);
        let flushed = Arc::clone(&tracker);
        let thread = thread::Builder::new()
            .name("dqlite-mark".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(FLUSH_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    flushed.flush_changes();
                }
            })?;
        tracked().push(Arc::clone(&tracker));
        Ok(Self {
            tracker,
            stop: Some((stop, thread)),
        })
    }

    pub fn log_end(&self) -> LogEnd {
        LogEnd(Arc::clone(&self.tracker))
    }

    /// The engine has ended and closed its log. Call it before the directory is unlocked.
    pub fn finish(mut self) {
        self.end();
        self.tracker.write(true, Durability::Disk);
    }

    fn end(&mut self) {
        tracked().retain(|tracker| !Arc::ptr_eq(tracker, &self.tracker));
        self.tracker.lock().pace = None;
        if let Some((stop, thread)) = self.stop.take() {
            drop(stop);
            // It has no other work; if it has panicked, that was reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.end();
    }
}

impl Inner {
    fn counter_of(&self, file: i32) -> Option<u64> {
        let of_it = self.segments.iter().find(|(open, _)| *open == file);
        of_it.map(|(_, counter)| *counter)
    }
}

impl Tracker {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_changes(&self) {
        if self.lock().is_changed {
            self.write(false, Durability::Kernel);
        }
    }

    /// Writes what is known by now, into the slot that does not hold the newest content.
    fn write(&self, is_clean: bool, durability: Durability) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, sequence) = &mut *file;
        *sequence += 1;
        let mut slot = [0; SLOT_BYTES];
        {
            let mut inner = self.lock();
            inner.is_changed = false;
            encode(&inner.state.content(*sequence, is_clean), &mut slot);
        }
        let written = file.write_all_at(&slot, slot_offset(*sequence));
        self.judge("write", written);
        if let Durability::Disk = durability {
            self.judge("fdatasync", file.sync_data());
        }
    }

    fn judge(&self, call: &'static str, done: io::Result<()>) {
        if let Err(error) = done {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            poison::failed(Kind::Other, call, &self.dir.join(FILE_NAME), errno);
        }
    }
}

/// The failures that a written mark survives: a kill, or a power failure as well.
enum Durability {
    Kernel,
    Disk,
}

/// Returns the tracker of the node that a file of the engine belongs to, and the parsed file name.
fn tracker_of(path: &Path) -> Option<(Arc<Tracker>, FileName)> {
    let dir = path.parent()?;
    let is_of = |tracker: &&Arc<Tracker>| tracker.dir == dir || tracker.canonical_dir == dir;
    let tracker = tracked().iter().find(is_of).cloned()?;
    Some((tracker, FileName::parse(path.file_name()?.to_str()?)))
}

/// The engine has opened a file to write to it. One that it has made runs on a thread that nobody waits for.
pub(super) fn opened(path: &Path, file: i32, is_new: bool) {
    let Some((tracker, FileName::Open { counter })) = tracker_of(path) else {
        return;
    };
    let mut inner = tracker.lock();
    inner.segments.push((file, counter));
    if is_new {
        inner.state.created(counter);
        drop(inner);
        tracker.write(false, Durability::Disk);
    }
}

/// The engine is about to close a file, whose number the kernel may then give to another.
pub(super) fn closing(file: i32) {
    for tracker in tracked().iter() {
        tracker.lock().segments.retain(|(open, _)| *open != file);
    }
}

/// Bytes are in the log.
pub(super) fn written(file: i32, offset: u64, bytes: &[u8]) {
    for tracker in tracked().iter() {
        let mut inner = tracker.lock();
        if let Some(counter) = inner.counter_of(file) {
            inner.state.written(counter, offset, bytes);
            if let Some(pace) = &mut inner.pace {
                pace.logged(bytes.len());
            }
            inner.is_changed = true;
        }
    }
}

/// The engine has renamed a file.
pub(super) fn renamed(from: &Path, to: &Path) {
    let Some((tracker, name)) = tracker_of(to) else {
        return;
    };
    let from = from.file_name().and_then(|name| name.to_str());
    let from = from.map_or(FileName::Other, FileName::parse);
    let mut inner = tracker.lock();
    match (from, name) {
        (FileName::Open { counter }, FileName::Closed { first, last }) => {
            inner.state.closed(counter, first, last);
        }
        (_, FileName::Closed { last, .. }) => inner.state.created_closed(last),
        (_, FileName::Snapshot(id)) => {
            let end = SnapshotEnd::read(&tracker.dir, id).ok();
            inner.state.snapshot(id.index, end);
            let last_index = inner.state.last_index();
            let bytes = fs::metadata(to).map_or(0, |metadata| metadata.len());
            if let Some(pace) = &mut inner.pace {
                pace.snapshot(bytes, last_index);
            }
        }
        _ => return,
    }
    inner.is_changed = true;
}

/// The engine is about to remove a file. What it takes back is taken back here before.
pub(super) fn removing(path: &Path) {
    let Some((tracker, name)) = tracker_of(path) else {
        return;
    };
    let is_shorter = {
        let mut inner = tracker.lock();
        inner.is_changed = true;
        match name {
            FileName::Open { counter } => {
                inner.state.removed(counter);
                false
            }
            FileName::Closed { first, last } => inner.state.take_back(first, last),
            _ => false,
        }
    };
    if is_shorter {
        tracker.write(false, Durability::Disk);
    }
}
