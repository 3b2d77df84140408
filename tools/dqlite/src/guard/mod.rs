//! What is not sent, because it would harm a server.
//!
//! A statement is looked at through EXPLAIN, in the transaction that it will run in: which tables it opens,
//! whether it writes, whether it returns rows. The hazards are libdqlite's:
//!
//! - a value of the wrong class in a column that is declared DATETIME, DATE, TIMESTAMP or BOOLEAN aborts the
//!   server that returns it, and then the next leader (dqlite: src/query.c);
//! - a statement that returns rows while it writes, outside of a transaction, blocks the server: all run in
//!   one, which `session` sees to;
//! - ATTACH would open tables that cannot be looked at.
//!
//! And a write to the tables of k8s-dqlite ends that server, because it keeps their content in memory.

mod typed;

use dqlite::client::{Connection, Error as ClientError};
use dqlite::wire::{Row, Value};

use crate::error::ShellError;

/// Instructions of one statement; a program of more is that of no person.
const MAX_INSTRUCTIONS: usize = 200_000;

/// What a statement would do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    writes: bool,
    returns_rows: bool,
    /// Schema and root page of what it opens.
    opens: Vec<(i64, i64)>,
}

/// The instructions of a statement, reduced to what matters (SQLite: src/vdbe.c).
fn facts(program: &[Row]) -> Facts {
    /// With it, p2 is a register and not a page.
    const P2_IS_REGISTER: i64 = 0x10;
    let mut facts = Facts::default();
    for row in program {
        let number = |at: usize| row.get(at).and_then(Value::as_integer).unwrap_or(0);
        let (p1, p2, p3, p5) = (number(2), number(3), number(4), number(6));
        match row.get(1).and_then(Value::as_text) {
            Some("Transaction") => facts.writes |= p1 == 0 && p2 != 0,
            Some("ResultRow") => facts.returns_rows = true,
            Some("OpenRead" | "OpenWrite" | "ReopenIdx") if p5 & P2_IS_REGISTER == 0 => {
                facts.opens.push((p3, p2));
            }
            _ => {}
        }
    }
    facts
}

/// Refuses what must not run. The connection is in the transaction that it would run in.
pub async fn check(connection: &mut Connection, sql: &str, force: bool) -> Result<(), ShellError> {
    let program = match all(connection, &format!("EXPLAIN {sql}"), MAX_INSTRUCTIONS).await {
        Err(ClientError::Sql { message, .. }) if message.starts_with("no such table") => {
            return Err(ShellError::refused(
                explained_lack(connection, message).await?,
            ));
        }
        program => program?,
    };
    let facts = facts(&program);
    if facts.writes && !force && is_k8s_dqlite(connection).await? {
        return Err(ends_the_server());
    }
    if facts.returns_rows {
        typed::check(connection, sql, &facts).await?;
    }
    Ok(())
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
            "this deletes the database with everything in it: --force does it",
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
            "the database is k8s-dqlite's: `etcdctl defrag` does it without stopping writes for long (--force overrides)",
        ));
    }
    Ok(())
}

/// A database is there for whoever opens it; so a wrong name is noticed by what it lacks.
async fn explained_lack(
    connection: &mut Connection,
    message: String,
) -> Result<String, ClientError> {
    let rows = all(connection, "SELECT count(*) FROM sqlite_master", 1).await?;
    Ok(match rows.first().and_then(|row| row[0].as_integer()) {
        Some(0) => format!("{message}; the database has no tables at all: is its name right?"),
        _ => message,
    })
}

fn ends_the_server() -> ShellError {
    ShellError::refused(
        "the database is k8s-dqlite's, and a write behind its back would end the server: use etcdctl \
         (--force overrides)",
    )
}

async fn is_k8s_dqlite(connection: &mut Connection) -> Result<bool, ClientError> {
    const SQL: &str = "SELECT count(*) FROM sqlite_master \
        WHERE type = 'table' AND name IN ('change', 'lease', 'meta', 'setting')";
    let rows = all(connection, SQL, 1).await?;
    Ok(rows.first().and_then(|row| row[0].as_integer()) == Some(4))
}

/// All rows of a query of our own.
async fn all(
    connection: &mut Connection,
    sql: &str,
    max_rows: usize,
) -> Result<Vec<Row>, ClientError> {
    connection
        .query_sql(sql, &[])
        .await?
        .collect(max_rows)
        .await
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, types::ValueRef};

    use super::*;

    /// The facts as SQLite itself, the one that libdqlite links, explains them.
    fn explained(sql: &str) -> Facts {
        let database = Connection::open_in_memory().unwrap();
        database
            .execute_batch(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, d DATETIME); CREATE INDEX i ON t (d); \
                 CREATE VIEW v AS SELECT d AS x FROM t; CREATE TEMP TABLE u (b BOOLEAN);",
            )
            .unwrap();
        let mut statement = database.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([], |row| {
            let value = |at| match row.get_ref(at).unwrap() {
                ValueRef::Integer(value) => Value::Integer(value),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                _ => Value::Null,
            };
            Ok(Row((0..width).map(value).collect()))
        });
        facts(&rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap())
    }

    #[test]
    fn what_a_statement_does_is_seen_in_its_program() {
        let table = (0, 2);
        for (sql, writes, returns_rows, opens_table) in [
            ("SELECT * FROM t", false, true, true),
            ("SELECT * FROM v", false, true, true),
            (
                "WITH x AS (SELECT d FROM t) SELECT * FROM x",
                false,
                true,
                true,
            ),
            ("SELECT 1", false, true, false),
            ("INSERT INTO t (d) VALUES (1)", true, false, true),
            ("INSERT INTO t (d) VALUES (1) RETURNING d", true, true, true),
            ("WITH x AS (SELECT 1) DELETE FROM t", true, false, false),
            ("CREATE TABLE w (a)", true, false, false),
        ] {
            let facts = explained(sql);
            assert_eq!(facts.writes, writes, "{sql}");
            assert_eq!(facts.returns_rows, returns_rows, "{sql}");
            if opens_table {
                assert!(facts.opens.contains(&table), "{sql}: {facts:?}");
            }
        }
        assert!(
            explained("SELECT d FROM t INDEXED BY i WHERE d > 1")
                .opens
                .contains(&(0, 3))
        );
        assert!(
            explained("SELECT * FROM u")
                .opens
                .iter()
                .any(|open| open.0 == 1)
        );
    }
}
