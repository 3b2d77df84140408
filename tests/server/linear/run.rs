//! The state that all tasks of a run share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::transport::Endpoint;

use super::history::{History, Lease, Operation, Stream};
use crate::harness::Api;

/// The timeout of a connection: a node that is dead or cut off holds up a client for this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

pub struct Run {
    began: Instant,
    pub urls: Vec<String>,
    history: Mutex<History>,
    stopped: AtomicBool,
    next_value: AtomicU64,
    /// The highest revision that a watcher of all keys has: a compaction below loses nothing.
    watched: AtomicI64,
    pub register_calls: AtomicU64,
}

impl Run {
    pub fn new(urls: Vec<String>) -> Self {
        Self {
            began: Instant::now(),
            urls,
            history: Mutex::default(),
            stopped: AtomicBool::new(false),
            next_value: AtomicU64::new(1),
            watched: AtomicI64::new(1),
            register_calls: AtomicU64::new(0),
        }
    }

    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// A connection that is made when it is used, and again when it broke.
    pub fn api(&self, node: usize) -> Api {
        let endpoint = Endpoint::from_shared(self.urls[node].clone()).unwrap();
        Api::over(endpoint.connect_timeout(CONNECT_TIMEOUT).connect_lazy())
    }

    pub fn unique_value(&self) -> String {
        format!("v{}", self.next_value.fetch_add(1, Ordering::Relaxed))
    }

    pub fn saw(&self, revision: i64) {
        self.watched.fetch_max(revision, Ordering::Relaxed);
    }

    pub fn watched(&self) -> i64 {
        self.watched.load(Ordering::Relaxed)
    }

    pub fn record(&self, operation: Operation) {
        self.history.lock().unwrap().operations.push(operation);
    }

    pub fn record_stream(&self, stream: Stream) {
        self.history.lock().unwrap().streams.push(stream);
    }

    pub fn record_lease(&self, lease: Lease) {
        self.history.lock().unwrap().leases.push(lease);
    }

    pub fn take_history(&self) -> History {
        std::mem::take(&mut *self.history.lock().unwrap())
    }
}
