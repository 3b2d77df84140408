//! The database on whichever node leads.

mod datastore;

pub(crate) use datastore::MEMBER;

use dqlite::{
    client::{ConnectOptions, Connection, Error as ClientError, LeaderConnector, Resolve},
    cluster::MemberStatus,
    wire::{NodeId, Param, Row, Server, Value},
};
use tokio::sync::watch;

use std::time::Duration;

use crate::{
    Error,
    api::{ClusterMember, EXTENSIONS, PENDING, SCHEMA_INTERNAL},
    plan::{Note, Record, Records, Removal},
    schema,
    time::{now_s, rfc3339},
};

pub const NAME: &str = "db.bin";

/// The timeout of a search for the leader.
pub const LEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows of one of our own tables: members and tokens are some dozen.
const MAX_ROWS: usize = 10_000;

#[derive(Clone)]
pub struct Database {
    resolve: Resolve,
    known: Vec<Server>,
    status: watch::Receiver<MemberStatus>,
}

/// One statement with its parameters.
type Step<'a> = (&'a str, Vec<Param<'a>>);

#[derive(Debug)]
pub struct StoredToken {
    pub name: String,
    pub secret: String,
    pub expires_s: Option<i64>,
}

impl Database {
    pub fn new(
        resolve: Resolve,
        known: Vec<Server>,
        status: watch::Receiver<MemberStatus>,
    ) -> Self {
        Self {
            resolve,
            known,
            status,
        }
    }

