//! Ends statements that nobody waits for any more, or that take too long.
//!
//! The engine sends the rows of a result in parts, and goes on with the statement when a part was written. Where that
//! fails, because the client is gone, it waits for the end of the statement without going on with it (dqlite: src/conn.c,
//! `conn_write_cb`): the lock of the database is held for ever, and the end of the node ends the process. To stop a
//! statement that computes, it sets a progress handler, for which SQLite waits until the statement ends (src/leader.c,
//! `leader__close`), and with it the engine's whole loop. So this module puts two functions into the executable, as
//! [`super::file_calls`] does: `uv_write`, which tells the engine that a part was written also where it was not, and
//! `sqlite3_progress_handler`, by which the engine begins each statement, and aborts one.
//!
//! Invariants: a statement whose client is gone ends within some thousand steps of SQLite's machine; only the engine's
//! answers to clients are treated, never what it sends to other nodes.

use std::{
    cell::Cell,
    ffi::{c_int, c_uint, c_void},
    ptr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::{in_place::WorkCallback, library::functions, reuse::Connection};

/// Steps of SQLite's machine between two questions whether a statement is to go on: a fraction of a millisecond.
const STEPS: c_int = 4096;

/// libuv's code of a write that did not end before its stream was closed.
const CANCELLED: c_int = -libc::ECANCELED;

static LIMIT: OnceLock<Duration> = OnceLock::new();

/// The time from which statements are counted. A pointer to nothing holds the milliseconds since.
static BEGINNING: OnceLock<Instant> = OnceLock::new();

/// Ends each statement of the engines of this process after this time, with SQLite's error "interrupted". Only the
/// first call counts.
pub fn limit_statements(timeout: Duration) {
    BEGINNING.get_or_init(Instant::now);
    LIMIT.get_or_init(|| timeout);
}

thread_local! {
    /// The engine goes on with the statement of a client that is gone, on this thread of its loop.
    static CLIENT_IS_GONE: Cell<bool> = const { Cell::new(false) };
    /// This thread of the pool runs a statement that nobody waits for.
    static IS_FOR_NOBODY: Cell<bool> = const { Cell::new(false) };
}

/// Makes the linker take this module's functions into the executable. Call it wherever a node is made.
pub(super) fn link() {
    std::hint::black_box(uv_write as *const ());
    std::hint::black_box(sqlite3_progress_handler as *const ());
}

/// `uv_write_t *`, `uv_stream_t *`, and `uv_buf_t *`.
type Request = *mut c_void;
type Stream = *mut c_void;
type Buffers = *const c_void;
type WriteCallback = unsafe extern "C" fn(Request, c_int);
type Progress = unsafe extern "C" fn(*mut c_void) -> c_int;

functions! {
    fn uv_write = "__real_uv_write"
        (request: Request, stream: Stream, buffers: Buffers, count: c_uint, callback: Option<WriteCallback>) -> c_int;
    fn sqlite3_progress_handler = "__real_sqlite3_progress_handler"
        (connection: Connection, steps: c_int, progress: Option<Progress>, argument: *mut c_void) -> ();
    fn uv_req_get_data = "uv_req_get_data" (request: Request) -> *mut c_void;
    fn uv_handle_get_data = "uv_handle_get_data" (stream: Stream) -> *mut c_void;
    fn sqlite3_interrupt = "sqlite3_interrupt" (connection: Connection) -> ();
}

/// The engine's callback for what was written to a client, which is one function (dqlite: src/lib/transport.c).
static ENGINE_CALLBACK: OnceLock<WriteCallback> = OnceLock::new();

/// # Safety
///
/// As libuv's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(target_feature = "crt-static", unsafe(export_name = "__wrap_uv_write"))]
pub unsafe extern "C" fn uv_write(
    request: Request,
    stream: Stream,
    buffers: Buffers,
    count: c_uint,
    callback: Option<WriteCallback>,
) -> c_int {
    // SAFETY: what the caller passed. A request that writes to a client belongs to the same as its stream; one of a
    // message to another node does not (dqlite: src/lib/transport.c, src/raft/uv_send.c).
    unsafe {
        let owner = real::uv_req_get_data(request);
        let ours = match callback {
            Some(engine) if !owner.is_null() && owner == real::uv_handle_get_data(stream) => {
                let kept = *ENGINE_CALLBACK.get_or_init(|| engine);
                ptr::fn_addr_eq(kept, engine).then_some(written as WriteCallback)
            }
            _ => None,
        };
        real::uv_write(request, stream, buffers, count, ours.or(callback))
    }
}

/// Has the engine go on. It sees the end of the connection when it reads the next request.
unsafe extern "C" fn written(request: Request, status: c_int) {
    let Some(engine) = ENGINE_CALLBACK.get() else {
        return;
    };
    // SAFETY: what libuv passed, to the function that it was meant for.
    unsafe {
        match status {
            // The engine itself has closed the connection.
            0 | CANCELLED => engine(request, status),
            _ => {
                CLIENT_IS_GONE.set(true);
                engine(request, 0);
                CLIENT_IS_GONE.set(false);
            }
        }
    }
}

/// The work by which libuv's pool runs a statement, which is one function (dqlite: src/raft/uv_work.c).
static STATEMENT_WORK: OnceLock<WorkCallback> = OnceLock::new();

/// Returns what the pool is to do instead of this work of the engine.
pub(super) fn instead_of(work: Option<WorkCallback>) -> Option<WorkCallback> {
    let engine = work?;
    if !CLIENT_IS_GONE.take() {
        return work;
    }
    let kept = *STATEMENT_WORK.get_or_init(|| engine);
    match ptr::fn_addr_eq(kept, engine) {
        true => Some(work_for_nobody),
        false => work,
    }
}

unsafe extern "C" fn work_for_nobody(request: Request) {
    if let Some(engine) = STATEMENT_WORK.get() {
        IS_FOR_NOBODY.set(true);
        // SAFETY: what libuv passed, to the function that it was meant for.
        unsafe { engine(request) };
        IS_FOR_NOBODY.set(false);
    }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_progress_handler")
)]
pub unsafe extern "C" fn sqlite3_progress_handler(
    connection: Connection,
    steps: c_int,
    progress: Option<Progress>,
    argument: *mut c_void,
) {
    // SAFETY: what the caller passed, and a function that takes any argument.
    unsafe {
        match progress {
            None => {
                let began = ptr::without_provenance_mut(now_ms());
                real::sqlite3_progress_handler(connection, STEPS, Some(ends), began);
            }
            Some(_) => {
                // The other call waits for the statement that runs, and this one ends it.
                real::sqlite3_interrupt(connection);
                real::sqlite3_progress_handler(connection, steps, progress, argument);
            }
        }
    }
}

/// Returns the time since statements are counted, where they are.
fn now_ms() -> usize {
    let since = BEGINNING
        .get()
        .map_or(0, |first| first.elapsed().as_millis());
    usize::try_from(since).unwrap_or(usize::MAX)
}

/// Tells SQLite whether to end the statement that began then.
unsafe extern "C" fn ends(began: *mut c_void) -> c_int {
    let is_late = || {
        let taken_ms = now_ms().saturating_sub(began.addr());
        LIMIT
            .get()
            .is_some_and(|limit| taken_ms as u128 >= limit.as_millis())
    };
    c_int::from(IS_FOR_NOBODY.get() || is_late())
}
