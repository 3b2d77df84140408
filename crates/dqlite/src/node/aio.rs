//! Repairs the engine's system calls where they cost it most.
//!
//! libdqlite makes some of its system calls through libc's `syscall` function, so this module puts a
//! `syscall` into the executable, which the dynamic linker prefers. Some calls are treated:
//!
//! - `io_destroy`: libdqlite opens an AIO context for every 8 MiB segment of the log and destroys it
//!   on its event loop. The kernel lets it wait for several RCU grace periods: 28 to 50 ms in which
//!   the node answers nobody. A thread of its own does it instead.
//! - `io_submit`: libdqlite first submits each write with RWF_NOWAIT, which ext4 always refuses for
//!   a preallocated file, and again from a thread of libuv's pool, which then waits for it. Here
//!   the first attempt is taken, and [`super::log_writes`] makes the write, whose result the next `io_getevents`
//!   brings: two thread switches less for each commit.
//! - `io_setup`, and the results of all writes: a failure is told to [`super::poison`], and what is in the log to
//!   [`super::mark`].
//! - `gettid`: every trace point asks for it, some 40 times in a commit; the answer never changes.
//!
//! Invariants: contexts are only handed over after the engine has closed the segment's file, all of
//! its writes being done. A stopping engine drops the buffers of writes that are not done, so
//! before it stops, no more writes are made asynchronous and those under way are waited for.
//! Everything else that calls `syscall`, Rust's own locks among them, comes through here too: that
//! path is the same few instructions as in libc, and neither allocates nor locks.
//!
//! Linux on x86_64 and aarch64. Elsewhere, the module does nothing, and the engine stalls.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Contexts that wait to be destroyed. One arrives per 8 MiB of log and takes up to 50 ms, so two
/// are many; beyond the limit the caller does it itself.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const QUEUE_MAX: usize = 16;

static HANDED_OVER: AtomicU64 = AtomicU64::new(0);
static STOPPING: AtomicUsize = AtomicUsize::new(0);

/// Writes that were taken, and whose results the engine has not fetched.
static UNDER_WAY: AtomicI64 = AtomicI64::new(0);

/// The timeout for writes that are under way. A disk that needs longer is broken, and the engine gives up on it.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

const SETTLE_POLL: Duration = Duration::from_micros(200);

/// Returns the number of contexts that were destroyed outside of the engine's loop so far.
pub fn handed_over() -> u64 {
    HANDED_OVER.load(Ordering::Relaxed)
}

/// Makes no more writes asynchronous while the result lives, and waits for those that are under way.
pub(super) fn settle() -> InPlace {
    STOPPING.fetch_add(1, Ordering::SeqCst);
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    while UNDER_WAY.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        thread::sleep(SETTLE_POLL);
    }
    InPlace
}

pub(super) struct InPlace;

