//! The connection to the leader, and the statements that run on it.
//!
//! Invariants: a statement runs within a transaction, its own or the user's, so one that fails or is given
//! up leaves nothing behind, and what can be said about its effect is known from how far it came; a user's
//! transaction ends by itself when it is left alone, because the server has no limit for that, and other
//! writers wait.

mod rows;

use std::time::{Duration, Instant};

use dqlite::client::{Connection, Error as ClientError, LeaderConnector};

use self::rows::query;
use crate::error::ShellError;
use crate::guard;
use crate::render::{Spool, Style};
use crate::servers::Servers;
use dqlite::sql::{Kind, kind};

/// A transaction may wait this long for its user: other writers wait meanwhile, and give up after some
/// seconds.
pub const MAX_IDLE: Duration = Duration::from_secs(10);

/// And this long in all.
pub const MAX_TRANSACTION: Duration = Duration::from_secs(60);

/// The progress of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent that has an effect.
    Idle,
    Running,
    Committing,
    /// A change without a transaction: VACUUM, or one of the cluster.
    Alone,
}

#[derive(Debug, Clone, Copy)]
struct Transaction {
    began: Instant,
    used: Instant,
}

pub struct Session {
    pub servers: Servers,
    pub database: Option<String>,
    force: bool,
    connector: LeaderConnector,
    connection: Option<Connection>,
    transaction: Option<Transaction>,
    /// The reason why a transaction ended that the user still takes for open.
    ended: Option<String>,
    phase: Phase,
}

impl Session {
    pub fn new(servers: Servers, database: Option<String>, force: bool) -> Self {
        let connector = LeaderConnector::new(
            servers.addresses.clone(),
            servers.resolve.clone(),
            servers.options,
        );
        Session {
            servers,
            database,
            force,
            connector,
            connection: None,
            transaction: None,
            ended: None,
            phase: Phase::Idle,
        }
    }

    pub fn timeout(&self) -> Duration {
        self.servers.options.request_timeout
    }

    /// A new connection to the leader, for requests about the cluster.
    pub async fn leader(&mut self) -> Result<Connection, ShellError> {
        Ok(self.connector.connect(self.timeout()).await?)
    }

