//! A table in SQL whose rows are packed in the blobs of an ordinary table.
//!
//! All SQL runs in this process, also what the shells of other programs send. So a table that only this process
//! knows can be queried by every client: an eponymous virtual table of SQLite (its name needs no CREATE), which
//! reads blobs by a statement of its own on the same connection, and unpacks one at a time.
//!
//! Invariants: the table reads and never writes; it holds one unpacked blob for each query; bounds on its first two
//! columns narrow what is read, and SQLite checks every condition again; no panic crosses C; an unreadable blob is an
//! error of the query, with its reason.

mod cursor;
mod plan;
mod sqlite;

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::OnceLock,
};

use self::sqlite::{Connection, SQLITE};

/// A table of packed rows.
///
/// The first column is the id of a row, the second one its group: the id without its lowest
/// [`group_bits`](Self::group_bits) bits. Ids rise through the blobs, and in each of them.
pub struct PackedTable {
    pub name: &'static CStr,
    /// `CREATE TABLE x (…)`: names and types of the columns. The name of the table is ignored.
    pub declaration: &'static CStr,
    pub columns: usize,
    /// Returns the blobs that may have ids from ?1 to ?2, as their first column, ascending. A second column, if there is
    /// one, has what else the unpacking needs.
    pub select_ascending: &'static CStr,
    /// The same, descending.
    pub select_descending: &'static CStr,
    pub group_bits: u32,
    pub unpack: Unpack,
}

/// Unpacks a blob, or says why not. The second argument is what was selected beside it, empty if that is NULL.
pub type Unpack = fn(&[u8], &[u8]) -> Result<Box<dyn PackedRows>, String>;

/// The rows of one blob. The engine runs the steps of a query on any of its threads, one after the other.
pub trait PackedRows: Send {
    /// Returns the number of rows.
    fn count(&self) -> usize;

    /// Returns the id of a row.
    fn id(&self, row: usize) -> i64;

    /// Returns a column behind the first two: from 2 on.
    fn column(&self, row: usize, column: usize) -> Column<'_>;
}

/// A value of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column<'a> {
    Null,
    Integer(i64),
    Blob(&'a [u8]),
}

static TABLE: OnceLock<PackedTable> = OnceLock::new();

/// Gives the table to each connection to a database that is opened from now on in this process. Call it before a
/// node is made. A second call changes nothing.
pub fn register(table: PackedTable) {
    if TABLE.set(table).is_ok() {
        // SAFETY: the function has the type that SQLite calls it by, and stays.
        let code = unsafe { (SQLITE.sqlite3_auto_extension)(Some(on_open)) };
        assert_eq!(code, sqlite::OK, "SQLite has memory for one pointer");
    }
}

/// SQLite calls this for each connection that is opened.
unsafe extern "C" fn on_open(
    connection: *mut Connection,
    _error: *mut *mut c_char,
    _routines: *const c_void,
) -> c_int {
    let Some(table) = TABLE.get() else {
        return sqlite::OK;
    };
    // SAFETY: an open connection; name, module and table are there as long as the process.
    unsafe {
        (SQLITE.sqlite3_create_module_v2)(
            connection,
            table.name.as_ptr(),
            &raw const cursor::MODULE,
            ptr::from_ref(table).cast_mut().cast(),
            None,
        )
    }
}
