//! The store's tables in dqlite: opening, and reading everything back.

mod batches;
mod epoch;
mod packing;
mod rows;
mod write;

use self::epoch::Epoch;
pub use self::packing::{RowFigures, RowSize};

use std::time::Duration;

use bytes::Bytes;
use change_batch::ChangeRef;
use dqlite::{
    client::{ConnectOptions, Connection, Endpoint, Error},
    cluster_id::{ClusterId, Foreign, Settled},
    wire::{Param, Row, Value},
};
use etcd_state::{
    mvcc::{ChangeKind, KeyValue, LeaseId, Revision, RowId},
    settings::{SettingChange, Settings, Space},
};

use super::schema;

/// The database's name, as in the Go k8s-dqlite.
const NAME: &str = "k8s";

/// The longest wait for the answer to one statement. The engine answers within two election
/// timeouts if it lost its quorum; a purge or a checkpoint of a big database takes less.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Pauses between attempts to open the database while the node elects itself leader.
const LEADER_POLL: Duration = Duration::from_millis(20);

/// The longest that the node may take to become leader: several elections at the highest latency
/// setting that makes sense.
const LEADER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("dqlite has had no leader for {0:?}: see the log of the node above")]
    NoLeader(Duration),
    #[error(
        "the database has schema version {}.{}, this program knows {}.{}: \
         run the version of k8s-dqlite that wrote it, or a newer one",
        .0 >> 16, .0 & 0xffff, schema::VERSION >> 16, schema::VERSION & 0xffff
    )]
    NewerSchema(i64),
    #[error(
        "the database holds tables that are neither of this program nor of a known Go k8s-dqlite \
         (schema {}.{}): run the program that wrote them, or start with an empty storage directory",
        .0 >> 16, .0 & 0xffff
    )]
    ForeignSchema(i64),
    #[error("the data of the Go k8s-dqlite was not converted: {0}")]
    Conversion(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Foreign(#[from] Foreign),
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The database may have changed while it was read. It is read again when it is known who leads now.
    #[error("another writer has begun while the database was read")]
    Overtaken,
    #[error("dqlite: {0}")]
    Dqlite(#[source] Error),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        match error {
            Error::Corrupt { message, .. } => Self::Damaged(message),
            error => Self::Dqlite(error),
        }
    }
}

/// A row of the change table.
#[derive(Debug)]
pub struct StoredChange {
    pub kind: ChangeKind,
    pub kv: KeyValue,
    pub prev_revision: Revision,
}

impl From<ChangeRef<'_>> for StoredChange {
    fn from(change: ChangeRef<'_>) -> Self {
        Self {
            kind: change.kind,
            kv: change.to_key_value(),
            prev_revision: change.prev_revision,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub compact_revision: Revision,
    pub cluster_id: u64,
    /// The current revision is not below this one, whatever the rows say; 0 if it is not set.
    pub least_revision: Revision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLease {
    pub id: LeaseId,
    pub granted_ttl_s: i64,
    pub remaining_s: i64,
}

/// Pages of the database file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pages {
    pub total: u64,
    pub free: u64,
}

/// An open database on the leader. One statement runs at a time.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    changes: Changes,
    epoch: Epoch,
}

/// The way in which changes lie in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One row for each change: schema 2.
    Rows,
    /// One row for each commit batch: schema 3.
    Batches,
}

impl Layout {
    /// That of a new database.
    pub const NEW: Self = Self::Batches;
}

/// The statements that write changes, by their layout.
#[derive(Debug)]
enum Changes {
    Rows(rows::Inserts),
    Batches(Box<batches::Appender>),
}

impl Database {
    /// Connects and waits until the node leads.
    pub async fn open(endpoint: &Endpoint) -> Result<Self, OpenError> {
        let deadline = tokio::time::Instant::now() + LEADER_TIMEOUT;
        loop {
            match Self::open_on_leader(endpoint).await {
                Err(OpenError::Dqlite(Error::NotLeader | Error::Busy { .. })) => {}
                opened => return opened,
            }
            if tokio::time::Instant::now() > deadline {
                return Err(OpenError::NoLeader(LEADER_TIMEOUT));
            }
            tokio::time::sleep(LEADER_POLL).await;
        }
    }

