//! Runs statements that are known to be short on the engine's loop, instead of on a thread of libuv's pool.
//!
//! libdqlite hands every statement to the pool (dqlite: src/gateway.c, `handle_exec_work_cb`): a thread is woken for it
//! and wakes the loop again, which for a single small commit takes longer than the statement. So this module puts three
//! functions into the executable, as [`super::file_calls`] does: `sqlite3_stmt_readonly`, which the engine calls for each
//! statement just before it runs it or has it wait (src/leader.c, `exec_tick`); `uv_queue_work`, by which it is run; and
//! `uv_timer_start`, by which it waits for another connection.
//!
//! The first of them also tells the engine the truth about statements such as DROP TABLE IF EXISTS, which SQLite takes for
//! one that reads where there is nothing to drop. SQLite compiles it anew when it runs, if the schema has changed meanwhile; the
//! engine would have it write beside another writer, and then apply nothing more (src/fsm.c, `apply_frames`).
//!
//! Invariants: only statements whose whole text was [allowed](allow) run on the loop; what runs is called from the loop,
//! never within `uv_queue_work`, whose callers go on to use what the callback frees; nothing else that the engine hands
//! to the pool (files, snapshots, other statements) is taken for such a statement, since each other call that it can make
//! in between forgets it.

use std::{
    cell::Cell,
    ffi::{CStr, c_char, c_int, c_void},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::sql::depends_on_schema;

use super::{
    library::functions,
    progress,
    turns::{self, Loop},
};

static RUN: AtomicU64 = AtomicU64::new(0);

/// Few, since each statement of the engine is compared with each.
static ALLOWED: RwLock<Vec<&'static str>> = RwLock::new(Vec::new());

thread_local! {
    /// The engine is about to run an allowed statement on this thread.
    static IS_NEXT: Cell<bool> = const { Cell::new(false) };
}

/// Lets statements of exactly this text run on the engine's loop, which does nothing else meanwhile: what they do must be
/// little and bounded, whatever their parameters are.
pub fn allow(sql: &'static str) {
    let mut allowed = ALLOWED.write().unwrap_or_else(PoisonError::into_inner);
    if !allowed.contains(&sql) {
        allowed.push(sql);
    }
}

/// Returns the number of statements that ran on the loop so far.
pub fn run() -> u64 {
    RUN.load(Ordering::Relaxed)
}

fn is_allowed(sql: &[u8]) -> bool {
    let allowed = ALLOWED.read().unwrap_or_else(PoisonError::into_inner);
    allowed.iter().any(|allowed| allowed.as_bytes() == sql)
}

/// The engine does something else on this thread.
pub(super) fn forget() {
    IS_NEXT.set(false);
}

/// Makes the linker take this module's functions into the executable. Call it wherever a node is made.
pub(super) fn link() {
    std::hint::black_box(sqlite3_stmt_readonly as *const ());
    std::hint::black_box(uv_queue_work as *const ());
    std::hint::black_box(uv_timer_start as *const ());
}

type Statement = *mut c_void;
/// `uv_work_t *` and `uv_timer_t *`.
type Work = *mut c_void;
type Timer = *mut c_void;
pub(super) type WorkCallback = unsafe extern "C" fn(Work);
type AfterCallback = unsafe extern "C" fn(Work, c_int);

functions! {
    fn sqlite3_stmt_readonly = "__real_sqlite3_stmt_readonly" (statement: Statement) -> c_int;
    fn uv_queue_work = "__real_uv_queue_work"
        (uv: Loop, request: Work, work: Option<WorkCallback>, after: Option<AfterCallback>) -> c_int;
    fn uv_timer_start = "__real_uv_timer_start"
        (timer: Timer, callback: *const c_void, timeout_ms: u64, repeat_ms: u64) -> c_int;
    fn sqlite3_sql = "sqlite3_sql" (statement: Statement) -> *const c_char;
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_stmt_readonly")
)]
pub unsafe extern "C" fn sqlite3_stmt_readonly(statement: Statement) -> c_int {
    // SAFETY: the caller's promise: a statement, or null; its text ends in NUL.
    unsafe {
        let sql = real::sqlite3_sql(statement);
        let sql = match sql.is_null() {
            true => &[],
            false => CStr::from_ptr(sql).to_bytes(),
        };
        let is_readonly = real::sqlite3_stmt_readonly(statement) != 0
            && !depends_on_schema(&String::from_utf8_lossy(sql));
        IS_NEXT.set(!is_readonly && is_allowed(sql));
        c_int::from(is_readonly)
    }
}

/// # Safety
///
/// As libuv's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_uv_timer_start")
)]
pub unsafe extern "C" fn uv_timer_start(
    timer: Timer,
    callback: *const c_void,
    timeout_ms: u64,
    repeat_ms: u64,
) -> c_int {
    forget();
    // SAFETY: what the caller passed.
    unsafe { real::uv_timer_start(timer, callback, timeout_ms, repeat_ms) }
}

/// # Safety
///
/// As libuv's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_uv_queue_work")
)]
pub unsafe extern "C" fn uv_queue_work(
    uv: Loop,
    request: Work,
    work: Option<WorkCallback>,
    after: Option<AfterCallback>,
) -> c_int {
    if IS_NEXT.replace(false)
        && let (Some(work), Some(after)) = (work, after)
    {
        let turn = Box::new(move || {
            RUN.fetch_add(1, Ordering::Relaxed);
            // SAFETY: as libuv calls them, on the thread that it calls the second one on.
            unsafe {
                work(request);
                after(request, 0);
            }
        });
        if turns::run_next(turn).is_ok() {
            return 0;
        }
    }
    // SAFETY: what the caller passed, or a function that calls it.
    unsafe { real::uv_queue_work(uv, request, progress::instead_of(work), after) }
}
