//! Statements of a user.
//!
//! Each runs in a transaction of its own, or all in one; every one as a query that is read to its end, because
//! dqlite harms itself with rows of a statement that is executed for its effect alone.

use std::{sync::OnceLock, time::Duration};

use dqlite::{
    client::{self, Connection},
    guard::{GuardError, check_rows, look},
    node::{limit_statements, limit_values},
    sql::{Kind, Piece, is_blank, kind, split},
    wire::{Param, Value},
};
use serde_json::json;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Error,
    api::{SqlBatch, SqlResult},
    schema,
    time::rfc3339,
};

/// The whole request, unless the operator wants another.
pub const USUAL_TIMEOUT: Duration = Duration::from_secs(30);

static TIMEOUT: OnceLock<Duration> = OnceLock::new();

/// The largest value or row: above what a cluster manager keeps in one, and far below what the daemon has.
const MAX_VALUE_BYTES: u32 = 64 << 20;

/// Sets the time of each request, and limits statements and values, before the engine starts.
pub fn set_timeout(timeout: Duration) {
    TIMEOUT.get_or_init(|| timeout);
    limit_statements(timeout);
    limit_values(MAX_VALUE_BYTES);
}

/// Returns the time of a request.
pub fn request_timeout() -> Duration {
    TIMEOUT.get().copied().unwrap_or(USUAL_TIMEOUT)
}

/// Requests of users that run at a time: those of three daemons leave threads of the engine's pool, which
/// also writes its log (`dqlite::node::POOL_THREADS`).
const MAX_RUNNING: usize = 3;

/// The longest time that a request waits for others to end.
const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// The engine ends a statement that takes as long as a request may. One that was abandoned keeps its slot until then, but
/// this much longer at most: the leader may have a longer time, or know no limit.
const ENGINE_DELAY: Duration = Duration::from_secs(10);

/// SQLite's code of a statement that it has ended.
const INTERRUPTED: u64 = 9;

/// Rows of one result, and those of one table in a dump.
const MAX_ROWS: usize = 1_000_000;

/// Bytes of one result's texts and blobs: what a daemon can hold besides its work.
const MAX_RESULT_BYTES: usize = 256 << 20;

/// Bytes of a value that is no text and no blob.
const VALUE_BYTES: usize = 16;

pub fn too_late() -> Error {
    Error::Late(format!(
        "the statements take longer than {} s, which --sql-timeout of the daemon may raise",
        request_timeout().as_secs()
    ))
}

/// The statements that are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Write,
    Read,
}

/// Gives a request a slot, and its caller an answer in time. `work` ends by itself after the deadline, and
/// commits nothing then.
pub async fn in_time<T, F>(work: impl FnOnce(Instant) -> F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    static PLACES: Semaphore = Semaphore::const_new(MAX_RUNNING);
    let deadline = Instant::now() + request_timeout();
    let Ok(Ok(place)) = timeout(PLACE_TIMEOUT, PLACES.acquire()).await else {
        return Err(Error::Unavailable(format!(
            "{MAX_RUNNING} other requests run, some of which may have been given up: try again later"
        )));
    };
    let working = work(deadline);
    let task = tokio::spawn(async move {
        let _place = place;
        working.await
    });
    match timeout_at(deadline, task).await {
        Ok(done) => done.unwrap_or_else(|error| Err(Error::Internal(error.to_string()))),
        Err(_) => Err(too_late()),
    }
}

/// A connection until a deadline. After an error it has to be closed, which ends its transaction.
pub struct Session {
    connection: Connection,
    deadline: Instant,
}

impl Session {
    pub fn new(mut connection: Connection, deadline: Instant) -> Self {
        connection.set_request_timeout(request_timeout() + ENGINE_DELAY);
        Self {
            connection,
            deadline,
        }
    }

    fn check_time(&self) -> Result<(), Error> {
        match Instant::now() < self.deadline {
            true => Ok(()),
            false => Err(too_late()),
        }
    }

    async fn exec(&mut self, sql: &str) -> Result<(), Error> {
        self.check_time()?;
        let executed = self.connection.exec_sql(sql, &[]).await;
        executed.map(drop).map_err(in_words)
    }
}

