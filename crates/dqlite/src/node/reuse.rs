//! Keeps the SQLite connection through which a follower applies the log.
//!
//! libdqlite opens a connection for every transaction that a follower applies, and closes it afterwards
//! (dqlite: src/fsm.c, `apply_frames`). Opening reads the schema (src/vfs.c, `vfsOpenHook`), and because
//! each applied transaction has made the index of the WAL invalid, SQLite first reads the whole WAL
//! again, up to 1000 frames, and sums them up: about a millisecond of CPU on every follower for every
//! commit. So this module puts three functions of SQLite into the executable, which the dynamic linker
//! prefers, as in [`super::aio`]; in a static program the linker's `--wrap` puts them between libdqlite and
//! SQLite (scripts/build). A connection that the engine closes is kept, and given to it when it
//! next opens the same file. The WAL is then read once for each checkpoint.
//!
//! Invariants: only connections to an engine's own files are kept, which nobody else can open; only
//! those without a statement, a transaction or a change of their own, so that one cannot be told from
//! a new one (connections of clients end by `sqlite3_close_v2`, which is not treated), and none whose
//! opening failed half way; one per file, and not many; they are closed before their engine's VFS goes. One that is kept holds no lock: to the
//! engine it is like a client that asks nothing.

use std::{
    cell::Cell,
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Connections that are kept in the process: one for each file that is replicated. Beyond it they are
/// closed.
const KEPT_MAX: usize = 64;

/// The beginning of the name that libdqlite gives to the VFS of a node (dqlite: src/config.c).
const VFS_PREFIX: &[u8] = b"dqlite-";

/// The flags with which libdqlite opens a file: SQLITE_OPEN_READWRITE, _CREATE and _EXRESCODE (dqlite: src/db.c).
const ENGINE_FLAGS: c_int = 0x0200_0006;

const SQLITE_OK: c_int = 0;
const SQLITE_FCNTL_VFS_POINTER: c_int = 27;

static REUSED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of times that a kept connection was given to the engine again.
pub fn reused() -> u64 {
    REUSED.load(Ordering::Relaxed)
}

/// Makes the linker take this module's functions into the executable. Call it wherever a node is made.
pub(super) fn link() {
    std::hint::black_box(sqlite3_open_v2 as *const ());
    std::hint::black_box(sqlite3_close as *const ());
    std::hint::black_box(sqlite3_vfs_unregister as *const ());
}

pub(super) type Connection = *mut c_void;

/// The beginning of `sqlite3_vfs`, which SQLite promises not to change.
#[repr(C)]
struct Vfs {
    version: c_int,
    file_bytes: c_int,
    path_max: c_int,
    next: *mut Vfs,
    name: *const c_char,
}

#[derive(PartialEq, Eq)]
struct File {
    /// The name of one may be another's later, its address may not while it is registered.
    vfs: *mut Vfs,
    name: CString,
}

struct Kept {
    file: File,
    connection: Connection,
}

// SAFETY: SQLite's connections may be used by one thread after another, and the pointer to the VFS is
// only compared.
unsafe impl Send for Kept {}

thread_local! {
    /// A connection whose opening failed, which the engine closes next (dqlite: src/db.c, `db__open`). It may look like
    /// new, but what makes it the engine's is not all set.
    static HALF_OPEN: Cell<Connection> = const { Cell::new(ptr::null_mut()) };
}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

fn kept() -> MutexGuard<'static, Vec<Kept>> {
    // A list that is pushed to and taken from is whole at any time.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SQLite's own functions.
struct Sqlite {
    open: unsafe extern "C" fn(*const c_char, *mut Connection, c_int, *const c_char) -> c_int,
    close: unsafe extern "C" fn(Connection) -> c_int,
    find: unsafe extern "C" fn(*const c_char) -> *mut Vfs,
    unregister: unsafe extern "C" fn(*mut Vfs) -> c_int,
    control: unsafe extern "C" fn(Connection, *const c_char, c_int, *mut c_void) -> c_int,
    file_name: unsafe extern "C" fn(Connection, *const c_char) -> *const c_char,
    next_statement: unsafe extern "C" fn(Connection, *mut c_void) -> *mut c_void,
    transaction_state: unsafe extern "C" fn(Connection, *const c_char) -> c_int,
    total_changes: unsafe extern "C" fn(Connection) -> c_int,
}

#[cfg(target_feature = "crt-static")]
mod real {
    use std::ffi::{c_char, c_int, c_void};

    use super::{Connection, Sqlite, Vfs};

    // What the linker calls the functions that it has wrapped, and functions that it has not.
    unsafe extern "C" {
        fn __real_sqlite3_open_v2(
            name: *const c_char,
            connection: *mut Connection,
            flags: c_int,
            vfs: *const c_char,
        ) -> c_int;
        fn __real_sqlite3_close(connection: Connection) -> c_int;
        fn __real_sqlite3_vfs_unregister(vfs: *mut Vfs) -> c_int;
        fn sqlite3_vfs_find(name: *const c_char) -> *mut Vfs;
        fn sqlite3_file_control(
            connection: Connection,
            schema: *const c_char,
            operation: c_int,
            argument: *mut c_void,
        ) -> c_int;
        fn sqlite3_db_filename(connection: Connection, schema: *const c_char) -> *const c_char;
        fn sqlite3_next_stmt(connection: Connection, statement: *mut c_void) -> *mut c_void;
        fn sqlite3_txn_state(connection: Connection, schema: *const c_char) -> c_int;
        fn sqlite3_total_changes(connection: Connection) -> c_int;
    }

    pub static SQLITE: Sqlite = Sqlite {
        open: __real_sqlite3_open_v2,
        close: __real_sqlite3_close,
        find: sqlite3_vfs_find,
        unregister: __real_sqlite3_vfs_unregister,
        control: sqlite3_file_control,
        file_name: sqlite3_db_filename,
        next_statement: sqlite3_next_stmt,
        transaction_state: sqlite3_txn_state,
        total_changes: sqlite3_total_changes,
    };
}
#[cfg(target_feature = "crt-static")]
use real::SQLITE;

#[cfg(not(target_feature = "crt-static"))]
static SQLITE: std::sync::LazyLock<Sqlite> = std::sync::LazyLock::new(|| {
    use super::library::function;

    // SAFETY: types as in sqlite3.h.
    unsafe {
        Sqlite {
            open: function(c"sqlite3_open_v2"),
            close: function(c"sqlite3_close"),
            find: function(c"sqlite3_vfs_find"),
            unregister: function(c"sqlite3_vfs_unregister"),
            control: function(c"sqlite3_file_control"),
            file_name: function(c"sqlite3_db_filename"),
            next_statement: function(c"sqlite3_next_stmt"),
            transaction_state: function(c"sqlite3_txn_state"),
            total_changes: function(c"sqlite3_total_changes"),
        }
    }
});

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_open_v2")
)]
pub unsafe extern "C" fn sqlite3_open_v2(
    name: *const c_char,
    connection: *mut Connection,
    flags: c_int,
    vfs: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise: NUL-terminated strings, and a place for the result.
    unsafe {
        if flags == ENGINE_FLAGS && !name.is_null() && is_engine(vfs) {
            let file = File {
                vfs: (SQLITE.find)(vfs),
                name: CStr::from_ptr(name).to_owned(),
            };
            let mut kept = kept();
            if let Some(at) = kept.iter().position(|kept| kept.file == file) {
                *connection = kept.swap_remove(at).connection;
                REUSED.fetch_add(1, Ordering::Relaxed);
                return SQLITE_OK;
            }
            drop(kept);
            let code = (SQLITE.open)(name, connection, flags, vfs);
            if code != SQLITE_OK {
                HALF_OPEN.set(*connection);
            }
            return code;
        }
        (SQLITE.open)(name, connection, flags, vfs)
    }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_close")
)]
pub unsafe extern "C" fn sqlite3_close(connection: Connection) -> c_int {
    // SAFETY: the caller's promise: a connection that was opened, or null.
    unsafe {
        let is_half_open = HALF_OPEN.replace(ptr::null_mut()) == connection;
        if !connection.is_null()
            && !is_half_open
            && let Some(file) = engine_file(connection)
            && is_like_new(connection)
        {
            let mut kept = kept();
            let is_kept = kept.iter().any(|kept| kept.file == file);
            if !is_kept && kept.len() < KEPT_MAX {
                kept.push(Kept { file, connection });
                return SQLITE_OK;
            }
        }
        (SQLITE.close)(connection)
    }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_vfs_unregister")
)]
pub unsafe extern "C" fn sqlite3_vfs_unregister(vfs: *mut c_void) -> c_int {
    let vfs = vfs.cast::<Vfs>();
    let ends = |kept: &mut Kept| ptr::eq(kept.file.vfs, vfs);
    let ended: Vec<Kept> = kept().extract_if(.., ends).collect();
    // SAFETY: the connections are nobody else's; the VFS is the caller's.
    unsafe {
        for kept in ended {
            (SQLITE.close)(kept.connection);
        }
        (SQLITE.unregister)(vfs)
    }
}

