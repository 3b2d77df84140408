//! All SQL of the cluster manager. The tables are microcluster's, internal version 6.

/// In the order in which they depend on each other. A table that is there already stays.
pub const TABLES: [&str; 4] = [
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
];

/// Version, now.
pub const NOTE_VERSION: &str =
    "INSERT OR IGNORE INTO schemas (version, type, updated_at) VALUES (?, 0, ?)";
pub const VERSIONS: &str = "SELECT coalesce(max(CASE WHEN type = 0 THEN version END), 0), \
    coalesce(max(CASE WHEN type = 1 THEN version END), 0) FROM schemas";

/// Name, address, certificate, internal and external schema, now, role, extensions.
pub const ADD_MEMBER: &str = "INSERT INTO core_cluster_members (name, address, certificate, \
    schema_internal, schema_external, heartbeat, role, api_extensions) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
pub const MEMBERS: &str = "SELECT name, address, certificate, schema_internal, schema_external, \
    CAST(heartbeat AS INTEGER), role, api_extensions FROM core_cluster_members ORDER BY id";
pub const REMOVE_MEMBER: &str = "DELETE FROM core_cluster_members WHERE name = ?";
/// Role, now, address.
pub const HEARTBEAT: &str =
    "UPDATE core_cluster_members SET role = ?, heartbeat = ? WHERE address = ?";
/// Name, address. A member may be there under neither.
pub const TAKEN: &str = "SELECT count(*) FROM core_cluster_members WHERE name = ? OR address = ?";
/// The time before which a pending member is given up, name.
pub const REMOVE_PENDING: &str = "DELETE FROM core_cluster_members WHERE role = 'PENDING' \
    AND CAST(heartbeat AS INTEGER) < ? AND name = ?";

/// Name, secret, expiry.
pub const ADD_TOKEN: &str =
    "INSERT INTO core_token_records (name, secret, expiry_date) VALUES (?, ?, ?)";
pub const TOKENS: &str =
    "SELECT name, secret, CAST(expiry_date AS INTEGER) FROM core_token_records ORDER BY id";
pub const REMOVE_TOKEN: &str = "DELETE FROM core_token_records WHERE name = ?";
pub const EXPIRE_TOKENS: &str = "DELETE FROM core_token_records \
    WHERE expiry_date IS NOT NULL AND CAST(expiry_date AS INTEGER) < ?";

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
pub const COLUMNS: &str = "SELECT name FROM pragma_table_info(?)";
pub const SEQUENCE: &str = "SELECT name, seq FROM sqlite_sequence";

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
