//! The signal that interrupts the running thread, and the samples that its handler takes.
//!
//! The handler calls nothing that is not safe in one: it takes a free slot, and has the kernel copy the
//! top of the stack into it. Only the kernel knows where a stack ends.

use std::{
    cell::UnsafeCell,
    io, mem, ptr,
    sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

/// Interrupts for each second of processor time: Go's rate. A sample costs some microseconds.
pub const RATE_HZ: u32 = 100;

/// The most bytes of a stack that are copied. Futures of futures are some KiB deep; a deeper stack lacks its root.
const STACK_BYTES: usize = 32 * 1024;
const PAGE_BYTES: usize = 4096;
/// The first page may be a part of one.
const PAGES: usize = STACK_BYTES / PAGE_BYTES + 1;

/// Samples that wait to be read: those of half a second on two processors.
const SLOTS: usize = 128;

const FREE: u8 = 0;
const WRITING: u8 = 1;
const READY: u8 = 2;

/// A thread as it was interrupted.
pub struct Sample<'a> {
    pub thread: i32,
    pub registers: Registers,
    /// The bytes of the stack from the stack pointer on.
    pub stack: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
pub struct Registers {
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
    /// The return address, on processors that have it in a register.
    pub lr: u64,
}

struct Slot {
    state: AtomicU8,
    thread: AtomicI32,
    length: AtomicUsize,
    pc: AtomicU64,
    sp: AtomicU64,
    fp: AtomicU64,
    lr: AtomicU64,
    stack: UnsafeCell<[u8; STACK_BYTES]>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            state: AtomicU8::new(FREE),
            thread: AtomicI32::new(0),
            length: AtomicUsize::new(0),
            pc: AtomicU64::new(0),
            sp: AtomicU64::new(0),
            fp: AtomicU64::new(0),
            lr: AtomicU64::new(0),
            stack: UnsafeCell::new([0; STACK_BYTES]),
        }
    }
}

// SAFETY: `stack` is written only by the thread that moved `state` from FREE to WRITING, and read only by
// the reader while `state` is READY.
unsafe impl Sync for Slot {}

/// Pages of it exist from the first profile on.
static RING: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];
static NEXT: AtomicUsize = AtomicUsize::new(0);
static IS_ACTIVE: AtomicBool = AtomicBool::new(false);
/// Samples for which there was no slot.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Interrupts threads until it is dropped. The caller makes one at a time.
pub struct Interrupts(());

impl Interrupts {
    pub fn start() -> io::Result<Self> {
        LOST.store(0, Ordering::Relaxed);
        install()?;
        IS_ACTIVE.store(true, Ordering::SeqCst);
        set_timer(Duration::from_secs(1) / RATE_HZ)?;
        Ok(Self(()))
    }

    /// Returns the number of samples that were lost because nobody read earlier ones in time.
    pub fn lost(&self) -> u64 {
        LOST.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        // It cannot fail: it is the same call with other numbers.
        let _ = set_timer(Duration::ZERO);
        // The handler stays: a signal may be under way, and without it would end the process.
        IS_ACTIVE.store(false, Ordering::SeqCst);
    }
}

/// Takes what there is. Only one thread may call it.
pub fn drain(mut take: impl FnMut(Sample<'_>)) {
    for slot in &RING {
        if slot.state.load(Ordering::Acquire) != READY {
            continue;
        }
        let length = slot.length.load(Ordering::Relaxed);
        // SAFETY: nobody writes to a slot that is READY, and this is the only reader.
        let stack = unsafe { &*slot.stack.get() };
        take(Sample {
            thread: slot.thread.load(Ordering::Relaxed),
            registers: Registers {
                pc: slot.pc.load(Ordering::Relaxed),
                sp: slot.sp.load(Ordering::Relaxed),
                fp: slot.fp.load(Ordering::Relaxed),
                lr: slot.lr.load(Ordering::Relaxed),
            },
            stack: &stack[..length],
        });
        slot.state.store(FREE, Ordering::Release);
    }
}

fn install() -> io::Result<()> {
    // SAFETY: a zeroed sigaction is a valid one; the handler does only what signal-safety(7) allows.
    // SA_RESTART, so that libraries that do not expect signals see few of them.
    let installed = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut())
    };
    result(installed)
}

