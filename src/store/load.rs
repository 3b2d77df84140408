//! Opening the store: reads the database back into the index.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use etcd_state::{
    auth::Rules,
    lease::LeaseTable,
    mvcc::{Commit, History, Replay, RowId, Tree},
    requests::Sender,
    settings::Settings,
};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::{
    MAX_QUEUED, OpenError, Replica, Shared, Store, StoreOptions,
    database::{Database, Meta, StoredLease},
    quota::{QuotaBytes, SUGGESTED_MAX_BYTES},
};

/// The interval at which loading logs its progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A store with nothing in it, before this node leads or follows.
pub fn empty(options: StoreOptions) -> (Store, Replica) {
    log_quota(options.quota);
    let settings = Settings::default();
    let shared = Arc::new(Shared {
        endpoint: options.endpoint,
        is_disk_full: options.is_disk_full,
        cluster: options.cluster,
        cluster_id: AtomicU64::new(options.cluster_id.known().unwrap_or_else(rand::random)),
        history_id: options.cluster_id,
        member_id: options.member_id,
        quota: options.quota,
        limits: options.limits,
        layout: options.layout,
        is_disk_low: AtomicBool::new(false),
        is_loaded: AtomicBool::new(false),
        history: Arc::default(),
        leases: Mutex::default(),
        rules: Arc::new(ArcSwap::from_pointee(Rules::new(&settings))),
        settings: ArcSwap::from_pointee(settings),
        queued_bytes: AtomicUsize::new(0),
        metrics: Default::default(),
        recent_pages: Default::default(),
        recent_batches: Default::default(),
        granted_leases: Default::default(),
        started: Instant::now(),
        published: watch::Sender::new(()),
    });
    let (sender, queue) = mpsc::channel(MAX_QUEUED);
    let store = Store {
        shared: shared.clone(),
        queue: sender,
        auth_revision: None,
        sender: Sender::default(),
    };
    let replica = Replica {
        shared,
        queue,
        backlog: VecDeque::new(),
        is_converted: false,
        observer: Box::new(|_: &[Arc<Commit>]| {}),
    };
    (store, replica)
}

/// Reads the change table back into an index. Returns the rows, too, that a purge has left.
pub(super) async fn load(
    database: &mut Database,
    meta: Meta,
) -> Result<(History, Vec<RowId>), OpenError> {
    let started = Instant::now();
    let total = database.count_changes().await?;
    let mut replay = Replay::new(meta.compact_revision).at_least(meta.least_revision);
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
    info!(
        revision = history.head().revision.number(),
        superfluous_rows = garbage.len(),
        took = ?started.elapsed(),
        "loaded the store"
    );
    Ok((history, garbage))
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

/// Builds the lease table from what is stored.
pub(super) fn restore_leases(stored: &[StoredLease], tree: &Tree, now_ms: u64) -> LeaseTable {
    let mut leases = LeaseTable::default();
    for lease in stored {
        leases.insert(lease.id, lease.granted_ttl_s, lease.remaining_s, now_ms);
    }
    if !leases.is_empty() {
        for kv in tree.iter().filter(|kv| !kv.lease.is_none()) {
            leases.attach(kv.lease, &kv.key);
        }
    }
    leases
}
