//! All SQL of the cluster manager. The tables are microcluster's, internal version 6.

/// Seconds of a DATETIME: we write them as integers, microcluster as text.
macro_rules! seconds {
    ($column:literal) => {
        concat!(
            "(CASE typeof(",
            $column,
            ") WHEN 'text' THEN unixepoch(",
            $column,
            ") ELSE ",
            $column,
            " END)"
        )
    };
}

/// The tables, in the order in which they depend on each other. A table that is there already stays.
pub const TABLES: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS schemas (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, \
        version INTEGER NOT NULL, type INTEGER NOT NULL, updated_at DATETIME NOT NULL, \
        UNIQUE (version, type))",
    "CREATE TABLE IF NOT EXISTS core_cluster_members (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, \
        name TEXT NOT NULL, address TEXT NOT NULL, certificate TEXT NOT NULL, \
        schema_internal INTEGER NOT NULL, schema_external INTEGER NOT NULL, heartbeat DATETIME NOT NULL, \
        role TEXT NOT NULL, api_extensions TEXT NOT NULL DEFAULT '[]', UNIQUE (name), UNIQUE (certificate))",
    "CREATE TABLE IF NOT EXISTS core_token_records (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, \
        name TEXT NOT NULL, secret TEXT NOT NULL, expiry_date DATETIME, UNIQUE (name), UNIQUE (secret))",
    "CREATE TABLE IF NOT EXISTS cluster_configs (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, \
        key TEXT NOT NULL, value TEXT NOT NULL, UNIQUE (key))",
    REMOVALS_TABLE,
];

/// Ours: removals that are not finished. `server`: of dqlite, 0 for none; `nonce` tells two removals of one name apart.
pub const REMOVALS_TABLE: &str = "CREATE TABLE IF NOT EXISTS member_removals (name TEXT PRIMARY KEY NOT NULL, \
    address TEXT NOT NULL, server INTEGER NOT NULL, force INTEGER NOT NULL, nonce TEXT NOT NULL, started_at DATETIME NOT NULL)";
pub const HAS_REMOVALS: &str =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'member_removals'";
pub const REMOVALS: &str =
    "SELECT name, address, server, force, nonce, started_at + 0 FROM member_removals ORDER BY name";
/// Name, address, server, force, nonce, now, name, whether any role will do. Of a member alone.
pub const BEGIN_REMOVAL: &str = "INSERT OR REPLACE INTO member_removals (name, address, server, force, nonce, started_at) \
    SELECT ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM core_cluster_members WHERE name = ? AND (role = 'PENDING' OR ?))";
/// Name, nonce.
pub const IS_CURRENT: &str = "SELECT count(*) FROM member_removals WHERE name = ? AND nonce = ?";
pub const END_REMOVAL: &str = "DELETE FROM member_removals WHERE name = ? AND nonce = ?";
/// Deletes the removals of a name, because a node of this name is admitted again. Parameter: the name.
pub const FORGET_REMOVAL: &str = "DELETE FROM member_removals WHERE name = ?";

/// Version, now.
pub const NOTE_VERSION: &str =
    "INSERT OR IGNORE INTO schemas (version, type, updated_at) VALUES (?, 0, ?)";
pub const VERSIONS: &str = "SELECT coalesce(max(CASE WHEN type = 0 THEN version END), 0), \
    coalesce(max(CASE WHEN type = 1 THEN version END), 0) FROM schemas";

/// Name, address, certificate, internal and external schema, now, role, extensions; name, address, which
/// nobody may have.
pub const ADD_MEMBER: &str = "INSERT INTO core_cluster_members (name, address, certificate, \
    schema_internal, schema_external, heartbeat, role, api_extensions) SELECT ?, ?, ?, ?, ?, ?, ?, ? \
    WHERE NOT EXISTS (SELECT 1 FROM core_cluster_members WHERE name = ? OR address = ?)";
pub const MEMBERS: &str = concat!(
    "SELECT name, address, certificate, schema_internal, schema_external, coalesce(",
    seconds!("heartbeat"),
    ", 0), role, api_extensions FROM core_cluster_members ORDER BY id"
);
/// Name, and the nonce of its removal: one that was begun later, or is over, is another one's.
pub const REMOVE_MEMBER: &str = "DELETE FROM core_cluster_members WHERE name = ?1 \
    AND EXISTS (SELECT 1 FROM member_removals WHERE name = ?1 AND nonce = ?2)";
