//! Keeps from the engine what SQL can do to it.
//!
//! libdqlite gives all of SQLite to whoever has the cluster's pair, but some of it ends the process: a value that is
//! not of the declared class of its column (dqlite: src/query.c), a statement that has written and is given up at its
//! first row (src/leader.c), a virtual table that asks the file for what the VFS does not know (src/vfs.c), and a
//! function that takes a pointer from SQL. So this module puts four functions of SQLite into the executable, as
//! [`super::reuse`] does.
//!
//! Invariants: only connections to an engine's own files are treated; the engine's own authorizer is asked as well, and
//! what either denies is denied; a value keeps its content and storage class.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::OnceLock,
};

use super::{
    library::functions,
    reuse::{Connection, is_engine_connection},
    value_limit,
};

const SQLITE_OK: c_int = 0;
const SQLITE_DENY: c_int = 1;

/// The actions that SQLite asks an authorizer about.
mod action {
    use std::ffi::c_int;

    pub const PRAGMA: c_int = 19;
    pub const READ: c_int = 20;
    pub const CREATE_VIRTUAL_TABLE: c_int = 29;
    pub const FUNCTION: c_int = 31;
}

/// Storage classes.
const INTEGER: c_int = 1;
const TEXT: c_int = 3;
const NULL: c_int = 5;

/// Tables that need no CREATE and ask the file below SQLite: they would return memory that was never set, or write pages
/// past all checks.
const DENIED_TABLES: [&str; 4] = ["dbstat", "sqlite_dbpage", "sqlite_dbdata", "sqlite_dbptr"];

/// Modules of virtual tables that keep their content in ordinary tables.
const ALLOWED_MODULES: [&str; 10] = [
    "fts3",
    "fts3tokenize",
    "fts4",
    "fts4aux",
    "fts5",
    "fts5vocab",
    "geopoly",
    "rtree",
    "rtree_i32",
    "json_each",
];

/// Settings of the whole process, of its files, and of a schema that is text.
const DENIED_SETTINGS: [&str; 5] = [
    "hard_heap_limit",
    "soft_heap_limit",
    "temp_store_directory",
    "data_store_directory",
    // By it a schema could get what the port refuses in a statement.
    "writable_schema",
];

const DENIED_PRAGMAS: [&str; 2] = [
    // The engine's VFS aborts when it is given twice in a transaction.
    "delete_database",
    // SQLite takes it for one that reads, so that the engine has it write beside another writer.
    "optimize",
];

/// Functions that take an address or a library, and one that writes, although it is called in a SELECT.
const DENIED_FUNCTIONS: [&str; 3] = ["fts3_tokenizer", "load_extension", "optimize"];

/// Makes the linker take this module's functions into the executable. Call it wherever a node is made.
pub(super) fn link() {
    std::hint::black_box(sqlite3_set_authorizer as *const ());
    std::hint::black_box(sqlite3_column_decltype as *const ());
    std::hint::black_box(sqlite3_reset as *const ());
    std::hint::black_box(sqlite3_finalize as *const ());
}

type Statement = *mut c_void;

type Authorizer = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *const c_char,
    *const c_char,
    *const c_char,
    *const c_char,
) -> c_int;

functions! {
    fn sqlite3_set_authorizer = "__real_sqlite3_set_authorizer"
        (connection: Connection, authorizer: Option<Authorizer>, argument: *mut c_void) -> c_int;
    fn sqlite3_column_decltype = "__real_sqlite3_column_decltype"
        (statement: Statement, column: c_int) -> *const c_char;
    fn sqlite3_reset = "__real_sqlite3_reset" (statement: Statement) -> c_int;
    fn sqlite3_finalize = "__real_sqlite3_finalize" (statement: Statement) -> c_int;
    fn sqlite3_column_type = "sqlite3_column_type" (statement: Statement, column: c_int) -> c_int;
    fn sqlite3_stmt_busy = "sqlite3_stmt_busy" (statement: Statement) -> c_int;
    fn sqlite3_stmt_readonly = "__real_sqlite3_stmt_readonly" (statement: Statement) -> c_int;
    fn sqlite3_db_handle = "sqlite3_db_handle" (statement: Statement) -> Connection;
    fn sqlite3_get_autocommit = "sqlite3_get_autocommit" (connection: Connection) -> c_int;
    fn sqlite3_interrupt = "sqlite3_interrupt" (connection: Connection) -> ();
    fn sqlite3_step = "sqlite3_step" (statement: Statement) -> c_int;
    fn sqlite3_limit = "sqlite3_limit" (connection: Connection, id: c_int, value: c_int) -> c_int;
}

