//! Random SQL: most of it is right, and what is not fails in the engine.

use rand::Rng;
use rand::rngs::StdRng;

use super::pick;

/// Patterns of statements. A name in braces stands for what [`fill`] puts in its place.
const STATEMENTS: [&str; 64] = [
    "",
    ";",
    "-- nothing",
    "SELECT {x}",
    "SELECT {x}, {x}, {x}",
    "SELECT * FROM {t}",
    "SELECT v, {x} FROM {t} ORDER BY 2 LIMIT 50",
    "SELECT a.*, b.* FROM {t} a, {t} b LIMIT {n}",
    "SELECT group_concat(quote(v)), count(*), total(v) FROM {t}",
    "SELECT row_number() OVER (ORDER BY v), v FROM {t}",
    "SELECT {wide}",
    "SELECT {long} FROM {t}",
    "INSERT INTO {t} (v) VALUES ({x}) RETURNING RAISE({f}, {long})",
    "SELECT {x} FROM {t} UNION SELECT {x} EXCEPT SELECT {x}",
    "SELECT * FROM sqlite_master, pragma_table_info('{t}')",
    "SELECT * FROM json_each({x})",
    "SELECT * FROM {v}",
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {n}) SELECT x, {x} FROM n",
    "VALUES ({x}, {x}), ({x}, {x})",
    "EXPLAIN INSERT INTO {t} (v) VALUES ({x})",
    "EXPLAIN QUERY PLAN SELECT * FROM {t}",
    "CREATE TABLE IF NOT EXISTS {t} (id INTEGER PRIMARY KEY, v {d})",
    "CREATE TABLE IF NOT EXISTS {t} (id INTEGER PRIMARY KEY, v {d} UNIQUE, w {d} DEFAULT ({x}))",
    "CREATE TABLE IF NOT EXISTS {t} (v {d} PRIMARY KEY, w AS (v || 1) STORED) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS {t} (id INTEGER PRIMARY KEY AUTOINCREMENT, v REFERENCES {t} DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE IF NOT EXISTS {t} AS SELECT {x} AS v, {x} AS w",
    "CREATE TEMP TABLE IF NOT EXISTS {t} (v {d})",
    "CREATE INDEX IF NOT EXISTS i ON {t} (v)",
    "CREATE VIEW IF NOT EXISTS y AS SELECT v, {x} FROM {t}",
    "CREATE TRIGGER IF NOT EXISTS g AFTER INSERT ON {t} BEGIN UPDATE {t} SET v = {l}; END",
    "CREATE TRIGGER IF NOT EXISTS h BEFORE DELETE ON {t} BEGIN SELECT RAISE({f}, 'no'); END",
    "CREATE VIRTUAL TABLE IF NOT EXISTS z USING {m}",
    "DROP TABLE IF EXISTS {t}",
    "DROP INDEX IF EXISTS i",
    "DROP TRIGGER IF EXISTS {g}",
    "DROP VIEW IF EXISTS y",
    "ALTER TABLE {t} ADD COLUMN w {d}",
    "ALTER TABLE {t} RENAME TO {t}",
    "ALTER TABLE {t} DROP COLUMN v",
    "INSERT INTO {t} (v) VALUES ({x})",
    "INSERT INTO {t} (v) VALUES ({x}), ({x}), ({x})",
    "INSERT OR {f} INTO {t} (v) VALUES ({x}), ({x})",
    "INSERT INTO {t} (v) VALUES ({x}), ({x}) RETURNING *, {x}",
    "INSERT INTO {t} (v) VALUES ({x}) ON CONFLICT DO UPDATE SET v = {x} RETURNING v",
    "INSERT INTO {t} (v) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {n}) SELECT {x} FROM n",
    "INSERT INTO {t} (v) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {n}) SELECT x FROM n RETURNING v, {x}",
    "REPLACE INTO {t} SELECT * FROM {t} LIMIT {n}",
    "UPDATE OR {f} {t} SET v = {x}",
    "UPDATE {t} SET v = {x} RETURNING v, {x}",
    "DELETE FROM {t}",
    "DELETE FROM {t} WHERE v = {x} RETURNING *",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "BEGIN EXCLUSIVE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "RELEASE s",
    "ROLLBACK TO s",
    "VACUUM",
    "VACUUM INTO '/dev/null'",
    "REINDEX; ANALYZE",
    "ATTACH {a} AS other",
    "PRAGMA {p}",
];

