//! The heap profile: an allocator that samples one of the allocations in every 512 KiB, as Go's does.
//!
//! Only memory that Rust allocates has stacks. The memory of the C libraries is one number: the engine keeps the pages
//! of the database there.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{
    pprof::{Entry, Profile},
    symbols::{Place, Symbols},
};

/// Bytes between two samples, on average: Go's `MemProfileRate`.
const RATE_BYTES: u64 = 512 * 1024;

/// Frames of a stack.
const MAX_FRAMES: usize = 64;

/// Different stacks that are kept; allocations of others are not sampled.
const MAX_STACKS: usize = 20_000;

/// Counters by which most addresses that have no sample are recognised: with 1 GiB in use, 97 of 100.
const FILTER_SLOTS: usize = 1 << 16;

static IS_ON: AtomicBool = AtomicBool::new(false);
static FILTER: [AtomicU16; FILTER_SLOTS] = [const { AtomicU16::new(0) }; FILTER_SLOTS];
static HEAP: Mutex<Option<Heap>> = Mutex::new(None);

thread_local! {
    /// Bytes until the next sample.
    static LEFT: Cell<i64> = const { Cell::new(0) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    /// Within the sampler, which allocates itself.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, observed once [`start`] was called.
pub struct Sampled;

// SAFETY: all memory is the system allocator's, with the layouts that it was asked for.
unsafe impl GlobalAlloc for Sampled {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let pointer = unsafe { System.alloc(layout) };
        if IS_ON.load(Ordering::Relaxed) {
            allocated(pointer, layout.size());
        }
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if IS_ON.load(Ordering::Relaxed) {
            allocated(pointer, layout.size());
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if IS_ON.load(Ordering::Relaxed) {
            freed(pointer);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        if IS_ON.load(Ordering::Relaxed) && !moved.is_null() {
            freed(pointer);
            allocated(moved, new_size);
        }
        moved
    }
}

/// Samples allocations from now on, until the process ends.
pub fn start() {
    *heap() = Some(Heap::default());
    IS_ON.store(true, Ordering::Release);
}

fn heap() -> MutexGuard<'static, Option<Heap>> {
    HEAP.lock().expect("no panic while it is held")
}

#[inline]
fn allocated(pointer: *mut u8, size: usize) {
    // A thread that ends has no variables any more.
    let is_due = LEFT.try_with(|left| {
        left.set(left.get() - size as i64);
        left.get() < 0
    });
    if is_due == Ok(true) && !pointer.is_null() {
        sample(pointer as usize, size);
    }
}

#[cold]
fn sample(address: usize, size: usize) {
    if IS_INSIDE.replace(true) {
        return;
    }
    // The first of a thread only sets when the next one is due.
    let is_first = RANDOM.get() == 0;
    LEFT.set(next_distance());
    if !is_first {
        let mut stack = [0; MAX_FRAMES];
        let depth = own_stack(&mut stack);
        if let Some(heap) = heap().as_mut() {
            heap.allocated(address, size, &stack[..depth]);
        }
    }
    IS_INSIDE.set(false);
}

#[inline]
fn freed(pointer: *mut u8) {
    let address = pointer as usize;
    if filter(address).load(Ordering::Acquire) == 0 {
        return;
    }
    forget(address);
}

#[cold]
fn forget(address: usize) {
    // What the sampler itself allocated was not sampled.
    let is_inside = IS_INSIDE.try_with(|inside| inside.replace(true));
    if is_inside == Ok(true) {
        return;
    }
    if let Some(heap) = heap().as_mut() {
        heap.freed(address);
    }
    let _ = IS_INSIDE.try_with(|inside| inside.set(false));
}

fn filter(address: usize) -> &'static AtomicU16 {
    // Fibonacci hashing of the address without its constant low bits.
    let hash = (address as u64 >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    &FILTER[(hash >> 48) as usize % FILTER_SLOTS]
}

/// Exponentially distributed, so that no pattern of sizes escapes.
fn next_distance() -> i64 {
    let mut state = RANDOM.get();
    if state == 0 {
        let address = &raw const state as u64;
        state = address ^ 0x9e37_79b9_7f4a_7c15;
    }
    // xorshift64, by Marsaglia.
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    RANDOM.set(state);
    let uniform = ((state >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
    (-uniform.ln() * RATE_BYTES as f64) as i64
}

fn own_stack(stack: &mut [u64; MAX_FRAMES]) -> usize {
    let mut depth = 0;
    // SAFETY: on Linux this is the unwinder of C++'s exceptions, which any threads may use at once. The
    // lock that it goes without is held while names are looked up, for which no allocation may wait.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            // A return address is behind its call.
            stack[depth] = (frame.ip() as u64).saturating_sub(1);
            // Below the first function of a thread there is nothing.
            depth += usize::from(stack[depth] != 0);
            depth < MAX_FRAMES
        });
    }
    depth
}

/// The totals of one stack, scaled from the samples to all allocations.
#[derive(Default, Clone, Copy)]
struct Totals {
    allocated_objects: f64,
    allocated_bytes: f64,
    freed_objects: f64,
    freed_bytes: f64,
}

#[derive(Clone, Copy)]
struct Live {
    stack: usize,
    objects: f64,
    bytes: f64,
}

#[derive(Default)]
struct Heap {
    live: HashMap<usize, Live>,
    numbers: HashMap<Box<[u64]>, usize>,
    totals: Vec<Totals>,
}

impl Heap {
    fn allocated(&mut self, address: usize, size: usize, stack: &[u64]) {
        let number = match self.numbers.get(stack) {
            Some(number) => *number,
            None if self.totals.len() >= MAX_STACKS => return,
            None => {
                let number = self.totals.len();
                self.numbers.insert(stack.into(), number);
                self.totals.push(Totals::default());
                number
            }
        };
        let objects = stands_for(size);
        let live = Live {
            stack: number,
            objects,
            bytes: objects * size as f64,
        };
        let totals = &mut self.totals[number];
        totals.allocated_objects += live.objects;
        totals.allocated_bytes += live.bytes;
        if self.live.insert(address, live).is_none() {
            filter(address).fetch_add(1, Ordering::Release);
        }
    }

    fn freed(&mut self, address: usize) {
        let Some(live) = self.live.remove(&address) else {
            return;
        };
        filter(address).fetch_sub(1, Ordering::Release);
        let totals = &mut self.totals[live.stack];
        totals.freed_objects += live.objects;
        totals.freed_bytes += live.bytes;
    }
}

/// Returns the number of allocations of a size that one sample represents.
fn stands_for(size: usize) -> f64 {
    let chance = 1.0 - (-(size.max(1) as f64) / RATE_BYTES as f64).exp();
    1.0 / chance
}

/// Returns the memory in use and all memory that was ever allocated; `None` if sampling was not started.
pub fn profile(default_kind: &'static str) -> Option<Profile> {
    let is_inside = IS_INSIDE.replace(true);
    let entries = heap().as_ref().map(|heap| {
        let stacks = heap.numbers.iter();
        let entries = stacks.map(|(stack, number)| entry(stack, heap.totals[*number]));
        entries.collect::<Vec<_>>()
    });
    IS_INSIDE.set(is_inside);
    let mut entries = entries?;
    let mut symbols = Symbols::default();
    for entry in &mut entries {
        drop_allocator(&mut entry.stack, &mut symbols);
    }
    let in_rust: i64 = entries.iter().map(|entry| entry.values[3]).sum();
    let in_c = malloc_bytes().saturating_sub_unsigned(in_rust.max(0).cast_unsigned());
    entries.push(Entry {
        stack: Vec::new(),
        values: vec![0, 0, 0, in_c.max(0)],
        thread: None,
        name: Some("C libraries: dqlite, SQLite, libuv, OpenSSL".to_owned()),
    });
    Some(Profile {
        kinds: &[
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
        ],
        default_kind,
        period_kind: ("space", "bytes"),
        period: RATE_BYTES.cast_signed(),
        began: SystemTime::now(),
        duration: Duration::ZERO,
        comments: Vec::new(),
        entries,
    })
}

fn entry(stack: &[u64], totals: Totals) -> Entry {
    let in_use = |allocated: f64, freed: f64| (allocated - freed).round().max(0.0) as i64;
    Entry {
        stack: stack.to_vec(),
        values: vec![
            totals.allocated_objects.round() as i64,
            totals.allocated_bytes.round() as i64,
            in_use(totals.allocated_objects, totals.freed_objects),
            in_use(totals.allocated_bytes, totals.freed_bytes),
        ],
        thread: None,
        name: None,
    }
}

/// Leaves out the frames of the allocator and of the sampling.
fn drop_allocator(stack: &mut Vec<u64>, symbols: &mut Symbols) {
    /// More frames than that has.
    const MAX_DEPTH: usize = 16;
    let is_allocator = |place: &Place| {
        place.file.ends_with("/profiling/heap.rs")
            || place.function.contains("__rust_")
            || place.function.starts_with("backtrace::")
            || place.function.starts_with("alloc::alloc::")
    };
    let innermost = stack.iter().take(MAX_DEPTH);
    // A function with all that is inlined in it is left out only as a whole.
    let last = innermost
        .enumerate()
        .filter(|(_, address)| symbols.of(**address).iter().all(is_allocator))
        .map(|(at, _)| at)
        .last();
    if let Some(last) = last {
        stack.drain(..=last);
    }
}

/// Returns the bytes that `malloc` has given out, to Rust and to C.
#[cfg(target_env = "gnu")]
fn malloc_bytes() -> i64 {
    // SAFETY: it has no preconditions, and locks its arenas itself.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

#[cfg(not(target_env = "gnu"))]
fn malloc_bytes() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_what_was_allocated() {
        // 64-byte objects are sampled once in 8,192; large ones always.
        assert!((stands_for(64) - 8192.5).abs() < 1.0);
        assert!((stands_for(64 * 1024 * 1024) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn distances_have_the_mean_that_is_wanted() {
        const COUNT: i64 = 100_000;
        let sum: i64 = (0..COUNT).map(|_| next_distance()).sum();
        let mean = sum / COUNT;
        let wanted = RATE_BYTES.cast_signed();
        assert!((mean - wanted).abs() < wanted / 50, "{mean}");
    }

    #[test]
    fn what_is_freed_is_no_longer_in_use() {
        let mut heap = Heap::default();
        let size = 2 * RATE_BYTES as usize;
        heap.allocated(0x10, size, &[1, 2]);
        heap.allocated(0x20, size, &[1, 2]);
        heap.freed(0x10);
        heap.freed(0x30);
        let values = entry(&[1, 2], heap.totals[0]).values;
        assert_eq!(values[0], 2);
        assert_eq!(values[2], 1);
        assert!(values[3] >= size as i64 && values[1] >= 2 * size as i64);
        heap.freed(0x20);
        assert_eq!(entry(&[1, 2], heap.totals[0]).values[2..], [0, 0]);
    }
}