/// Role, now, name, and the time that it had.
pub const HEARTBEAT: &str = concat!(
    "UPDATE core_cluster_members SET role = ?, heartbeat = ? WHERE name = ? AND coalesce(",
    seconds!("heartbeat"),
    ", 0) = ?"
);

/// Name, secret, expiry.
pub const ADD_TOKEN: &str =
    "INSERT INTO core_token_records (name, secret, expiry_date) VALUES (?, ?, ?)";
pub const TOKENS: &str = concat!(
    "SELECT name, secret, ",
    seconds!("expiry_date"),
    " FROM core_token_records ORDER BY id"
);
pub const REMOVE_TOKEN: &str = "DELETE FROM core_token_records WHERE name = ?";
/// Name, secret.
pub const USE_TOKEN: &str = "DELETE FROM core_token_records WHERE name = ? AND secret = ?";
/// A time that cannot be read is none that has passed.
pub const EXPIRE_TOKENS: &str = concat!(
    "DELETE FROM core_token_records WHERE ",
    seconds!("expiry_date"),
    " < ?"
);

pub const HAS_CONFIGS: &str =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'cluster_configs'";
/// A prefix of keys, twice.
pub const CONFIGS: &str =
    "SELECT key, value FROM cluster_configs WHERE substr(key, 1, length(?)) = ? ORDER BY key";
/// Key, value.
pub const PUT_CONFIG: &str = "INSERT INTO cluster_configs (key, value) VALUES (?, ?) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
/// The prefix of keys that end with a member's name, three times.
pub const REMOVE_STRAYS: &str = "DELETE FROM cluster_configs WHERE substr(key, 1, length(?)) = ? \
    AND substr(key, length(?) + 1) NOT IN (SELECT name FROM core_cluster_members)";

pub const CHANGES: &str = "SELECT changes()";
pub const QUERY_ONLY: &str = "PRAGMA query_only = ON";
pub const OBJECTS: &str = "SELECT type, name, sql FROM sqlite_master \
    WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql IS NOT NULL ORDER BY rowid";
/// Tables and views.
pub const TABLE_NAMES: &str = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') \
    AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
/// Tables, views and the columns of tables.
pub const NAMES: &str = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') \
    UNION SELECT c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";
pub const COLUMNS: &str = "SELECT name FROM pragma_table_info(?)";
pub const SEQUENCE: &str = "SELECT name, seq FROM sqlite_sequence";

/// Returns the query for the keys with a prefix, and their values, for whom parameters cannot be given.
pub fn configs(prefix: &str) -> String {
    let prefix = literal(prefix);
    format!(
        "SELECT key, value FROM cluster_configs WHERE substr(key, 1, length({prefix})) = {prefix} ORDER BY key"
    )
}

/// A member keeps its name, and has this address from now on.
pub fn move_member(name: &str, address: &str) -> String {
    let (name, address) = (literal(name), literal(address));
    format!("UPDATE core_cluster_members SET address = {address} WHERE name = {name};")
}

/// The same, only if the member still has the old address.
pub fn move_member_from(name: &str, old: &str, address: &str) -> String {
    let (name, old, address) = (literal(name), literal(old), literal(address));
    format!(
        "UPDATE core_cluster_members SET address = {address} WHERE name = {name} AND address = {old};"
    )
}

/// A member's datastore server has another address, if it still has the old one. Only where there is the table.
pub fn move_datastore_from(key: &str, old: &str, address: &str) -> String {
    let (key, old, address) = (literal(key), literal(old), literal(address));
    format!("UPDATE cluster_configs SET value = {address} WHERE key = {key} AND value = {old};")
}

/// Deletes a member whose node is gone.
pub fn drop_member(name: &str) -> String {
    format!(
        "DELETE FROM core_cluster_members WHERE name = {};",
        literal(name)
    )
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// All rows of a table, each as the text of its VALUES, exact for every type.
pub fn quoted_rows(table: &str, columns: &[String]) -> String {
    let quoted: Vec<String> = columns
        .iter()
        .map(|c| format!("quote({})", name(c)))
        .collect();
    format!("SELECT {} FROM {}", quoted.join(" || ',' || "), name(table))
}

/// A name, quoted.
pub fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
