//! Keeps `io_destroy` off the engine's event loop.
//!
//! libdqlite opens an AIO context for every 8 MiB segment of the log and destroys it on its event
//! loop. The kernel lets `io_destroy` wait for several RCU grace periods: 28 to 50 ms in which the
//! node answers nobody. libdqlite makes its system calls through libc's `syscall` function, so this
//! module puts a `syscall` into the executable, which the dynamic linker prefers: it hands
//! `io_destroy` to a thread of its own, and passes all else on.
//!
//! Invariants: contexts are only handed over after the engine has closed the segment's file, all of
//! its writes being done; while a node stops, which may cancel writes, they are destroyed in place.
//! Everything else that calls `syscall`, Rust's own locks among them, comes through here too: that
//! path is the same few instructions as in libc, and neither allocates nor locks.
//!
//! Linux on x86_64 and aarch64. Elsewhere, the module does nothing, and the engine stalls.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Contexts that wait to be destroyed. One arrives per 8 MiB of log and takes up to 50 ms, so two
/// are many; beyond the limit the caller does it itself.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const QUEUE_MAX: usize = 16;

static HANDED_OVER: AtomicU64 = AtomicU64::new(0);
static STOPPING: AtomicUsize = AtomicUsize::new(0);

/// How many contexts were destroyed off the engine's loop so far.
pub fn handed_over() -> u64 {
    HANDED_OVER.load(Ordering::Relaxed)
}

/// Destroy contexts in place while the result lives.
pub(super) fn destroy_in_place() -> InPlace {
    STOPPING.fetch_add(1, Ordering::SeqCst);
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
        ffi::{c_int, c_long},
        sync::{
            OnceLock,
            atomic::Ordering,
            mpsc::{SyncSender, sync_channel},
        },
        thread,
    };

    use super::{HANDED_OVER, QUEUE_MAX, STOPPING};

    /// libc's `syscall`: number and up to six arguments in, -1 and `errno` out on failure.
    ///
    /// Naked, so that it is exactly libc's instructions plus one comparison, and so that no
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
            "cmp rdi, {io_destroy}",
            "je 2f",
            "mov rax, rdi",
            "mov rdi, rsi",
            "mov rsi, rdx",
            "mov rdx, rcx",
            "mov r10, r8",
            "mov r8, r9",
            "mov r9, [rsp + 8]",
            "syscall",
            "cmp rax, -4095",
            "jae 3f",
            "ret",
            "2:",
            "mov rdi, rsi",
            "jmp {destroy}",
            "3:",
            "mov rdi, rax",
            "jmp {fail}",
            ".cfi_endproc",
            io_destroy = const libc::SYS_io_destroy,
            destroy = sym destroy,
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
            "cmp x0, {io_destroy}",
            "b.eq 2f",
            "mov x8, x0",
            "mov x0, x1",
            "mov x1, x2",
            "mov x2, x3",
            "mov x3, x4",
            "mov x4, x5",
            "mov x5, x6",
            "svc 0",
            "cmn x0, 4095",
            "b.cs 3f",
            "ret",
            "2:",
            "mov x0, x1",
            "b {destroy}",
            "3:",
            "b {fail}",
            ".cfi_endproc",
            io_destroy = const libc::SYS_io_destroy,
            destroy = sym destroy,
            fail = sym fail,
        )
    }

    /// Report a failed system call the way libc does.
    extern "C" fn fail(negative_errno: c_long) -> c_long {
        // SAFETY: the address of this thread's errno.
        unsafe { *libc::__errno_location() = -negative_errno as c_int };
        -1
    }

    extern "C" fn destroy(context: c_long) -> c_long {
        if STOPPING.load(Ordering::SeqCst) == 0
            && let Some(queue) = queue()
            && queue.try_send(context).is_ok()
        {
            HANDED_OVER.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        match destroy_now(context) {
            result @ 0.. => result,
            error => fail(error),
        }
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

    /// The system call itself. It must not go through `syscall`, which is ours.
    #[cfg(target_arch = "x86_64")]
    fn destroy_now(context: c_long) -> c_long {
        let result;
        // SAFETY: the kernel checks the context and touches no memory of this process but the ring
        // that it mapped for it; the clobbers are those of the system call convention.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") libc::SYS_io_destroy => result,
                in("rdi") context,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        result
    }

    #[cfg(target_arch = "aarch64")]
    fn destroy_now(context: c_long) -> c_long {
        let result;
        // SAFETY: as on x86_64.
        unsafe {
            std::arch::asm!(
                "svc 0",
                in("x8") libc::SYS_io_destroy,
                inlateout("x0") context => result,
                options(nostack),
            );
        }
        result
    }
}
