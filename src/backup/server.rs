//! The backups that a server makes by itself: of its own copy of the store, whether it leads or not.
//!
//! Invariants: one at a time; what it deletes has a name that only this node gives; a failure is logged and
//! counted, and the next attempt comes by itself.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use dqlite::wire::NodeId;
use etcd_state::requests::RequestError;
use stopping::warn;
use telemetry::metrics::{Counter, Page};
use tokio::time::sleep;
use tracing::info;

use super::{
    BackupError, PartialFile, Written,
    format::{Head, KnownHash, SnapshotInfo},
    names::{Name, Time},
    order,
    schedule::{BackupSettings, due_in, in_order, newest, retry_in},
    write::{Piece, write},
};
use crate::{
    process::disk::free_bytes,
    store::{
        Store,
        snapshot::{Origin, SnapshotFile},
    },
};

/// The bytes of the snapshot between two checks of the free space.
const BYTES_PER_LOOK: usize = 8 * 1024 * 1024;

/// Names in the directory that are looked at: more are somebody else's.
const MAX_NAMES: usize = 100_000;

/// The suffix of the file that a killed process leaves.
const UNFINISHED: &str = ".part";

#[derive(Debug)]
pub struct BackupMetrics {
    is_on: AtomicBool,
    made: Counter,
    failed: Counter,
    last_s: AtomicU64,
    last_bytes: AtomicU64,
    last_revision: AtomicI64,
}

/// The metrics of this process.
pub static BACKUPS: BackupMetrics = BackupMetrics {
    is_on: AtomicBool::new(false),
    made: Counter::new(),
    failed: Counter::new(),
    last_s: AtomicU64::new(0),
    last_bytes: AtomicU64::new(0),
    last_revision: AtomicI64::new(0),
};

impl BackupMetrics {
    /// Writes the metrics. A server that makes no backups writes only the counts: an alert on the
    /// age of the last backup would fire.
    pub fn write(&self, page: &mut Page) {
        let help = "Scheduled backups that were made.";
        page.counter("k8s_dqlite_backups_total", help, self.made.get());
        let help = "Scheduled backups that failed.";
        page.counter("k8s_dqlite_backup_failures_total", help, self.failed.get());
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let help = "When the last scheduled backup was made, in seconds since 1970; 0 is never.";
        let last_s = self.last_s.load(Ordering::Relaxed);
        page.gauge("k8s_dqlite_backup_last_timestamp_seconds", help, last_s);
        let help = "Size of the last scheduled backup.";
        let bytes = self.last_bytes.load(Ordering::Relaxed);
        page.gauge("k8s_dqlite_backup_last_bytes", help, bytes);
        let help = "Revision of the last scheduled backup.";
        let revision = self.last_revision.load(Ordering::Relaxed);
        page.gauge("k8s_dqlite_backup_last_revision", help, revision);
    }

    fn succeeded(&self, time: Time, written: &Written) {
        self.made.increment();
        self.last_s.store(time.unix_s(), Ordering::Relaxed);
        self.last_bytes.store(written.bytes, Ordering::Relaxed);
        let revision = written.trailer.info.revision.unwrap_or_default();
        self.last_revision
            .store(revision.number(), Ordering::Relaxed);
    }
}

/// The node that makes the backups.
#[derive(Debug, Clone)]
pub struct Maker {
    pub cluster_id: u64,
    pub origin: Origin,
}

impl Maker {
    /// Returns the store at its current revision, and what a reader can compare it with.
    pub async fn snapshot(
        self,
        store: &Store,
    ) -> Result<(SnapshotFile, SnapshotInfo), RequestError> {
        let Self { cluster_id, origin } = self;
        let node_id = NodeId::new(origin.member_id);
        let snapshot = store.snapshot(origin).await?;
        let revision = snapshot.revision();
        let hash = store.hash(revision).await.ok();
        let info = SnapshotInfo {
            revision: Some(revision),
            hash: hash.map(|found| KnownHash {
                hash: found.hash,
                compact_revision: found.compact_revision,
            }),
            cluster_id,
            node_id,
        };
        Ok((snapshot, info))
    }
}

/// Makes backups until it is dropped. `maker` is asked before each.
pub async fn run<F: Future<Output = Maker>>(
    store: Store,
    settings: BackupSettings,
    maker: impl Fn() -> F,
) {
    BACKUPS.is_on.store(true, Ordering::Relaxed);
    let node_id = NodeId::new(maker().await.origin.member_id);
    let mut failures = 0;
    let mut wait = match prepare(&settings.dir, node_id) {
        Ok(newest) => due_in(newest, now(), settings.interval),
        Err(_) => std::time::Duration::ZERO,
    };
    loop {
        sleep(wait).await;
        let time = now();
        match make(&store, &settings, maker().await, time).await {
            Ok(written) => {
                failures = 0;
                BACKUPS.succeeded(time, &written);
                info!("backup made: {written}");
                if let Some(made) = name_of(&written) {
                    forget_old(&settings, made);
                }
                wait = due_in(Some(time), now(), settings.interval);
            }
            Err(error) => {
                failures += 1;
                BACKUPS.failed.increment();
                wait = retry_in(failures, settings.interval);
                warn!(%error, "the backup failed; the next attempt is in {wait:?}");
            }
        }
    }
}

fn now() -> Time {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Time::from_unix(since.as_secs())
}

/// Makes the directory and deletes what this node left there unfinished. Says when it made the newest.
fn prepare(dir: &Path, node_id: NodeId) -> io::Result<Option<Time>> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for entry in fs::read_dir(dir)?.take(MAX_NAMES).flatten() {
        let name = entry.file_name();
        let unfinished = name.to_str().and_then(|name| name.strip_suffix(UNFINISHED));
        let name = unfinished.and_then(|name| name.parse::<Name>().ok());
        if name.is_some_and(|name| name.node_id == node_id) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(newest(&names(dir)?, node_id))
}

