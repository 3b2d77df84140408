//! Free space on the disk of the storage directory.

use std::{io, path::Path, time::Duration};

use clap::ValueEnum;
use nix::sys::statvfs::statvfs;
use tracing::{error, info, warn};

/// The settings of the watch on free disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskWatch {
    pub interval: Duration,
    /// Less free space than this is low.
    pub min_bytes: u64,
    pub action: LowStorageAction,
}

/// The action when the disk of the storage directory is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LowStorageAction {
    /// Log it.
    None,
    /// Let another node lead.
    Handover,
    /// Stop the process.
    Terminate,
}

/// The interval at which the log repeats that the disk is full.
const REMIND_INTERVAL: Duration = Duration::from_secs(300);

/// The bytes above the limit within which the disk is checked more often: the engine allocates its
/// log in pieces of 8 MiB ahead of what it writes, so within an interval of some seconds a busy
/// server could use them up.
const NEAR_BYTES: u64 = 256 * 1024 * 1024;

/// The interval of those checks. One costs a microsecond.
const NEAR_INTERVAL: Duration = Duration::from_millis(100);

/// Returns the bytes that unprivileged processes may still write.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = statvfs(dir)?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// Checks the disk until it is low and the process has to stop for it; for ever with another
/// action. `tell` is called at each check with whether the disk is low, and with the change or
/// reminder, if there is one.
pub async fn run(watch: DiskWatch, dir: &Path, tell: impl Fn(bool, Option<Change>)) {
    // The first look is at once: a start on a full disk is known before the first write.
    let mut level = Level::new(watch.min_bytes);
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        match free_bytes(dir) {
            Err(error) => {
                warn!(%error, dir = %dir.display(), "cannot read the free space of the disk");
                pause = watch.interval;
            }
            Ok(free) => {
                let change = level.observe(free, pause);
                tell(level.is_low, change);
                report(change, free, watch, dir);
                if level.is_low && watch.action == LowStorageAction::Terminate {
                    return;
                }
                pause = next_pause(free, watch);
            }
        }
    }
}

fn next_pause(free_bytes: u64, watch: DiskWatch) -> Duration {
    match free_bytes < watch.min_bytes.saturating_add(NEAR_BYTES) {
        true => watch.interval.min(NEAR_INTERVAL),
        false => watch.interval,
    }
}

fn report(change: Option<Change>, free: u64, watch: DiskWatch, dir: &Path) {
    let (dir, min) = (dir.display(), watch.min_bytes);
    match (change, watch.action) {
        (None, _) => {}
        (Some(Change::Enough), _) => info!("the disk of {dir} has {free} bytes free again"),
        (Some(Change::Low), LowStorageAction::None) => {
            warn!(
                "the disk of {dir} has {free} bytes free, fewer than {min}: make room; until then writes \
                 that need more are refused"
            );
        }
        (Some(Change::Low), LowStorageAction::Handover) => warn!(
            "the disk of {dir} has {free} bytes free, fewer than {min}: make room; handing the leadership and the role to other nodes"
        ),
        (Some(Change::Low), LowStorageAction::Terminate) => error!(
            "the disk of {dir} has {free} bytes free, fewer than {min}: stopping, as \
             --low-available-storage-action=terminate demands"
        ),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Low,
    Enough,
}

/// Turns measurements of the free space into changes and reminders.
#[derive(Debug)]
struct Level {
    min_bytes: u64,
    is_low: bool,
    /// Time since the last news.
    quiet: Duration,
}

impl Level {
    fn new(min_bytes: u64) -> Self {
        Self {
            min_bytes,
            is_low: false,
            quiet: Duration::ZERO,
        }
    }

    /// `passed` since the last measurement.
    fn observe(&mut self, free_bytes: u64, passed: Duration) -> Option<Change> {
        let was_low = std::mem::replace(&mut self.is_low, free_bytes < self.min_bytes);
        self.quiet += passed;
        let is_reminder = self.is_low && self.quiet >= REMIND_INTERVAL;
        if was_low == self.is_low && !is_reminder {
            return None;
        }
        self.quiet = Duration::ZERO;
        Some(if self.is_low {
            Change::Low
        } else {
            Change::Enough
        })
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn news_are_a_change_and_a_reminder_now_and_then() {
        let mut level = Level::new(100);
        let mut observe = |free| level.observe(free, REMIND_INTERVAL / 3);
        assert_eq!(observe(100), None);
        assert_eq!(observe(99), Some(Change::Low));
        assert_eq!(observe(98), None);
        assert_eq!(observe(98), None);
        assert_eq!(observe(98), Some(Change::Low));
        assert_eq!(observe(98), None);
        assert_eq!(observe(200), Some(Change::Enough));
        assert_eq!(observe(200), None);
    }

    #[test]
    fn near_the_end_the_disk_is_looked_at_more_often() {
        let watch = |interval| DiskWatch {
            interval,
            min_bytes: 10,
            action: LowStorageAction::None,
        };
        let usual = watch(Duration::from_secs(5));
        assert_eq!(next_pause(10 + NEAR_BYTES, usual), usual.interval);
        assert_eq!(next_pause(9 + NEAR_BYTES, usual), NEAR_INTERVAL);
        assert_eq!(next_pause(0, usual), NEAR_INTERVAL);
        let often = watch(Duration::from_millis(1));
        assert_eq!(next_pause(0, often), often.interval);
        let always = DiskWatch {
            min_bytes: u64::MAX,
            ..usual
        };
        assert_eq!(next_pause(u64::MAX - 1, always), NEAR_INTERVAL);
    }

    #[test]
    fn a_directory_that_is_gone_has_no_free_space() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap() > 0);
        assert!(free_bytes(&dir.path().join("gone")).is_err());
    }

    #[tokio::test]
    async fn only_terminate_ends_the_watch() {
        let dir = tempfile::tempdir().unwrap();
        let interval = Duration::from_millis(1);
        let watch = |action, min_bytes| DiskWatch {
            interval,
            min_bytes,
            action,
        };
        let ends = async |watch, timeout| {
            tokio::time::timeout(timeout, run(watch, dir.path(), |_, _| {}))
                .await
                .is_ok()
        };
        assert!(
            ends(
                watch(LowStorageAction::Terminate, u64::MAX),
                Duration::from_secs(10)
            )
            .await
        );
        let timeout = Duration::from_millis(20);
        assert!(!ends(watch(LowStorageAction::Terminate, 0), timeout).await);
        assert!(!ends(watch(LowStorageAction::None, u64::MAX), timeout).await);
        assert!(!ends(watch(LowStorageAction::Handover, u64::MAX), timeout).await);
    }
}
