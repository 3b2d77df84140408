//! Writing batches, and the steps of the purge.

use std::borrow::Cow;

use bytes::Bytes;
use dqlite::{
    client::{Connection, Error},
    wire::Param,
};
use etcd_state::{
    mvcc::{Change, Revision},
    settings::SettingChange,
};

use super::{
    Changes, Database,
    batches::{in_one_transaction, roll_back},
    epoch::Epoch,
    rows,
};
use crate::store::{
    batch::{Batch, MAX_ROWS, Write},
    folded::Folded,
    purge::{Done, Step},
    schema,
};

impl Database {
    pub async fn write(&mut self, write: &Write) -> Result<Done, Error> {
        match write {
            Write::Batch(batch) => Ok(Done {
                packed: self.write_batch(batch).await?,
                ..Done::default()
            }),
            Write::Purge(step) => self.purge(step).await,
            Write::Vacuum => self.vacuum().await.map(|()| Done::default()),
        }
    }

    async fn purge(&mut self, step: &Step) -> Result<Done, Error> {
        let connection = &mut self.connection;
        match (&mut self.changes, step) {
            (Changes::Rows(_), Step::Delete(rows)) => rows::delete(connection, rows).await,
            (Changes::Rows(_), Step::Sweep(step)) => rows::sweep(connection, step).await,
            (Changes::Rows(_), Step::Merge(_)) => Ok(Done::default()),
            (Changes::Batches(appender), Step::Delete(rows)) => {
                appender.purge(connection, rows).await
            }
            (Changes::Batches(appender), Step::Sweep(step)) => {
                appender.sweep(connection, step).await
            }
            (Changes::Batches(appender), Step::Merge(step)) => {
                appender.merge(connection, step).await
            }
        }
    }

    async fn vacuum(&mut self) -> Result<(), Error> {
        self.connection
            .exec_sql(schema::VACUUM, &[])
            .await
            .map(|_| ())
    }

    /// Writes the batch as a whole or not at all, in one request where that is possible: each request is two thread hops in
    /// the engine. Returns what its changes were packed as, where they are.
    pub async fn write_batch(&mut self, batch: &Batch) -> Result<Vec<Bytes>, Error> {
        let changes: Vec<&Change> = batch.commits.iter().flat_map(|c| &c.changes).collect();
        let others = statements(batch);
        match &mut self.changes {
            Changes::Rows(inserts) => {
                write_rows(&mut self.connection, self.epoch, inserts, &changes, others).await?;
                Ok(Vec::new())
            }
            Changes::Batches(appender) => {
                let changes = changes.iter().map(|change| {
                    let prev_revision = change
                        .prev
                        .as_ref()
                        .map_or(Revision::NONE, |prev| prev.mod_revision);
                    (change.kind, &*change.kv, prev_revision)
                });
                let packed = appender
                    .write(&mut self.connection, changes, others)
                    .await?;
                Ok(packed.into_iter().map(|batch| batch.blob.into()).collect())
            }
        }
    }
}

/// The primary key is the fence of changes, and the epoch that of what is written without any.
async fn write_rows(
    connection: &mut Connection,
    epoch: Epoch,
    inserts: &mut rows::Inserts,
    changes: &[&Change],
    mut others: Vec<SqlText<'_>>,
) -> Result<(), Error> {
    if changes.is_empty() {
        return in_one_transaction(connection, epoch, others).await;
    }
    if others.is_empty() && changes.len() <= MAX_ROWS {
        return inserts.insert(connection, changes).await;
    }
    others.insert(0, epoch.guard());
    connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
    match write_rows_within(connection, inserts, changes, &others).await {
        // The outcome of COMMIT is the outcome of the batch.
        Ok(()) => connection.exec_sql("COMMIT", &[]).await.map(drop),
        Err(error) => {
            roll_back(connection).await;
            Err(error)
        }
    }
}

async fn write_rows_within(
    connection: &mut Connection,
    inserts: &mut rows::Inserts,
    changes: &[&Change],
    others: &[SqlText<'_>],
) -> Result<(), Error> {
    for chunk in changes.chunks(MAX_ROWS) {
        inserts.insert(connection, chunk).await?;
    }
    for (sql, params) in others {
        connection.exec_sql(sql, params).await?;
    }
    Ok(())
}

/// A statement that is not prepared, with its parameters.
pub type SqlText<'a> = (Cow<'static, str>, Vec<Param<'a>>);

/// Returns the statements for everything in a batch but the changes, in order: a lease is deleted
/// before it is granted again.
fn statements(batch: &Batch) -> Vec<SqlText<'_>> {
    let folded = Folded::new(&batch.records);
    let removed: Vec<_> = folded
        .removed()
        .into_iter()
        .map(|id| [id.number()])
        .collect();
    let mut statements = Vec::new();
    extend(&mut statements, &removed, schema::delete_leases);
    extend(&mut statements, &folded.inserted(), schema::insert_leases);
    extend(
        &mut statements,
        &folded.checkpointed(),
        schema::checkpoint_leases,
    );
    if let Some(revision) = folded.compact_revision {
        let params = vec![Param::Integer(revision.number())];
        statements.push((schema::SET_COMPACT_REVISION.into(), params));
    }
    statements.extend(folded.settings.into_values().map(setting_statement));
    statements
}

fn extend<const N: usize>(
    statements: &mut Vec<SqlText<'_>>,
    rows: &[[i64; N]],
    sql: fn(usize) -> String,
) {
    for chunk in rows.chunks(MAX_ROWS) {
        let params = chunk.iter().flatten().copied().map(Param::Integer);
        statements.push((sql(chunk.len()).into(), params.collect()));
    }
}

fn setting_statement(change: &SettingChange) -> SqlText<'_> {
    let space = Param::Integer(change.space as i64);
    let name = Param::Blob(&change.name);
    match &change.value {
        Some(value) => (
            schema::SET_SETTING.into(),
            vec![space, name, Param::Blob(value)],
        ),
        None => (schema::DELETE_SETTING.into(), vec![space, name]),
    }
}
