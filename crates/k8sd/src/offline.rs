//! The database of a node that does not run.
//!
//! Its directory is copied, the copy is made a cluster of one, and dqlite itself reads it: replaying a log
//! by other means would be a second engine. Invariants: the original is not written to, not even by a lock;
//! the copy is deleted after its last use, and is read only.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use dqlite::{
    client::{ConnectOptions, Endpoint, LeaderConnector, Resolve},
    files::read_info,
    node::{
        DirLock, EngineState, LastEntry, Node, NodeOptions, engine_state, find_damage, last_entry,
        recover,
    },
    proxy::dialer,
    wire::{Role, Server},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    runtime::Handle,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use crate::{
    Error,
    api::{SqlBatch, SqlQuery},
    copy,
    database::{LEADER_TIMEOUT, MEMBER, NAME},
    schema,
    sql::{self, Access, Session},
    state::StateDir,
};

/// Nobody connects to this address: the node is alone, and is asked through its own socket.
const ADDRESS: &str = "127.0.0.1:1";

/// A copy that is being read. Dropping it blocks until the engine has stopped.
pub struct Offline {
    // Before its directory.
    node: Node,
    _dir: TempDir,
    pub last_entry: LastEntry,
}

/// Refuses if a daemon answers; a socket that one has left behind does not matter.
pub async fn refuse_running(state: &StateDir) -> Result<(), Error> {
    let socket = state.control_socket();
    match UnixStream::connect(&socket).await {
        Ok(_) => Err(Error::Conflict(format!(
            "the daemon runs: it answers on {}",
            socket.display()
        ))),
        Err(_) => Ok(()),
    }
}

/// Fails if a directory that is to be read is damaged, before the engine deletes incomplete files.
pub fn check_whole(dir: &Path) -> Result<Server, Error> {
    let damaged = |reason: String| Error::Damaged {
        path: dir.to_owned(),
        reason,
    };
    match engine_state(dir).map_err(Error::file(dir))? {
        EngineState::Present => {}
        EngineState::Empty => return Err(damaged("has no data of dqlite".to_owned())),
        EngineState::WithoutMetadata => {
            return Err(damaged("metadata1 and metadata2 are missing".to_owned()));
        }
    }
    if let Some(reason) = find_damage(dir)? {
        return Err(damaged(reason));
    }
    read_info(dir)?.ok_or_else(|| damaged("has no info.yaml".to_owned()))
}

impl Offline {
    pub async fn open(state: &StateDir) -> Result<Self, Error> {
        refuse_running(state).await?;
        let database = state.database();
        let runtime = Handle::current();
        let opened = spawn_blocking(move || Self::start(&database, runtime));
        opened.await.expect("opening does not panic")
    }

    fn start(database: &Path, runtime: Handle) -> Result<Self, Error> {
        let original = DirLock::acquire_unchanged(database)?;
        let own = check_whole(database)?;
        let dir = tempfile::Builder::new().prefix("k8sd-offline-").tempdir();
        let dir = dir.map_err(Error::file(std::env::temp_dir()))?;
        copy::copy(database, dir.path())?;
        drop(original);
        let lock = DirLock::acquire(dir.path())?;
        let last_entry = last_entry(&lock)?;
        let alone = Server {
            id: own.id,
            address: ADDRESS.to_owned(),
            role: Role::Voter,
        };
        recover(lock, &[alone])?;
        let resolve: Resolve = Arc::new(|address: &str| Endpoint::from_address(address));
        let dial = dialer(runtime, resolve);
        let mut node = Node::create(&NodeOptions::new(own.id, ADDRESS, dir.path(), dial))?;
        node.start()?;
        Ok(Self {
            node,
            _dir: dir,
            last_entry,
        })
    }

    async fn connect(&self) -> Result<dqlite::client::Connection, Error> {
        let engine = self.node.bind_address().to_owned();
        let resolve: Resolve = Arc::new(move |_: &str| Endpoint::from_address(&engine));
        let addresses = vec![ADDRESS.to_owned()];
        let mut connector = LeaderConnector::new(addresses, resolve, ConnectOptions::default());
        let mut connection = connector.connect(LEADER_TIMEOUT).await?;
        connection.open(NAME).await?;
        Ok(connection)
    }

    async fn session(&self, deadline: Instant) -> Result<Session, Error> {
        Ok(Session::new(self.connect().await?, deadline))
    }

    pub async fn run(&self, query: &SqlQuery) -> Result<SqlBatch, Error> {
        let deadline = Instant::now() + sql::request_timeout();
        let ran = timeout_at(deadline, async {
            let session = self.session(deadline).await?;
            sql::run(session, &query.query, Access::Read, query.transaction).await
        });
        ran.await.unwrap_or_else(|_| Err(sql::too_late()))
    }

    /// Returns the addresses of the datastore's servers, by the names of their members.
    pub async fn datastore_addresses(&self) -> Result<BTreeMap<String, String>, Error> {
        let rows = self.rows(schema::HAS_CONFIGS).await?;
        // A database that another program made may lack the table.
        if rows.first().and_then(|row| row.first()?.as_i64()) != Some(1) {
            return Ok(BTreeMap::new());
        }
        let rows = self.rows(&schema::configs(MEMBER)).await?;
        let pairs = rows.iter().filter_map(|row| {
            let name = row.first()?.as_str()?.strip_prefix(MEMBER)?;
            Some((name.to_owned(), row.get(1)?.as_str()?.to_owned()))
        });
        Ok(pairs.collect())
    }

    async fn rows(&self, query: &str) -> Result<Vec<Vec<Value>>, Error> {
        let query = SqlQuery {
            query: query.to_owned(),
            transaction: false,
        };
        let results = self.run(&query).await?.results.unwrap_or_default();
        let rows = results.into_iter().filter_map(|result| result.rows);
        Ok(rows.flatten().collect())
    }

    pub async fn dump(&self, only_schema: bool) -> Result<String, Error> {
        let deadline = Instant::now() + sql::request_timeout();
        let dumped = timeout_at(deadline, async {
            sql::dump(self.session(deadline).await?, only_schema).await
        });
        dumped.await.unwrap_or_else(|_| Err(sql::too_late()))
    }
}