/// The engine's own authorizer, which is one function without an argument (dqlite: src/vfs.c).
static ENGINE_AUTHORIZER: OnceLock<Authorizer> = OnceLock::new();

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_set_authorizer")
)]
pub unsafe extern "C" fn sqlite3_set_authorizer(
    connection: Connection,
    authorizer: Option<Authorizer>,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise: an open connection.
    let is_engine = unsafe { is_engine_connection(connection) };
    let ours = match authorizer {
        Some(engine) if is_engine => {
            // SAFETY: it is open, and to the engine's files.
            unsafe { value_limit::apply(connection) };
            let kept = *ENGINE_AUTHORIZER.get_or_init(|| engine);
            ptr::fn_addr_eq(kept, engine).then_some(authorize as Authorizer)
        }
        _ => None,
    };
    // SAFETY: what the caller passed, or a function of this module in its place.
    unsafe { real::sqlite3_set_authorizer(connection, ours.or(authorizer), argument) }
}

/// Asked by SQLite for each thing that a statement does, while it is prepared.
unsafe extern "C" fn authorize(
    argument: *mut c_void,
    action: c_int,
    third: *const c_char,
    fourth: *const c_char,
    fifth: *const c_char,
    sixth: *const c_char,
) -> c_int {
    // SAFETY: SQLite passes strings that end in NUL, or null.
    let is_denied = unsafe { is_denied(action, text(third), text(fourth)) };
    match ENGINE_AUTHORIZER.get() {
        _ if is_denied => SQLITE_DENY,
        // SAFETY: what SQLite passed, to the function that it was meant for.
        Some(engine) => unsafe { engine(argument, action, third, fourth, fifth, sixth) },
        None => SQLITE_OK,
    }
}

/// # Safety
///
/// A string that ends in NUL and outlives the result, or null.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

fn is_denied(action: c_int, third: Option<&[u8]>, fourth: Option<&[u8]>) -> bool {
    let is_in = |list: &[&str], text: Option<&[u8]>| {
        text.is_some_and(|text| {
            list.iter()
                .any(|name| text.eq_ignore_ascii_case(name.as_bytes()))
        })
    };
    match action {
        action::READ => is_in(&DENIED_TABLES, third),
        action::CREATE_VIRTUAL_TABLE => !is_in(&ALLOWED_MODULES, fourth),
        // To ask for a setting is harmless.
        action::PRAGMA => {
            is_in(&DENIED_PRAGMAS, third) || fourth.is_some() && is_in(&DENIED_SETTINGS, third)
        }
        action::FUNCTION => is_in(&DENIED_FUNCTIONS, fourth),
        _ => false,
    }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_column_decltype")
)]
pub unsafe extern "C" fn sqlite3_column_decltype(
    statement: Statement,
    column: c_int,
) -> *const c_char {
    // SAFETY: the caller's promise: a statement; its strings end in NUL.
    unsafe {
        let declared = real::sqlite3_column_decltype(statement, column);
        match text(declared) {
            Some(class) if !has_class(class, || real::sqlite3_column_type(statement, column)) => {
                ptr::null()
            }
            _ => declared,
        }
    }
}

