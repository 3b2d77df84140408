//! The CPU profile: samples of the stacks that run.

use std::{
    collections::HashMap,
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use super::{
    modules::Stacks,
    pprof::{Entry, Profile},
    sampler::{Interrupts, RATE_HZ, drain},
};

/// The interval at which samples are read; the ring holds those of ten times as long.
const READ_INTERVAL: Duration = Duration::from_millis(50);

/// Different stacks that are kept, some 100 MB at most; samples of others are counted only.
const MAX_STACKS: usize = 100_000;

/// Threads whose names are remembered; the server has some dozen.
const MAX_THREADS: usize = 1024;

const PERIOD_NS: i64 = 1_000_000_000 / RATE_HZ as i64;

/// There is one timer for the process.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

#[derive(Debug, thiserror::Error)]
pub enum Busy {
    #[error("cpu profiling already in use")]
    Taken,
    #[error("{0}")]
    System(#[from] io::Error),
}

/// A profile that is being recorded. Dropped, it is given up.
pub struct CpuProfile {
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<Recorded>>,
    began: SystemTime,
}

type Counts = HashMap<(i32, Vec<u64>), i64>;

struct Recorded {
    counts: Counts,
    threads: HashMap<i32, String>,
    dropped: u64,
    lost: u64,
    took: Duration,
}

/// The timer, until it is dropped.
struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        IS_TAKEN.store(false, Ordering::Release);
    }
}

impl CpuProfile {
    /// Ends by itself after `limit`.
    pub fn start(limit: Duration) -> Result<Self, Busy> {
        if IS_TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Busy::Taken);
        }
        let taken = Taken;
        // Those of the last profile.
        drain(|_| {});
        let interrupts = Interrupts::start()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let reader = thread::Builder::new()
            .name("profiler".to_owned())
            .spawn(move || {
                let recorded = record(&interrupts, limit, &over);
                drop((interrupts, taken));
                recorded
            })?;
        Ok(Self {
            is_over,
            reader: Some(reader),
            began: SystemTime::now(),
        })
    }

    /// Ends it now, which takes a moment. Names are found when it is written.
    pub fn finish(&mut self) -> Profile {
        self.is_over.store(true, Ordering::Release);
        let reader = self.reader.take().expect("it was not finished");
        let recorded = reader.join().expect("the reader does not panic");
        recorded.into_profile(self.began)
    }
}

impl Drop for CpuProfile {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

fn record(interrupts: &Interrupts, limit: Duration, is_over: &AtomicBool) -> Recorded {
    let began = Instant::now();
    let mut stacks = Stacks::new();
    let mut recorded = Recorded {
        counts: Counts::new(),
        threads: HashMap::new(),
        dropped: 0,
        lost: 0,
        took: Duration::ZERO,
    };
    loop {
        let is_last = is_over.load(Ordering::Acquire) || began.elapsed() >= limit;
        drain(|sample| {
            let stack = stacks.walk(&sample);
            recorded.add(sample.thread, stack);
        });
        if is_last {
            break;
        }
        thread::sleep(READ_INTERVAL);
    }
    recorded.lost = interrupts.lost();
    recorded.took = began.elapsed();
    recorded
}

impl Recorded {
    fn add(&mut self, thread: i32, stack: Vec<u64>) {
        if self.threads.len() < MAX_THREADS {
            self.threads
                .entry(thread)
                .or_insert_with(|| thread_name(thread));
        }
        let is_full = self.counts.len() >= MAX_STACKS;
        match self.counts.get_mut(&(thread, stack.clone())) {
            Some(count) => *count += 1,
            None if is_full => self.dropped += 1,
            None => {
                self.counts.insert((thread, stack), 1);
            }
        }
    }

    fn into_profile(self, began: SystemTime) -> Profile {
        let Self {
            counts,
            threads,
            dropped,
            lost,
            took,
        } = self;
        let entries = counts.into_iter().map(|((thread, stack), count)| Entry {
            stack,
            values: vec![count, count * PERIOD_NS],
            thread: threads.get(&thread).cloned(),
            name: None,
        });
        let missing = lost + dropped;
        let comments = (missing > 0).then(|| format!("{missing} samples were not kept"));
        Profile {
            kinds: &[("samples", "count"), ("cpu", "nanoseconds")],
            default_kind: "cpu",
            period_kind: ("cpu", "nanoseconds"),
            period: PERIOD_NS,
            began,
            duration: took,
            comments: comments.into_iter().collect(),
            entries: entries.collect(),
        }
    }
}

fn thread_name(thread: i32) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
    // One that has ended has no name any more.
    name.map_or_else(|_| thread.to_string(), |name| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn spin(until: Instant) -> u64 {
        let mut sum = 0_u64;
        while Instant::now() < until {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        sum
    }

    #[test]
    fn what_uses_the_processor_is_in_its_profile() {
        let mut profile = CpuProfile::start(Duration::from_secs(60)).unwrap();
        assert!(matches!(
            CpuProfile::start(Duration::from_secs(1)),
            Err(Busy::Taken)
        ));
        spin(Instant::now() + Duration::from_secs(1));
        let folded = profile.finish().to_folded();
        let spinning: Vec<_> = folded
            .lines()
            .filter(|line| line.contains("::cpu::") && line.contains("::spin"))
            .collect();
        assert!(!spinning.is_empty(), "{folded}");
        // The stack is whole: it goes down to where the thread began.
        assert!(
            spinning.iter().any(|line| line.contains("thread::")),
            "{spinning:?}"
        );
        // Free again.
        drop(CpuProfile::start(Duration::from_secs(1)).unwrap());
    }
}
