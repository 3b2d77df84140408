//! Changes as one row each: the layout of schema 2.

use bytes::Bytes;
use dqlite::{
    client::{Connection, Error, Statement},
    wire::{Param, Row, Value},
};
use etcd_state::mvcc::{Change, ChangeKind, KeyValue, LeaseId, Revision, RowId};

use super::{OpenError, StoredChange};
use crate::store::{
    batch::MAX_ROWS,
    purge::{Done, MAX_STEP_ROWS, Rest, SweepStep},
    schema,
};

/// Rows of one read while loading: a bound of the rows in flight, not of the rows read.
const LOAD_ROWS: i64 = 20_000;

const KIND_PUT: i64 = 0;
const KIND_DELETE: i64 = 1;

/// The prepared inserts of one connection, by number of rows less one: at most [`MAX_ROWS`] of about 100 KB.
#[derive(Debug)]
pub struct Inserts(Vec<Option<Statement>>);

impl Default for Inserts {
    fn default() -> Self {
        Self((0..MAX_ROWS).map(|_| None).collect())
    }
}

impl Inserts {
    /// Inserts up to [`MAX_ROWS`] changes by one statement.
    pub async fn insert(
        &mut self,
        connection: &mut Connection,
        changes: &[&Change],
    ) -> Result<(), Error> {
        let mut params = Vec::with_capacity(changes.len() * schema::CHANGE_PARAMS);
        for change in changes {
            let kv = &change.kv;
            let (kind, value) = match change.kind {
                ChangeKind::Put => (KIND_PUT, Param::Blob(&kv.value)),
                ChangeKind::Delete => (KIND_DELETE, Param::Null),
            };
            params.extend([
                Param::Integer(kv.row_id().number()),
                Param::Blob(&kv.key),
                Param::Integer(kind),
                Param::Integer(kv.create_revision.number()),
                Param::Integer(
                    change
                        .prev
                        .as_ref()
                        .map_or(0, |prev| prev.mod_revision.number()),
                ),
                Param::Integer(kv.version),
                Param::Integer(kv.lease.number()),
                value,
            ]);
        }
        let slot = &mut self.0[changes.len() - 1];
        let statement = match slot {
            Some(statement) => statement,
            None => {
                let sql = schema::insert_changes(changes.len());
                slot.insert(connection.prepare(&sql).await?)
            }
        };
        connection.exec(statement, &params).await.map(|_| ())
    }
}

/// Gives `each` the changes after row `after` in order, and returns how many there were.
pub async fn read(
    connection: &mut Connection,
    mut after: RowId,
    mut each: impl FnMut(StoredChange) -> Result<(), OpenError>,
) -> Result<u64, OpenError> {
    let mut count = 0;
    let statement = connection.prepare(schema::READ_CHANGES).await?;
    loop {
        let params = [Param::Integer(after.number()), Param::Integer(LOAD_ROWS)];
        let mut rows = connection.query(&statement, &params).await?;
        let mut read = 0;
        while let Some(part) = rows.next_part().await? {
            for row in part {
                let change = stored_change(row)?;
                after = change.kv.row_id();
                read += 1;
                each(change)?;
            }
        }
        count += read as u64;
        if read < LOAD_ROWS {
            connection.finalize(statement).await?;
            return Ok(count);
        }
    }
}

/// Reads the rows up to one, of which there must be as many.
pub async fn read_up_to(
    connection: &mut Connection,
    last: &[Param<'_>],
    count: usize,
) -> Result<Vec<StoredChange>, OpenError> {
    let rows = connection.query_sql(schema::READ_ROWS_UP_TO, last).await?;
    let changes: Result<Vec<_>, _> = rows
        .collect(count)
        .await?
        .into_iter()
        .map(stored_change)
        .collect();
    let changes = changes?;
    if changes.len() != count {
        let found = changes.len();
        return Err(OpenError::Damaged(format!(
            "table change has {found} rows where there were {count}"
        )));
    }
    Ok(changes)
}

pub async fn delete(connection: &mut Connection, rows: &[RowId]) -> Result<Done, Error> {
    let params: Vec<_> = rows
        .iter()
        .map(|row| Param::Integer(row.number()))
        .collect();
    let sql = schema::purge_changes(params.len());
    connection.exec_sql(&sql, &params).await?;
    Ok(Done {
        deleted: rows.len() as u64,
        ..Done::default()
    })
}

pub async fn sweep(connection: &mut Connection, step: &SweepStep) -> Result<Done, Error> {
    let bounds = [step.after, step.upto];
    let numbers = bounds.iter().chain(&step.kept).map(|row| row.number());
    let limit = MAX_STEP_ROWS as i64;
    let params: Vec<_> = numbers.chain([limit]).map(Param::Integer).collect();
    let sql = schema::sweep_changes(step.kept.len());
    let result = connection.exec_sql(&sql, &params).await?;
    let deleted = result.rows_affected;
    let rest = if deleted < MAX_STEP_ROWS as u64 {
        Rest::Nothing
    } else {
        Rest::Again
    };
    Ok(Done {
        deleted,
        rest,
        ..Done::default()
    })
}

fn stored_change(row: Row) -> Result<StoredChange, OpenError> {
    let [
        Value::Integer(id),
        Value::Blob(key),
        Value::Integer(kind),
        Value::Integer(create_revision),
        Value::Integer(prev_revision),
        Value::Integer(version),
        Value::Integer(lease),
        value,
    ] = &row[..]
    else {
        return Err(OpenError::Damaged(format!(
            "table change has the row {row:?}"
        )));
    };
    let (kind, value) = match (*kind, value) {
        // A copy: the received message would stay in memory as long as any value of it.
        (KIND_PUT, Value::Blob(value)) => (ChangeKind::Put, Bytes::copy_from_slice(value)),
        (KIND_DELETE, Value::Null) => (ChangeKind::Delete, Bytes::new()),
        _ => {
            return Err(OpenError::Damaged(format!(
                "row {id} of table change has kind {kind}"
            )));
        }
    };
    let row_id = RowId::from_number(*id);
    let kv = KeyValue {
        key: Bytes::copy_from_slice(key),
        value,
        create_revision: Revision::new(*create_revision),
        mod_revision: row_id.revision(),
        version: *version,
        lease: LeaseId::new(*lease),
        position: row_id.position(),
    };
    Ok(StoredChange {
        kind,
        kv,
        prev_revision: Revision::new(*prev_revision),
    })
}
