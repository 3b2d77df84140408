//! The functions that SQLite calls to plan and to run a query of the table.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
};

use super::{
    Column, PackedRows, PackedTable,
    plan::{self, Bounds, Condition},
    sqlite::{self, Connection, Context, IndexInfo, Module, SQLITE, Statement, Value},
};

pub static MODULE: Module = Module {
    version: 0,
    // With a function here, the table would need a CREATE.
    create: None,
    connect: Some(connect),
    best_index: Some(best_index),
    disconnect: Some(disconnect),
    destroy: None,
    open: Some(open),
    close: Some(close),
    filter: Some(filter),
    next: Some(next),
    eof: Some(eof),
    column: Some(column),
    row_id: Some(row_id),
    others: [None; 7],
};

/// The table of one connection. SQLite knows its beginning.
#[repr(C)]
struct Table {
    base: sqlite::Table,
    connection: *mut Connection,
    table: &'static PackedTable,
}

/// A query that runs. SQLite knows its beginning.
#[repr(C)]
struct Cursor {
    base: sqlite::Cursor,
    /// Returns the blobs that are not unpacked yet; null before the query begins.
    blobs: *mut Statement,
    /// The blob that is being read, and the row in it; none at the end.
    rows: Option<Box<dyn PackedRows>>,
    row: usize,
    is_descending: bool,
    bounds: Bounds,
}

/// The reason why a query ends early.
enum Failure {
    /// SQLite's own code; its own message.
    Sqlite(c_int),
    Unreadable(String),
}

unsafe extern "C" fn connect(
    connection: *mut Connection,
    argument: *mut c_void,
    _count: c_int,
    _arguments: *const *const c_char,
    result: *mut *mut sqlite::Table,
    _error: *mut *mut c_char,
) -> c_int {
    // SAFETY: `register` has given a table that stays; the connection is open, and its declaration a string.
    unsafe {
        let table: &'static PackedTable = &*argument.cast::<PackedTable>();
        let code = (SQLITE.sqlite3_declare_vtab)(connection, table.declaration.as_ptr());
        if code != sqlite::OK {
            return code;
        }
        let base = sqlite::Table {
            module: ptr::null(),
            references: 0,
            error: ptr::null_mut(),
        };
        let made = Box::new(Table {
            base,
            connection,
            table,
        });
        *result = Box::into_raw(made).cast();
    }
    sqlite::OK
}

unsafe extern "C" fn disconnect(table: *mut sqlite::Table) -> c_int {
    // SAFETY: `connect` has made it, and SQLite calls this last.
    drop(unsafe { Box::from_raw(table.cast::<Table>()) });
    sqlite::OK
}

unsafe extern "C" fn best_index(_table: *mut sqlite::Table, info: *mut IndexInfo) -> c_int {
    // SAFETY: SQLite's structure, with arrays of the lengths that it names.
    let (info, constraints, usages, orders) = unsafe {
        let info = &mut *info;
        let count = usize::try_from(info.constraint_count).unwrap_or(0);
        let order_count = usize::try_from(info.order_count).unwrap_or(0);
        let constraints = array(info.constraints, count);
        let usages: &mut [sqlite::Usage] = if count == 0 {
            &mut []
        } else {
            slice::from_raw_parts_mut(info.usages, count)
        };
        let orders = array(info.orders, order_count);
        (info, constraints, usages, orders)
    };
    let mut conditions = Vec::new();
    for (constraint, usage) in constraints.iter().zip(usages) {
        if constraint.is_usable == 0 || conditions.len() == plan::MAX_CONDITIONS {
            continue;
        }
        if let Some(condition) = Condition::new(constraint.column, constraint.op) {
            conditions.push(condition);
            usage.argument = conditions.len() as c_int;
        }
    }
    // The rows of a group are next to each other, so an order by both columns is one by the id if it has one direction.
    let is_descending = orders.first().is_some_and(|order| order.is_descending != 0);
    let is_by_id = |order: &sqlite::Order| {
        (-1..=1).contains(&order.column) && (order.is_descending != 0) == is_descending
    };
    let is_ordered = !orders.is_empty() && orders.iter().all(is_by_id);
    info.is_ordered = c_int::from(is_ordered);
    info.number = plan::to_number(is_ordered && is_descending, &conditions);
    let is_point = conditions.iter().any(|c| c.op == plan::Op::Equal);
    // Guesses: a point is cheap, each bound halves the rest.
    info.rows = if is_point {
        10
    } else {
        1_000_000 >> conditions.len()
    };
    info.cost = info.rows as f64;
    sqlite::OK
}

/// # Safety
///
/// If the count is above 0, that many elements are there.
unsafe fn array<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(first, count) }
}

