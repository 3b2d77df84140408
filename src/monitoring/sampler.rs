//! Samples the state of the server every two seconds.

use std::{
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use dqlite::tls::Tls;
use etcd_state::mvcc::Revision;
use telemetry::metrics::{CALLS, Counter, Histogram, ProcessUse};
use tokio::time::{MissedTickBehavior, timeout};

use super::{
    FileStats, Point, ReportCache, Ring, Totals,
    certificates::Reminder,
    file_stats::FilePaths,
    point::Gauges,
    view::{NodeView, ViewNow},
};
use crate::{
    cluster::peer::OwnFiles,
    store::{Pages, Store},
    watch::WatchHub,
};

/// The interval of the samples: what the plots can tell apart. One sample costs some 100 us.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);

/// The number of samples after which files and the database's size are read again: every 10 s.
const LOOKS_PER_READING: u32 = 5;

/// The longest wait for the writer to say how large the database is.
const PAGES_TIMEOUT: Duration = Duration::from_secs(1);

/// Bounds from 125 us to 16.384 s, in microseconds.
const LOG_WRITE_FIRST_US: u64 = 125;
const LOG_WRITE_BUCKETS: usize = 18;

/// Writes to the engine's log, each durable at its end, and their bytes. Of the process: it has one engine.
pub static LOG_WRITES: LogWrites = LogWrites {
    etcd_us: Histogram::new(1000),
    took_us: Histogram::new(LOG_WRITE_FIRST_US),
    bytes: Counter::new(),
};

#[derive(Debug)]
pub struct LogWrites {
    /// A histogram with etcd's bounds.
    pub etcd_us: Histogram<14>,
    pub took_us: Histogram<LOG_WRITE_BUCKETS>,
    pub bytes: Counter,
}

/// Counts the engine's writes to its log from now on.
pub fn watch_log_writes() {
    dqlite::node::log_writes::observe_log_writes(|took, bytes| {
        let took_us = took.as_micros() as u64;
        LOG_WRITES.etcd_us.observe(took_us);
        LOG_WRITES.took_us.observe(took_us);
        LOG_WRITES.bytes.add(bytes);
    });
}

pub struct ObservedOptions {
    pub store: Store,
    pub paths: FilePaths,
    pub view: ViewNow,
    /// The certificate and authority with which other nodes are asked.
    pub tls: Option<Tls>,
}

/// The observations of the task, for others to read.
pub struct Observed {
    store: Store,
    paths: FilePaths,
    view: Arc<ViewNow>,
    pub cluster: ReportCache,
    started: Instant,
    file_stats: ArcSwap<FileStats>,
    ring: Mutex<Ring>,
    /// The compaction revision that was last seen, and the time of its change, in seconds since
    /// 1970.
    compacted: Mutex<(Revision, Option<i64>)>,
}

impl Observed {
    pub fn new(options: ObservedOptions) -> Arc<Self> {
        let ObservedOptions {
            store,
            paths,
            view,
            tls,
        } = options;
        let view = Arc::new(view);
        let (nodes, own) = (view.clone(), view.clone());
        let files = OwnFiles {
            dir: paths.storage_dir.clone(),
            tls: tls.clone(),
        };
        let of_own = store.clone();
        let cluster = ReportCache::new(
            Box::new(move || nodes().status_targets(tls.clone())),
            Box::new(move || {
                let (view, store, files) = (own(), of_own.clone(), files.clone());
                Box::pin(async move { view.about(&store, &files).await })
            }),
        );
        Arc::new(Self {
            store,
            paths,
            view,
            cluster,
            started: Instant::now(),
            file_stats: ArcSwap::from_pointee(FileStats::default()),
            ring: Mutex::default(),
            compacted: Mutex::new((Revision::NONE, None)),
        })
    }

    pub fn view(&self) -> NodeView {
        (self.view)()
    }

    pub fn file_stats(&self) -> FileStats {
        **self.file_stats.load()
    }

    pub fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("no panic while it is held")
    }

    /// Returns when the store was last seen to have been compacted since this process began, in
    /// seconds since 1970.
    pub fn compacted_s(&self) -> Option<i64> {
        self.compacted.lock().expect("no panic while it is held").1
    }

    /// Runs until it is dropped. `hub` is none until clients are served.
    pub async fn run(self: Arc<Self>, hub: impl Fn() -> Option<Arc<WatchHub>>) {
        let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = None;
        let mut pages = None;
        let mut was_loaded = false;
        let mut reminder = Reminder::default();
        for look in 0_u32.. {
            ticks.tick().await;
            let is_loaded = self.store.is_loaded();
            if look % LOOKS_PER_READING == 0 || is_loaded != was_loaded {
                pages = self.read().await;
                reminder.look(&self.file_stats(), (now_ms() / 1000).cast_signed());
            }
            was_loaded = is_loaded;
            let totals = self.totals(hub().as_deref(), pages);
            self.note_compaction(&totals);
            if let Some(point) = before.and_then(|before| Point::between(&before, &totals)) {
                self.ring().push(point);
            }
            before = Some(totals);
        }
    }

    async fn read(&self) -> Option<Pages> {
        let paths = self.paths.clone();
        let reading = tokio::task::spawn_blocking(move || FileStats::read(&paths));
        // Otherwise the server stops.
        if let Ok(file_stats) = reading.await {
            self.file_stats.store(Arc::new(file_stats));
        }
        if !self.store.is_loaded() {
            return None;
        }
        timeout(PAGES_TIMEOUT, self.store.recent_pages())
            .await
            .ok()?
            .ok()
    }

    fn note_compaction(&self, totals: &Totals) {
        let revision = totals.gauges.compact_revision;
        let mut compacted = self.compacted.lock().expect("no panic while it is held");
        let (known, at) = &mut *compacted;
        // What was compacted before this process began has no time.
        if revision > *known && *known > Revision::NONE {
            *at = Some((totals.at_ms / 1000) as i64);
        }
        if self.store.is_loaded() {
            *known = revision.max(Revision::FIRST);
        }
    }

    fn totals(&self, hub: Option<&WatchHub>, pages: Option<Pages>) -> Totals {
        let metrics = self.store.metrics();
        let process = ProcessUse::read_without_files();
        let file_stats = self.file_stats();
        let size = self.store.history().size();
        let watch = hub.map(WatchHub::metrics);
        let watches = |count: &std::sync::atomic::AtomicI64| count.load(Ordering::Relaxed);
        let revision = self.store.revision();
        Totals {
            at_s: self.started.elapsed().as_secs_f64(),
            at_ms: now_ms(),
            traffic: CALLS.traffic(),
            write_us: metrics.write_us.distribution(),
            commit_us: metrics.engine_us.distribution(),
            log_write_us: LOG_WRITES.took_us.distribution(),
            batch_requests: metrics.batch_requests.distribution(),
            events: watch.map_or(0, |watch| watch.events.load(Ordering::Relaxed)),
            received_bytes: CALLS.received_bytes.get(),
            sent_bytes: CALLS.sent_bytes.get(),
            cpu_s: process.cpu_seconds,
            gauges: Gauges {
                revision,
                compact_revision: self.store.history().compact_revision(),
                keys: size.keys as u64,
                leases: self.store.lease_count().map(|count| count as u64),
                watchers: watch.map_or(0, |watch| watches(&watch.watchers)),
                slow_watchers: watch.map_or(0, |watch| watches(&watch.slow_watchers)),
                watch_lag_revisions: hub.map_or(0, |hub| revision.since(hub.position()).max(0)),
                queue_requests: self.store.queued().0 as u64,
                database_bytes: pages.map(Pages::total_bytes),
                database_used_bytes: pages.map(Pages::used_bytes),
                index_bytes: size.live_bytes + size.superseded_bytes,
                log_bytes: file_stats.log_bytes,
                snapshot_bytes: file_stats.snapshot_bytes,
                resident_bytes: process.resident_bytes,
                disk_free_bytes: file_stats.disk_free_bytes,
            },
        }
    }
}

/// Returns the time in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_millis() as u64
}
