//! Counters, and the page on which Prometheus reads them. Knows nothing of what is counted.
//!
//! Invariant: counting is a few relaxed additions, without an allocation or a lock. Everything that costs more
//! is done when the page is written.

mod calls;
mod histogram;
mod page;
mod process;

use std::sync::atomic::{AtomicU64, Ordering};

pub use self::{
    calls::{CALLS, Calls, MethodCalls, Traffic},
    histogram::{Distribution, Histogram},
    page::{Kind, Page},
    process::ProcessUse,
};

/// Answers of `/health`, of the process.
#[derive(Debug)]
pub struct HealthChecks {
    pub succeeded: Counter,
    pub failed: Counter,
}

pub static HEALTH_CHECKS: HealthChecks = HealthChecks {
    succeeded: Counter::new(),
    failed: Counter::new(),
};

/// Counts up since the start.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
