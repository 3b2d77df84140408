//! Free space on the disk of the storage directory.

use std::{io, path::Path, time::Duration};

use nix::sys::statvfs::statvfs;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::{args::LowStorageAction, config::DiskWatch};

/// While the disk stays full, the log says so again this often.
const REMIND_INTERVAL: Duration = Duration::from_secs(300);

/// What unprivileged processes may still write, in bytes.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = statvfs(dir)?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// Looks until the disk is low and the process has to stop for it; for ever with another action.
/// `tell` hears at each look whether the disk is low, and whether that is news or said again.
pub async fn run(watch: DiskWatch, dir: &Path, tell: impl Fn(bool, Option<Change>)) {
    let mut ticks = tokio::time::interval(watch.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is at once: a start on a full disk is known before the first write.
    let mut level = Level::new(watch.min_bytes, watch.interval);
    loop {
        ticks.tick().await;
        match free_bytes(dir) {
            Err(error) => warn!(%error, dir = %dir.display(), "cannot tell how full the disk is"),
            Ok(free) => {
                let change = level.observe(free);
                tell(level.is_low, change);
                report(change, free, watch, dir);
                if level.is_low && watch.action == LowStorageAction::Terminate {
                    return;
                }
            }
        }
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
            "the disk of {dir} has {free} bytes free, fewer than {min}: make room; other nodes are asked \
             to take over"
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

/// Turns measurements into news.
#[derive(Debug)]
struct Level {
    min_bytes: u64,
    is_low: bool,
    /// Measurements since the last news.
    quiet: u32,
    remind_after: u32,
}

impl Level {
    fn new(min_bytes: u64, interval: Duration) -> Self {
        let remind_after = REMIND_INTERVAL.div_duration_f64(interval).clamp(1.0, 1e9) as u32;
        Self {
            min_bytes,
            is_low: false,
            quiet: 0,
            remind_after,
        }
    }

    fn observe(&mut self, free_bytes: u64) -> Option<Change> {
        let was_low = std::mem::replace(&mut self.is_low, free_bytes < self.min_bytes);
        self.quiet += 1;
        let is_reminder = self.is_low && self.quiet >= self.remind_after;
        if was_low == self.is_low && !is_reminder {
            return None;
        }
        self.quiet = 0;
        Some(if self.is_low {
            Change::Low
        } else {
            Change::Enough
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn news_are_a_change_and_a_reminder_now_and_then() {
        let mut level = Level::new(100, REMIND_INTERVAL / 3);
        assert_eq!(level.observe(100), None);
        assert_eq!(level.observe(99), Some(Change::Low));
        assert_eq!(level.observe(98), None);
        assert_eq!(level.observe(98), None);
        assert_eq!(level.observe(98), Some(Change::Low));
        assert_eq!(level.observe(98), None);
        assert_eq!(level.observe(200), Some(Change::Enough));
        assert_eq!(level.observe(200), None);
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
        let ends = async |watch, patience| {
            timeout(patience, run(watch, dir.path(), |_, _| {}))
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
        let patience = Duration::from_millis(20);
        assert!(!ends(watch(LowStorageAction::Terminate, 0), patience).await);
        assert!(!ends(watch(LowStorageAction::None, u64::MAX), patience).await);
        assert!(!ends(watch(LowStorageAction::Handover, u64::MAX), patience).await);
    }
}
