//! Statements of a user.
//!
//! Each runs in a transaction of its own, or all in one; every one as a query that is read to its end, because
//! dqlite harms itself with rows of a statement that is executed for its effect alone.

use std::time::Duration;

use dqlite::{
    client::Connection,
    sql::{Kind, Piece, is_blank, kind, split},
    wire::{Param, Value},
};
use serde_json::json;

use crate::{
    Error,
    api::{SqlBatch, SqlResult},
    schema,
    time::rfc3339,
};

/// The whole request.
pub const BUDGET: Duration = Duration::from_secs(30);

/// Rows of one result, and those of one table in a dump.
const MAX_ROWS: usize = 1_000_000;

/// Which statements are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Write,
    Read,
}

pub async fn run(
    connection: &mut Connection,
    text: &str,
    access: Access,
    in_one: bool,
) -> Result<SqlBatch, Error> {
    if is_blank(text) {
        return Err(Error::Invalid("No query provided".to_owned()));
    }
    let statements = statements(text)?;
    if access == Access::Read {
        collect(connection, schema::QUERY_ONLY, &[]).await?;
    }
    let mut results = Vec::with_capacity(statements.len());
    if in_one {
        connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
    }
    for sql in statements {
        check(sql, access)?;
        if !in_one {
            connection.exec_sql("BEGIN", &[]).await?;
        }
        // On an error the connection ends, and with it the transaction.
        let result = one(connection, sql).await;
        results.push(result.map_err(|e| Error::Internal(format!("Failed to execute query: {e}")))?);
        if !in_one {
            connection.exec_sql("COMMIT", &[]).await?;
        }
    }
    if in_one {
        connection.exec_sql("COMMIT", &[]).await?;
    }
    Ok(SqlBatch {
        results: Some(results),
    })
}

fn statements(text: &str) -> Result<Vec<&str>, Error> {
    let split = split(text);
    let mut statements = Vec::new();
    for piece in split.pieces {
        match piece {
            Piece::Statement(sql) => statements.push(sql),
            Piece::Command(command) => {
                return Err(Error::Invalid(format!("{command} is not SQL")));
            }
        }
    }
    if !is_blank(split.rest) {
        statements.push(split.rest);
    }
    Ok(statements)
}

fn check(sql: &str, access: Access) -> Result<(), Error> {
    let refused = |why: &str| Err(Error::Invalid(format!("Failed to execute query: {why}")));
    match kind(sql) {
        Kind::Begin | Kind::Commit | Kind::Rollback | Kind::Savepoint => {
            refused("each statement is a transaction of its own here")
        }
        Kind::Attach => refused("ATTACH and DETACH are not possible with dqlite"),
        Kind::Vacuum => refused("VACUUM is not possible in a transaction"),
        // It could switch off what makes the connection read-only.
        Kind::Pragma if access == Access::Read => refused("PRAGMA is for the control socket only"),
        _ => Ok(()),
    }
}

async fn one(connection: &mut Connection, sql: &str) -> Result<SqlResult, Error> {
    let (columns, rows) = collect(connection, sql, &[]).await?;
    if !columns.is_empty() {
        let rows = rows.iter().map(|row| row.iter().map(to_json).collect());
        return Ok(SqlResult {
            kind: "select".to_owned(),
            columns: Some(columns),
            rows: Some(rows.collect()),
            rows_affected: 0,
        });
    }
    let changes = match kind(sql) {
        Kind::Pragma => 0,
        _ => collect(connection, schema::CHANGES, &[]).await?.1[0][0]
            .as_integer()
            .unwrap_or(0),
    };
    Ok(SqlResult {
        kind: "exec".to_owned(),
        columns: None,
        rows: None,
        rows_affected: changes,
    })
}

async fn collect(
    connection: &mut Connection,
    sql: &str,
    params: &[Param<'_>],
) -> Result<(Vec<String>, Vec<Vec<Value>>), Error> {
    let rows = connection.query_sql(sql, params).await?;
    let columns = rows.columns().to_vec();
    let rows = rows.collect(MAX_ROWS).await?;
    Ok((columns, rows.into_iter().map(|row| row.0).collect()))
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Integer(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Boolean(value) => json!(value),
        Value::Text(text) | Value::Iso8601(text) => json!(text),
        Value::UnixTime(seconds) => json!(rfc3339(*seconds)),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!(format!("x'{hex}'"))
        }
    }
}

/// The database as SQL: its tables, and unless only these are asked for, their rows.
pub async fn dump(connection: &mut Connection, only_schema: bool) -> Result<String, Error> {
    let mut out = String::from("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
    // One moment of all tables.
    connection.exec_sql("BEGIN", &[]).await?;
    for object in collect(connection, schema::OBJECTS, &[]).await?.1 {
        let part = |at: usize| object[at].as_text().unwrap_or_default().to_owned();
        let (kind, table, sql) = (part(0), part(1), part(2));
        let sql = match sql.strip_prefix("CREATE TABLE \"") {
            Some(rest) => format!("CREATE TABLE IF NOT EXISTS \"{rest}"),
            None => sql,
        };
        out.push_str(&format!("{sql};\n"));
        if kind != "table" || only_schema {
            continue;
        }
        let columns = collect(connection, schema::COLUMNS, &[Param::Text(&table)])
            .await?
            .1;
        let columns: Vec<String> = columns
            .iter()
            .map(|row| row[0].as_text().unwrap_or_default().to_owned())
            .collect();
        for row in collect(connection, &schema::quoted_rows(&table, &columns), &[])
            .await?
            .1
        {
            let values = row[0].as_text().unwrap_or_default();
            out.push_str(&format!(
                "INSERT INTO {} VALUES({values});\n",
                schema::name(&table)
            ));
        }
    }
    if !only_schema && let Ok((_, rows)) = collect(connection, schema::SEQUENCE, &[]).await {
        out.push_str("DELETE FROM sqlite_sequence;\n");
        for row in rows {
            let (table, last) = (row[0].as_text().unwrap_or_default(), row[1].as_integer());
            let table = table.replace('\'', "''");
            out.push_str(&format!(
                "INSERT INTO \"sqlite_sequence\" VALUES('{table}',{});\n",
                last.unwrap_or(0)
            ));
        }
    }
    connection.exec_sql("COMMIT", &[]).await?;
    out.push_str("COMMIT;\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        let found = statements("select ';'; -- a; b\n\n select 2;\n").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], "select ';'");
        assert!(statements(".tables").is_err());
    }

    #[test]
    fn what_would_end_our_transaction_or_the_read_only_mode_is_refused() {
        for sql in ["begin", "/* x */ COMMIT", "attach 'a' as b", "vacuum"] {
            assert!(check(sql, Access::Write).is_err(), "{sql}");
        }
        assert!(check("pragma query_only = off", Access::Read).is_err());
        assert!(check("pragma user_version", Access::Write).is_ok());
    }

    #[test]
    fn values_keep_what_they_are() {
        assert_eq!(
            to_json(&Value::Integer(i64::MAX)).to_string(),
            "9223372036854775807"
        );
        assert_eq!(to_json(&Value::Blob(vec![0, 255].into())), json!("x'00ff'"));
        assert_eq!(to_json(&Value::Null), json!(null));
        assert_eq!(to_json(&Value::UnixTime(0)), json!("1970-01-01T00:00:00Z"));
    }
}