impl Drop for InPlace {
    fn drop(&mut self) {
        STOPPING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes the linker take this module's `syscall` into the executable. Call it wherever a node is
/// made.
pub(super) fn link() {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    std::hint::black_box(interposer::syscall as *const ());
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod interposer {
    use std::{
        arch::naked_asm,
        cell::Cell,
        ffi::{c_int, c_long},
        mem::MaybeUninit,
        sync::{
            OnceLock,
            atomic::Ordering,
            mpsc::{SyncSender, sync_channel},
        },
        thread,
    };

    use super::super::{
        in_place,
        log_writes::{self, Event, Write},
        mark,
        poison::{self, Kind},
    };
    use super::{HANDED_OVER, QUEUE_MAX, STOPPING, UNDER_WAY};

    /// libc's `syscall`: number and up to six arguments in, -1 and `errno` out on failure.
    ///
    /// Naked, so that it is exactly libc's instructions plus some comparisons, and so that no
    /// optimiser sees a definition that differs from the variadic declaration others use.
    ///
    /// # Safety
    ///
    /// As libc's.
    #[cfg(target_arch = "x86_64")]
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn syscall() {
        naked_asm!(
            ".cfi_startproc",
            "cmp rdi, {gettid}",
            "je {treat}",
            "cmp rdi, {io_submit}",
            "je {treat}",
            "cmp rdi, {io_getevents}",
            "je {treat}",
            "cmp rdi, {io_destroy}",
            "je {treat}",
            "cmp rdi, {io_setup}",
            "je {treat}",
            "mov rax, rdi",
            "mov rdi, rsi",
            "mov rsi, rdx",
            "mov rdx, rcx",
            "mov r10, r8",
            "mov r8, r9",
            "mov r9, [rsp + 8]",
            "syscall",
            "cmp rax, -4095",
            "jae 2f",
            "ret",
            "2:",
            "mov rdi, rax",
            "jmp {fail}",
            ".cfi_endproc",
            gettid = const libc::SYS_gettid,
            io_submit = const libc::SYS_io_submit,
            io_getevents = const libc::SYS_io_getevents,
            io_destroy = const libc::SYS_io_destroy,
            io_setup = const libc::SYS_io_setup,
            treat = sym treat,
            fail = sym fail,
        )
    }

    /// # Safety
    ///
    /// As libc's.
    #[cfg(target_arch = "aarch64")]
    #[unsafe(naked)]
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn syscall() {
        naked_asm!(
            ".cfi_startproc",
            "cmp x0, {gettid}",
            "b.eq 3f",
            "cmp x0, {io_submit}",
            "b.eq 3f",
            "cmp x0, {io_getevents}",
            "b.eq 3f",
            "cmp x0, {io_destroy}",
            "b.eq 3f",
            "cmp x0, {io_setup}",
            "b.eq 3f",
            "mov x8, x0",
            "mov x0, x1",
            "mov x1, x2",
            "mov x2, x3",
            "mov x3, x4",
            "mov x4, x5",
            "mov x5, x6",
            "svc 0",
            "cmn x0, 4095",
            "b.cs 2f",
            "ret",
            "2:",
            "b {fail}",
            "3:",
            "b {treat}",
            ".cfi_endproc",
            gettid = const libc::SYS_gettid,
            io_submit = const libc::SYS_io_submit,
            io_getevents = const libc::SYS_io_getevents,
            io_destroy = const libc::SYS_io_destroy,
            io_setup = const libc::SYS_io_setup,
            treat = sym treat,
            fail = sym fail,
        )
    }

    /// Report a failed system call the way libc does.
    extern "C" fn fail(negative_errno: c_long) -> c_long {
        // SAFETY: the address of this thread's errno.
        unsafe { *libc::__errno_location() = -negative_errno as c_int };
        -1
    }

    /// The calls that are not simply passed on, with the arguments as the caller gave them.
    extern "C" fn treat(
        number: c_long,
        a: c_long,
        b: c_long,
        c: c_long,
        d: c_long,
        e: c_long,
    ) -> c_long {
        let result = match number {
            libc::SYS_gettid => return thread_id(),
            libc::SYS_io_destroy => destroy(a),
            libc::SYS_io_setup => setup(a, b),
            libc::SYS_io_submit => submit(a, b, c),
            _ => events(a, b, c, d, e),
        };
        if result < 0 { fail(result) } else { result }
    }

    fn thread_id() -> c_long {
        thread_local!(static ID: Cell<c_long> = const { Cell::new(0) });
        if ID.get() == 0 {
            ID.set(raw(libc::SYS_gettid, 0, 0, 0, 0, 0));
        }
        ID.get()
    }

    /// `struct iocb` of linux/aio_abi.h, little-endian.
    #[repr(C)]
    struct Iocb {
        data: u64,
        key: u32,
        rw_flags: c_int,
        opcode: u16,
        priority: i16,
        file: u32,
        buffer: u64,
        bytes: u64,
        offset: i64,
        reserved: u64,
        flags: u32,
        event_fd: u32,
    }

    const _: () = assert!(size_of::<Iocb>() == 64 && size_of::<Event>() == 32);

    /// IOCB_CMD_PWRITEV.
    const PWRITEV: u16 = 8;

    /// IOCB_FLAG_RESFD: an eventfd tells when the write is done, so no thread waits for it.
    const TELLS: u32 = 1;

    fn setup(events: c_long, context: c_long) -> c_long {
        let result = raw(libc::SYS_io_setup, events, context, 0, 0, 0);
        if result < 0 {
            poison::failed_anywhere("io_setup", -result as c_int);
        }
        result
    }

    fn submit(context: c_long, count: c_long, iocbs: c_long) -> c_long {
        in_place::forget();
        if count != 1 {
            return raw(libc::SYS_io_submit, context, count, iocbs, 0, 0);
        }
        // SAFETY: the caller gives an array of one pointer to a request that is its own until the
        // call returns.
        let iocb = unsafe { &mut **(iocbs as *mut *mut Iocb) };
        let is_stopping = STOPPING.load(Ordering::SeqCst) > 0;
        let is_refusable = !is_stopping
            && iocb.rw_flags & libc::RWF_NOWAIT != 0
            && iocb.flags & TELLS != 0
            && iocb.opcode == PWRITEV;
        if is_refusable {
            iocb.rw_flags &= !libc::RWF_NOWAIT;
            UNDER_WAY.fetch_add(1, Ordering::SeqCst);
            // SAFETY: the request is as the engine made it.
            log_writes::begin(unsafe { write_of(context, iocb) });
            return 1;
        }
        let result = raw(libc::SYS_io_submit, context, count, iocbs, 0, 0);
        if result < 0 {
            poison::failed_on(
                Kind::LogWrite,
                "io_submit",
                iocb.file as c_int,
                -result as c_int,
            );
        }
        result
    }

    /// # Safety
    ///
    /// A request to write, with its array of buffers.
    unsafe fn write_of(context: c_long, iocb: &Iocb) -> Write {
        // SAFETY: the caller's promise.
        let bytes = unsafe {
            let buffers = iocb.buffer as *const libc::iovec;
            let buffers = std::slice::from_raw_parts(buffers, iocb.bytes as usize);
            buffers.iter().map(|buffer| buffer.iov_len as u64).sum()
        };
        Write {
            context,
            data: iocb.data,
            request: std::ptr::from_ref(iocb) as u64,
            file: iocb.file as c_int,
            buffers: iocb.buffer,
            buffer_count: iocb.bytes as c_int,
            bytes,
            offset: iocb.offset,
            tells: iocb.event_fd as c_int,
        }
    }

    fn events(context: c_long, min: c_long, max: c_long, events: c_long, wait: c_long) -> c_long {
        let count = match taken(context, max, events) {
            0 => raw(libc::SYS_io_getevents, context, min, max, events, wait),
            count => count,
        };
        for index in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the kernel has written that many events, and the engine keeps a request until
            // it has seen its event. Writes that were refused come with the flag still set.
            let (is_ours, result, file, written) = unsafe {
                let event = &*(events as *const Event).add(index);
                let iocb = &*(event.request as *const Iocb);
                let is_ours = iocb.flags & TELLS != 0 && iocb.rw_flags & libc::RWF_NOWAIT == 0;
                let written = written(iocb, event.result);
                (is_ours, event.result, iocb.file, written)
            };
            if let Some((offset, bytes)) = written {
                mark::written(file as c_int, offset, bytes);
            }
            if result < 0 {
                let errno = c_int::try_from(-result).unwrap_or(libc::EIO);
                poison::failed_on(Kind::LogWrite, "write", file as c_int, errno);
            }
            if is_ours {
                UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
            }
        }
        count
    }

    /// Moves what [`log_writes`] has of a context to `events`, with room for `max`, and returns the number.
    fn taken(context: c_long, max: c_long, events: c_long) -> c_long {
        // SAFETY: the caller of `io_getevents` gives an array of its own.
        let events = unsafe {
            std::slice::from_raw_parts_mut(events as *mut MaybeUninit<Event>, max.max(0) as usize)
        };
        log_writes::take(context, events) as c_long
    }

    /// Offset and bytes of a write that is done as a whole.
    ///
    /// # Safety
    ///
    /// The request is as the engine made it, and its buffer is still there.
    unsafe fn written<'a>(iocb: &Iocb, result: i64) -> Option<(u64, &'a [u8])> {
        if iocb.opcode != PWRITEV || iocb.bytes != 1 {
            return None;
        }
        // SAFETY: a request of this kind has an array of buffers, here of one.
        let buffer = unsafe { &*(iocb.buffer as *const libc::iovec) };
        let is_whole = usize::try_from(result) == Ok(buffer.iov_len);
        let offset = u64::try_from(iocb.offset).ok().filter(|_| is_whole)?;
        // SAFETY: the kernel has read all of it.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.iov_base.cast(), buffer.iov_len) };
        Some((offset, bytes))
    }

    fn destroy(context: c_long) -> c_long {
        if STOPPING.load(Ordering::SeqCst) == 0
            && let Some(queue) = queue()
            && queue.try_send(context).is_ok()
        {
            HANDED_OVER.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        destroy_now(context)
    }

    /// The thread's queue, or `None` when no thread could be started.
    fn queue() -> Option<&'static SyncSender<c_long>> {
        static QUEUE: OnceLock<Option<SyncSender<c_long>>> = OnceLock::new();
        QUEUE
            .get_or_init(|| {
                let (sender, contexts) = sync_channel(QUEUE_MAX);
                thread::Builder::new()
                    .name("dqlite-aio".to_owned())
                    .spawn(move || contexts.iter().for_each(|context| _ = destroy_now(context)))
                    .ok()
                    .map(|_| sender)
            })
            .as_ref()
    }

    fn destroy_now(context: c_long) -> c_long {
        raw(libc::SYS_io_destroy, context, 0, 0, 0, 0)
    }

    /// The system call itself, which returns a negative errno. It must not go through `syscall`,
    /// which is ours.
    #[cfg(target_arch = "x86_64")]
    fn raw(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long) -> c_long {
        let result;
        // SAFETY: the callers above pass on what libdqlite passed for the same call; the clobbers
        // are those of the system call convention.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") number => result,
                in("rdi") a,
                in("rsi") b,
                in("rdx") c,
                in("r10") d,
                in("r8") e,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result
    }

    #[cfg(target_arch = "aarch64")]
    fn raw(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long) -> c_long {
        let result;
        // SAFETY: as on x86_64.
        unsafe {
            std::arch::asm!(
                "svc 0",
                in("x8") number,
                inlateout("x0") a => result,
                in("x1") b,
                in("x2") c,
                in("x3") d,
                in("x4") e,
                options(nostack),
            );
        }
        result
    }
}