/// # Safety
///
/// The name of a VFS, or null for SQLite's own.
unsafe fn is_engine(vfs: *const c_char) -> bool {
    // SAFETY: NUL-terminated, as the caller promises.
    !vfs.is_null()
        && unsafe { CStr::from_ptr(vfs) }
            .to_bytes()
            .starts_with(VFS_PREFIX)
}

/// Returns the file that a connection of the engine has open.
///
/// # Safety
///
/// The connection is open.
unsafe fn engine_file(connection: Connection) -> Option<File> {
    let mut vfs: *mut Vfs = ptr::null_mut();
    // SAFETY: the control writes a pointer to a VFS that is registered, or nothing; the name of the
    // file is SQLite's until the connection is closed, and copied.
    unsafe {
        let place = (&raw mut vfs).cast();
        let code = (SQLITE.control)(connection, ptr::null(), SQLITE_FCNTL_VFS_POINTER, place);
        if code != SQLITE_OK || vfs.is_null() || !is_engine((*vfs).name) {
            return None;
        }
        let name = (SQLITE.file_name)(connection, c"main".as_ptr());
        (!name.is_null()).then(|| File {
            vfs,
            name: CStr::from_ptr(name).to_owned(),
        })
    }
}

/// Returns whether it is to a file of an engine.
///
/// # Safety
///
/// The connection is open.
pub(super) unsafe fn is_engine_connection(connection: Connection) -> bool {
    // SAFETY: the caller's promise.
    unsafe { engine_file(connection) }.is_some()
}

