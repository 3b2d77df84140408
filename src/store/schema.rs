//! The tables, and the only place with SQL. docs/data-model.md explains them.

/// `PRAGMA user_version`: major and minor in 16 bits each. The Go k8s-dqlite used 0.0, 0.1 and 1.0. The newest version
/// that this program knows: one row per commit batch.
pub const VERSION: i64 = BATCHES_VERSION;

/// One row per commit batch.
pub const BATCHES_VERSION: i64 = 3 << 16;

/// One row per change.
pub const ROWS_VERSION: i64 = (2 << 16) | 1;

/// The first version of these tables, which `UPGRADE` completes.
pub const OLDEST_VERSION: i64 = 2 << 16;

/// Keeps SQLite from overwriting what it frees, as some distributions build it to do: each page of a deleted row
/// would be in the log once more, as zeros. Returns a row.
pub const KEEP_FREED_PAGES: &str = "PRAGMA secure_delete = OFF";

pub const READ_VERSION: &str = "PRAGMA user_version";

pub const COUNT_TABLES: &str = "SELECT count(*) FROM sqlite_master";

/// The schema version while the tables of the Go k8s-dqlite are being converted: above every
/// version that an earlier program knows, so that it refuses, and below 3.0. See `conversion`.
pub const CONVERTING_VERSION: i64 = (2 << 16) | 0xf000;

/// The table of changes, one row each. `prev_revision` is there for checks and inspection. Column types are only
/// INTEGER, TEXT and BLOB: libdqlite cannot return the wrong value from a column of date or boolean type without
/// aborting.
macro_rules! change_table {
    () => {
        "
CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    kind INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    prev_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB
);"
    };
}

/// The schema version while rows are being packed into batches.
pub const PACKING_VERSION: i64 = (2 << 16) | 0xf001;

/// The tables of changes, one row for each commit batch: the row ids of its last change, which no change of it is above,
/// and of its first one, the number of its changes, and the changes themselves, as the crate change-batch packs them.
/// Table `dead` has the row ids of changes that are purged, and still lie in a batch.
macro_rules! batch_tables {
    () => {
        "
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    content BLOB NOT NULL
);
CREATE TABLE dead (
    id INTEGER PRIMARY KEY,
    ids BLOB NOT NULL
);"
    };
}

/// The tables beside the changes.
macro_rules! other_tables {
    () => {
        "
CREATE TABLE lease (
    id INTEGER PRIMARY KEY,
    granted_ttl_s INTEGER NOT NULL,
    remaining_s INTEGER NOT NULL
);
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES
    ('compact_revision', ?),
    ('cluster_id', ?),
    ('writer_epoch', 0);
CREATE TABLE setting (
    space INTEGER NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (space, name)
) WITHOUT ROWID;"
    };
}

/// The view has no `old_value` to give, values are not stored twice. The names of its columns are the Go
/// k8s-dqlite's.
macro_rules! view {
    ($revision:literal) => {
        concat!(
            "
CREATE VIEW kine AS SELECT
    ",
            $revision,
            " AS id,
    CAST(key AS TEXT) AS name,
    kind = 0 AND version = 1 AS created,
    kind = 1 AS deleted,
    create_revision,
    prev_revision,
    lease,
    value,
    NULL AS old_value
FROM change;"
        )
    };
}

/// The schema in one text, so that a new database has all of it or nothing.
pub const CREATE: &str = concat!(
    "BEGIN IMMEDIATE;",
    change_table!(),
    other_tables!(),
    view!("id >> 20"),
    "PRAGMA user_version = 131073; COMMIT"
);

/// The same with one row per batch. `change` is no table then, but what this program makes of the batches.
pub const CREATE_BATCHES: &str = concat!(
    "BEGIN IMMEDIATE;",
    batch_tables!(),
    other_tables!(),
    view!("revision"),
    "PRAGMA user_version = 196608; COMMIT"
);

/// Makes the tables of batches beside that of rows.
pub const BEGIN_PACKING: &str = concat!(batch_tables!(), "PRAGMA user_version = 192513");

/// Replaces the table of rows, which is empty, by what this program makes of the batches.
pub const FINISH_PACKING: &str = concat!(
    "BEGIN IMMEDIATE; DROP VIEW kine; DROP TABLE change;",
    view!("revision"),
    "PRAGMA user_version = 196608; COMMIT"
);

/// Reads the figures by which a changed table is told from an unchanged one.
pub const READ_ROW_FIGURES: &str = "SELECT count(*), ifnull(max(id), 0) FROM change";
pub const READ_ROW_SIZES: &str =
    "SELECT id, length(key) + ifnull(length(value), 0) FROM change ORDER BY id LIMIT ?";