pub async fn run(
    mut session: Session,
    text: &str,
    access: Access,
    in_one: bool,
) -> Result<SqlBatch, Error> {
    if is_blank(text) {
        return Err(Error::Invalid("No query provided".to_owned()));
    }
    let statements = statements(text)?;
    let session = &mut session;
    if access == Access::Read {
        collect(session, schema::QUERY_ONLY, &[]).await?;
    }
    let mut results = Vec::with_capacity(statements.len());
    if in_one {
        session.exec("BEGIN IMMEDIATE").await?;
    }
    for sql in statements {
        check(sql, access)?;
        if !in_one {
            session.exec("BEGIN").await?;
        }
        let result = match guard(&mut session.connection, sql, access).await {
            Ok(()) => one(session, sql).await,
            Err(error) => Err(error),
        };
        results.push(result.map_err(|error| explained(sql, error))?);
        if !in_one {
            session.exec("COMMIT").await?;
        }
    }
    if in_one {
        session.exec("COMMIT").await?;
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

/// The original's words, with the status that the error has.
fn explained(sql: &str, error: Error) -> Error {
    let is_select = sql
        .get(..6)
        .is_some_and(|word| word.eq_ignore_ascii_case("select"));
    let verb = if is_select { "execute" } else { "exec" };
    let text = format!("Failed to {verb} query: {error}");
    match error {
        Error::Invalid(_) => Error::Invalid(text),
        Error::Forbidden(_) => Error::Forbidden(text),
        Error::Unavailable(_) => Error::Unavailable(text),
        Error::Late(_) => Error::Late(text),
        _ => Error::Internal(text),
    }
}

/// Looks at a statement in the transaction that it will run in.
async fn guard(connection: &mut Connection, sql: &str, access: Access) -> Result<(), Error> {
    // SQLite may carry a pragma out while it explains it.
    if matches!(kind(sql), Kind::Explain | Kind::Pragma) {
        return Ok(());
    }
    let effects = look(connection, sql).await?;
    if effects.writes && access == Access::Read {
        return Err(Error::Forbidden(
            "the database is read-only this way: write through the control socket of a daemon that runs"
                .to_owned(),
        ));
    }
    check_rows(connection, sql, &effects)
        .await
        .map_err(|error| match error {
            GuardError::Refused(text) => Error::Invalid(text),
            GuardError::Client(error) => error.into(),
        })
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
        Kind::Pragma if sql.to_ascii_lowercase().contains("delete_database") => {
            refused("this would delete the database with everything in it")
        }
        Kind::Pragma if access == Access::Read => refused("PRAGMA is for the control socket only"),
        _ => Ok(()),
    }
}

async fn one(session: &mut Session, sql: &str) -> Result<SqlResult, Error> {
    let (columns, rows) = collect(session, sql, &[]).await?;
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
        _ => collect(session, schema::CHANGES, &[]).await?.1[0][0]
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
    session: &mut Session,
    sql: &str,
    params: &[Param<'_>],
) -> Result<(Vec<String>, Vec<Vec<Value>>), Error> {
    session.check_time()?;
    let deadline = session.deadline;
    let rows = session.connection.query_sql(sql, params).await;
    let mut rows = rows.map_err(in_words)?;
    let columns = rows.columns().to_vec();
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(part) = rows.next_part().await.map_err(in_words)? {
        bytes += part.iter().flat_map(|row| &row.0).map(size).sum::<usize>();
        if all.len() + part.len() > MAX_ROWS || bytes > MAX_RESULT_BYTES {
            return Err(Error::Invalid(format!(
                "the result has more than {MAX_ROWS} rows or {} MiB, and nothing of it is shown: use LIMIT",
                MAX_RESULT_BYTES >> 20
            )));
        }
        if Instant::now() >= deadline {
            return Err(too_late());
        }
        all.extend(part.into_iter().map(|row| row.0));
    }
    Ok((columns, all))
}

fn in_words(error: client::Error) -> Error {
    match error {
        client::Error::Sql {
            code: INTERRUPTED, ..
        } => too_late(),
        error => error.into(),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Iso8601(text) => text.len() + VALUE_BYTES,
        Value::Blob(bytes) => 2 * bytes.len() + VALUE_BYTES,
        _ => VALUE_BYTES,
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        // What dqlite makes of NULL in a column that is declared a date.
        Value::Iso8601(text) if text.is_empty() => serde_json::Value::Null,
        Value::Integer(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Boolean(value) => json!(value),
        Value::Text(text) | Value::Iso8601(text) => json!(text),
        Value::UnixTime(seconds) => json!(rfc3339(*seconds)),
        Value::Blob(bytes) => json!(format!("x'{}'", hex::encode(bytes))),
    }
}

/// The database as SQL: its tables, and unless only these are asked for, their rows.
pub async fn dump(mut session: Session, only_schema: bool) -> Result<String, Error> {
    let session = &mut session;
    let mut out = String::from("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n");
    // One moment of all tables.
    session.exec("BEGIN").await?;
    for object in collect(session, schema::OBJECTS, &[]).await?.1 {
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
        let columns = collect(session, schema::COLUMNS, &[Param::Text(&table)])
            .await?
            .1;
        let columns: Vec<String> = columns
            .iter()
            .map(|row| row[0].as_text().unwrap_or_default().to_owned())
            .collect();
        for row in collect(session, &schema::quoted_rows(&table, &columns), &[])
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
    if !only_schema && let Ok((_, rows)) = collect(session, schema::SEQUENCE, &[]).await {
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
    session.exec("COMMIT").await?;
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

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_answered_in_time_and_keeps_its_place() {
        let endless = || in_time(async |_| std::future::pending::<Result<(), Error>>().await);
        let began = Instant::now();
        let (one, two, three) = tokio::join!(endless(), endless(), endless());
        for given_up in [one, two, three] {
            let told = given_up.unwrap_err().to_string();
            assert!(told.contains("longer than 30 s"), "{told}");
        }
        assert_eq!(began.elapsed().as_secs(), USUAL_TIMEOUT.as_secs());
        let told = in_time(async |_| Ok(())).await.unwrap_err().to_string();
        assert!(told.contains("3 other requests run"), "{told}");
    }

    #[test]
    fn values_keep_what_they_are() {
        assert_eq!(
            to_json(&Value::Integer(i64::MAX)).to_string(),
            "9223372036854775807"
        );
        assert_eq!(to_json(&Value::Blob(vec![0, 255].into())), json!("x'00ff'"));
        assert_eq!(to_json(&Value::Null), json!(null));
        assert_eq!(to_json(&Value::Iso8601(String::new())), json!(null));
        assert_eq!(to_json(&Value::UnixTime(0)), json!("1970-01-01T00:00:00Z"));
    }
}
