//! Gives the engine the memory that it needs for a view of a database which has become shorter.
//!
//! For a dump or a snapshot, the engine lists the pages of a database. It makes room for as many as the database has after
//! the last transaction, and then lists those of the file, which has more where a VACUUM has not been written back yet
//! (dqlite: src/vfs.c, `VfsAcquireSnapshot`): it writes behind the end of its memory. So this module puts two functions into
//! the executable, as [`super::file_calls`] does: `sqlite3_file_control`, by which the engine finds the file before, and
//! `sqlite3_malloc64`, by which it makes room. It finds a file for other reasons as well: where it then asks for memory by
//! `sqlite3_malloc` or `sqlite3_realloc64` first, as for each transaction that it applies, it makes no list.
//!
//! Invariants: only the first memory that a thread asks for after it has found a file is larger than it asks for, and no
//! larger than what the list of the pages of this file needs.

use std::{
    cell::Cell,
    ffi::{c_char, c_int, c_void},
};

use super::{library::functions, reuse::Connection};

const SQLITE_OK: c_int = 0;
const SQLITE_FCNTL_FILE_POINTER: c_int = 7;

/// All databases of the engine have pages of this size (dqlite: src/config.c).
const PAGE_BYTES: u64 = 4096;

const POINTER_BYTES: u64 = size_of::<*mut c_void>() as u64;

thread_local! {
    /// The pages of the file that this thread has found last.
    static PAGES: Cell<u64> = const { Cell::new(0) };
}

/// Makes the linker take this module's functions into the executable. Call it wherever a node is made.
pub(super) fn link() {
    std::hint::black_box(sqlite3_file_control as *const ());
    std::hint::black_box(sqlite3_malloc64 as *const ());
    std::hint::black_box(sqlite3_malloc as *const ());
    std::hint::black_box(sqlite3_realloc64 as *const ());
}

/// `sqlite3_file`
#[repr(C)]
struct File {
    methods: *const Methods,
}

/// The beginning of `sqlite3_io_methods`.
#[repr(C)]
struct Methods {
    version: c_int,
    close: *const c_void,
    read: *const c_void,
    write: *const c_void,
    truncate: *const c_void,
    sync: *const c_void,
    size: Option<unsafe extern "C" fn(*mut File, *mut i64) -> c_int>,
}

functions! {
    fn sqlite3_file_control = "__real_sqlite3_file_control"
        (connection: Connection, schema: *const c_char, operation: c_int, argument: *mut c_void) -> c_int;
    fn sqlite3_malloc64 = "__real_sqlite3_malloc64" (bytes: u64) -> *mut c_void;
    fn sqlite3_malloc = "__real_sqlite3_malloc" (bytes: c_int) -> *mut c_void;
    fn sqlite3_realloc64 = "__real_sqlite3_realloc64" (block: *mut c_void, bytes: u64) -> *mut c_void;
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_file_control")
)]
pub unsafe extern "C" fn sqlite3_file_control(
    connection: Connection,
    schema: *const c_char,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: what the caller passed; the operation writes a pointer to the file.
    unsafe {
        let code = real::sqlite3_file_control(connection, schema, operation, argument);
        if operation == SQLITE_FCNTL_FILE_POINTER && code == SQLITE_OK && schema.is_null() {
            PAGES.set(pages(*argument.cast::<*mut File>()));
        }
        code
    }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_malloc64")
)]
pub unsafe extern "C" fn sqlite3_malloc64(bytes: u64) -> *mut c_void {
    let needed = match bytes % POINTER_BYTES {
        0 => PAGES.replace(0) * POINTER_BYTES,
        _ => 0,
    };
    // SAFETY: a number.
    unsafe { real::sqlite3_malloc64(bytes.max(needed)) }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_malloc")
)]
pub unsafe extern "C" fn sqlite3_malloc(bytes: c_int) -> *mut c_void {
    PAGES.set(0);
    // SAFETY: a number.
    unsafe { real::sqlite3_malloc(bytes) }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_realloc64")
)]
pub unsafe extern "C" fn sqlite3_realloc64(block: *mut c_void, bytes: u64) -> *mut c_void {
    PAGES.set(0);
    // SAFETY: what the caller passed.
    unsafe { real::sqlite3_realloc64(block, bytes) }
}

/// Returns the pages of a file.
///
/// # Safety
///
/// A file of a connection, which is open if it has methods.
unsafe fn pages(file: *mut File) -> u64 {
    let mut bytes = 0;
    // SAFETY: the caller's promise; the function writes a number.
    let code = unsafe {
        match file
            .as_ref()
            .and_then(|file| file.methods.as_ref())
            .and_then(|methods| methods.size)
        {
            Some(size) => size(file, &raw mut bytes),
            None => return 0,
        }
    };
    match code {
        SQLITE_OK => u64::try_from(bytes).unwrap_or(0).div_ceil(PAGE_BYTES),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    functions! {
        fn sqlite3_msize = "sqlite3_msize" (block: *mut c_void) -> u64;
        fn sqlite3_free = "sqlite3_free" (block: *mut c_void) -> ();
    }

    /// Returns the bytes that the engine gets for a page after it has found a file of 1,000,000 pages.
    fn given_after(between: impl FnOnce() -> *mut c_void) -> u64 {
        PAGES.set(1_000_000);
        // SAFETY: blocks of SQLite's, each freed once.
        unsafe {
            let other = between();
            let page = sqlite3_malloc64(PAGE_BYTES);
            let given = self::real::sqlite3_msize(page);
            self::real::sqlite3_free(page);
            self::real::sqlite3_free(other);
            given
        }
    }

    #[test]
    fn only_the_list_of_pages_gets_more_than_it_asks_for() {
        // SAFETY: as above.
        let (frame, list) = unsafe {
            (
                given_after(|| sqlite3_malloc(32)),
                given_after(|| sqlite3_realloc64(std::ptr::null_mut(), 64)),
            )
        };
        assert!(
            frame < 2 * PAGE_BYTES && list < 2 * PAGE_BYTES,
            "{frame}, {list}"
        );
        assert!(given_after(std::ptr::null_mut) >= 8_000_000);
    }
}
