//! Lets an engine that closes begin no more statements.
//!
//! A statement that waits for the lock of its database begins when the lock is free, also where that is because the
//! engine closes: it ends those that run, and those that are known to wait for it, but not what is left of a text of several
//! statements (dqlite: src/gateway.c, `handle_exec_sql_done_cb`; src/leader.c, `leader_exec_abort`). To give such a statement
//! to a thread when the files are closed already ends the process (src/raft/uv_work.c, `UvAsyncWork`). So this module puts
//! `sqlite3_prepare_v2` into the executable, as [`super::file_calls`] does: the engine calls it on the thread of its loop for
//! each of them, and takes them for failed.
//!
//! SQLite itself calls it too, for the statements by which the engine opens a database (src/vfs.c, `vfsOpenHook`) and
//! checks one that it has got (src/fsm.c, `restoreDatabase`). A follower does both for as long as its leader sends to it.
//! These are let through: the engine announces only a client's statement, right before it prepares it ([`super::progress`]).
//!
//! Invariants: only the loop of an engine that is about to close is treated, whichever others run in the process, and only
//! connections of clients.

use std::{
    cell::RefCell,
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{library::functions, progress, reuse::Connection};

const SQLITE_INTERRUPT: c_int = 9;

/// A flag that an engine is about to close.
#[derive(Debug, Clone, Default)]
pub(super) struct Closing(Arc<AtomicBool>);

/// The engine that is being started, whose loop is the next that runs. Held meanwhile.
static STARTING: Mutex<()> = Mutex::new(());
static STARTED: Mutex<Option<Closing>> = Mutex::new(None);

thread_local! {
    /// That of the engine whose loop this thread runs.
    static OWN: RefCell<Option<Closing>> = const { RefCell::new(None) };
}

/// Makes the linker take this module's function into the executable. Call it wherever a node is made.
pub(super) fn link() {
    std::hint::black_box(sqlite3_prepare_v2 as *const ());
}

/// The state that is set and taken is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Closing {
    /// Has the loop that begins during `start` ask this.
    pub(super) fn with_loop<T>(&self, start: impl FnOnce() -> T) -> T {
        let _one_at_a_time = lock(&STARTING);
        *lock(&STARTED) = Some(self.clone());
        let started = start();
        // Nobody took it where the engine did not come as far as its loop.
        *lock(&STARTED) = None;
        started
    }

    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Called on the thread of a loop that begins.
pub(super) fn enter_loop() {
    if let Some(closing) = lock(&STARTED).take() {
        OWN.set(Some(closing));
    }
}

fn is_closing() -> bool {
    OWN.with_borrow(|own| {
        own.as_ref()
            .is_some_and(|closing| closing.0.load(Ordering::SeqCst))
    })
}

type Statement = *mut c_void;

functions! {
    fn sqlite3_prepare_v2 = "__real_sqlite3_prepare_v2"
        (connection: Connection, sql: *const c_char, bytes: c_int, statement: *mut Statement,
         tail: *mut *const c_char) -> c_int;
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_prepare_v2")
)]
pub unsafe extern "C" fn sqlite3_prepare_v2(
    connection: Connection,
    sql: *const c_char,
    bytes: c_int,
    statement: *mut Statement,
    tail: *mut *const c_char,
) -> c_int {
    // SAFETY: the caller's promise: a place for the statement, and one for the rest of the text, or null.
    unsafe {
        if is_closing() && progress::has_begun(connection) {
            *statement = ptr::null_mut();
            if !tail.is_null() {
                *tail = sql;
            }
            return SQLITE_INTERRUPT;
        }
        real::sqlite3_prepare_v2(connection, sql, bytes, statement, tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    functions! {
        fn sqlite3_open = "sqlite3_open" (name: *const c_char, connection: *mut Connection) -> c_int;
        fn sqlite3_close_v2 = "sqlite3_close_v2" (connection: Connection) -> c_int;
        fn sqlite3_finalize = "sqlite3_finalize" (statement: Statement) -> c_int;
    }

    fn prepare(connection: Connection) -> c_int {
        let mut statement = ptr::null_mut();
        let sql = c"SELECT 1".as_ptr();
        // SAFETY: an open connection, a text that ends in NUL, and a place for the statement.
        unsafe {
            let code = sqlite3_prepare_v2(connection, sql, -1, &raw mut statement, ptr::null_mut());
            self::real::sqlite3_finalize(statement);
            code
        }
    }

    #[test]
    fn an_engine_that_closes_begins_no_statement_of_a_client_and_goes_on_with_its_own() {
        let mut connection = ptr::null_mut();
        // SAFETY: a name that ends in NUL, and a place for the connection.
        let code = unsafe { self::real::sqlite3_open(c":memory:".as_ptr(), &raw mut connection) };
        assert_eq!(code, 0);
        let closing = Closing::default();
        closing.with_loop(enter_loop);
        assert_eq!(prepare(connection), 0);
        closing.begin();
        assert_eq!(prepare(connection), 0);
        // SAFETY: an open connection.
        unsafe { progress::sqlite3_progress_handler(connection, 0, None, ptr::null_mut()) };
        assert_eq!(prepare(connection), SQLITE_INTERRUPT);

        unsafe extern "C" fn abort(_argument: *mut c_void) -> c_int {
            1
        }
        // SAFETY: an open connection, which is closed once, after what the engine does before that.
        unsafe {
            let null = ptr::null_mut();
            progress::sqlite3_progress_handler(connection, 1, Some(abort), null);
            self::real::sqlite3_close_v2(connection);
        }
    }
}
