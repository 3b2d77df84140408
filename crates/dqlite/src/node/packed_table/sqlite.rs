//! The functions and structures of SQLite that a virtual table needs, as in sqlite3.h. libdqlite brings SQLite; it is
//! not linked a second time.

use std::ffi::{c_char, c_int, c_uchar, c_void};

pub const OK: c_int = 0;
pub const ERROR: c_int = 1;

pub const CORRUPT: c_int = 11;
pub const ROW: c_int = 100;
pub const DONE: c_int = 101;

/// The type of an integer value.
pub const INTEGER: c_int = 1;

/// Makes SQLite copy what it is given (SQLITE_TRANSIENT).
pub const COPY: isize = -1;

/// Kinds of conditions.
pub mod op {
    use std::ffi::c_uchar;

    pub const EQ: c_uchar = 2;
    pub const GT: c_uchar = 4;
    pub const LE: c_uchar = 8;
    pub const LT: c_uchar = 16;
    pub const GE: c_uchar = 32;
}

/// Defines types of SQLite whose content is private to it.
macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => { $(
        $(#[$doc])*
        #[repr(C)]
        pub struct $name { _private: [u8; 0] }
    )* };
}

opaque! {
    /// `sqlite3`
    Connection,
    /// `sqlite3_stmt`
    Statement,
    /// `sqlite3_value`
    Value,
    /// `sqlite3_context`
    Context,
}

/// `sqlite3_vtab`
#[repr(C)]
pub struct Table {
    pub module: *const Module,
    pub references: c_int,
    pub error: *mut c_char,
}

/// `sqlite3_vtab_cursor`
#[repr(C)]
pub struct Cursor {
    pub table: *mut Table,
}

#[repr(C)]
pub struct Constraint {
    pub column: c_int,
    pub op: c_uchar,
    pub is_usable: c_uchar,
    pub term_offset: c_int,
}

#[repr(C)]
pub struct Order {
    pub column: c_int,
    pub is_descending: c_uchar,
}

#[repr(C)]
pub struct Usage {
    pub argument: c_int,
    pub omit: c_uchar,
}

/// `sqlite3_index_info`, as far as SQLite 3.8.2 has it.
#[repr(C)]
pub struct IndexInfo {
    pub constraint_count: c_int,
    pub constraints: *const Constraint,
    pub order_count: c_int,
    pub orders: *const Order,
    pub usages: *mut Usage,
    pub number: c_int,
    pub text: *mut c_char,
    pub frees_text: c_int,
    pub is_ordered: c_int,
    pub cost: f64,
    pub rows: i64,
}

pub type Connect = unsafe extern "C" fn(
    *mut Connection,
    *mut c_void,
    c_int,
    *const *const c_char,
    *mut *mut Table,
    *mut *mut c_char,
) -> c_int;

/// `sqlite3_module` of version 0. A function that is null is one that the table does not have.
#[repr(C)]
pub struct Module {
    pub version: c_int,
    pub create: Option<Connect>,
    pub connect: Option<Connect>,
    pub best_index: Option<unsafe extern "C" fn(*mut Table, *mut IndexInfo) -> c_int>,
    pub disconnect: Option<unsafe extern "C" fn(*mut Table) -> c_int>,
    pub destroy: Option<unsafe extern "C" fn(*mut Table) -> c_int>,
    pub open: Option<unsafe extern "C" fn(*mut Table, *mut *mut Cursor) -> c_int>,
    pub close: Option<unsafe extern "C" fn(*mut Cursor) -> c_int>,
    pub filter: Option<
        unsafe extern "C" fn(*mut Cursor, c_int, *const c_char, c_int, *mut *mut Value) -> c_int,
    >,
    pub next: Option<unsafe extern "C" fn(*mut Cursor) -> c_int>,
    pub eof: Option<unsafe extern "C" fn(*mut Cursor) -> c_int>,
    pub column: Option<unsafe extern "C" fn(*mut Cursor, *mut Context, c_int) -> c_int>,
    pub row_id: Option<unsafe extern "C" fn(*mut Cursor, *mut i64) -> c_int>,
    /// `xUpdate`, `xBegin`, `xSync`, `xCommit`, `xRollback`, `xFindFunction` and `xRename`.
    pub others: [Option<unsafe extern "C" fn()>; 7],
}

pub type OnOpen = unsafe extern "C" fn(*mut Connection, *mut *mut c_char, *const c_void) -> c_int;
pub type Destructor = unsafe extern "C" fn(*mut c_void);

macro_rules! functions {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty;)*) => {
        /// SQLite's own functions.
        pub struct Sqlite {
            $(pub $name: unsafe extern "C" fn($($type),*) -> $result,)*
        }

        #[cfg(target_feature = "crt-static")]
        mod linked {
            use super::*;

            unsafe extern "C" {
                $(fn $name($($arg: $type),*) -> $result;)*
            }
            pub static SQLITE: Sqlite = Sqlite { $($name,)* };
        }
        #[cfg(target_feature = "crt-static")]
        pub use linked::SQLITE;

        #[cfg(not(target_feature = "crt-static"))]
        pub static SQLITE: std::sync::LazyLock<Sqlite> = std::sync::LazyLock::new(|| {
            /// # Safety
            ///
            /// `F` must be the type of the function of that name, which ends in NUL.
            unsafe fn function<F: Copy>(name: &str) -> F {
                let name = std::ffi::CStr::from_bytes_with_nul(name.as_bytes());
                // SAFETY: the caller's promise.
                unsafe { crate::node::library::function(name.expect("it ends in NUL")) }
            }
            // SAFETY: types as in sqlite3.h.
            unsafe {
                Sqlite {
                    $($name: function(concat!(stringify!($name), "\0")),)*
                }
            }
        });
    };
}

functions! {
    fn sqlite3_auto_extension(on_open: Option<OnOpen>) -> c_int;
    fn sqlite3_create_module_v2(
        connection: *mut Connection,
        name: *const c_char,
        module: *const Module,
        argument: *mut c_void,
        destructor: Option<Destructor>,
    ) -> c_int;
    fn sqlite3_declare_vtab(connection: *mut Connection, sql: *const c_char) -> c_int;
    fn sqlite3_prepare_v2(
        connection: *mut Connection,
        sql: *const c_char,
        bytes: c_int,
        statement: *mut *mut Statement,
        rest: *mut *const c_char,
    ) -> c_int;
    fn sqlite3_bind_int64(statement: *mut Statement, parameter: c_int, value: i64) -> c_int;
    fn sqlite3_step(statement: *mut Statement) -> c_int;
    fn sqlite3_finalize(statement: *mut Statement) -> c_int;
    fn sqlite3_column_blob(statement: *mut Statement, column: c_int) -> *const c_void;
    fn sqlite3_column_bytes(statement: *mut Statement, column: c_int) -> c_int;
    fn sqlite3_value_type(value: *mut Value) -> c_int;
    fn sqlite3_value_int64(value: *mut Value) -> i64;
    fn sqlite3_result_null(context: *mut Context) -> ();
    fn sqlite3_result_int64(context: *mut Context, value: i64) -> ();
    fn sqlite3_result_blob64(
        context: *mut Context,
        bytes: *const c_void,
        length: u64,
        destructor: isize,
    ) -> ();
    fn sqlite3_malloc64(bytes: u64) -> *mut c_void;
    fn sqlite3_free(memory: *mut c_void) -> ();
}