    /// Connects to a node, which must lead.
    pub async fn open_on_leader(endpoint: &Endpoint) -> Result<Self, OpenError> {
        let options = ConnectOptions {
            request_timeout: REQUEST_TIMEOUT,
            ..Default::default()
        };
        let mut connection = Connection::connect(endpoint, options).await?;
        connection.open(NAME).await?;
        let mut database = Self {
            connection,
            changes: Changes::Rows(rows::Inserts::default()),
            epoch: Epoch::default(),
        };
        database.read_number(schema::KEEP_FREED_PAGES).await?;
        Ok(database)
    }

    /// Makes the tables in an empty database, refuses what it does not know. `cluster_id` and `layout` are taken when the
    /// tables are made. What is written from now on follows what is in the database at this moment.
    pub async fn prepare_schema(
        &mut self,
        cluster_id: u64,
        layout: Layout,
    ) -> Result<Meta, OpenError> {
        let mut version = self.read_number(schema::READ_VERSION).await?;
        if version == 0 && self.read_number(schema::COUNT_TABLES).await? == 0 {
            let params = [Param::Integer(-1), Param::Integer(cluster_id.cast_signed())];
            let create;
            (create, version) = match layout {
                Layout::Rows => (schema::CREATE, schema::ROWS_VERSION),
                Layout::Batches => (schema::CREATE_BATCHES, schema::BATCHES_VERSION),
            };
            self.connection.exec_sql(create, &params).await?;
        } else if version < schema::OLDEST_VERSION {
            return Err(OpenError::ForeignSchema(version));
        } else if version < schema::ROWS_VERSION {
            self.connection.exec_sql(schema::UPGRADE, &[]).await?;
            version = schema::ROWS_VERSION;
        }
        self.changes = match version {
            schema::ROWS_VERSION => Changes::Rows(rows::Inserts::default()),
            schema::BATCHES_VERSION => {
                let mut appender = Box::<batches::Appender>::default();
                appender.begin(&mut self.connection, self.epoch).await?;
                Changes::Batches(appender)
            }
            version => return Err(OpenError::NewerSchema(version)),
        };
        self.read_meta().await
    }

    /// The id of the history, which a recovered one gets here. Fails if the database is of another.
    pub async fn settle(&mut self, stored: u64, history: &ClusterId) -> Result<u64, OpenError> {
        let id = match history.settle(stored)? {
            Settled::Agrees => return Ok(stored),
            Settled::Becomes(id) => id,
        };
        let params = [Param::Integer(id.cast_signed())];
        self.connection
            .exec_sql(schema::SET_CLUSTER_ID, &params)
            .await?;
        tracing::info!(
            "the cluster {stored:x} was recovered, and is the cluster {id:x} from now on"
        );
        Ok(id)
    }

    pub fn layout(&self) -> Layout {
        match self.changes {
            Changes::Rows(_) => Layout::Rows,
            Changes::Batches(_) => Layout::Batches,
        }
    }

