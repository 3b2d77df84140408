//! Reads what the engine will load, and judges it.

use std::{
    io::{self, Read},
    path::PathBuf,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use super::{
    damage::{Damage, Error, Fault, Lost},
    entries::Entries,
    judge::{Contents, judge},
    metadata,
    name::SnapshotId,
    plan::{ClosedFile, FoundFile, OpenFile, Plan},
    report::Report,
    segment::{self, OpenSegment},
    snapshot::{self, SnapshotData},
    snapshot_meta,
};

/// More threads than that wait for the disk, each with a segment in memory.
const THREADS_MAX: usize = 8;

/// Access to the files, in a directory or in memory.
pub trait Files: Sync {
    fn list(&self) -> Result<Vec<FoundFile>, Error>;

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>>;

    /// Returns the path of a file, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// Checks everything that the engine would load, and changes nothing.
pub fn verify(files: &impl Files) -> Result<Report, Error> {
    let plan = Plan::new(&files.list()?)?;
    let reader = Reader {
        files,
        bytes_read: AtomicU64::new(0),
    };
    let (metadata, short_metadata) = reader.metadata(&plan)?;
    let snapshot_meta = match plan.snapshot {
        Some(id) => {
            let mut bytes = Vec::new();
            reader.read_file(
                &id.meta_name(),
                snapshot_meta::FILE_BYTES_MAX + 1,
                &mut bytes,
            )?;
            let meta = snapshot_meta::read(&bytes, id.index);
            Some(meta.map_err(|fault| fault.into_damage(&id.meta_name(), snapshot_lost(id)))?)
        }
        None => None,
    };
    let mut jobs: Vec<Job> = Vec::new();
    jobs.extend(plan.snapshot.map(Job::Snapshot));
    jobs.extend(plan.closed.iter().map(Job::Closed));
    jobs.extend(plan.open.iter().map(Job::Open));
    let mut contents = Contents {
        metadata,
        snapshot_meta,
        snapshot_data: None,
        closed: Vec::new(),
        open: Vec::new(),
    };
    for result in in_parallel(&jobs, |job, buffer| reader.run(job, metadata.term, buffer)) {
        match result? {
            Done::Snapshot(id, data) => {
                let named = |fault: Fault| fault.into_damage(&id.data_name(), snapshot_lost(id));
                contents.snapshot_data = Some(data.map_err(named)?);
            }
            Done::Closed(entries) => contents.closed.push(entries),
            Done::Open(segment) => contents.open.push(segment),
        }
    }
    let mut report = judge(&plan, contents, short_metadata)?;
    report.bytes_read = reader.bytes_read.into_inner();
    Ok(report)
}

fn snapshot_lost(id: SnapshotId) -> Lost {
    Lost::Snapshot(id.index)
}

enum Job<'a> {
    Snapshot(SnapshotId),
    Closed(&'a ClosedFile),
    Open(&'a OpenFile),
}

enum Done {
    Snapshot(SnapshotId, Result<SnapshotData, Fault>),
    Closed(Result<Entries, Fault>),
    Open(Result<OpenSegment, Fault>),
}

struct Reader<'a, F> {
    files: &'a F,
    bytes_read: AtomicU64,
}

impl<F: Files> Reader<'_, F> {
    fn metadata(&self, plan: &Plan) -> Result<(metadata::Metadata, Option<&'static str>), Error> {
        let mut found = [None, None];
        for (which, name) in metadata::NAMES.into_iter().enumerate() {
            if plan.has_metadata[which] {
                let mut bytes = Vec::new();
                self.read_file(name, metadata::FILE_BYTES + 1, &mut bytes)?;
                found[which] = Some(bytes);
            }
        }
        let files = [found[0].as_deref(), found[1].as_deref()];
        metadata::read(files, plan.has_data()).map_err(|damage: Box<Damage>| damage.into())
    }

    fn run(&self, job: &Job, term_max: u64, buffer: &mut Vec<u8>) -> Result<Done, Error> {
        Ok(match job {
            Job::Snapshot(id) => {
                let name = id.data_name();
                let file = self.open(&name)?;
                let data = snapshot::read(Counted(file, &self.bytes_read));
                Done::Snapshot(*id, data.map_err(|source| self.unreadable(&name, source))?)
            }
            Job::Closed(file) => {
                self.read_file(&file.name, file.len_bytes, buffer)?;
                Done::Closed(segment::read_closed(buffer, file.last - file.first + 1))
            }
            Job::Open(file) => {
                self.read_file(&file.name, file.len_bytes, buffer)?;
                Done::Open(segment::read_open(buffer, term_max))
            }
        })
    }

    /// Reads the first bytes of a file.
    fn read_file(&self, name: &str, len_max: u64, buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.clear();
        let file = Counted(self.open(name)?, &self.bytes_read);
        file.take(len_max)
            .read_to_end(buffer)
            .map_err(|source| self.unreadable(name, source))?;
        Ok(())
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + '_>, Error> {
        let opened = self.files.open(name);
        opened.map_err(|source| self.unreadable(name, source))
    }

    fn unreadable(&self, name: &str, source: io::Error) -> Error {
        let path = self.files.path(name);
        Error::Unreadable { path, source }
    }
}

struct Counted<'a, R>(R, &'a AtomicU64);

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(buffer)?;
        self.1.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// The results in the order of the items. Each thread has one buffer for all that it does.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T, &mut Vec<u8>) -> R + Sync,
) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let take_all = || {
        let mut buffer = Vec::new();
        let mut done = Vec::new();
        while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed))
            && let Some(item) = items.get(at)
        {
            done.push((at, work(item, &mut buffer)));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(THREADS_MAX).min(items.len()))
            .filter_map(|_| {
                let thread = thread::Builder::new().name("log-reader".into());
                thread.spawn_scoped(scope, take_all).ok()
            })
            .collect();
        let mut done = take_all();
        for thread in others {
            match thread.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