    /// A new connection to the leader, with the database open.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let seen = self.status.borrow().servers.clone();
        let servers: &[Server] = if seen.is_empty() { &self.known } else { &seen };
        let addresses = servers.iter().map(|s| s.address.clone()).collect();
        let options = ConnectOptions::default();
        let mut connector = LeaderConnector::new(addresses, self.resolve.clone(), options);
        let mut connection = connector.connect(LEADER_TIMEOUT).await?;
        connection.open(NAME).await?;
        Ok(connection)
    }

    /// Runs all of them or none; returns how many rows each changed.
    async fn change(&self, steps: &[Step<'_>]) -> Result<Vec<u64>, Error> {
        let mut connection = self.connect().await?;
        connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
        let mut changed = Vec::with_capacity(steps.len());
        for (sql, params) in steps {
            // On an error the connection ends, and with it the transaction.
            changed.push(connection.exec_sql(sql, params).await?.rows_affected);
        }
        connection.exec_sql("COMMIT", &[]).await?;
        Ok(changed)
    }

    /// Runs all of them if each of the first ones changes a row; otherwise none, and returns which did not.
    async fn change_if(
        &self,
        first: &[Step<'_>],
        then: &[Step<'_>],
    ) -> Result<Option<usize>, Error> {
        let mut connection = self.connect().await?;
        connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
        for (at, (sql, params)) in first.iter().chain(then).enumerate() {
            let changed = connection.exec_sql(sql, params).await?.rows_affected;
            if at < first.len() && changed == 0 {
                connection.exec_sql("ROLLBACK", &[]).await?;
                return Ok(Some(at));
            }
        }
        connection.exec_sql("COMMIT", &[]).await?;
        Ok(None)
    }

    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let mut connection = self.connect().await?;
        let rows = connection.query_sql(sql, params).await?;
        Ok(rows.collect(MAX_ROWS).await?)
    }

    /// Runs statements of an administrator or of a recovery, all or none. What the datastore had of members that are
    /// no more then goes with them.
    pub async fn patch(&self, statements: &[&str]) -> Result<(), Error> {
        let mut steps: Vec<Step<'_>> = statements.iter().map(|sql| (*sql, vec![])).collect();
        if self.has_configs().await? {
            steps.push(datastore::forget_strays());
        }
        self.change(&steps).await.map(drop)
    }

    /// Makes the tables that are missing.
    pub async fn create(&self) -> Result<(), Error> {
        let now = now_s();
        let mut steps: Vec<Step<'_>> = Vec::new();
        for table in schema::TABLES {
            steps.push((table, vec![]));
        }
        for version in 1..=SCHEMA_INTERNAL {
            steps.push((
                schema::NOTE_VERSION,
                vec![Param::Integer(version), Param::Integer(now)],
            ));
        }
        self.change(&steps).await?;
        self.check_version().await
    }

    /// A newer program's database is not touched.
    pub async fn check_version(&self) -> Result<(), Error> {
        let rows = self.rows(schema::VERSIONS, &[]).await?;
        match rows.first().and_then(|row| row[0].as_integer()) {
            Some(found) if found > SCHEMA_INTERNAL => Err(Error::Unavailable(format!(
                "This node's version is behind, please upgrade: the database has schema {found}, \
                 this program knows {SCHEMA_INTERNAL}"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses whoever has no token for this name.
    pub async fn check_token(&self, name: &str, secret: &str, now_s: i64) -> Result<(), Error> {
        let tokens = self.tokens().await?;
        let token = tokens.iter().find(|token| {
            openssl::memcmp::eq(&hashed(&token.secret), &hashed(secret)) && token.name == name
        });
        match token {
            None => Err(no_token()),
            Some(token) if token.expires_s.is_some_and(|s| s < now_s) => {
                Err(Error::Forbidden("The join token has expired".to_owned()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Lets a node in. `secret`: the token that it has to show, which is used up with it.
    pub async fn add_member(
        &self,
        member: &ClusterMember,
        secret: Option<&str>,
    ) -> Result<(), Error> {
        let extensions = serde_json::to_string(&EXTENSIONS).expect("texts become JSON");
        let now = now_s();
        let mut steps = vec![(
            schema::ADD_MEMBER,
            vec![
                Param::Text(&member.name),
                Param::Text(&member.address),
                Param::Text(&member.certificate),
                Param::Integer(SCHEMA_INTERNAL),
                Param::Integer(member.schema_external_version),
                Param::Integer(now),
                Param::Text(PENDING),
                Param::Text(&extensions),
                Param::Text(&member.name),
                Param::Text(&member.address),
            ],
        )];
        if let Some(secret) = secret {
            self.check_token(&member.name, secret, now).await?;
            // Another node may be let in with it meanwhile.
            steps.push((
                schema::USE_TOKEN,
                vec![Param::Text(&member.name), Param::Text(secret)],
            ));
        }
        let mut then = vec![
            (schema::REMOVALS_TABLE, vec![]),
            (schema::FORGET_REMOVAL, vec![Param::Text(&member.name)]),
        ];
        let key = format!("{}{}", datastore::MEMBER, member.name);
        if !member.datastore_address.is_empty() {
            let params = vec![Param::Text(&key), Param::Text(&member.datastore_address)];
            then.push((schema::PUT_CONFIG, params));
        }
        match self.change_if(&steps, &then).await {
            Ok(None) => Ok(()),
            Ok(Some(0)) => Err(Error::Conflict(
                "A member with this name or address exists already: remove it first".to_owned(),
            )),
            Ok(Some(_)) => Err(no_token()),
            Err(Error::Client(ClientError::Constraint { .. })) => Err(Error::Conflict(
                "A member with this certificate exists already: remove it first".to_owned(),
            )),
            Err(error) => Err(error),
        }
    }

    /// Writes down that the member goes; false: there is none of this name, or it is pending no more.
    pub async fn begin_removal(
        &self,
        removal: &Removal,
        only_pending: bool,
    ) -> Result<bool, Error> {
        let begin = vec![
            Param::Text(&removal.name),
            Param::Text(&removal.address),
            Param::Integer(removal.server.unwrap_or_default().number().cast_signed()),
            Param::Integer(i64::from(removal.force)),
            Param::Text(&removal.nonce),
            Param::Integer(removal.started_s),
            Param::Text(&removal.name),
            Param::Integer(i64::from(!only_pending)),
        ];
        let steps = [
            (schema::REMOVALS_TABLE, vec![]),
            (schema::BEGIN_REMOVAL, begin),
        ];
        Ok(self.change(&steps).await?[1] > 0)
    }

    /// The row of a member that goes.
    pub async fn remove_member(&self, removal: &Removal) -> Result<(), Error> {
        let params = vec![Param::Text(&removal.name), Param::Text(&removal.nonce)];
        let mut steps = vec![(schema::REMOVE_MEMBER, params)];
        if self.has_configs().await? {
            steps.push(datastore::forget_strays());
        }
        self.change(&steps).await.map(drop)
    }

    /// Returns whether this removal is still there: nobody has finished it, or begun another one of the same name.
    pub async fn is_current(&self, removal: &Removal) -> Result<bool, Error> {
        let params = [Param::Text(&removal.name), Param::Text(&removal.nonce)];
        let rows = self.rows(schema::IS_CURRENT, &params).await?;
        Ok(rows.first().and_then(|row| row[0].as_integer()) == Some(1))
    }

    pub async fn end_removal(&self, removal: &Removal) -> Result<(), Error> {
        let params = vec![Param::Text(&removal.name), Param::Text(&removal.nonce)];
        self.change(&[(schema::END_REMOVAL, params)])
            .await
            .map(drop)
    }

    /// Returns the members in the order in which they came. `last_heartbeat` and `role` are of the last round.
    pub async fn members(&self) -> Result<Vec<ClusterMember>, Error> {
        let rows = self.rows(schema::MEMBERS, &[]).await?;
        Ok(rows.iter().map(|row| member(&row.0)).collect())
    }

    pub async fn records(&self) -> Result<Records, Error> {
        let now = now_s();
        let mut connection = self.connect().await?;
        // One moment of all tables.
        connection.exec_sql("BEGIN", &[]).await?;
        let mut rows = async |sql| {
            connection
                .query_sql(sql, &[])
                .await?
                .collect(MAX_ROWS)
                .await
        };
        let members = rows(schema::MEMBERS).await?;
        let tokens = rows(schema::TOKENS).await?;
        let has_removals = rows(schema::HAS_REMOVALS).await?[0][0].as_integer() == Some(1);
        let removals = match has_removals {
            true => rows(schema::REMOVALS).await?,
            false => Vec::new(),
        };
        connection.exec_sql("COMMIT", &[]).await?;
        let expiries = tokens.iter().filter_map(|row| row[2].as_integer());
        Ok(Records {
            members: members
                .iter()
                .map(|row| Record {
                    member: member(&row.0),
                    heartbeat_s: row[5].as_integer().unwrap_or(0),
                })
                .collect(),
            removals: removals.iter().map(|row| removal(&row.0)).collect(),
            has_expired_tokens: expiries.min().is_some_and(|first| first < now),
        })
    }

    /// The leader's notes of a round.
    pub async fn note(&self, notes: &[Note], expire_tokens: bool) -> Result<(), Error> {
        let mut steps: Vec<Step<'_>> = Vec::new();
        if expire_tokens {
            steps.push((schema::EXPIRE_TOKENS, vec![Param::Integer(now_s())]));
        }
        for note in notes {
            steps.push((
                schema::HEARTBEAT,
                vec![
                    Param::Text(&note.role),
                    Param::Integer(note.heartbeat_s),
                    Param::Text(&note.name),
                    Param::Integer(note.before_s),
                ],
            ));
        }
        if steps.is_empty() {
            return Ok(());
        }
        self.change(&steps).await.map(drop)
    }

    pub async fn add_token(
        &self,
        name: &str,
        secret: &str,
        expires_s: Option<i64>,
    ) -> Result<(), Error> {
        let expiry = expires_s.map_or(Param::Null, Param::Integer);
        let params = vec![Param::Text(name), Param::Text(secret), expiry];
        match self.change(&[(schema::ADD_TOKEN, params)]).await {
            Err(Error::Client(ClientError::Constraint { .. })) => Err(Error::Conflict(format!(
                "A join token for {name:?} exists already"
            ))),
            done => done.map(drop),
        }
    }

    pub async fn tokens(&self) -> Result<Vec<StoredToken>, Error> {
        let rows = self.rows(schema::TOKENS, &[]).await?;
        let token = |row: &Row| StoredToken {
            name: text(&row[0]),
            secret: text(&row[1]),
            expires_s: row[2].as_integer(),
        };
        Ok(rows.iter().map(token).collect())
    }

    pub async fn remove_token(&self, name: &str) -> Result<bool, Error> {
        let changed = self
            .change(&[(schema::REMOVE_TOKEN, vec![Param::Text(name)])])
            .await?;
        Ok(changed[0] > 0)
    }
}

/// Secrets are compared in constant time, whatever their lengths.
fn no_token() -> Error {
    Error::Forbidden("No matching join token found".to_owned())
}

fn hashed(secret: &str) -> [u8; 32] {
    openssl::sha::sha256(secret.as_bytes())
}

fn text(value: &Value) -> String {
    value.as_text().unwrap_or_default().to_owned()
}

fn removal(row: &[Value]) -> Removal {
    let server = NodeId::new(row[2].as_integer().unwrap_or(0).cast_unsigned());
    Removal {
        name: text(&row[0]),
        address: text(&row[1]),
        server: (!server.is_unknown()).then_some(server),
        force: row[3].as_integer() == Some(1),
        nonce: text(&row[4]),
        started_s: row[5].as_integer().unwrap_or(0),
    }
}

fn member(row: &[Value]) -> ClusterMember {
    let number = |at: usize| row[at].as_integer().unwrap_or(0);
    ClusterMember {
        name: text(&row[0]),
        address: text(&row[1]),
        certificate: text(&row[2]),
        schema_internal_version: number(3),
        schema_external_version: number(4),
        last_heartbeat: rfc3339(number(5)),
        role: text(&row[6]),
        extensions: serde_json::from_str(&text(&row[7])).unwrap_or_default(),
        ..ClusterMember::default()
    }
}
