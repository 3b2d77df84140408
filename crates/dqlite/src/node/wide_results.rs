//! Refuses results that are wider than the engine can send.
//!
//! Each message of a result repeats the names of the columns, and where they leave no room, the engine sends messages
//! without a row for ever, and holds a thread of its pool and the lock of the statement (dqlite: src/query.c,
//! `query__batch`). What comes before the values of a row, half a byte for each column, is written before there is room
//! for it (src/tuple.c, `tuple_encoder__init`): with many columns, behind the end of the memory of the message. So this
//! module puts `sqlite3_column_count`, by which the engine begins each message, into the executable, as
//! [`super::file_calls`] does with other functions.

use std::{
    cell::Cell,
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
};

use super::{
    library::functions,
    reuse::{Connection, is_engine_connection},
};

/// Bytes in front of the names: the header of the message, and the number of columns.
const HEADER_BYTES: usize = 16;

const WORD_BYTES: usize = 8;

/// Encoding, and that no schema may call it.
const UTF8_DIRECTONLY: c_int = 0x0008_0001;

const NAME: &CStr = c"refused_result";
const CALL: &CStr = c"SELECT refused_result()";
const LONG_NAMES: &CStr = c"the names of the columns have about 4000 bytes or more, which dqlite cannot send: take fewer \
    columns, or shorten their names with AS";
const MANY_COLUMNS: &CStr = c"more columns than dqlite can send, which are 32: take fewer, or put some into one with json_array";

/// The most columns for which what is written behind the end, a word at most, is still part of what glibc gives for 4096
/// bytes. Without it, what comes before the values must be one word.
const MAX_COLUMNS: c_int = if cfg!(target_env = "gnu") { 32 } else { 16 };

/// Makes the linker take this module's function into the executable. Call it wherever a node is made.
pub(super) fn link() {
    std::hint::black_box(sqlite3_column_count as *const ());
}

thread_local! {
    /// This thread asks for names, for which SQLite asks for the number of columns.
    static IS_ASKING: Cell<bool> = const { Cell::new(false) };
}

type Statement = *mut c_void;
type Context = *mut c_void;
type ScalarFunction = unsafe extern "C" fn(Context, c_int, *mut *mut c_void);
type Aggregate = *const c_void;

functions! {
    fn sqlite3_column_count = "__real_sqlite3_column_count" (statement: Statement) -> c_int;
    fn sqlite3_column_name = "sqlite3_column_name" (statement: Statement, column: c_int) -> *const c_char;
    fn sqlite3_db_handle = "sqlite3_db_handle" (statement: Statement) -> Connection;
    fn sqlite3_create_function = "sqlite3_create_function"
        (connection: Connection, name: *const c_char, arguments: c_int, flags: c_int, argument: *mut c_void,
         function: Option<ScalarFunction>, step: Aggregate, last: Aggregate) -> c_int;
    fn sqlite3_exec = "sqlite3_exec"
        (connection: Connection, sql: *const c_char, row: *const c_void, argument: *mut c_void,
         message: *mut *mut c_char) -> c_int;
    fn sqlite3_user_data = "sqlite3_user_data" (context: Context) -> *mut c_void;
    fn sqlite3_result_error = "sqlite3_result_error"
        (context: Context, message: *const c_char, bytes: c_int) -> ();
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_column_count")
)]
pub unsafe extern "C" fn sqlite3_column_count(statement: Statement) -> c_int {
    // SAFETY: the caller's promise: a statement, or null, which has no columns.
    unsafe {
        let count = real::sqlite3_column_count(statement);
        if count == 0 || IS_ASKING.replace(true) {
            return count;
        }
        let is_long = header_bytes(statement, count) >= page_bytes();
        IS_ASKING.set(false);
        let why = match is_long {
            true => LONG_NAMES,
            false if count > MAX_COLUMNS => MANY_COLUMNS,
            false => return count,
        };
        let connection = real::sqlite3_db_handle(statement);
        if !is_engine_connection(connection) {
            return count;
        }
        refuse(connection, why);
        // The engine answers with the error of the connection.
        -1
    }
}

/// # Safety
///
/// A statement with so many columns.
unsafe fn header_bytes(statement: Statement, count: c_int) -> usize {
    let name_bytes = |column| {
        // SAFETY: the caller's promise; a name ends in NUL, or memory is short.
        let name = unsafe { real::sqlite3_column_name(statement, column) };
        match name.is_null() {
            true => 0,
            // SAFETY: as above.
            false => unsafe { CStr::from_ptr(name) }.count_bytes(),
        }
    };
    let names = (0..count).map(|column| (name_bytes(column) + 1).next_multiple_of(WORD_BYTES));
    HEADER_BYTES + names.sum::<usize>()
}

/// Returns what the engine puts into one message, if it can (dqlite: src/lib/buffer.c).
fn page_bytes() -> usize {
    // SAFETY: asks for a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Leaves the reason with the connection.
///
/// # Safety
///
/// An open connection.
unsafe fn refuse(connection: Connection, why: &'static CStr) {
    // SAFETY: texts that end in NUL; the call fails by what the function says.
    unsafe {
        let (none, no_message) = (ptr::null(), ptr::null_mut());
        let why = why.as_ptr().cast_mut().cast();
        real::sqlite3_create_function(
            connection,
            NAME.as_ptr(),
            0,
            UTF8_DIRECTONLY,
            why,
            Some(fail),
            none,
            none,
        );
        real::sqlite3_exec(connection, CALL.as_ptr(), none, ptr::null_mut(), no_message);
    }
}

unsafe extern "C" fn fail(context: Context, _count: c_int, _arguments: *mut *mut c_void) {
    // SAFETY: SQLite's own context, and the text that the function was made with, which SQLite copies.
    unsafe { real::sqlite3_result_error(context, real::sqlite3_user_data(context).cast(), -1) };
}
