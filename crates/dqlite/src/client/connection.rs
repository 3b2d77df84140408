//! A connection to one node, its statements and its results.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::exchange::{Effect, Exchange, lost};
use super::{ConnectOptions, Endpoint, Error, Loss};
use crate::wire::{Param, Reply, Request, Row, RowsPart};

/// The only database of a connection.
const DB: u32 = 0;

/// Distinguishes the opened databases of this process, so that a statement is never used where its
/// number means another one.
static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// A connection to one node, with at most one open database.
///
/// The future of every call may be dropped; if its request was sent, the connection is not usable
/// afterwards (see the module head).
#[derive(Debug)]
pub struct Connection {
    pub(super) exchange: Exchange,
    session: u64,
}

/// A prepared statement. Belongs to the connection and the `open` that it was prepared after.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    id: u32,
    params: usize,
    session: u64,
}

impl Statement {
    /// The number of parameters.
    pub fn params(&self) -> usize {
        self.params
    }
}

/// The result of an EXEC. Both values are those of the last statement that wrote on this connection, so they mean
/// nothing after a statement that writes no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecResult {
    pub last_insert_rowid: i64,
    pub rows_affected: u64,
}

impl Connection {
    /// Connects within the options' deadline. The server is not spoken to before the first request.
    pub async fn connect(endpoint: &Endpoint, options: ConnectOptions) -> Result<Self, Error> {
        let stream = timeout(options.connect_timeout, endpoint.connect())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(Error::Unreachable)?;
        let exchange = Exchange::new(stream, options.request_timeout);
        Ok(Connection {
            exchange,
            session: 0,
        })
    }

    /// Sets the deadline of the requests that follow.
    pub fn set_request_timeout(&mut self, request_timeout: Duration) {
        self.exchange.request_timeout = request_timeout;
    }

    /// Returns whether an earlier request was given up, so that this connection must be replaced.
    pub fn is_poisoned(&self) -> bool {
        self.exchange.check_idle().is_err()
    }

