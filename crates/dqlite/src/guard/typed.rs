//! Columns whose declared type makes a server abort on a value of another class.

use crate::client::{Connection, Error as ClientError};
use crate::wire::{Row, Value};

use super::{Effects, GuardError};

/// Typed columns of all tables that are looked at.
const MAX_TYPED_COLUMNS: usize = 10_000;

/// Tables and views of a database whose statements are looked at.
const MAX_OBJECTS: usize = 10_000;

/// Number of the schema, and the names that it has in SQL.
const SCHEMAS: [(i64, &str, &str); 2] = [
    (0, "main", "sqlite_master"),
    (1, "temp", "sqlite_temp_master"),
];

/// The types that abort servers.
const CLASSES: [&str; 4] = ["DATETIME", "DATE", "TIMESTAMP", "BOOLEAN"];

/// A typed column of a table that a statement opens.
struct Typed<'a> {
    schema: &'a str,
    table: &'a str,
    column: &'a str,
    class: &'a str,
}

/// Refuses a statement that would return a value of the wrong class.
pub(super) async fn check(
    connection: &mut Connection,
    sql: &str,
    effects: &Effects,
) -> Result<(), GuardError> {
    for (number, schema, master) in SCHEMAS {
        if !effects.opens.iter().any(|open| open.0 == number) {
            continue;
        }
        let columns = typed_columns(schema, master);
        for row in connection.read_all(&columns, MAX_TYPED_COLUMNS).await? {
            let (Some(page), Some(table), Some(column), Some(class)) = (
                row[0].as_integer(),
                row[1].as_text(),
                row[2].as_text(),
                row[3].as_text(),
            ) else {
                continue;
            };
            if effects.opens.contains(&(number, page)) {
                let typed = Typed {
                    schema,
                    table,
                    column,
                    class,
                };
                check_column(connection, sql, effects, &typed).await?;
            }
        }
    }
    Ok(())
}

async fn check_column(
    connection: &mut Connection,
    sql: &str,
    effects: &Effects,
    typed: &Typed<'_>,
) -> Result<(), GuardError> {
    let Typed {
        table,
        column,
        class,
        ..
    } = typed;
    if effects.writes {
        return Err(GuardError::Refused(format!(
            "RETURNING from {table}, whose column {column} is declared {class}: a wrong value in it would abort \
             the server; SELECT it afterwards"
        )));
    }
    let Some(found) = poison(connection, typed).await? else {
        return Ok(());
    };
    if returns_no_typed_column(connection, sql).await? {
        return Ok(());
    }
    Err(GuardError::Refused(format!(
        "{table}.{column} is declared {class} and holds a value of class {found}, which would abort the server: \
         look at CAST({column} AS TEXT), and correct it with UPDATE {table} SET {column} = … \
         WHERE typeof({column}) = '{found}'"
    )))
}

/// The columns of a class that aborts servers, once for each tree of their table.
fn typed_columns(schema: &str, master: &str) -> String {
    let classes = CLASSES.map(|class| format!("'{class}'")).join(", ");
    format!(
        "SELECT o.rootpage, t.name, c.name, upper(c.type) FROM {master} o \
         JOIN {master} t ON t.type = 'table' AND t.name = o.tbl_name \
         JOIN pragma_table_xinfo(t.name, '{schema}') c \
         WHERE o.rootpage > 0 AND upper(c.type) IN ({classes})"
    )
}

/// A class of values in the column that must not be there.
async fn poison(
    connection: &mut Connection,
    typed: &Typed<'_>,
) -> Result<Option<String>, ClientError> {
    let good = match typed.class {
        "BOOLEAN" => "'integer', 'null'",
        _ => "'integer', 'text', 'null'",
    };
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let column = quoted(typed.column);
    let sql = format!(
        "SELECT typeof({column}) FROM {}.{} WHERE typeof({column}) NOT IN ({good}) LIMIT 1",
        typed.schema,
        quoted(typed.table),
    );
    let rows = connection.read_all(&sql, 1).await?;
    Ok(rows
        .first()
        .and_then(|row| row[0].as_text())
        .map(str::to_owned))
}

/// Returns whether SQLite, given the same tables, finds no typed column in the result: an expression has no type.
async fn returns_no_typed_column(
    connection: &mut Connection,
    sql: &str,
) -> Result<bool, ClientError> {
    let mut statements = Vec::new();
    for (_, _, master) in SCHEMAS {
        let objects = format!(
            "SELECT sql FROM {master} WHERE type IN ('table', 'view') AND sql IS NOT NULL ORDER BY rowid"
        );
        statements.extend(connection.read_all(&objects, MAX_OBJECTS).await?);
    }
    Ok(has_no_typed_column(&statements, sql).unwrap_or(false))
}

fn has_no_typed_column(schema: &[Row], sql: &str) -> rusqlite::Result<bool> {
    let database = rusqlite::Connection::open_in_memory()?;
    for row in schema {
        if let Some(Value::Text(create)) = row.first() {
            // What cannot be made here makes the statement fail below, if it matters.
            let _ = database.execute_batch(create);
        }
    }
    let statement = database.prepare(sql)?;
    Ok(statement.columns().iter().all(|column| {
        let declared = column.decl_type().unwrap_or_default();
        !CLASSES
            .iter()
            .any(|class| declared.eq_ignore_ascii_case(class))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_column_itself_has_its_type() {
        let schema = [
            "CREATE TABLE t (id INTEGER PRIMARY KEY, d datetime, b BOOLEAN, other text)",
            "CREATE VIEW v AS SELECT d AS x, b + 0 AS y FROM t",
        ];
        let schema = schema.map(|sql| Row(vec![Value::Text(sql.to_owned())]));
        for (sql, expected) in [
            ("SELECT * FROM t", false),
            ("SELECT x FROM v", false),
            ("SELECT y FROM v", true),
            ("WITH c AS (SELECT d AS z FROM t) SELECT z FROM c", false),
            ("SELECT (SELECT b FROM t)", false),
            (
                "SELECT id, other, typeof(d), CAST(d AS TEXT), count(b), max(d) FROM t",
                true,
            ),
            ("SELECT d FROM t UNION SELECT 1", false),
        ] {
            assert_eq!(has_no_typed_column(&schema, sql), Ok(expected), "{sql}");
        }
        assert!(has_no_typed_column(&[], "SELECT * FROM t").is_err());
    }
}