/// Returns whether the engine can send a value of this storage class from a column that is declared so. From a column
/// without a declaration it can send each.
fn has_class(declared: &[u8], storage: impl FnOnce() -> c_int) -> bool {
    let is = |class: &str| declared.eq_ignore_ascii_case(class.as_bytes());
    if is("DATETIME") || is("DATE") || is("TIMESTAMP") {
        matches!(storage(), INTEGER | TEXT | NULL)
    } else if is("BOOLEAN") {
        matches!(storage(), INTEGER | NULL)
    } else {
        true
    }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_reset")
)]
pub unsafe extern "C" fn sqlite3_reset(statement: Statement) -> c_int {
    // SAFETY: the caller's promise: a statement, or null.
    unsafe {
        undo_if_given_up(statement);
        real::sqlite3_reset(statement)
    }
}

/// # Safety
///
/// As SQLite's.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(
    target_feature = "crt-static",
    unsafe(export_name = "__wrap_sqlite3_finalize")
)]
pub unsafe extern "C" fn sqlite3_finalize(statement: Statement) -> c_int {
    // SAFETY: the caller's promise: a statement, or null.
    unsafe {
        undo_if_given_up(statement);
        real::sqlite3_finalize(statement)
    }
}

/// Rolls back what a statement has written that is given up before its end, outside of a transaction. SQLite would
/// commit it, and the engine, which takes it for failed, would not replicate it: the log of the whole node would stop,
/// and the end of the connection would end the process.
///
/// # Safety
///
/// A statement, or null.
unsafe fn undo_if_given_up(statement: Statement) {
    // SAFETY: a statement that is not null belongs to an open connection.
    unsafe {
        if statement.is_null()
            || real::sqlite3_stmt_busy(statement) == 0
            || real::sqlite3_stmt_readonly(statement) != 0
        {
            return;
        }
        let connection = real::sqlite3_db_handle(statement);
        if real::sqlite3_get_autocommit(connection) != 0 && is_engine_connection(connection) {
            // An interrupted statement is rolled back at its next step.
            real::sqlite3_interrupt(connection);
            real::sqlite3_step(statement);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_below_sqlite_is_denied() {
        let denied = |action, third: &str, fourth: Option<&str>| {
            is_denied(action, Some(third.as_bytes()), fourth.map(str::as_bytes))
        };
        for (action, third, fourth, expected) in [
            (action::READ, "DBSTAT", Some("pgno"), true),
            (action::READ, "sqlite_dbpage", Some(""), true),
            (action::READ, "json_each", Some("value"), false),
            (action::READ, "t", Some("dbstat"), false),
            (action::CREATE_VIRTUAL_TABLE, "t", Some("dbstat"), true),
            (action::CREATE_VIRTUAL_TABLE, "t", Some("FTS5"), false),
            (action::PRAGMA, "hard_heap_limit", Some("1"), true),
            (action::PRAGMA, "hard_heap_limit", None, false),
            (action::PRAGMA, "delete_database", None, true),
            (action::PRAGMA, "optimize", None, true),
            (action::PRAGMA, "user_version", Some("1"), false),
            (action::FUNCTION, "", Some("fts3_tokenizer"), true),
            (action::FUNCTION, "", Some("optimize"), true),
            (action::FUNCTION, "", Some("count"), false),
        ] {
            assert_eq!(
                denied(action, third, fourth),
                expected,
                "{action} {third} {fourth:?}"
            );
        }
    }

    #[test]
    fn a_declared_class_counts_only_for_values_of_it() {
        const FLOAT: c_int = 2;
        const BLOB: c_int = 4;
        for (declared, storage, expected) in [
            ("datetime", BLOB, false),
            ("DATE", FLOAT, false),
            ("TIMESTAMP", TEXT, true),
            ("boolean", TEXT, false),
            ("BOOLEAN", INTEGER, true),
            ("BOOLEAN", NULL, true),
            ("TEXT", BLOB, true),
        ] {
            let has = has_class(declared.as_bytes(), || storage);
            assert_eq!(has, expected, "{declared} {storage}");
        }
    }
}