fn set_timer(interval: Duration) -> io::Result<()> {
    let interval = libc::timeval {
        tv_sec: interval.as_secs() as libc::time_t,
        tv_usec: libc::suseconds_t::from(interval.subsec_micros()),
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: reads `timer`, and is told not to write the old one.
    result(unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, ptr::null_mut()) })
}

fn result(returned: libc::c_int) -> io::Result<()> {
    match returned {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn handle(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !IS_ACTIVE.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: the kernel passes a ucontext_t to a handler with SA_SIGINFO; errno is this thread's.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        keep(registers(&*context.cast::<libc::ucontext_t>()));
        *errno = before;
    }
}

fn keep(registers: Registers) {
    let first = NEXT.fetch_add(1, Ordering::Relaxed);
    let free = (0..SLOTS)
        .map(|at| &RING[(first.wrapping_add(at)) % SLOTS])
        .find(|slot| {
            let taken =
                slot.state
                    .compare_exchange(FREE, WRITING, Ordering::Acquire, Ordering::Relaxed);
            taken.is_ok()
        });
    let Some(slot) = free else {
        LOST.fetch_add(1, Ordering::Relaxed);
        return;
    };
    // SAFETY: gettid has no preconditions.
    let thread = unsafe { libc::gettid() };
    slot.thread.store(thread, Ordering::Relaxed);
    slot.pc.store(registers.pc, Ordering::Relaxed);
    slot.sp.store(registers.sp, Ordering::Relaxed);
    slot.fp.store(registers.fp, Ordering::Relaxed);
    slot.lr.store(registers.lr, Ordering::Relaxed);
    // SAFETY: the slot is this thread's until it is READY.
    let stack = unsafe { &mut *slot.stack.get() };
    let length = copy_stack(registers.sp as usize, stack);
    slot.length.store(length, Ordering::Relaxed);
    slot.state.store(READY, Ordering::Release);
}

/// Copies what is mapped, page by page. Returns how much that is.
fn copy_stack(from: usize, to: &mut [u8; STACK_BYTES]) -> usize {
    const NOTHING: libc::iovec = libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    };
    let mut pages = [NOTHING; PAGES];
    let (mut at, mut left) = (from, STACK_BYTES);
    for page in &mut pages {
        let length = (PAGE_BYTES - at % PAGE_BYTES).min(left);
        *page = libc::iovec {
            iov_base: at as *mut libc::c_void,
            iov_len: length,
        };
        at = at.wrapping_add(length);
        left -= length;
    }
    let local = libc::iovec {
        iov_base: to.as_mut_ptr().cast(),
        iov_len: STACK_BYTES,
    };
    // SAFETY: a bare system call, which checks all addresses itself and writes to `to` only. Between
    // threads of one process it needs no permission.
    let copied = unsafe {
        libc::process_vm_readv(
            libc::getpid(),
            &raw const local,
            1,
            pages.as_ptr(),
            PAGES as libc::c_ulong,
            0,
        )
    };
    usize::try_from(copied).unwrap_or(0)
}

#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    let of = |register: libc::c_int| context.uc_mcontext.gregs[register as usize].cast_unsigned();
    Registers {
        pc: of(libc::REG_RIP),
        sp: of(libc::REG_RSP),
        fp: of(libc::REG_RBP),
        lr: 0,
    }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> Registers {
    const FRAME: usize = 29;
    const LINK: usize = 30;
    Registers {
        pc: context.uc_mcontext.pc,
        sp: context.uc_mcontext.sp,
        fp: context.uc_mcontext.regs[FRAME],
        lr: context.uc_mcontext.regs[LINK],
    }
}

/// On other processors a sample has the thread, but no stack.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn registers(_: &libc::ucontext_t) -> Registers {
    Registers {
        pc: 0,
        sp: 0,
        fp: 0,
        lr: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_copied_as_far_as_there_is_one() {
        let known = [0xa5_u8; 64];
        let mut copy = [0; STACK_BYTES];
        let length = copy_stack(known.as_ptr() as usize, &mut copy);
        assert!(length >= known.len());
        assert_eq!(copy[..known.len()], known);
        assert_eq!(copy_stack(0, &mut copy), 0, "nothing is mapped there");
    }
}