/// # Safety
///
/// The connection is open.
unsafe fn is_like_new(connection: Connection) -> bool {
    // SAFETY: these only look at it.
    unsafe {
        (SQLITE.next_statement)(connection, ptr::null_mut()).is_null()
            && (SQLITE.transaction_state)(connection, ptr::null()) == 0
            && (SQLITE.total_changes)(connection) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::library::functions;
    use super::*;

    type Extension = unsafe extern "C" fn(Connection, *mut *mut c_char, *const c_void) -> c_int;

    functions! {
        fn sqlite3_vfs_find = "sqlite3_vfs_find" (name: *const c_char) -> *mut Copied;
        fn sqlite3_vfs_register = "sqlite3_vfs_register" (vfs: *mut Copied, is_default: c_int) -> c_int;
        fn sqlite3_auto_extension = "sqlite3_auto_extension" (extension: Extension) -> c_int;
        fn sqlite3_cancel_auto_extension = "sqlite3_cancel_auto_extension" (extension: Extension) -> c_int;
    }

    /// All of `sqlite3_vfs`, in its third version.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct Copied {
        numbers: [c_int; 3],
        next: *mut c_void,
        name: *const c_char,
        data: *mut c_void,
        functions: [*const c_void; 16],
    }

    /// Fails where the name of the file says so, as the engine's does where it cannot set a connection up.
    unsafe extern "C" fn fails(
        connection: Connection,
        _message: *mut *mut c_char,
        _api: *const c_void,
    ) -> c_int {
        // SAFETY: a connection that is being opened, whose names end in NUL.
        let name = unsafe {
            let name = (SQLITE.file_name)(connection, c"main".as_ptr());
            if name.is_null() {
                return SQLITE_OK;
            }
            CStr::from_ptr(name)
        };
        match name.to_bytes().ends_with(b"/fails") {
            true => 9,
            false => SQLITE_OK,
        }
    }

    fn is_kept(name: &CStr) -> bool {
        kept().iter().any(|kept| kept.file.name.as_c_str() == name)
    }

    #[test]
    fn a_connection_is_kept_unless_its_opening_failed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| CString::new(dir.path().join(name).to_str().unwrap()).unwrap();
        let open_and_close = |name: &CStr| {
            let mut connection = ptr::null_mut();
            let vfs = c"dqlite-of-a-test".as_ptr();
            // SAFETY: names that end in NUL, a place for the connection, which is closed once.
            unsafe {
                let code = sqlite3_open_v2(name.as_ptr(), &raw mut connection, ENGINE_FLAGS, vfs);
                assert_eq!(sqlite3_close(connection), SQLITE_OK);
                code
            }
        };
        // SAFETY: SQLite's own VFS by another name, which lives until it is unregistered.
        let vfs = unsafe {
            let own = *self::real::sqlite3_vfs_find(ptr::null());
            let name = c"dqlite-of-a-test".as_ptr();
            let next = ptr::null_mut();
            Box::into_raw(Box::new(Copied { name, next, ..own }))
        };
        // SAFETY: as above, and a function of this type.
        unsafe {
            assert_eq!(self::real::sqlite3_vfs_register(vfs, 0), SQLITE_OK);
            assert_eq!(self::real::sqlite3_auto_extension(fails), SQLITE_OK);
        }
        let (good, bad) = (path("succeeds"), path("fails"));
        assert_eq!(open_and_close(&bad), 9);
        assert!(!is_kept(&bad));
        assert_eq!(open_and_close(&good), SQLITE_OK);
        assert!(is_kept(&good));
        // SAFETY: what was registered above, which nothing uses any more.
        unsafe {
            self::real::sqlite3_cancel_auto_extension(fails);
            assert_eq!(sqlite3_vfs_unregister(vfs.cast()), SQLITE_OK);
            drop(Box::from_raw(vfs));
        }
    }
}
