//! Opening the store: reads the database back into the index.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{
    MAX_QUEUED, OpenError, Shared, Store, StoreOptions, Writer,
    database::Database,
    purge::Purge,
    quota::{QuotaBytes, SUGGESTED_MAX_BYTES},
    recovery::restore_leases,
};
use crate::mvcc::{Replay, RowId};

/// How often loading says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Opens the database and loads it. The writer does nothing before it is run.
pub async fn open(options: StoreOptions) -> Result<(Store, Writer), OpenError> {
    let started = Instant::now();
    let mut database = Database::open(&options.endpoint).await?;
    let meta = database.prepare_schema(options.cluster_id).await?;
    let total = database.count_changes().await?;
    let mut replay = Replay::new(meta.compact_revision);
    let mut progress = Progress {
        total,
        read: 0,
        last: Instant::now(),
    };
    database
        .read_changes(RowId::MIN, |change| {
            progress.step();
            replay
                .row(change.kind, change.kv, change.prev_revision)
                .map_err(|error| OpenError::Damaged(error.to_string()))
        })
        .await?;
    let (history, garbage) = replay.finish();
    let leases = database.read_leases().await?;
    let settings = database.read_settings().await?;
    let leases = restore_leases(&leases, &history.head().tree, 0);
    let head = history.head();
    info!(
        revision = head.revision,
        compact_revision = meta.compact_revision,
        keys = head.tree.len(),
        leases = leases.len(),
        superfluous_rows = garbage.len(),
        took = ?started.elapsed(),
        "loaded the store"
    );
    log_quota(options.quota);
    let shared = Arc::new(Shared {
        endpoint: options.endpoint,
        is_disk_full: options.is_disk_full,
        cluster_id: meta.cluster_id,
        member_id: options.member_id,
        quota: options.quota,
        limits: options.limits,
        is_disk_low: AtomicBool::new(false),
        history: Arc::new(history),
        leases: Mutex::new(leases),
        settings: ArcSwap::from_pointee(settings),
        queued_bytes: AtomicUsize::new(0),
        metrics: Default::default(),
        recent_pages: Default::default(),
        started: Instant::now(),
    });
    let (sender, queue) = mpsc::channel(MAX_QUEUED);
    let writer = Writer::new(shared.clone(), queue, database, Purge::new(garbage));
    Ok((
        Store {
            shared,
            queue: sender,
        },
        writer,
    ))
}

fn log_quota(quota: QuotaBytes) {
    match quota.limit_bytes() {
        None => info!("there is no quota for the database"),
        Some(quota_bytes) => {
            if quota_bytes > SUGGESTED_MAX_BYTES {
                warn!(
                    quota_bytes,
                    maximum_bytes = SUGGESTED_MAX_BYTES,
                    "the quota exceeds the suggested maximum: the database is held in memory, twice"
                );
            }
            info!(quota_bytes, "the database has a quota");
        }
    }
}

struct Progress {
    total: u64,
    read: u64,
    last: Instant,
}

impl Progress {
    fn step(&mut self) {
        self.read += 1;
        // The clock is not free, and a row is.
        if self.read.is_multiple_of(1024) && self.last.elapsed() > PROGRESS_INTERVAL {
            self.last = Instant::now();
            info!(rows = self.read, of = self.total, "loading the store");
        }
    }
}