pub const READ_ROWS_UP_TO: &str = "SELECT id, key, kind, create_revision, prev_revision, version, lease, value \
     FROM change WHERE id <= ? ORDER BY id";
pub const DELETE_ROWS_UP_TO: &str = "DELETE FROM change WHERE id <= ?";

/// The schema in two parts, for a conversion: its own view has to wait until the old table of that
/// name is gone.
pub const CREATE_TABLES: &str = concat!(change_table!(), other_tables!());
pub const CREATE_VIEW: &str = concat!(view!("id >> 20"), "PRAGMA user_version = 131073;");

/// The upgrade from schema 2.0 to 2.1.
pub const UPGRADE: &str = "
BEGIN IMMEDIATE;
CREATE TABLE setting (
    space INTEGER NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (space, name)
) WITHOUT ROWID;
PRAGMA user_version = 131073;
COMMIT";

/// The name of the number below which the current revision never is.
pub const LEAST_REVISION: &str = "least_revision";

pub const SET_META: &str = "INSERT INTO meta (name, value) VALUES (?, ?)";
pub const READ_META: &str = "SELECT name, value FROM meta";
pub const SET_CLUSTER_ID: &str = "UPDATE meta SET value = ? WHERE name = 'cluster_id'";
pub const SET_COMPACT_REVISION: &str = "UPDATE meta SET value = ? WHERE name = 'compact_revision'";

/// Takes the write lock after its present holder: a statement that was sent before cannot change
/// what is read afterwards, and one with another epoch fails.
pub const BEGIN_EPOCH: &str = "UPDATE meta SET value = ? WHERE name = 'writer_epoch'";
pub const READ_EPOCH: &str = "SELECT value FROM meta WHERE name = 'writer_epoch'";
/// Inserts nothing while the epoch is the parameter; otherwise a row that the table refuses.
pub const CHECK_EPOCH: &str = "INSERT INTO meta (name, value) SELECT 'writer_epoch', NULL \
     WHERE (SELECT value FROM meta WHERE name = 'writer_epoch') IS NOT ?";

pub const READ_CHANGES: &str = "SELECT id, key, kind, create_revision, prev_revision, version, lease, value \
     FROM change WHERE id > ? ORDER BY id LIMIT ?";
pub const COUNT_CHANGES: &str = "SELECT count(*) FROM change";

pub const READ_BATCHES: &str = "SELECT batch.id, content, dead.ids FROM batch LEFT JOIN dead ON dead.id = batch.id \
     WHERE batch.id > ? ORDER BY batch.id LIMIT ?";
/// The parameters are the bounds: the first one is not included in the sizes, and is in the batches.
pub const READ_BATCH_SIZES: &str =
    "SELECT id, changes, length(content) FROM batch WHERE id > ? AND id <= ? ORDER BY id LIMIT ?";
pub const READ_BATCHES_BETWEEN: &str = "SELECT batch.id, content, dead.ids FROM batch LEFT JOIN dead ON dead.id = batch.id \
     WHERE batch.id >= ? AND batch.id <= ? ORDER BY batch.id";
pub const DELETE_BATCHES_BEFORE: &str = "DELETE FROM batch WHERE id >= ? AND id < ?";
pub const DELETE_BATCHES_UP_TO: &str = "DELETE FROM batch WHERE id >= ? AND id <= ?";
pub const FORGET_DEAD_BETWEEN: &str = "DELETE FROM dead WHERE id >= ? AND id <= ?";
/// Those that are purged and not yet gone are counted as well.
pub const COUNT_BATCHED_CHANGES: &str = "SELECT ifnull(sum(changes), 0) FROM batch";
/// NULL without batches.
pub const READ_LAST_BATCH: &str = "SELECT max(id) FROM batch";

/// Appends a batch behind the one that its writer believes to be the last: another writer, whose batches have other
/// boundaries, and this one cannot both succeed. The parameters are the columns, the id of that batch or NULL, and the
/// writer's epoch. If either is another one, `first` would be NULL, which the table refuses. An INSERT that selects from its
/// own table would copy the content to a temporary one, and a large content to a temporary file.
pub const APPEND_BATCH: &str = "INSERT INTO batch (id, first, changes, content) \
     VALUES (?1, iif((SELECT max(id) FROM batch) IS ?5 \
     AND (SELECT value FROM meta WHERE name = 'writer_epoch') = ?6, ?2, NULL), ?3, ?4)";
pub const REWRITE_BATCH: &str = "UPDATE batch SET first = ?, changes = ?, content = ? WHERE id = ?";

