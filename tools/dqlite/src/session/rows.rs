//! Runs a query and renders its result as text.

use dqlite::client::{Connection, Error as ClientError};
use dqlite::wire::WireError;

use crate::error::ShellError;
use crate::render::{Renderer, Spool, Style, renderer};

/// Runs a query to its end; the text is `None` where there are no columns.
pub(super) async fn query(
    connection: &mut Connection,
    sql: &str,
    style: &Style,
) -> Result<Option<Spool>, ShellError> {
    let mut rows = connection.query_sql(sql, &[]).await.map_err(query_error)?;
    let mut text: Option<Box<dyn Renderer + Send>> = None;
    if !rows.columns().is_empty() {
        text = Some(renderer(style, rows.columns())?);
    }
    while let Some(part) = rows.next_part().await.map_err(query_error)? {
        if let Some(text) = &mut text {
            for row in &part {
                text.row(row)?;
            }
        }
    }
    Ok(text.map(Renderer::finish).transpose()?)
}

fn query_error(error: ClientError) -> ShellError {
    match error {
        ClientError::Protocol(WireError::EmptyRowsPart) => ShellError::failed(
            "the names of the columns are too long together for the server: name them shorter with AS, or \
             select fewer",
        ),
        ClientError::Sql { message, .. } if message.is_empty() => {
            ShellError::failed("the statement is empty")
        }
        error => error.into(),
    }
}