unsafe extern "C" fn open(_table: *mut sqlite::Table, result: *mut *mut sqlite::Cursor) -> c_int {
    let made = Box::new(Cursor {
        // SQLite sets it.
        base: sqlite::Cursor {
            table: ptr::null_mut(),
        },
        blobs: ptr::null_mut(),
        rows: None,
        row: 0,
        is_descending: false,
        bounds: Bounds::ALL,
    });
    // SAFETY: a place for the result.
    unsafe { *result = Box::into_raw(made).cast() };
    sqlite::OK
}

unsafe extern "C" fn close(cursor: *mut sqlite::Cursor) -> c_int {
    // SAFETY: `open` has made it, and SQLite calls this last. A statement that is null is none.
    unsafe {
        let cursor = Box::from_raw(cursor.cast::<Cursor>());
        (SQLITE.sqlite3_finalize)(cursor.blobs);
    }
    sqlite::OK
}

unsafe extern "C" fn filter(
    cursor: *mut sqlite::Cursor,
    number: c_int,
    _text: *const c_char,
    count: c_int,
    values: *mut *mut Value,
) -> c_int {
    // SAFETY: a cursor of `open` on a table of `connect`, and as many values as SQLite says.
    unsafe {
        let values = array(values, usize::try_from(count).unwrap_or(0));
        guarded(cursor, |table, cursor| {
            let (is_descending, conditions) = plan::from_number(number);
            let mut bounds = Bounds::ALL;
            for (condition, value) in conditions.into_iter().zip(values) {
                // SQLite compares others itself: every row may be one.
                if (SQLITE.sqlite3_value_type)(*value) == sqlite::INTEGER {
                    let value = (SQLITE.sqlite3_value_int64)(*value);
                    bounds.narrow(condition, value, table.table.group_bits);
                }
            }
            (cursor.is_descending, cursor.bounds) = (is_descending, bounds);
            cursor.begin(table)?;
            cursor.find_row(table)
        })
    }
}

unsafe extern "C" fn next(cursor: *mut sqlite::Cursor) -> c_int {
    // SAFETY: a cursor of `open` on a table of `connect`.
    unsafe {
        guarded(cursor, |table, cursor| {
            cursor.row += 1;
            cursor.find_row(table)
        })
    }
}

unsafe extern "C" fn eof(cursor: *mut sqlite::Cursor) -> c_int {
    // SAFETY: a cursor of `open`.
    c_int::from(unsafe { &*cursor.cast::<Cursor>() }.rows.is_none())
}

unsafe extern "C" fn row_id(cursor: *mut sqlite::Cursor, result: *mut i64) -> c_int {
    // SAFETY: a cursor of `open`, and a place for the result.
    unsafe {
        guarded(cursor, |_, cursor| {
            *result = cursor.id().unwrap_or(0);
            Ok(())
        })
    }
}

unsafe extern "C" fn column(
    cursor: *mut sqlite::Cursor,
    context: *mut Context,
    column: c_int,
) -> c_int {
    // SAFETY: a cursor of `open` on a table of `connect`, and the place of a result, which copies its bytes.
    unsafe {
        guarded(cursor, |table, cursor| {
            match cursor.column(table, usize::try_from(column).unwrap_or(0)) {
                Column::Null => (SQLITE.sqlite3_result_null)(context),
                Column::Integer(number) => (SQLITE.sqlite3_result_int64)(context, number),
                Column::Blob(bytes) => {
                    let (start, length) = (bytes.as_ptr().cast(), bytes.len() as u64);
                    (SQLITE.sqlite3_result_blob64)(context, start, length, sqlite::COPY);
                }
            }
            Ok(())
        })
    }
}

impl Cursor {
    /// Begins to read blobs anew.
    ///
    /// # Safety
    ///
    /// The connection of the table is open.
    unsafe fn begin(&mut self, table: &Table) -> Result<(), Failure> {
        let sql = if self.is_descending {
            table.table.select_descending
        } else {
            table.table.select_ascending
        };
        (self.rows, self.row) = (None, 0);
        // SAFETY: an open connection, a string, and a statement of this cursor or none.
        unsafe {
            (SQLITE.sqlite3_finalize)(self.blobs);
            self.blobs = ptr::null_mut();
            let place = &raw mut self.blobs;
            checked((SQLITE.sqlite3_prepare_v2)(
                table.connection,
                sql.as_ptr(),
                -1,
                place,
                ptr::null_mut(),
            ))?;
            checked((SQLITE.sqlite3_bind_int64)(
                self.blobs,
                1,
                self.bounds.lowest,
            ))?;
            checked((SQLITE.sqlite3_bind_int64)(
                self.blobs,
                2,
                self.bounds.highest,
            ))
        }
    }

    /// Goes on to the next row within the bounds, this one included, or to the end.
    ///
    /// # Safety
    ///
    /// As for [`begin`](Self::begin), which was called.
    unsafe fn find_row(&mut self, table: &Table) -> Result<(), Failure> {
        loop {
            while let Some(id) = self.id() {
                if self.bounds.contain(id) {
                    return Ok(());
                }
                self.row += 1;
            }
            // SAFETY: the caller's promise.
            if !unsafe { self.next_blob(table)? } {
                return Ok(());
            }
        }
    }

