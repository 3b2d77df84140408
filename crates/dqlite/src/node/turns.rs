//! Runs work on the engine's loop, in its next turn.
//!
//! The loop is libuv's, on a thread of libdqlite's. So this module puts `uv_run` into the executable, as
//! [`super::file_calls`] does with other functions, and knows from it which loop a thread runs. Work is handed over from
//! that thread only; the loop then does what else is ready, and begins its next turn with the work instead of waiting for
//! events.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    ptr,
};

use super::{closing, library::functions};

thread_local! {
    /// The loop that this thread runs, or null.
    static RUNNING: Cell<Loop> = const { Cell::new(ptr::null_mut()) };
}

/// `uv_loop_t *`.
pub(super) type Loop = *mut c_void;
/// `uv_idle_t *`.
type Idle = *mut c_void;
type IdleCallback = unsafe extern "C" fn(Idle);

functions! {
    fn uv_run = "__real_uv_run" (uv: Loop, mode: c_int) -> c_int;
    fn uv_handle_size = "uv_handle_size" (kind: c_int) -> usize;
    fn uv_idle_init = "uv_idle_init" (uv: Loop, idle: Idle) -> c_int;
    fn uv_idle_start = "uv_idle_start" (idle: Idle, callback: IdleCallback) -> c_int;
    fn uv_close = "uv_close" (idle: Idle, callback: IdleCallback) -> ();
}

/// Makes the linker take this module's function into the executable. Call it wherever a node is made.
pub(super) fn link() {
    std::hint::black_box(uv_run as *const ());
}

/// # Safety
///
/// As libuv's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(target_feature = "crt-static", unsafe(export_name = "__wrap_uv_run"))]
pub unsafe extern "C" fn uv_run(uv: Loop, mode: c_int) -> c_int {
    let outer = RUNNING.replace(uv);
    closing::enter_loop();
    // SAFETY: what the caller passed.
    let result = unsafe { real::uv_run(uv, mode) };
    RUNNING.set(outer);
    result
}

pub(super) type Work = Box<dyn FnOnce()>;

/// Room for a `uv_idle_t`, which has 120 bytes in libuv 1.
type IdleRoom = [usize; 32];

const UV_IDLE: c_int = 6;

#[repr(C)]
struct Turn {
    /// First, so that libuv's pointer to it is one to the whole.
    idle: IdleRoom,
    work: Option<Work>,
}

/// Runs `work` in the next turn of this thread's loop.
///
/// # Errors
///
/// Returns the work if this thread runs no loop.
pub(super) fn run_next(work: Work) -> Result<(), Work> {
    let uv = RUNNING.get();
    // SAFETY: asks for a number.
    if uv.is_null() || unsafe { real::uv_handle_size(UV_IDLE) } > size_of::<IdleRoom>() {
        return Err(work);
    }
    let turn = Box::into_raw(Box::new(Turn {
        idle: [0; 32],
        work: Some(work),
    }));
    // SAFETY: the handle lies in a box of its own until libuv gives it back to `closed`; this thread runs the loop. Neither
    // call fails (libuv: src/unix/loop-watcher.c).
    unsafe {
        real::uv_idle_init(uv, turn.cast());
        real::uv_idle_start(turn.cast(), begin);
    }
    Ok(())
}

/// # Safety
///
/// libuv calls it with the handle of a `Turn`.
unsafe extern "C" fn begin(idle: Idle) {
    // SAFETY: the box lives until `closed`, which the loop calls after this.
    let work = unsafe {
        real::uv_close(idle, closed);
        (*idle.cast::<Turn>()).work.take()
    };
    if let Some(work) = work {
        work();
    }
}

/// # Safety
///
/// libuv calls it with the handle of a `Turn`, which it is done with.
unsafe extern "C" fn closed(idle: Idle) {
    // SAFETY: it comes from a box.
    drop(unsafe { Box::from_raw(idle.cast::<Turn>()) });
}
