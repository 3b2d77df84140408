//! Fills an empty database with a store from elsewhere. The engine runs, the writer does not.

use std::sync::Arc;

use dqlite::{client::Endpoint, wire::Param};
use etcd_state::{
    lease::LeaseCopy,
    mvcc::{Change, Commit, NEVER_COMPACTED, Revision},
    settings::SettingChange,
};

use super::{
    OpenError,
    batch::{Batch, Record},
    database::{Database, Layout},
    schema,
};

/// Rows of one transaction. Unlike the writer's batches, nobody waits for the first of them.
const MAX_ROWS: usize = 4096;

/// Keys and values of one transaction, in bytes: the engine holds its pages until it is committed.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Leases or settings of one transaction.
const MAX_RECORDS: usize = 512;

/// Takes rows in their order, then everything else.
#[derive(Debug)]
pub struct Filling {
    database: Database,
    changes: Vec<Change>,
    bytes: usize,
    last: Revision,
}

impl Filling {
    /// Makes the tables; refuses a database that has rows.
    pub async fn begin(endpoint: &Endpoint, cluster_id: u64) -> Result<Self, OpenError> {
        let mut database = Database::open(endpoint).await?;
        database.prepare_schema(cluster_id, Layout::NEW).await?;
        database.fence().await?;
        if database.count_changes().await? > 0 {
            return Err(OpenError::Damaged("it should be empty".to_owned()));
        }
        Ok(Self {
            database,
            changes: Vec::new(),
            bytes: 0,
            last: Revision::NONE,
        })
    }

    pub async fn push(&mut self, change: Change) -> Result<(), OpenError> {
        self.bytes += change.kv.key.len() + change.kv.value.len();
        self.last = change.kv.mod_revision;
        self.changes.push(change);
        if self.changes.len() >= MAX_ROWS || self.bytes >= MAX_BYTES {
            self.write_rows().await?;
        }
        Ok(())
    }

    /// Writes the rest. The store begins at `revision`, although the last row may be older.
    pub async fn finish(
        mut self,
        leases: &[LeaseCopy],
        settings: Vec<SettingChange>,
        compact_revision: Revision,
        revision: Revision,
    ) -> Result<(), OpenError> {
        self.write_rows().await?;
        let least = [
            Param::Text(schema::LEAST_REVISION),
            Param::Integer(revision.number()),
        ];
        let connection = self.database.connection();
        connection.exec_sql(schema::SET_META, &least).await?;
        let mut records = Vec::new();
        for lease in leases {
            let LeaseCopy {
                id,
                granted_ttl_s,
                remaining_s,
            } = *lease;
            records.push(Record::LeaseGranted { id, granted_ttl_s });
            if remaining_s != granted_ttl_s {
                records.push(Record::LeaseCheckpoint { id, remaining_s });
            }
        }
        records.extend(settings.into_iter().map(Record::Setting));
        if compact_revision != NEVER_COMPACTED {
            let revision = compact_revision;
            records.push(Record::Compacted { revision });
        }
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(MAX_RECORDS));
            let batch = Batch::of_records(records);
            self.database.write_batch(&batch).await?;
            records = rest;
        }
        Ok(())
    }

    async fn write_rows(&mut self) -> Result<(), OpenError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        // The statements know rows only, not which of them are one commit.
        let commit = Commit {
            revision: self.last,
            changes: std::mem::take(&mut self.changes),
        };
        self.bytes = 0;
        let mut batch = Batch::default();
        batch.push(Arc::new(commit));
        self.database.write_batch(&batch).await?;
        Ok(())
    }
}
