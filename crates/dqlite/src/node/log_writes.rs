//! Makes the engine's writes to its log, so that the thread which waits for the disk is one of ours.
//!
//! The engine asks the kernel to write asynchronously ([`super::aio`]). For a write that has to be durable, the kernel
//! then finishes it on a thread of its own, of ordinary priority: where something else uses the CPUs, that one waits for
//! the next tick of the scheduler, 4 ms for a write of 0.1 ms. A thread that waits in the write itself is woken at once.
//! So the engine's loop writes, in its next turn, after it has sent what goes to other nodes; or, where the disk is slow
//! or much is to be written, a thread of this module does, and the loop goes on meanwhile. The engine is told as by the
//! kernel: an eventfd counts up, and the next `io_getevents` has the result.

use std::{
    ffi::{c_int, c_long},
    io,
    mem::MaybeUninit,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    turns,
    zeros_ahead::{self, Place},
};

/// Called for each write to the log, with the time that the disk took and the number of bytes.
type Observer = fn(Duration, u64);

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// `observer` is called on the engine's loop, which waits for it, or on another thread: it must do next to nothing. The
/// first one stays. Where the engine cannot write asynchronously, as on tmpfs, nothing is reported.
pub fn observe_log_writes(observer: Observer) {
    let _ = OBSERVER.set(observer);
}

/// The most that the loop writes at once.
const IN_TURN_MAX_BYTES: u64 = 256 * 1024;

/// The mean time of a write from which on the loop does not wait: a small part of the shortest interval between two
/// heartbeats.
const IN_TURN_MAX: Duration = Duration::from_millis(1);

/// The share of the newest write in the mean.
const NEWEST_SHARE: u64 = 8;

/// Writes that wait for the thread. The engine has one under way, or a few where segments change.
const QUEUE_MAX: usize = 16;

static MEAN_NS: AtomicU64 = AtomicU64::new(0);

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Event {
    pub data: u64,
    pub request: u64,
    pub result: i64,
    pub result2: i64,
}

/// Events that the engine has not fetched, with the context of each: no more than the writes that it has under way.
static DONE: Mutex<Vec<(c_long, Event)>> = Mutex::new(Vec::new());

fn done() -> MutexGuard<'static, Vec<(c_long, Event)>> {
    // A list that is pushed to and taken from is whole at any time.
    DONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A write that the engine has handed over. The buffers are the engine's, which keeps them until it has fetched the
/// event.
pub(super) struct Write {
    pub context: c_long,
    /// The engine's names for the request.
    pub data: u64,
    pub request: u64,
    pub file: c_int,
    /// Addresses an array of `iovec`.
    pub buffers: u64,
    pub buffer_count: c_int,
    pub bytes: u64,
    pub offset: i64,
    /// The eventfd that tells when it is done.
    pub tells: c_int,
}

/// Begins a write, on the engine's loop.
pub(super) fn begin(write: Write) {
    let is_fast = MEAN_NS.load(Ordering::Relaxed) <= IN_TURN_MAX.as_nanos() as u64;
    if is_fast && write.bytes <= IN_TURN_MAX_BYTES {
        if let Err(work) = turns::run_next(Box::new(move || write.run())) {
            work();
        }
    } else if let Err(write) = hand_over(write) {
        write.run();
    }
}

/// Returns the write if the thread cannot take it.
fn hand_over(write: Write) -> Result<(), Write> {
    static QUEUE: OnceLock<Option<SyncSender<Write>>> = OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        let (sender, writes) = sync_channel::<Write>(QUEUE_MAX);
        thread::Builder::new()
            .name("dqlite-log".to_owned())
            .spawn(move || writes.iter().for_each(Write::run))
            .ok()
            .map(|_| sender)
    });
    match queue {
        Some(queue) => queue.try_send(write).map_err(|error| match error {
            TrySendError::Full(write) | TrySendError::Disconnected(write) => write,
        }),
        None => Err(write),
    }
}

/// Moves events of a context to `events`, and returns their number.
pub(super) fn take(context: c_long, events: &mut [MaybeUninit<Event>]) -> usize {
    let mut done = done();
    let mut taken = 0;
    done.retain(|(of, event)| {
        let is_taken = *of == context && taken < events.len();
        if is_taken {
            events[taken].write(*event);
            taken += 1;
        }
        !is_taken
    });
    taken
}

impl Write {
    fn run(self) {
        let started = Instant::now();
        let result = self.write();
        let took = started.elapsed();
        note(took);
        if let (Some(observer), Ok(bytes)) = (OBSERVER.get(), u64::try_from(result)) {
            observer(took, bytes);
        }
        let event = Event {
            data: self.data,
            request: self.request,
            result,
            result2: 0,
        };
        done().push((self.context, event));
        let one = 1u64.to_ne_bytes();
        // SAFETY: the engine keeps its eventfd while a write is under way. It fails only if nobody has read it 2^64 times.
        unsafe { libc::write(self.tells, one.as_ptr().cast(), one.len()) };
    }

    /// Returns the number of bytes, or a negative errno.
    fn write(&self) -> i64 {
        let place = Place {
            file: self.file,
            offset: self.offset.unsigned_abs(),
            bytes: self.bytes,
        };
        // SAFETY: the engine's array of buffers, which it keeps until it has fetched the event.
        let buffers = unsafe {
            let buffers = self.buffers as *const libc::iovec;
            std::slice::from_raw_parts(buffers, self.buffer_count as usize)
        };
        let extended = match buffers {
            [buffer] => zeros_ahead::extend(place, *buffer),
            _ => None,
        };
        if let Some(extended) = extended {
            let result = write_at(place, extended.as_slice());
            match u64::try_from(result) {
                Ok(count) if count >= self.bytes => {
                    zeros_ahead::written(place, count);
                    return self.bytes as i64;
                }
                Err(_) if !may_be_for_the_zeros(result) => return result,
                // It is done again without zeros.
                _ => {}
            }
        }
        let result = write_at(place, buffers);
        zeros_ahead::written(place, u64::try_from(result).unwrap_or(0));
        result
    }
}

/// Returns whether a write with this result might succeed without zeros behind it. All others are failures of the disk.
fn may_be_for_the_zeros(result: i64) -> bool {
    [libc::ENOSPC, libc::EDQUOT, libc::EINVAL, libc::EFBIG]
        .map(|errno| -i64::from(errno))
        .contains(&result)
}

/// Returns the number of bytes, or a negative errno.
fn write_at(place: Place, buffers: &[libc::iovec]) -> i64 {
    loop {
        // SAFETY: the engine's file, and buffers that are there for as long as the caller has them.
        let count = unsafe {
            libc::pwritev(
                place.file,
                buffers.as_ptr(),
                buffers.len() as c_int,
                place.offset as i64,
            )
        };
        if count >= 0 {
            return count as i64;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            errno => return -i64::from(errno.unwrap_or(libc::EIO)),
        }
    }
}

fn note(took: Duration) {
    let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / NEWEST_SHARE);
    let mean_ns = MEAN_NS.load(Ordering::Relaxed);
    let mean_ns = mean_ns - mean_ns / NEWEST_SHARE + took_ns / NEWEST_SHARE;
    MEAN_NS.store(mean_ns, Ordering::Relaxed);
}
