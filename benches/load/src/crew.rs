//! Threads that work together inside one measured window.
//!
//! Each thread has its own single-threaded runtime and its own connections, so that no call wakes
//! another thread: the generator shares the machine with the server and has to stay small. All
//! threads get ready first, then the window is set for all of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::LocalSet;

use crate::failure::Failure;
use crate::histogram::Histogram;
use crate::meter::{Cost, Meter};

/// The time after the window's end in which an answer may still come before it counts as missing.
pub const GRACE: Duration = Duration::from_secs(10);
/// Longest run that is bounded by a number of operations only.
const MAX_RUN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Load before the window opens, not measured.
    pub warm_up: Duration,
    pub length: Duration,
    /// Stop after so many operations instead of after `length`, without warm-up.
    pub operations: Option<u64>,
}

/// The time in which calls may start, and the number of calls. Calls that finish in this time
/// count.
#[derive(Debug)]
pub struct Window {
    pub start: Instant,
    pub end: Instant,
    budget: Option<AtomicU64>,
}

impl Window {
    pub fn new(schedule: &Schedule) -> Self {
        let now = Instant::now();
        let (start, length) = match schedule.operations {
            Some(_) => (now, MAX_RUN),
            None => (now + schedule.warm_up, schedule.length),
        };
        Window {
            start,
            end: start + length,
            budget: schedule.operations.map(AtomicU64::new),
        }
    }

    /// Returns whether one more call may start; each `true` takes one call from the budget.
    pub fn admits(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        Instant::now() < self.end
            && self.budget.as_ref().is_none_or(|budget| {
                budget
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
            })
    }

    /// Returns whether a call that finished at `at` counts.
    pub fn holds(&self, at: Instant) -> bool {
        (self.start..self.end).contains(&at)
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    pub latency: Histogram,
    pub operations: u64,
    /// Writes that caused the operations, where the two differ (watch events).
    pub writes: Option<u64>,
    pub failures: crate::failure::Failures,
}

impl Tally {
    pub fn success(&mut self, latency: Duration) {
        self.operations += 1;
        self.latency.record(latency);
    }

    fn merge(&mut self, other: Tally) {
        self.latency.merge(&other.latency);
        self.operations += other.operations;
        if let Some(writes) = other.writes {
            *self.writes.get_or_insert_default() += writes;
        }
        self.failures.merge(other.failures);
    }
}

/// The work of the threads of one run.
pub trait Crew: Sync {
    type Ready;

    /// Connects; `thread` counts from 0.
    async fn prepare(&self, thread: usize) -> Result<Self::Ready, Failure>;

    /// Works until the window ends and all answers are in or overdue.
    async fn work(&self, ready: Self::Ready, window: Arc<Window>) -> Tally;
}

pub fn run<C: Crew>(
    crew: &C,
    threads: usize,
    schedule: &Schedule,
    server_pids: &[u32],
) -> Result<(Tally, Cost), Failure> {
    thread::scope(|scope| {
        let (ready, prepared) = mpsc::channel();
        let (starters, workers): (Vec<_>, Vec<_>) = (0..threads)
            .map(|index| {
                let (starter, start) = mpsc::channel::<Arc<Window>>();
                let ready = ready.clone();
                (
                    starter,
                    scope.spawn(move || work_on_thread(crew, index, &ready, &start)),
                )
            })
            .unzip();
        for _ in 0..threads {
            prepared
                .recv()
                .expect("every thread says whether it is ready")?;
        }
        let window = Arc::new(Window::new(schedule));
        for starter in starters {
            // A thread that panicked is noticed when it is joined.
            let _ = starter.send(Arc::clone(&window));
        }
        thread::sleep(window.start.saturating_duration_since(Instant::now()));
        let meter = Meter::start(server_pids)?;
        let mut cost = None;
        if schedule.operations.is_none() {
            thread::sleep(window.end.saturating_duration_since(Instant::now()));
            cost = Some(meter.stop()?);
        }
        let mut tally = Tally::default();
        for worker in workers {
            tally.merge(worker.join().expect("a load thread panicked"));
        }
        Ok((tally, cost.map_or_else(|| meter.stop(), Ok)?))
    })
}

fn work_on_thread<C: Crew>(
    crew: &C,
    thread: usize,
    ready: &mpsc::Sender<Result<(), Failure>>,
    start: &mpsc::Receiver<Arc<Window>>,
) -> Tally {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(Failure::Machine(format!(
                "cannot start a runtime: {error}"
            ))));
            return Tally::default();
        }
    };
    LocalSet::new().block_on(&runtime, async {
        match crew.prepare(thread).await {
            Ok(prepared) => {
                let _ = ready.send(Ok(()));
                // The sender is dropped when another thread could not get ready.
                match start.recv() {
                    Ok(window) => crew.work(prepared, window).await,
                    Err(_) => Tally::default(),
                }
            }
            Err(failure) => {
                let _ = ready.send(Err(failure));
                Tally::default()
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(operations: Option<u64>) -> Schedule {
        Schedule {
            warm_up: Duration::from_secs(5),
            length: Duration::from_secs(5),
            operations,
        }
    }

    #[test]
    fn a_budget_admits_exactly_so_many_calls() {
        let window = Window::new(&schedule(Some(3)));
        assert_eq!((0..10).filter(|_| window.admits()).count(), 3);
    }

    #[test]
    fn calls_of_the_warm_up_run_but_do_not_count() {
        let window = Window::new(&schedule(None));
        assert!(window.admits());
        assert!(!window.holds(Instant::now()));
        assert!(window.holds(window.start) && !window.holds(window.end));
    }
}