    /// Returns the connection, for work that is done before the tables are this program's.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    pub(super) async fn read_number(&mut self, sql: &str) -> Result<i64, OpenError> {
        let rows = self
            .connection
            .query_sql(sql, &[])
            .await?
            .collect(1)
            .await?;
        match rows.first().and_then(|row| row.first()) {
            Some(Value::Integer(number)) => Ok(*number),
            other => Err(OpenError::Damaged(format!("`{sql}` returned {other:?}"))),
        }
    }

    pub(super) async fn read_meta(&mut self) -> Result<Meta, OpenError> {
        let rows = self
            .connection
            .query_sql(schema::READ_META, &[])
            .await?
            .collect(100)
            .await?;
        let get = |name: &str| {
            rows.iter().find_map(|row| match (&row[0], &row[1]) {
                (Value::Text(found), Value::Integer(value)) if found == name => Some(*value),
                _ => None,
            })
        };
        let find = |name: &str| {
            get(name)
                .ok_or_else(|| OpenError::Damaged(format!("table meta has no number `{name}`")))
        };
        Ok(Meta {
            compact_revision: Revision::new(find("compact_revision")?),
            cluster_id: find("cluster_id")?.cast_unsigned(),
            least_revision: Revision::new(get(schema::LEAST_REVISION).unwrap_or(0)),
        })
    }

    pub async fn count_changes(&mut self) -> Result<u64, OpenError> {
        let count = match self.changes {
            Changes::Rows(_) => schema::COUNT_CHANGES,
            Changes::Batches(_) => schema::COUNT_BATCHED_CHANGES,
        };
        Ok(self.read_number(count).await?.max(0).cast_unsigned())
    }

    /// Gives `each` the changes after row `after` in order, and returns how many there were.
    pub async fn read_changes(
        &mut self,
        after: RowId,
        each: impl FnMut(StoredChange) -> Result<(), OpenError>,
    ) -> Result<u64, OpenError> {
        match self.changes {
            Changes::Rows(_) => rows::read(&mut self.connection, after, each).await,
            Changes::Batches(_) => batches::read(&mut self.connection, after, each).await,
        }
    }

    pub async fn read_settings(&mut self) -> Result<Settings, OpenError> {
        let mut rows = self
            .connection
            .query_sql(schema::READ_SETTINGS, &[])
            .await?;
        let mut settings = Settings::default();
        while let Some(part) = rows.next_part().await? {
            for row in part {
                settings.apply(stored_setting(&row)?);
            }
        }
        Ok(settings)
    }

    pub async fn read_leases(&mut self) -> Result<Vec<StoredLease>, OpenError> {
        let mut rows = self.connection.query_sql(schema::READ_LEASES, &[]).await?;
        let mut leases = Vec::new();
        while let Some(part) = rows.next_part().await? {
            for row in part {
                let [
                    Value::Integer(id),
                    Value::Integer(granted_ttl_s),
                    Value::Integer(remaining_s),
                ] = row[..]
                else {
                    return Err(OpenError::Damaged(format!(
                        "table lease has the row {row:?}"
                    )));
                };
                leases.push(StoredLease {
                    id: LeaseId::new(id),
                    granted_ttl_s,
                    remaining_s,
                });
            }
        }
        Ok(leases)
    }

    /// Waits for all writes that any node sent before: afterwards the table says whether they took
    /// effect. Nobody else's writes take effect any more until they do the same, and this connection's do.
    pub async fn fence(&mut self) -> Result<(), Error> {
        let epoch = Epoch::random();
        self.connection
            .exec_sql(schema::BEGIN_EPOCH, &[epoch.param()])
            .await?;
        self.epoch = epoch;
        if let Changes::Batches(appender) = &mut self.changes {
            appender.begin(&mut self.connection, epoch).await?;
        }
        Ok(())
    }

    /// Returns what was read since the fence, if nobody else has begun to write since. What looks like damage may be the work
    /// of a leader in between: changes that it purged or merged while others were already read.
    pub async fn settled<T>(&mut self, read: Result<T, OpenError>) -> Result<T, OpenError> {
        if matches!(read, Ok(_) | Err(OpenError::Damaged(_)))
            && !self.epoch.is(self.read_number(schema::READ_EPOCH).await?)
        {
            return Err(OpenError::Overtaken);
        }
        read
    }

    pub async fn pages(&mut self) -> Result<Pages, OpenError> {
        let rows = self
            .connection
            .query_sql(schema::READ_PAGES, &[])
            .await?
            .collect(1)
            .await?;
        match rows.first().map(|row| &row[..]) {
            Some([Value::Integer(total), Value::Integer(free)]) => Ok(Pages {
                total: total.cast_unsigned(),
                free: free.cast_unsigned(),
            }),
            other => Err(OpenError::Damaged(format!("page counts are {other:?}"))),
        }
    }
}

fn stored_setting(row: &Row) -> Result<SettingChange, OpenError> {
    if let [Value::Integer(space), Value::Blob(name), Value::Blob(value)] = &row[..]
        && let Some(space) = Space::from_number(*space)
    {
        return Ok(SettingChange {
            space,
            name: Bytes::copy_from_slice(name),
            value: Some(Bytes::copy_from_slice(value)),
        });
    }
    Err(OpenError::Damaged(format!(
        "table setting has the row {row:?}"
    )))
}