    /// Returns the role of the connected node, which is the leader if there is one.
    pub fn role(&self) -> &'static str {
        match &self.connection {
            Some(connection) if !connection.is_poisoned() => "leader",
            _ => "not connected",
        }
    }

    pub fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Returns the time at which the transaction ends if the user does nothing.
    pub fn transaction_deadline(&self) -> Option<Instant> {
        let Transaction { began, used } = self.transaction?;
        Some((began + MAX_TRANSACTION).min(used + MAX_IDLE))
    }

    /// Ends the transaction if its time is over; the server rolls it back with the connection.
    pub fn end_idle_transaction(&mut self, now: Instant) {
        if self
            .transaction_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.drop_connection();
            self.ended = Some(format!(
                "the transaction was rolled back, because it blocks other writers: it may be idle for {} s, and last for {} s",
                MAX_IDLE.as_secs(),
                MAX_TRANSACTION.as_secs()
            ));
        }
    }

    fn drop_connection(&mut self) {
        self.connection = None;
        self.transaction = None;
    }

    /// Abandons what runs, after its future was dropped, and returns a note on what may still happen.
    pub fn cancel(&mut self) -> String {
        let effect = self.effect_of_loss();
        self.drop_connection();
        self.phase = Phase::Idle;
        format!("cancelled: {effect}")
    }

    /// Returns what is known about the effect of a request whose reply is lost.
    fn effect_of_loss(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "nothing was executed",
            Phase::Running => {
                "the server may still run the statement to its end; its transaction is rolled back then"
            }
            Phase::Committing => "the outcome of the COMMIT is unknown, look at the data",
            Phase::Alone => "it may still take effect",
        }
    }

    /// An error of a lost request, with what is known about its effect.
    pub fn with_effect(&self, error: ShellError) -> ShellError {
        match error {
            ShellError::Unreachable(_) | ShellError::TimedOut(_) => {
                error.within(|text| format!("{text}; {}", self.effect_of_loss()))
            }
            error => error,
        }
    }

    /// Notes that a request about the cluster begins.
    pub fn begin_command(&mut self) {
        self.phase = Phase::Idle;
    }

    /// Notes that the next request changes the cluster.
    pub fn begin_change(&mut self) {
        self.phase = Phase::Alone;
    }

    /// Runs one statement, and returns its rows as text if it has columns.
    pub async fn run(&mut self, sql: &str, style: &Style) -> Result<Option<Spool>, ShellError> {
        self.end_idle_transaction(Instant::now());
        if let Some(reason) = self.ended.take() {
            return Err(ShellError::failed(format!(
                "{reason}; this statement was not executed"
            )));
        }
        self.phase = Phase::Idle;
        let ran = self.dispatch(sql, style).await;
        if let Some(transaction) = &mut self.transaction {
            transaction.used = Instant::now();
        }
        let ran = ran.map_err(|error| self.with_effect(error));
        self.phase = Phase::Idle;
        ran
    }

    async fn dispatch(&mut self, sql: &str, style: &Style) -> Result<Option<Spool>, ShellError> {
        let kind = kind(sql);
        match kind {
            Kind::Begin if self.transaction.is_some() => Err(ShellError::failed(
                "cannot start a transaction within a transaction",
            )),
            Kind::Begin => self.begin(sql).await.map(|()| {
                let now = Instant::now();
                self.transaction = Some(Transaction {
                    began: now,
                    used: now,
                });
                None
            }),
            Kind::Commit | Kind::Rollback | Kind::Savepoint if self.transaction.is_none() => Err(
                ShellError::failed("no transaction is active: BEGIN starts one"),
            ),
            Kind::Commit => self.commit(sql).await.map(|()| None),
            Kind::Rollback => {
                let done = self.exec(sql).await;
                self.transaction = None;
                done.map(|()| None)
            }
            Kind::Savepoint => self.exec(sql).await.map(|()| None),
            Kind::Attach => Err(ShellError::failed(
                "ATTACH and DETACH are not possible with dqlite",
            )),
            Kind::Vacuum => self.vacuum(sql).await,
            _ if self.transaction.is_some() => self.run_inside(kind, sql, style).await,
            _ => self.run_alone(kind, sql, style).await,
        }
    }

    /// A statement in a transaction of its own.
    async fn run_alone(
        &mut self,
        kind: Kind,
        sql: &str,
        style: &Style,
    ) -> Result<Option<Spool>, ShellError> {
        self.begin("BEGIN").await?;
        let ran = self.guarded(kind, sql, style).await;
        match ran {
            Ok(rows) => {
                if let Err(error) = self.commit("COMMIT").await {
                    self.roll_back().await;
                    return Err(error);
                }
                Ok(rows)
            }
            Err(error) => {
                self.roll_back().await;
                Err(error)
            }
        }
    }

    /// A statement in the user's transaction.
    async fn run_inside(
        &mut self,
        kind: Kind,
        sql: &str,
        style: &Style,
    ) -> Result<Option<Spool>, ShellError> {
        let ran = self.guarded(kind, sql, style).await;
        if ran.is_err() && !self.is_transaction_alive().await {
            self.drop_connection();
            return ran.map_err(|error| {
                error.within(|text| format!("{text}; the transaction was rolled back"))
            });
        }
        ran
    }

    /// Some errors end a transaction. A statement that would then run without one might harm the server.
    async fn is_transaction_alive(&mut self) -> bool {
        let Ok(connection) = self.connected() else {
            return false;
        };
        match connection.exec_sql("BEGIN", &[]).await {
            Ok(_) => false,
            Err(ClientError::Sql { message, .. }) => message.contains("within a transaction"),
            Err(_) => false,
        }
    }

    async fn guarded(
        &mut self,
        kind: Kind,
        sql: &str,
        style: &Style,
    ) -> Result<Option<Spool>, ShellError> {
        let force = self.force;
        let connection = self.connected()?;
        match kind {
            Kind::Explain => {}
            Kind::Pragma => guard::check_pragma(connection, sql, force).await?,
            _ => guard::check(connection, sql, force).await?,
        }
        self.phase = Phase::Running;
        query(self.connected()?, sql, style).await
    }

    async fn vacuum(&mut self, sql: &str) -> Result<Option<Spool>, ShellError> {
        if self.transaction.is_some() {
            return Err(ShellError::failed(
                "cannot VACUUM from within a transaction",
            ));
        }
        self.open().await?;
        let force = self.force;
        guard::check_vacuum(self.connected()?, force).await?;
        self.phase = Phase::Alone;
        self.exec(sql).await.map(|()| None)
    }

    /// Starts a transaction, if need be on a new connection: the one that was there may be to a node that
    /// does not lead any more, or is gone.
    async fn begin(&mut self, sql: &str) -> Result<(), ShellError> {
        let is_new = self.connection.is_none();
        self.open().await?;
        match self.exec(sql).await {
            Err(ShellError::Unreachable(_)) if !is_new => {
                self.connection = None;
                self.open().await?;
                self.exec(sql).await
            }
            Err(ShellError::Failed(text)) if !is_new && text.contains("no database opened") => {
                self.connection = None;
                self.open().await?;
                self.exec(sql).await
            }
            done => done,
        }
    }

    async fn commit(&mut self, sql: &str) -> Result<(), ShellError> {
        self.phase = Phase::Committing;
        let connection = self.connected()?;
        let committed = connection.exec_sql(sql, &[]).await;
        match committed {
            Ok(_) => {
                self.transaction = None;
                Ok(())
            }
            Err(error) => {
                // Where the engine failed, as with a lost majority, the entry may still come through.
                if !error.had_no_effect() || matches!(error, ClientError::NotLeader) {
                    self.drop_connection();
                }
                let is_open = matches!(error, ClientError::DiskOrEngine { .. });
                let error = ShellError::from(error);
                Err(match is_open {
                    true => error.within(|text| format!("{text}; {}", self.effect_of_loss())),
                    false => error,
                })
            }
        }
    }

    /// Ends a transaction of our own; where that fails, the server does it with the connection.
    async fn roll_back(&mut self) {
        if self.exec("ROLLBACK").await.is_err() {
            self.connection = None;
        }
    }

    async fn exec(&mut self, sql: &str) -> Result<(), ShellError> {
        let connection = self.connected()?;
        let done = connection.exec_sql(sql, &[]).await;
        if connection.is_poisoned() || matches!(done, Err(ClientError::NotLeader)) {
            self.drop_connection();
        }
        Ok(done.map(drop)?)
    }

    fn connected(&mut self) -> Result<&mut Connection, ShellError> {
        let lost = || ShellError::Unreachable("the connection was lost".to_owned());
        self.connection.as_mut().ok_or_else(lost)
    }

    /// Connects to the leader and opens the database, unless that is so already.
    async fn open(&mut self) -> Result<(), ShellError> {
        if self
            .connection
            .as_ref()
            .is_some_and(|connection| !connection.is_poisoned())
        {
            return Ok(());
        }
        let Some(database) = self.database.clone() else {
            return Err(ShellError::usage(
                "SQL needs a database: name it before the statement",
            ));
        };
        let mut connection = self.leader().await?;
        connection.open(&database).await?;
        self.connection = Some(connection);
        Ok(())
    }
}