const TABLES: [&str; 5] = ["t", "t", "u", "w", "temp.t"];
const DECLARED: [&str; 9] = [
    "",
    "TEXT",
    "INTEGER",
    "BLOB",
    "REAL",
    "DATETIME",
    "DATE",
    "TIMESTAMP",
    "BOOLEAN",
];
const LITERALS: [&str; 14] = [
    "NULL",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "0.5",
    "1e999",
    "''",
    "'text'",
    "x''",
    "x'00ff'",
    "'2020-01-01'",
    "TRUE",
    "'[1, {}]'",
];
const EXPRESSIONS: [&str; 24] = [
    "?",
    "?",
    "?2",
    ":name",
    "?999",
    "zeroblob(5000)",
    "randomblob(100)",
    "hex(zeroblob(3000))",
    "abs(-9223372036854775807 - 1)",
    "count(*)",
    "last_insert_rowid()",
    "changes()",
    "(SELECT v FROM t)",
    "printf('%.5000c', 'x')",
    "'a' || char(0) || 'b'",
    "CAST(x'80' AS TEXT)",
    "json('{')",
    "random()",
    "sum(1) OVER ()",
    "fts3_tokenizer('x')",
    "load_extension('x')",
    "date('now')",
    "zeroblob(2000000000)",
    "v",
];
const CONFLICTS: [&str; 5] = ["ABORT", "FAIL", "IGNORE", "ROLLBACK", "REPLACE"];
const MODULES: [&str; 6] = [
    "fts5(v)",
    "rtree(a, b, c)",
    "fts4(v)",
    "dbstat",
    "json_each",
    "nothing",
];
const VIRTUAL: [&str; 7] = [
    "dbstat",
    "sqlite_dbpage",
    "z",
    "y",
    "pragma_database_list",
    "nowhere",
    "sqlite_stmt",
];
const ATTACHED: [&str; 4] = ["':memory:'", "''", "'test'", "'/dev/null'"];
const COUNTS: [&str; 5] = ["1", "9", "200", "3000", "9000"];
const PRAGMAS: [&str; 52] = [
    "user_version",
    "user_version = 3",
    "application_id = 7",
    "schema_version = 9",
    "journal_mode",
    "journal_mode = delete",
    "journal_mode = memory",
    "page_size = 512",
    "page_count",
    "max_page_count = 1",
    "max_page_count = 1000000",
    "auto_vacuum = 2",
    "auto_vacuum = 1",
    "incremental_vacuum",
    "wal_checkpoint",
    "wal_checkpoint(TRUNCATE)",
    "wal_autocheckpoint = 1",
    "locking_mode = EXCLUSIVE",
    "cache_size = 1",
    "cache_size = -1000000",
    "cache_spill = 1",
    "mmap_size = 1000000",
    "synchronous = FULL",
    "encoding = 'UTF-16'",
    "integrity_check",
    "quick_check",
    "foreign_key_check",
    "optimize",
    "shrink_memory",
    "secure_delete = 1",
    "query_only = 1",
    "query_only = 0",
    "defer_foreign_keys = 1",
    "foreign_keys = 0",
    "temp_store = 1",
    "temp_store = 2",
    "journal_size_limit = 0",
    "threads = 4",
    "recursive_triggers = 1",
    "trusted_schema = 0",
    "writable_schema = 1",
    "writable_schema = RESET",
    "hard_heap_limit = 1",
    "delete_database",
    "busy_timeout = 1",
    "read_uncommitted = 1",
    "automatic_index = 0",
    "cell_size_check = 1",
    "ignore_check_constraints = 1",
    "reverse_unordered_selects = 1",
    "full_column_names = 1",
    "table_list",
];

/// Returns one statement, or some, of which the engine may stop at any.
pub fn statements(rng: &mut StdRng) -> String {
    let count = pick(rng, &[1, 1, 1, 1, 1, 1, 2, 4]);
    let mut all: Vec<String> = (0..count)
        .map(|_| {
            let pattern = pick(rng, &STATEMENTS);
            fill(rng, pattern)
        })
        .collect();
    match rng.random_range(0..20) {
        0 => {
            all.insert(0, "BEGIN".into());
            all.push("COMMIT".into());
        }
        1 => all.push("and no more".into()),
        2 => all.push("\0".into()),
        _ => {}
    }
    all.join(";")
}

/// Returns a statement that makes a table, of which nothing fails.
pub fn create(rng: &mut StdRng, table: &str) -> String {
    let declared = pick(rng, &DECLARED);
    format!("CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, v {declared})")
}

fn fill(rng: &mut StdRng, pattern: &str) -> String {
    let mut filled = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else {
            break;
        };
        filled.push_str(before);
        match name {
            "wide" => filled.push_str(&wide(rng)),
            // A name of a column, which is told in the error.
            "long" => filled.push_str(&"n".repeat(pick(rng, &[1, 4000, 4100, 20_000]))),
            "x" => filled.push_str(expression(rng)),
            "t" => filled.push_str(pick(rng, &TABLES)),
            "d" => filled.push_str(pick(rng, &DECLARED)),
            "l" => filled.push_str(pick(rng, &LITERALS)),
            "f" => filled.push_str(pick(rng, &CONFLICTS)),
            "m" => filled.push_str(pick(rng, &MODULES)),
            "v" => filled.push_str(pick(rng, &VIRTUAL)),
            "a" => filled.push_str(pick(rng, &ATTACHED)),
            "n" => filled.push_str(pick(rng, &COUNTS)),
            "p" => filled.push_str(pick(rng, &PRAGMAS)),
            "g" => filled.push_str(pick(rng, &["g", "h"])),
            other => unreachable!("no pattern has {other}"),
        }
        rest = behind;
    }
    filled + rest
}

fn expression(rng: &mut StdRng) -> &'static str {
    match rng.random_range(0..5) {
        0..3 => pick(rng, &LITERALS),
        _ => pick(rng, &EXPRESSIONS),
    }
}

/// Columns whose names fill one message of the engine, or more.
fn wide(rng: &mut StdRng) -> String {
    let (columns, name_bytes) = (pick(rng, &[30, 200, 1900, 2001]), pick(rng, &[1, 18, 200]));
    let name = "n".repeat(name_bytes);
    let columns: Vec<String> = (0..columns)
        .map(|at| format!("{at} AS {name}{at}"))
        .collect();
    columns.join(", ")
}