    /// Opens the database, which the first write to it creates. Only the leader does it. A connection
    /// can have one database; after a change of leader it has none and opens it again.
    pub async fn open(&mut self, name: &str) -> Result<(), Error> {
        match self
            .exchange
            .call(&Request::Open { name }, Effect::Reads)
            .await?
        {
            Reply::Database { id: DB } => {
                self.session = NEXT_SESSION.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    /// Prepares one statement.
    pub async fn prepare(&mut self, sql: &str) -> Result<Statement, Error> {
        let request = Request::Prepare { db: DB.into(), sql };
        match self.exchange.call(&request, Effect::Reads).await? {
            Reply::Statement { db: DB, id, params } => {
                let params = usize::try_from(params).unwrap_or(usize::MAX);
                Ok(Statement {
                    id,
                    params,
                    session: self.session,
                })
            }
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    /// Executes a statement that returns no rows.
    ///
    /// **Never** execute one that does (a SELECT, anything with RETURNING), nor INSERT OR FAIL outside
    /// a transaction: the server answers with an error but keeps the writes half committed, which
    /// stops all its databases and aborts it when the connection closes. Use [`query`](Self::query)
    /// and read the result to its end.
    pub async fn exec(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<ExecResult, Error> {
        let request = self.exec_request(statement, params)?;
        let reply = self.exchange.call(&request, Effect::Writes).await?;
        self.exec_result(reply)
    }

    /// Executes all statements of `sql`, none of which may return rows (see [`exec`](Self::exec)).
    /// Each takes its parameters from the left of what the ones before it left over, and commits for
    /// itself unless the text holds BEGIN and COMMIT. On an error the earlier ones stay, and a
    /// transaction stays open.
    pub async fn exec_sql(&mut self, sql: &str, params: &[Param<'_>]) -> Result<ExecResult, Error> {
        let request = Request::ExecSql {
            db: DB.into(),
            sql,
            params: params.into(),
        };
        let reply = self.exchange.call(&request, Effect::Writes).await?;
        self.exec_result(reply)
    }

    /// Runs a statement and returns its result, of which the first part has been read. Read it to its
    /// end: a result that is dropped before poisons the connection.
    pub async fn query(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Rows<'_>, Error> {
        self.check_statement(statement, params)?;
        let request = Request::Query {
            db: DB,
            statement: statement.id,
            params: params.into(),
        };
        self.start_query(&request).await
    }

    /// Like [`query`](Self::query), for the text of one statement.
    pub async fn query_sql(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Rows<'_>, Error> {
        let request = Request::QuerySql {
            db: DB.into(),
            sql,
            params: params.into(),
        };
        self.start_query(&request).await
    }

    /// Returns all rows of a query without parameters; more than `max_rows` are an error.
    pub async fn read_all(&mut self, sql: &str, max_rows: usize) -> Result<Vec<Row>, Error> {
        self.query_sql(sql, &[]).await?.collect(max_rows).await
    }

    /// Frees a statement on the server.
    pub async fn finalize(&mut self, statement: Statement) -> Result<(), Error> {
        self.check_session(&statement)?;
        let request = Request::Finalize {
            db: DB,
            statement: statement.id,
        };
        match self.exchange.call(&request, Effect::Reads).await? {
            Reply::Empty => Ok(()),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    async fn start_query(&mut self, request: &Request<'_>) -> Result<Rows<'_>, Error> {
        match self.exchange.call(request, Effect::Writes).await? {
            Reply::Rows(RowsPart {
                columns,
                rows,
                more,
            }) => Ok(Rows {
                connection: self,
                columns,
                rows,
                more,
            }),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    pub(super) fn exec_result(&mut self, reply: Reply) -> Result<ExecResult, Error> {
        match reply {
            Reply::Result {
                last_insert_rowid,
                rows_affected,
            } => Ok(ExecResult {
                last_insert_rowid: last_insert_rowid.cast_signed(),
                rows_affected,
            }),
            other => Err(self.exchange.unexpected(&other)),
        }
    }

    pub(super) fn exec_request<'a>(
        &self,
        statement: &Statement,
        params: &'a [Param<'a>],
    ) -> Result<Request<'a>, Error> {
        self.check_statement(statement, params)?;
        Ok(Request::Exec {
            db: DB,
            statement: statement.id,
            params: params.into(),
        })
    }

    fn check_statement(&self, statement: &Statement, params: &[Param<'_>]) -> Result<(), Error> {
        self.check_session(statement)?;
        if params.len() != statement.params {
            return Err(Error::Invalid(
                "number of parameters differs from the statement's",
            ));
        }
        Ok(())
    }

    fn check_session(&self, statement: &Statement) -> Result<(), Error> {
        if statement.session != self.session {
            return Err(Error::Invalid(
                "the statement was prepared on another connection",
            ));
        }
        Ok(())
    }
}

/// The result of a query, pulled part by part.
#[derive(Debug)]
pub struct Rows<'c> {
    connection: &'c mut Connection,
    columns: Vec<String>,
    rows: Vec<Row>,
    more: bool,
}

impl Rows<'_> {
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next rows, at least one, or `None` after the last. This future may be dropped and called
    /// again; after an error there is nothing more to read.
    pub async fn next_part(&mut self) -> Result<Option<Vec<Row>>, Error> {
        while self.rows.is_empty() && self.more {
            let limit = self.connection.exchange.request_timeout;
            let part = self
                .connection
                .exchange
                .receive_rows(self.columns.len(), Effect::Writes);
            let part = timeout(limit, part)
                .await
                .unwrap_or_else(|_| Err(lost(Loss::TimedOut(limit), Effect::Writes)));
            self.more = false;
            (self.rows, self.more) = part?;
        }
        let rows = std::mem::take(&mut self.rows);
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
    }

    /// All rows, at most `max_rows`: with more the result is [`Error::TooLarge`], and the connection,
    /// on which the rest is still due, is poisoned.
    pub async fn collect(mut self, max_rows: usize) -> Result<Vec<Row>, Error> {
        let mut all = Vec::new();
        while let Some(mut part) = self.next_part().await? {
            if all.len() + part.len() > max_rows {
                return Err(Error::TooLarge {
                    what: "row count",
                    limit: max_rows,
                });
            }
            all.append(&mut part);
        }
        Ok(all)
    }
}
