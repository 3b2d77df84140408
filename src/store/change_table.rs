//! Table `change` of schema 3 for SQL: what the batches hold, unpacked while a query reads it.

use std::ffi::CStr;

use change_batch::{Reader, unpack_row_ids};
use dqlite::node::packed_table::{self, Column, PackedRows, PackedTable};
use etcd_state::mvcc::ChangeKind;

use super::{database::StoredChange, schema};

const DECLARATION: &CStr = c"CREATE TABLE x (
    id INTEGER,
    revision INTEGER,
    key BLOB,
    kind INTEGER,
    create_revision INTEGER,
    prev_revision INTEGER,
    version INTEGER,
    lease INTEGER,
    value BLOB
)";

/// Columns of the declaration.
const COLUMNS: usize = 9;

/// Bits of a row id below its revision.
const POSITION_BITS: u32 = 20;

/// Gives every client of the engine in this process the table. Call it before a node is made. A second call changes
/// nothing.
pub fn register() {
    packed_table::register(PackedTable {
        name: c"change",
        declaration: DECLARATION,
        columns: COLUMNS,
        select_ascending: c_text(schema::SELECT_ASCENDING),
        select_descending: c_text(schema::SELECT_DESCENDING),
        group_bits: POSITION_BITS,
        unpack,
    });
}

fn c_text(text: &'static str) -> &'static CStr {
    CStr::from_bytes_with_nul(text.as_bytes()).expect("the text ends with the only NUL in it")
}

/// The changes of a batch that are not dead.
struct Unpacked(Vec<StoredChange>);

fn unpack(content: &[u8], dead: &[u8]) -> Result<Box<dyn PackedRows>, String> {
    let text = |error: change_batch::ReadError| error.to_string();
    let dead = unpack_row_ids(dead).map_err(text)?;
    let mut changes = Vec::new();
    let mut reader = Reader::open(content).map_err(text)?;
    while let Some(change) = reader.next_change().map_err(text)? {
        if dead.binary_search(&change.row_id()).is_err() {
            changes.push(StoredChange::from(change));
        }
    }
    Ok(Box::new(Unpacked(changes)))
}

impl PackedRows for Unpacked {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn id(&self, row: usize) -> i64 {
        self.0[row].kv.row_id().number()
    }

    fn column(&self, row: usize, column: usize) -> Column<'_> {
        let StoredChange {
            kind,
            kv,
            prev_revision,
        } = &self.0[row];
        match column {
            2 => Column::Blob(&kv.key),
            3 => Column::Integer((*kind == ChangeKind::Delete).into()),
            4 => Column::Integer(kv.create_revision.number()),
            5 => Column::Integer(prev_revision.number()),
            6 => Column::Integer(kv.version),
            7 => Column::Integer(kv.lease.number()),
            8 if *kind == ChangeKind::Put => Column::Blob(&kv.value),
            _ => Column::Null,
        }
    }
}