    /// Returns false at the end.
    ///
    /// # Safety
    ///
    /// As for [`find_row`](Self::find_row).
    unsafe fn next_blob(&mut self, table: &Table) -> Result<bool, Failure> {
        (self.rows, self.row) = (None, 0);
        // SAFETY: a prepared statement; its blob stays until the next step.
        unsafe {
            match (SQLITE.sqlite3_step)(self.blobs) {
                sqlite::ROW => {}
                sqlite::DONE => return Ok(false),
                code => return Err(Failure::Sqlite(code)),
            }
            let (blob, beside) = (self.selected_bytes(0), self.selected_bytes(1));
            let rows = (table.table.unpack)(blob, beside).map_err(Failure::Unreadable)?;
            self.rows = Some(rows);
        }
        Ok(true)
    }

    /// Returns the bytes of a column of the blobs' query; of NULL, and of a column that is not there, none.
    ///
    /// # Safety
    ///
    /// The query is at a row, and stays there as long as the bytes are used.
    unsafe fn selected_bytes(&self, column: c_int) -> &[u8] {
        // SAFETY: the caller's promise; in this order, as SQLite asks for it.
        unsafe {
            let start = (SQLITE.sqlite3_column_blob)(self.blobs, column).cast::<u8>();
            let length = (SQLITE.sqlite3_column_bytes)(self.blobs, column);
            let length = if start.is_null() { 0 } else { length };
            array(start, usize::try_from(length).unwrap_or(0))
        }
    }

    /// Returns the id of the row, or none behind the last one of its blob.
    fn id(&self) -> Option<i64> {
        let rows = self.rows.as_ref()?;
        let row = self.place(rows.as_ref())?;
        Some(rows.id(row))
    }

    fn column(&self, table: &Table, column: usize) -> Column<'_> {
        let Some(rows) = &self.rows else {
            return Column::Null;
        };
        let Some(row) = self.place(rows.as_ref()) else {
            return Column::Null;
        };
        match column {
            0 => Column::Integer(rows.id(row)),
            1 => Column::Integer(rows.id(row) >> table.table.group_bits),
            column if column < table.table.columns => rows.column(row, column),
            _ => Column::Null,
        }
    }

    /// Returns the place of the row in its blob.
    fn place(&self, rows: &dyn PackedRows) -> Option<usize> {
        let count = rows.count();
        let left = count.checked_sub(self.row + 1)?;
        Some(if self.is_descending { left } else { self.row })
    }
}

fn checked(code: c_int) -> Result<(), Failure> {
    if code == sqlite::OK {
        Ok(())
    } else {
        Err(Failure::Sqlite(code))
    }
}

/// Runs a function, whose failure or panic becomes a code of SQLite.
///
/// # Safety
///
/// The cursor is one of [`open`], its table one of [`connect`].
unsafe fn guarded(
    cursor: *mut sqlite::Cursor,
    run: impl FnOnce(&Table, &mut Cursor) -> Result<(), Failure>,
) -> c_int {
    // SAFETY: the caller's promise. SQLite uses a connection, and so its tables and cursors, in one thread at a time.
    let (table, cursor) = unsafe {
        let cursor = &mut *cursor.cast::<Cursor>();
        (cursor.base.table.cast::<Table>(), cursor)
    };
    // SAFETY: as above; only this function writes to the table, after `run` has ended.
    let ended = catch_unwind(AssertUnwindSafe(|| unsafe { run(&*table, &mut *cursor) }));
    let reason = match ended {
        Ok(Ok(())) => return sqlite::OK,
        Ok(Err(Failure::Sqlite(code))) => {
            cursor.rows = None;
            return code;
        }
        Ok(Err(Failure::Unreadable(reason))) => reason,
        Err(_) => {
            cursor.rows = None;
            return sqlite::ERROR;
        }
    };
    cursor.rows = None;
    // SAFETY: as above; the message is SQLite's memory, which it frees.
    unsafe { set_error(&mut (*table).base, (*table).table.name, &reason) };
    sqlite::CORRUPT
}

/// Sets the message of an error.
///
/// # Safety
///
/// The table is SQLite's.
unsafe fn set_error(table: &mut sqlite::Table, name: &CStr, reason: &str) {
    let text = format!("table {}: {reason}", name.to_string_lossy());
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).chain([0]).collect();
    // SAFETY: memory of SQLite of that length, if it has any.
    unsafe {
        let memory = (SQLITE.sqlite3_malloc64)(bytes.len() as u64).cast::<u8>();
        if !memory.is_null() {
            memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            (SQLITE.sqlite3_free)(table.error.cast());
            table.error = memory.cast();
        }
    }
}
