//! Warnings about requests and commits that took long, and why. Few of them: a slow disk makes all of
//! them slow, and a log that says so a thousand times a second makes it slower.

use std::{
    fmt::{self, Write},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::warn;

use crate::tracing::{BatchSize, StepTime, Subject, reason};

/// The default of etcd's `--warning-apply-duration`.
const DEFAULT_THRESHOLD: Duration = Duration::from_millis(100);

/// Lines of one kind in [`PERIOD`]: enough to see what is slow, too few to matter.
const MAX_LINES: u32 = 5;
const PERIOD: Duration = Duration::from_secs(1);

/// Below this a step is not worth mentioning.
const MIN_STEP: Duration = Duration::from_micros(100);

static THRESHOLD_US: AtomicU64 = AtomicU64::new(DEFAULT_THRESHOLD.as_micros() as u64);
static REQUESTS: LazyLock<Mutex<Limit>> = LazyLock::new(Mutex::default);
static COMMITS: LazyLock<Mutex<Limit>> = LazyLock::new(Mutex::default);

/// Sets the duration from which on a request is slow; `None`: none ever is.
pub fn set_threshold(threshold: Option<Duration>) {
    let us = threshold.map_or(u64::MAX, |threshold| threshold.as_micros() as u64);
    THRESHOLD_US.store(us, Ordering::Relaxed);
}

pub fn is_on() -> bool {
    THRESHOLD_US.load(Ordering::Relaxed) != u64::MAX
}

pub fn threshold() -> Duration {
    Duration::from_micros(THRESHOLD_US.load(Ordering::Relaxed))
}

/// The facts about a request that its line contains.
pub struct Request<'a> {
    pub service: &'a str,
    pub name: &'a str,
    pub subject: Option<&'a Subject>,
    /// The time in which the client sent it, and the steps of `took`.
    pub steps: &'a [StepTime],
    pub response_bytes: usize,
    /// The gRPC status code.
    pub code: usize,
    pub took: Duration,
}

/// Says that a request took too long, in etcd's words.
pub fn request(request: &Request<'_>) {
    let Some(suppressed) = allow(&REQUESTS) else {
        return;
    };
    warn!(
        took = ?request.took,
        expected_duration = ?threshold(),
        method = format_args!("{}/{}", request.service, request.name),
        request = request.subject.map_or_else(String::new, ToString::to_string),
        response = format_args!("size:{} code:{}", request.response_bytes, request.code),
        steps = %Steps(request.steps),
        reason = reason(request.steps).name(),
        suppressed,
        "apply request took too long"
    );
}

/// Says that a commit took too long, if it did.
pub fn commit(took: Duration, size: BatchSize) {
    if took < threshold() {
        return;
    }
    let Some(suppressed) = allow(&COMMITS) else {
        return;
    };
    warn!(
        ?took,
        expected_duration = ?threshold(),
        requests = size.requests,
        rows = size.rows,
        bytes = size.bytes,
        suppressed,
        "slow commit: the engine took long to write and sync its log, or to have it replicated"
    );
}

/// Returns the number of lines that were dropped since the last one, or `None` if this one must be dropped, too.
fn allow(limit: &Mutex<Limit>) -> Option<u64> {
    let mut limit = limit.lock().expect("no panic while it is held");
    limit.allow(Instant::now())
}

#[derive(Debug, Default)]
struct Limit {
    period_began: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl Limit {
    fn allow(&mut self, now: Instant) -> Option<u64> {
        if self
            .period_began
            .is_none_or(|began| now.saturating_duration_since(began) >= PERIOD)
        {
            (self.period_began, self.lines) = (Some(now), 0);
        }
        if self.lines >= MAX_LINES {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

struct Steps<'a>(&'a [StepTime]);

impl fmt::Display for Steps<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for time in self.0.iter().filter(|time| time.took >= MIN_STEP) {
            write!(formatter, "{separator}{}:{:?}", time.step.name(), time.took)?;
            separator = " ";
        }
        match separator {
            "" => formatter.write_char('-'),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_few_lines_that_count_the_rest() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        let allowed: Vec<_> = (0..100).filter_map(|_| limit.allow(start)).collect();
        assert_eq!(allowed, [0; MAX_LINES as usize]);
        assert_eq!(limit.allow(start + PERIOD), Some(95));
        assert_eq!(limit.allow(start + PERIOD), Some(0));
    }
}