/// The batches that may have changes from row ?1 to row ?2.
macro_rules! select_batches {
    ($order:literal) => {
        concat!(
            "SELECT content, dead.ids FROM batch LEFT JOIN dead ON dead.id = batch.id \
             WHERE batch.id >= ?1 AND batch.id <= ifnull((SELECT min(id) FROM batch WHERE id >= ?2), ?2) \
             ORDER BY batch.id",
            $order,
            "\0"
        )
    };
}
pub const SELECT_ASCENDING: &str = select_batches!("");
pub const SELECT_DESCENDING: &str = select_batches!(" DESC");

pub const READ_LEASES: &str = "SELECT id, granted_ttl_s, remaining_s FROM lease";

pub const READ_SETTINGS: &str = "SELECT space, name, value FROM setting ORDER BY space, name";
pub const SET_SETTING: &str = "INSERT INTO setting (space, name, value) VALUES (?, ?, ?) \
     ON CONFLICT (space, name) DO UPDATE SET value = excluded.value";
pub const DELETE_SETTING: &str = "DELETE FROM setting WHERE space = ? AND name = ?";

pub const READ_PAGES: &str =
    "SELECT page_count, freelist_count FROM pragma_page_count(), pragma_freelist_count()";

/// Writes the whole database again, without its free pages: one Raft entry of that size.
pub const VACUUM: &str = "VACUUM";

/// Parameters of a row in [`insert_changes`].
pub const CHANGE_PARAMS: usize = 8;

pub fn insert_changes(rows: usize) -> String {
    let columns = "id, key, kind, create_revision, prev_revision, version, lease, value";
    let values = values("(?,?,?,?,?,?,?,?)", rows);
    format!("INSERT INTO change ({columns}) VALUES {values}")
}

pub fn purge_changes(rows: usize) -> String {
    format!("DELETE FROM change WHERE id IN ({})", values("?", rows))
}

/// Deletes the rows between two ids except for `kept` ones. The parameters are the two ids, the
/// kept ids, and the most rows to delete.
pub fn sweep_changes(kept: usize) -> String {
    let kept = values("?", kept);
    format!(
        "DELETE FROM change WHERE id IN (SELECT id FROM change \
         WHERE id > ? AND id <= ? AND id NOT IN ({kept}) ORDER BY id LIMIT ?)"
    )
}

/// Finds the batches that rows lie in, or would, ascending: their ids and the bytes of their content. The parameters are
/// the rows.
pub fn find_batches(rows: usize) -> String {
    format!(
        "WITH row (id) AS (VALUES {}) \
         SELECT DISTINCT batch.id, length(content) FROM row \
         JOIN batch ON batch.id = (SELECT min(id) FROM batch WHERE id >= row.id) ORDER BY batch.id",
        values("(?)", rows)
    )
}

pub fn read_batches(batches: usize) -> String {
    format!(
        "SELECT batch.id, content, dead.ids FROM batch LEFT JOIN dead ON dead.id = batch.id \
         WHERE batch.id IN ({}) ORDER BY batch.id",
        values("?", batches)
    )
}

pub fn delete_batches(batches: usize) -> String {
    format!("DELETE FROM batch WHERE id IN ({})", values("?", batches))
}

/// Forgets which changes of batches are dead.
pub fn forget_dead(batches: usize) -> String {
    format!("DELETE FROM dead WHERE id IN ({})", values("?", batches))
}

/// Sets the dead rows of batches. The parameters of each are its id and the rows, packed.
pub fn set_dead(batches: usize) -> String {
    format!(
        "INSERT INTO dead (id, ids) VALUES {} ON CONFLICT (id) DO UPDATE SET ids = excluded.ids",
        values("(?,?)", batches)
    )
}

/// Finds the rows between two ids except for `kept` ones, ascending. The parameters are the two ids, the kept ids, and
/// the most rows to find.
pub fn find_superfluous(kept: usize) -> String {
    format!(
        "SELECT id FROM change WHERE id > ? AND id <= ? AND id NOT IN ({}) ORDER BY id LIMIT ?",
        values("?", kept)
    )
}

/// Inserts leases. Not an upsert: a row that exists already was not written by this writer.
pub fn insert_leases(rows: usize) -> String {
    let values = values("(?,?,?)", rows);
    format!("INSERT INTO lease (id, granted_ttl_s, remaining_s) VALUES {values}")
}

pub fn delete_leases(rows: usize) -> String {
    format!("DELETE FROM lease WHERE id IN ({})", values("?", rows))
}

pub fn checkpoint_leases(rows: usize) -> String {
    format!(
        "WITH checkpoint (id, remaining_s) AS (VALUES {}) \
         UPDATE lease SET remaining_s = checkpoint.remaining_s \
         FROM checkpoint WHERE lease.id = checkpoint.id",
        values("(?,?)", rows)
    )
}

fn values(row: &str, rows: usize) -> String {
    vec![row; rows].join(",")
}