fn names(dir: &Path) -> io::Result<Vec<Name>> {
    let entries = fs::read_dir(dir)?.take(MAX_NAMES).flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(names.collect())
}

fn name_of(written: &Written) -> Option<Name> {
    written.path.file_name()?.to_str()?.parse().ok()
}

/// Notes that `made` is the last one, and deletes those of this node that are too many.
fn forget_old(settings: &BackupSettings, made: Name) {
    let dir = &settings.dir;
    if let Err(error) = keep_newest(dir, made, settings.keep) {
        warn!(%error, "cannot list the backups in {}: no old backup is deleted", dir.display());
    }
}

fn keep_newest(dir: &Path, made: Name, keep: usize) -> io::Result<()> {
    let mut order = order::read(dir, made.node_id)?;
    order.push(made);
    let mut found = in_order(&names(dir)?, made.node_id, &order);
    // The list comes first: what is in it and not there does no harm.
    order::write(dir, made.node_id, &found)?;
    found.truncate(found.len().saturating_sub(keep));
    for name in found {
        let path = dir.join(name.to_string());
        match fs::remove_file(&path) {
            Ok(()) => info!("deleted {}: newer backups are there", path.display()),
            Err(error) => warn!(%error, "cannot delete {}", path.display()),
        }
    }
    Ok(())
}

async fn make(
    store: &Store,
    settings: &BackupSettings,
    maker: Maker,
    time: Time,
) -> Result<Written, BackupError> {
    let unwritable = |source| BackupError::Unwritable {
        path: settings.dir.clone(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.dir)
        .map_err(unwritable)?;
    check_space(settings)?;
    let node_id = NodeId::new(maker.origin.member_id);
    let (snapshot, info) = maker.snapshot(store).await?;
    let revision = snapshot.revision();
    let name = Name {
        time,
        revision,
        node_id,
    };
    let partial = PartialFile::create(&settings.dir.join(name.to_string()), false)?;
    let head = Head {
        created_s: time.unix_s(),
    };
    let stop = StopOnDrop::default();
    let mut pieces = Pieces {
        snapshot,
        info,
        since_look: 0,
        settings: settings.clone(),
        is_stopped: stop.0.clone(),
    };
    let writing = tokio::task::spawn_blocking(move || write(partial, head, || pieces.next()));
    writing.await.expect("writing does not panic")
}

fn check_space(settings: &BackupSettings) -> Result<(), BackupError> {
    let (dir, reserve) = (&settings.dir, settings.reserve_bytes);
    match free_bytes(dir) {
        Ok(free) if free < reserve => Err(BackupError::DiskLow {
            path: dir.clone(),
            reserve,
        }),
        // Who cannot tell learns it from the write.
        _ => Ok(()),
    }
}

/// A thread that writes would hold up the end of the process.
#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Pieces {
    snapshot: SnapshotFile,
    info: SnapshotInfo,
    since_look: usize,
    settings: BackupSettings,
    is_stopped: Arc<AtomicBool>,
}

impl Pieces {
    fn next(&mut self) -> Result<Option<Piece<Vec<u8>>>, BackupError> {
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(BackupError::Interrupted);
        }
        let Some(blob) = self.snapshot.next() else {
            return Ok(Some(Piece::End(self.info)));
        };
        self.since_look += blob.bytes.len();
        if self.since_look > BYTES_PER_LOOK {
            self.since_look = 0;
            check_space(&self.settings)?;
        }
        Ok(Some(Piece::Blob(blob.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use etcd_state::mvcc::Revision;

    use super::*;

    fn settings(dir: &Path, reserve_bytes: u64) -> BackupSettings {
        BackupSettings {
            dir: dir.to_owned(),
            interval: std::time::Duration::from_secs(1),
            keep: 2,
            reserve_bytes,
        }
    }

    fn name(unix_s: u64, node_id: u64) -> String {
        let name = Name {
            time: Time::from_unix(unix_s),
            revision: Revision::new(3),
            node_id: NodeId::new(node_id),
        };
        name.to_string()
    }

    #[test]
    fn a_disk_without_room_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_space(&settings(dir.path(), 0)).is_ok());
        let low = check_space(&settings(dir.path(), u64::MAX)).unwrap_err();
        assert!(matches!(low, BackupError::DiskLow { .. }), "{low}");
    }

    #[test]
    fn only_its_own_unfinished_and_old_files_are_deleted() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("backups");
        assert_eq!(prepare(&dir, NodeId::new(7)).unwrap(), None);
        let unfinished = |node| name(9, node) + UNFINISHED;
        let mut stays = vec![name(2, 7), name(1, 7), name(1, 8), unfinished(8)];
        stays.push("something.part".to_owned());
        for file in stays.iter().chain(&[name(3, 7), unfinished(7)]) {
            fs::write(dir.join(file), "").unwrap();
        }
        assert_eq!(
            prepare(&dir, NodeId::new(7)).unwrap(),
            Some(Time::from_unix(3))
        );
        // The clock was ahead when the second was made; the last one has been made just now.
        let made = |unix_s| name(unix_s, 7).parse().unwrap();
        order::write(&dir, NodeId::new(7), &[made(3), made(2)]).unwrap();
        fs::write(dir.join(name(1, 7)), "").unwrap();
        forget_old(&settings(&dir, 0), made(1));
        let entries = fs::read_dir(&dir).unwrap();
        let mut found: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        stays.push(format!("k8s-dqlite-{:016x}.order", 7));
        found.sort();
        stays.sort();
        assert_eq!(found, stays);
    }
}
