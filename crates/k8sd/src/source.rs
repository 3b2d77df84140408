//! The sources of answers to SQL: the daemon, another member, or a copy of the stopped database.

use std::time::Duration;

use dqlite::files::read_cluster;
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Error,
    api::{SqlBatch, SqlDump, SqlQuery},
    client::{Target, member_tls},
    offline::Offline,
    schema,
    sql::request_timeout,
    state::StateDir,
    trust::Truststore,
};

const PATH: &str = "/core/internal/sql";

/// One member's answer whether it is ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time beside that which a daemon takes, so that its own error arrives.
const ANSWER_GRACE: Duration = Duration::from_secs(10);

/// Members that are asked; a cluster has some dozen.
const MAX_MEMBERS: usize = 64;

/// A member's address, how it is reached, and whether it is ready.
type Probed = (String, Target, Result<(), Error>);

pub enum Source {
    Daemon(Target),
    Copy(Box<Offline>),
}

impl Source {
    pub async fn run(&self, query: &SqlQuery) -> Result<SqlBatch, Error> {
        match self {
            Self::Daemon(daemon) => {
                let body = json!(query);
                daemon
                    .call(
                        Method::POST,
                        PATH,
                        Some(&body),
                        request_timeout() + ANSWER_GRACE,
                    )
                    .await
            }
            Self::Copy(copy) => copy.run(query).await,
        }
    }

    /// The names of tables and views.
    pub async fn tables(&self) -> Result<SqlBatch, Error> {
        self.run(&our_own(schema::TABLE_NAMES)).await
    }

    /// Returns the names that a statement can use.
    pub async fn names(&self) -> Result<Vec<String>, Error> {
        let batch = self.run(&our_own(schema::NAMES)).await?;
        let results = batch.results.unwrap_or_default();
        let rows = results.into_iter().filter_map(|result| result.rows);
        let names = rows.flatten().filter_map(|row| {
            let name = row.first()?.as_str()?;
            Some(name.to_owned())
        });
        Ok(names.collect())
    }

    /// The database as SQL.
    pub async fn dump(&self, only_schema: bool) -> Result<String, Error> {
        let daemon = match self {
            Self::Daemon(daemon) => daemon,
            Self::Copy(copy) => return copy.dump(only_schema).await,
        };
        let path = match only_schema {
            true => format!("{PATH}?schema=1"),
            false => PATH.to_owned(),
        };
        let dump: SqlDump = daemon
            .call(Method::GET, &path, None, request_timeout() + ANSWER_GRACE)
            .await?;
        Ok(dump.text)
    }
}

fn our_own(sql: &str) -> SqlQuery {
    SqlQuery {
        query: sql.to_owned(),
        transaction: false,
    }
}

/// Returns the daemon of the directory, or another member if none runs, and notes for the user.
pub async fn reach(state: &StateDir) -> (Source, Vec<String>) {
    let socket = state.control_socket();
    let mut notes = Vec::new();
    if !state.is_served().await {
        match ready_member(state, &mut notes).await {
            Ok(Some((name, target))) => {
                let note = format!(
                    "no daemon runs on this node: the answer is from {name}; other members only let this node read"
                );
                return (Source::Daemon(target), vec![note]);
            }
            Ok(None) => {}
            Err(error) => notes.push(format!("the other members cannot be asked: {error}")),
        }
    }
    (Source::Daemon(Target::Socket(socket)), notes)
}

/// Returns the first member whose database is open.
pub(crate) async fn ready_member(
    state: &StateDir,
    notes: &mut Vec<String>,
) -> Result<Option<(String, Target)>, Error> {
    let Some(own) = state.read_daemon()? else {
        return Ok(None);
    };
    let mut asked = probe(state, &own.address)?;
    while let Some(asked) = asked.join_next().await {
        match asked.expect("asking does not panic") {
            (address, target, Ok(())) => return Ok(Some((address, target))),
            (address, _, Err(error)) => notes.push(format!("the member at {address}: {error}")),
        }
    }
    Ok(None)
}

/// Asks all other members at once whether they are ready.
fn probe(state: &StateDir, own: &str) -> Result<JoinSet<Probed>, Error> {
    let mut asked = JoinSet::new();
    let others = others(state, own)?;
    if others.is_empty() {
        return Ok(asked);
    }
    let tls = member_tls(state)?;
    for address in others {
        let target = Target::Member {
            address: address.clone(),
            tls: tls.clone(),
        };
        asked.spawn(async move {
            let path = "/core/1.0/ready";
            let ready = target.call::<Value>(Method::GET, path, None, PROBE_TIMEOUT);
            let answer = ready.await.map(drop);
            (address, target, answer)
        });
    }
    Ok(asked)
}

/// Addresses of the members that this node has known.
pub(crate) fn others(state: &StateDir, own: &str) -> Result<Vec<String>, Error> {
    let trusted = Truststore::load(state)?.entries();
    let mut addresses: Vec<String> = trusted.into_iter().map(|entry| entry.address).collect();
    let servers = read_cluster(&state.database())?.unwrap_or_default();
    addresses.extend(servers.into_iter().map(|server| server.address));
    addresses.sort();
    addresses.dedup();
    addresses.retain(|address| address != own);
    addresses.truncate(MAX_MEMBERS);
    Ok(addresses)
}
