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
//! A statement is not interrupted (`sqlite3_interrupt`): where it has just ended, SQLite keeps that for what the
//! connection does next, which may be a checkpoint, and of a checkpoint that fails the engine aborts (src/vfs.c,
//! `vfsCheckpoint`).
//!
//! Invariants: a statement whose client is gone ends within some thousand steps of SQLite's machine; only the engine's
//! answers to clients are treated, never what it sends to other nodes; what a progress handler points to lives until
//! another one is in its place.

use std::{
    cell::Cell,
    collections::HashMap,
    ffi::{c_int, c_uint, c_void},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{in_place::WorkCallback, library::functions, reuse::Connection};

/// Steps of SQLite's machine between two questions whether a statement is to go on: a fraction of a millisecond.
const STEPS: c_int = 4096;

/// libuv's code of a write that did not end before its stream was closed.
const CANCELLED: c_int = -libc::ECANCELED;

static LIMIT: OnceLock<Duration> = OnceLock::new();

/// The time from which statements are counted.
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

/// The statements of one connection.
#[derive(Default)]
struct Run {
    /// When the newest one began, as [`now_ms`] tells.
    began_ms: AtomicU64,
    /// The engine wants it to end.
    is_aborted: AtomicBool,
}

/// One for each connection on which the engine has begun a statement, by its address, until it aborts one or closes it,
/// before which it always aborts (dqlite: src/leader.c, `leader_finalize`).
static RUNS: Mutex<Option<HashMap<usize, Arc<Run>>>> = Mutex::new(None);

fn runs() -> MutexGuard<'static, Option<HashMap<usize, Arc<Run>>>> {
    // A map that is added to and taken from is whole at any time.
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(address: usize) -> Arc<Run> {
    let mut runs = runs();
    let run = runs.get_or_insert_default().entry(address).or_default();
    run.clone()
}

/// Returns whether the engine has begun a statement on this connection, and not aborted it.
pub(super) fn has_begun(connection: Connection) -> bool {
    runs()
        .as_ref()
        .is_some_and(|runs| runs.contains_key(&connection.addr()))
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
    let address = connection.addr();
    match progress {
        None => {
            let run = begin(address);
            run.began_ms.store(now_ms(), Ordering::Relaxed);
            run.is_aborted.store(false, Ordering::Relaxed);
            let run = Arc::as_ptr(&run).cast_mut().cast();
            // SAFETY: what the caller passed, and what the map keeps until the other call has replaced it.
            unsafe { real::sqlite3_progress_handler(connection, STEPS, Some(ends), run) };
        }
        Some(_) => {
            let run = runs().as_mut().and_then(|runs| runs.remove(&address));
            if let Some(run) = &run {
                run.is_aborted.store(true, Ordering::Relaxed);
            }
            // SAFETY: what the caller passed. It waits for the statement that runs, and `run` lives until then.
            unsafe { real::sqlite3_progress_handler(connection, steps, progress, argument) };
            drop(run);
        }
    }
}

/// Returns the time since statements are counted, where they are.
fn now_ms() -> u64 {
    let since = BEGINNING
        .get()
        .map_or(0, |first| first.elapsed().as_millis());
    u64::try_from(since).unwrap_or(u64::MAX)
}

/// Tells SQLite whether to end the statement.
unsafe extern "C" fn ends(run: *mut c_void) -> c_int {
    // SAFETY: what the handler was set with, which outlives it.
    let run = unsafe { &*run.cast::<Run>() };
    let is_late = || {
        let taken_ms = now_ms().saturating_sub(run.began_ms.load(Ordering::Relaxed));
        LIMIT
            .get()
            .is_some_and(|limit| u128::from(taken_ms) >= limit.as_millis())
    };
    c_int::from(IS_FOR_NOBODY.get() || run.is_aborted.load(Ordering::Relaxed) || is_late())
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, CString, c_char};

    use super::*;

    functions! {
        fn sqlite3_open = "sqlite3_open" (name: *const c_char, connection: *mut Connection) -> c_int;
        fn sqlite3_exec = "sqlite3_exec"
            (connection: Connection, sql: *const c_char, row: *const c_void, argument: *mut c_void,
             message: *mut *mut c_char) -> c_int;
        fn sqlite3_wal_checkpoint_v2 = "sqlite3_wal_checkpoint_v2"
            (connection: Connection, schema: *const c_char, mode: c_int, size: *mut c_int, done: *mut c_int) -> c_int;
        fn sqlite3_close_v2 = "sqlite3_close_v2" (connection: Connection) -> c_int;
        fn sqlite3_db_mutex = "sqlite3_db_mutex" (connection: Connection) -> *mut c_void;
        fn sqlite3_mutex_try = "sqlite3_mutex_try" (mutex: *mut c_void) -> c_int;
        fn sqlite3_mutex_leave = "sqlite3_mutex_leave" (mutex: *mut c_void) -> ();
    }

    const SQLITE_OK: c_int = 0;
    const SQLITE_INTERRUPT: c_int = 9;
    const SQLITE_CHECKPOINT_TRUNCATE: c_int = 3;

    struct Database {
        connection: Connection,
        _dir: tempfile::TempDir,
    }

    // SAFETY: SQLite locks each connection.
    unsafe impl Sync for Database {}

    impl Database {
        fn open() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let name = CString::new(dir.path().join("db").to_str().unwrap()).unwrap();
            let mut connection = ptr::null_mut();
            // SAFETY: a name that ends in NUL, and a place for the connection.
            let code = unsafe { self::real::sqlite3_open(name.as_ptr(), &raw mut connection) };
            assert_eq!(code, SQLITE_OK);
            Self {
                connection,
                _dir: dir,
            }
        }

        fn execute(&self, sql: &CStr) -> c_int {
            let (none, null) = (ptr::null(), ptr::null_mut());
            // SAFETY: an open connection, and a text that ends in NUL.
            unsafe {
                self::real::sqlite3_exec(self.connection, sql.as_ptr(), none, null, ptr::null_mut())
            }
        }

        fn begin(&self) {
            // SAFETY: an open connection.
            unsafe { sqlite3_progress_handler(self.connection, 0, None, ptr::null_mut()) };
        }

        fn abort(&self) {
            unsafe extern "C" fn abort(_argument: *mut c_void) -> c_int {
                1
            }
            // SAFETY: an open connection.
            unsafe { sqlite3_progress_handler(self.connection, 1, Some(abort), ptr::null_mut()) };
        }

        fn is_busy(&self) -> bool {
            // SAFETY: the mutex of an open connection, which is left by who has entered it.
            unsafe {
                let mutex = self::real::sqlite3_db_mutex(self.connection);
                let is_free = self::real::sqlite3_mutex_try(mutex) == SQLITE_OK;
                if is_free {
                    self::real::sqlite3_mutex_leave(mutex);
                }
                !is_free
            }
        }

        fn checkpoint(&self) -> c_int {
            let (mut size, mut done) = (0, 0);
            // SAFETY: an open connection, and places for two numbers.
            unsafe {
                self::real::sqlite3_wal_checkpoint_v2(
                    self.connection,
                    ptr::null(),
                    SQLITE_CHECKPOINT_TRUNCATE,
                    &raw mut size,
                    &raw mut done,
                )
            }
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            // SAFETY: opened once.
            unsafe { self::real::sqlite3_close_v2(self.connection) };
        }
    }

    #[test]
    fn a_checkpoint_succeeds_after_a_statement_that_had_ended_when_it_was_aborted() {
        let database = Database::open();
        database.begin();
        let write = c"PRAGMA journal_mode = WAL; CREATE TABLE t (v); INSERT INTO t VALUES (1)";
        assert_eq!(database.execute(write), SQLITE_OK);
        database.abort();
        assert_eq!(database.checkpoint(), SQLITE_OK);
    }

    #[test]
    fn a_statement_that_computes_ends_when_it_is_aborted() {
        let database = Database::open();
        database.begin();
        let endless = c"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let ended = std::thread::scope(|scope| {
            let statement = scope.spawn(|| database.execute(endless));
            while !database.is_busy() {
                std::thread::yield_now();
            }
            database.abort();
            statement.join().unwrap()
        });
        assert_eq!(ended, SQLITE_INTERRUPT);
        database.begin();
        assert_eq!(database.execute(c"SELECT 1"), SQLITE_OK);
    }
}
