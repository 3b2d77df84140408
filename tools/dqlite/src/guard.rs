//! Refuses statements that would harm a server.
//!
//! `dqlite::guard` looks at a statement in the transaction that it will run in. The other hazards:
//!
//! - a statement that returns rows while it writes, outside of a transaction, blocks the server: all run in
//!   one, which `session` sees to;
//! - ATTACH would open tables that cannot be looked at;
//! - a write to the tables of k8s-dqlite ends that server, because it keeps their content in memory.

use dqlite::client::{Connection, Error as ClientError};
use dqlite::guard::{GuardError, check_rows, look};

use crate::error::ShellError;

/// Refuses statements that must not run. The connection is in the transaction that the statement would run in.
pub async fn check(connection: &mut Connection, sql: &str, force: bool) -> Result<(), ShellError> {
    let effects = match look(connection, sql).await {
        Err(ClientError::Sql { message, .. }) if message.starts_with("no such table") => {
            return Err(ShellError::failed(
                explained_lack(connection, message).await?,
            ));
        }
        // Table `change` of schema 3 is what the server makes of packed ones.
        Err(ClientError::Sql { message, .. })
            if message.ends_with("may not be modified")
                && !force
                && is_k8s_dqlite(connection).await? =>
        {
            return Err(ends_the_server());
        }
        effects => effects?,
    };
    if effects.writes && !force && is_k8s_dqlite(connection).await? {
        return Err(ends_the_server());
    }
    check_rows(connection, sql, &effects)
        .await
        .map_err(|error| match error {
            GuardError::Refused(text) => ShellError::refused(text),
            GuardError::Client(error) => error.into(),
        })
}

/// The same for PRAGMA, which SQLite may carry out while it explains it.
pub async fn check_pragma(
    connection: &mut Connection,
    sql: &str,
    force: bool,
) -> Result<(), ShellError> {
    const WRITING: [&str; 4] = [
        "delete_database",
        "optimize",
        "incremental_vacuum",
        "wal_checkpoint",
    ];
    if force {
        return Ok(());
    }
    let text = sql.to_ascii_lowercase();
    if text.contains(WRITING[0]) {
        return Err(ShellError::refused(
            "this deletes the database with everything in it: --force does so",
        ));
    }
    let writes = text.contains('=') || WRITING.iter().any(|name| text.contains(name));
    if writes && is_k8s_dqlite(connection).await? {
        return Err(ends_the_server());
    }
    Ok(())
}

/// The same for VACUUM.
pub async fn check_vacuum(connection: &mut Connection, force: bool) -> Result<(), ShellError> {
    if !force && is_k8s_dqlite(connection).await? {
        return Err(ShellError::refused(
            "the database belongs to k8s-dqlite: `etcdctl defrag` does it without stopping writes for long (--force overrides)",
        ));
    }
    Ok(())
}

/// Opening a database creates it, so a wrong name is noticed by the missing tables.
async fn explained_lack(
    connection: &mut Connection,
    message: String,
) -> Result<String, ClientError> {
    let rows = connection
        .read_all("SELECT count(*) FROM sqlite_master", 1)
        .await?;
    Ok(match rows.first().and_then(|row| row[0].as_integer()) {
        Some(0) => format!("{message}; the database has no tables at all: is its name right?"),
        _ => message,
    })
}

fn ends_the_server() -> ShellError {
    ShellError::refused(
        "the database belongs to k8s-dqlite, and a write that it did not make itself would end the server: use etcdctl (--force overrides)",
    )
}

async fn is_k8s_dqlite(connection: &mut Connection) -> Result<bool, ClientError> {
    // The changes are rows of their own in schema 2, and of batches in schema 3.
    const SQL: &str = "SELECT count(DISTINCT iif(name = 'batch', 'change', name)) FROM sqlite_master \
        WHERE type = 'table' AND name IN ('batch', 'change', 'lease', 'meta', 'setting')";
    let rows = connection.read_all(SQL, 1).await?;
    Ok(rows.first().and_then(|row| row[0].as_integer()) == Some(4))
}
