//! Refuses statements that would harm a server.
//!
//! EXPLAIN, in the transaction that a statement will run in, tells which tables it opens, whether it writes and whether
//! it returns rows. A value of the wrong class in a column that is declared DATETIME, DATE, TIMESTAMP or BOOLEAN aborts
//! the server that returns it, and then the next leader (dqlite: src/query.c).

mod typed;

use crate::client::{Connection, Error as ClientError};
use crate::wire::{Row, Value};

#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The most instructions of one statement; nobody writes a longer one by hand.
const MAX_INSTRUCTIONS: usize = 200_000;

/// The effects of a statement that is not run yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub writes: bool,
    pub returns_rows: bool,
    /// Schema and root page of each table or index that it opens.
    opens: Vec<(i64, i64)>,
}

/// The instructions of a statement, reduced to what matters (SQLite: src/vdbe.c).
fn effects(program: &[Row]) -> Effects {
    /// If this flag is set in p5, p2 is a register and not a page.
    const P2_IS_REGISTER: i64 = 0x10;
    let mut effects = Effects::default();
    for row in program {
        let number = |at: usize| row.get(at).and_then(Value::as_integer).unwrap_or(0);
        let (p1, p2, p3, p5) = (number(2), number(3), number(4), number(6));
        match row.get(1).and_then(Value::as_text) {
            Some("Transaction") => effects.writes |= p1 == 0 && p2 != 0,
            Some("ResultRow") => effects.returns_rows = true,
            Some("OpenRead" | "OpenWrite" | "ReopenIdx") if p5 & P2_IS_REGISTER == 0 => {
                effects.opens.push((p3, p2));
            }
            _ => {}
        }
    }
    effects
}

/// Looks at a statement. The connection is in the transaction that it would run in.
pub async fn look(connection: &mut Connection, sql: &str) -> Result<Effects, ClientError> {
    let program = connection
        .read_all(&format!("EXPLAIN {sql}"), MAX_INSTRUCTIONS)
        .await?;
    Ok(effects(&program))
}

/// Refuses a statement whose rows would abort the server.
pub async fn check_rows(
    connection: &mut Connection,
    sql: &str,
    effects: &Effects,
) -> Result<(), GuardError> {
    match effects.returns_rows {
        true => typed::check(connection, sql, effects).await,
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, types::ValueRef};

    use super::*;

    /// The effects as SQLite itself, the one that libdqlite links, explains them.
    fn explained(sql: &str) -> Effects {
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
        effects(&rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap())
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
            let effects = explained(sql);
            assert_eq!(effects.writes, writes, "{sql}");
            assert_eq!(effects.returns_rows, returns_rows, "{sql}");
            if opens_table {
                assert!(effects.opens.contains(&table), "{sql}: {effects:?}");
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
