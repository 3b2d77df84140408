//! The SQL of the conversion: the tables of the Go k8s-dqlite, and the way from them to this program's.

/// `PRAGMA user_version` of the Go k8s-dqlite: without versions, 0.1, and 1.0.
pub const VERSIONS: [i64; 3] = [0, 1, 1 << 16];

/// The schema that the data of a Go k8s-dqlite is converted to at first, and the newest one.
pub const ROWS: i64 = crate::store::schema::ROWS_VERSION;
pub const NEWEST: i64 = crate::store::schema::BATCHES_VERSION;

/// Counts the old tables: 1 or 0.
pub const COUNT_OLD: &str =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'kine'";
pub const COUNT_SEQUENCES: &str =
    "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'";

/// Reads the figures by which a changed table is told from an unchanged one.
pub const SURVEY: &str = "SELECT \
    (SELECT count(*) FROM kine) AS row_count, \
    (SELECT ifnull(min(id), 1) FROM kine) AS first, \
    (SELECT ifnull(max(id), 0) FROM kine) AS last, \
    (SELECT ifnull(max(CAST(prev_revision AS INTEGER)), 0) FROM kine \
        WHERE name = 'compact_rev_key') AS compact_revision";
pub const READ_SEQUENCE: &str =
    "SELECT ifnull(max(CAST(seq AS INTEGER)), 0) FROM sqlite_sequence WHERE name = 'kine'";

pub const READ_INDEXES: &str = "SELECT CAST(name AS BLOB) AS name FROM sqlite_master \
     WHERE type = 'index' AND tbl_name = 'kine' AND sql IS NOT NULL ORDER BY name";

/// All of the rows, for the backup. A name is TEXT of any bytes, which the wire would cut at a NUL.
pub const READ_ROWS: &str = "SELECT id, CAST(name AS BLOB) AS name, \
     CAST(created AS INTEGER) AS created, CAST(deleted AS INTEGER) AS deleted, \
     CAST(create_revision AS INTEGER) AS create_revision, \
     CAST(prev_revision AS INTEGER) AS prev_revision, CAST(lease AS INTEGER) AS lease, \
     CAST(value AS BLOB) AS value, CAST(old_value AS BLOB) AS old_value \
     FROM kine WHERE id > ? ORDER BY id LIMIT ?";

/// Reads the columns that decide about a row, and the size of its value; the values stay where they
/// are.
pub const READ_HALF: &str = "SELECT id, CAST(name AS BLOB) AS name, \
     ifnull(CAST(created AS INTEGER), 0) AS created, \
     ifnull(CAST(deleted AS INTEGER), 0) AS deleted, \
     ifnull(CAST(create_revision AS INTEGER), 0) AS create_revision, \
     ifnull(CAST(prev_revision AS INTEGER), 0) AS prev_revision, \
     ifnull(CAST(lease AS INTEGER), 0) AS lease, \
     ifnull(length(value), 0) AS value_bytes \
     FROM go_kine WHERE id > ? ORDER BY id LIMIT ?";
pub const COUNT_HALF_ROWS: &str = "SELECT count(*) FROM go_kine";

/// Rows that are converted, without their values.
pub const READ_CONVERTED: &str = "SELECT id, key, kind, create_revision, version, lease FROM change \
     WHERE id > ? ORDER BY id LIMIT ?";

pub const RENAME: &str = "ALTER TABLE kine RENAME TO go_kine";
pub const DELETE_MOVED: &str = "DELETE FROM go_kine WHERE id <= ?";
pub const DROP: &str = "DROP TABLE go_kine";

/// Parameters of a row in [`move_rows`].
pub const MOVE_PARAMS: usize = 6;

/// Copies rows inside the engine. The join goes by the rows of the list, in their order.
pub fn move_rows(rows: usize) -> String {
    let values = vec!["(?,?,?,?,?,?)"; rows].join(",");
    format!(
        "WITH moved (id, kind, create_revision, prev_revision, version, lease) AS (VALUES {values}) \
         INSERT INTO change (id, key, kind, create_revision, prev_revision, version, lease, value) \
         SELECT moved.id << 20, CAST(old.name AS BLOB), moved.kind, moved.create_revision, \
         moved.prev_revision, moved.version, moved.lease, \
         CASE moved.kind WHEN 0 THEN ifnull(CAST(old.value AS BLOB), x'') END \
         FROM moved CROSS JOIN go_kine AS old ON old.id = moved.id"
    )
}

/// Drops an index, whose name may be anything.
pub fn drop_index(name: &str) -> String {
    format!("DROP INDEX \"{}\"", name.replace('"', "\"\""))
}

/// The table as the Go k8s-dqlite makes it, for a way back.
pub const CREATE_OLD: &str = "CREATE TABLE kine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    created INTEGER,
    deleted INTEGER,
    create_revision INTEGER NOT NULL,
    prev_revision INTEGER,
    lease INTEGER,
    value BLOB,
    old_value BLOB
)";

/// Parameters of a row in [`insert_old`].
pub const OLD_PARAMS: usize = 9;

pub fn insert_old(rows: usize) -> String {
    let values = vec!["(?,CAST(? AS TEXT),?,?,?,?,?,?,?)"; rows].join(",");
    format!(
        "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, \
         value, old_value) VALUES {values}"
    )
}

/// Sets the number from which AUTOINCREMENT goes on.
pub const SET_SEQUENCE: &str = "DELETE FROM sqlite_sequence WHERE name = 'kine'; \
     INSERT INTO sqlite_sequence (name, seq) VALUES ('kine', ?)";

/// The indexes that a schema version had.
pub fn create_indexes(version: i64) -> &'static str {
    match version {
        0 | 1 => {
            "CREATE INDEX kine_name_index ON kine (name, id); \
             CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (prev_revision, name)"
        }
        _ => "CREATE UNIQUE INDEX k8s_dqlite_name_del_index ON kine (name ASC, id DESC, deleted)",
    }
}

pub fn set_version(version: i64) -> String {
    format!("PRAGMA user_version = {version}")
}
