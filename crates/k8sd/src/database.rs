//! The database on whichever node leads.

mod datastore;

use dqlite::{
    client::{ConnectOptions, Connection, Error as ClientError, LeaderConnector, Resolve},
    cluster::MemberStatus,
    wire::{Param, Row, Server, Value},
};
use tokio::sync::watch;

use std::time::Duration;

use crate::{
    Error,
    api::{ClusterMember, EXTENSIONS, PENDING, SCHEMA_INTERNAL},
    schema,
    time::{now_s, rfc3339},
};

const NAME: &str = "db.bin";

/// How long a leader is looked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rows of one of our own tables: members and tokens are some dozen.
const MAX_ROWS: usize = 10_000;

/// A pending member that is not in dqlite's cluster after this time is given up.
const PENDING_S: i64 = 300;

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
        let mut connection = connector.connect(PATIENCE).await?;
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

    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let mut connection = self.connect().await?;
        let rows = connection.query_sql(sql, params).await?;
        Ok(rows.collect(MAX_ROWS).await?)
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

    /// Lets a node in. `secret`: the token that it has to show, which is used up with it.
    pub async fn add_member(
        &self,
        member: &ClusterMember,
        secret: Option<&str>,
    ) -> Result<(), Error> {
        let extensions = serde_json::to_string(&EXTENSIONS).expect("texts become JSON");
        let now = now_s();
        let mut steps = Vec::new();
        if let Some(secret) = secret {
            let tokens = self.tokens().await?;
            let token = tokens.iter().find(|token| {
                openssl::memcmp::eq(&hashed(&token.secret), &hashed(secret))
                    && token.name == member.name
            });
            match token {
                None => return Err(Error::Forbidden("No matching join token found".to_owned())),
                Some(token) if token.expires_s.is_some_and(|s| s < now) => {
                    return Err(Error::Forbidden("The join token has expired".to_owned()));
                }
                Some(_) => steps.push((schema::REMOVE_TOKEN, vec![Param::Text(&member.name)])),
            }
            let taken = [Param::Text(&member.name), Param::Text(&member.address)];
            let found = self.rows(schema::TAKEN, &taken).await?;
            if found.first().and_then(|row| row[0].as_integer()) != Some(0) {
                return Err(Error::Conflict(
                    "A member with this name or address exists already: remove it first".to_owned(),
                ));
            }
        }
        steps.push((
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
            ],
        ));
        let key = format!("{}{}", datastore::MEMBER, member.name);
        if !member.datastore_address.is_empty() {
            let params = vec![Param::Text(&key), Param::Text(&member.datastore_address)];
            steps.push((schema::PUT_CONFIG, params));
        }
        let changed = self.change(&steps).await?;
        if changed.first() == Some(&0) {
            // Another node was let in with it in between; what this one left is taken back.
            self.remove_member(&member.name).await?;
            return Err(Error::Forbidden("No matching join token found".to_owned()));
        }
        Ok(())
    }

    pub async fn remove_member(&self, name: &str) -> Result<(), Error> {
        let mut steps = vec![(schema::REMOVE_MEMBER, vec![Param::Text(name)])];
        if self.has_configs().await? {
            steps.push(datastore::forget_strays());
        }
        self.change(&steps).await.map(drop)
    }

    /// In the order in which they came. `last_heartbeat` and `role` are of the last round.
    pub async fn members(&self) -> Result<Vec<ClusterMember>, Error> {
        let rows = self.rows(schema::MEMBERS, &[]).await?;
        Ok(rows.iter().map(|row| member(&row.0)).collect())
    }

    /// Notes the roles that dqlite's servers have, and gives up what is over.
    pub async fn heartbeat(&self, servers: &[Server]) -> Result<(), Error> {
        let now = now_s();
        let mut steps = vec![(schema::EXPIRE_TOKENS, vec![Param::Integer(now)])];
        let members = self.members().await?;
        for member in &members {
            let server = servers
                .iter()
                .find(|server| server.address == member.address);
            match server {
                Some(server) => steps.push((
                    schema::HEARTBEAT,
                    vec![
                        Param::Text(role_name(server)),
                        Param::Integer(now),
                        Param::Text(&member.address),
                    ],
                )),
                None => steps.push((
                    schema::REMOVE_PENDING,
                    vec![Param::Integer(now - PENDING_S), Param::Text(&member.name)],
                )),
            }
        }
        let may_remove = |(sql, _): &Step<'_>| *sql == schema::REMOVE_PENDING;
        if steps.iter().any(may_remove) && self.has_configs().await? {
            steps.push(datastore::forget_strays());
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
fn hashed(secret: &str) -> [u8; 32] {
    openssl::sha::sha256(secret.as_bytes())
}

pub fn role_name(server: &Server) -> &'static str {
    ["voter", "stand-by", "spare"][server.role as usize]
}

fn text(value: &Value) -> String {
    value.as_text().unwrap_or_default().to_owned()
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
