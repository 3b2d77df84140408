//! Moves the rows, in steps of one transaction each, from wherever the last one ended.

use std::{sync::atomic::Ordering, time::Duration};

use dqlite::{
    client::{Error, Statement},
    wire::{Param, Row, Value},
};
use etcd_state::mvcc::{ChangeKind, LeaseId, Revision, RowId};
use tracing::{info, warn};

use super::{
    Halt,
    rules::{NewRow, OldRow, Rules},
    schema,
    table::{Stage, damaged, stage},
};
use crate::{
    process::progress::Progress,
    store::{OpenError, database::Database, metrics::Metrics, schema as own},
};

/// Rows whose decisions are made at a time: bounds what is in memory, not what is written.
const READ_ROWS: i64 = 4096;

/// Rows of one step, and its keys and values in bytes; one row may be more. What a full batch of the writer has:
/// the engine keeps the log of some thousand such entries in memory.
const STEP_ROWS: usize = 512;
const STEP_BYTES: usize = 256 * 1024;

/// Rows of one statement.
const STATEMENT_ROWS: usize = 256;

pub async fn run(database: &mut Database, metrics: &Metrics, halt: &Halt) -> Result<(), OpenError> {
    // A step that was under way is done or undone before anything is read.
    database.fence().await?;
    if stage(database).await? != Stage::Half {
        return Ok(());
    }
    let meta = database.read_meta().await?;
    let mut rules = Rules::new(meta.compact_revision);
    let done = remember(database, &mut rules).await?;
    let rest = database.read_number(schema::COUNT_HALF_ROWS).await?;
    let of = (done + rest).cast_unsigned();
    let what = "converting the data of the Go k8s-dqlite";
    let mut conversion = Conversion::new(what, done.cast_unsigned(), of, metrics);
    if done > 0 {
        info!(rows = done, of = done + rest, "the conversion goes on");
    }
    let mut mover = Mover::default();
    let mut after = Revision::NONE;
    loop {
        let rows = read(database, after).await?;
        let Some((last, _)) = rows.last() else { break };
        after = last.revision;
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut step = Step::default();
            while let Some((row, _)) = rows.next_if(|(_, bytes)| step.has_room(*bytes)) {
                step.take(row, &mut rules);
            }
            mover.write(database, &step).await?;
            conversion.moved(step.taken);
            if halt.is_asked() {
                info!(
                    rows = conversion.done(),
                    of = conversion.of,
                    "the conversion goes on at the next start"
                );
                return Ok(());
            }
        }
    }
    finish(database, &rules).await?;
    let tally = rules.tally();
    if tally.odd > 0 {
        warn!(
            rows = tally.odd,
            "rows that contradict earlier ones of their key"
        );
    }
    info!(
        rows = conversion.done(),
        left_out = tally.left_out,
        keys = rules.keys(),
        took = ?conversion.elapsed(),
        "the data of the Go k8s-dqlite is converted"
    );
    Ok(())
}

/// Reads back into `rules` what earlier steps decided. Returns the number of rows that they made.
async fn remember(database: &mut Database, rules: &mut Rules) -> Result<i64, OpenError> {
    let (mut after, mut count) = (RowId::MIN, 0);
    loop {
        let params = [Param::Integer(after.number()), Param::Integer(READ_ROWS)];
        let connection = database.connection();
        let mut rows = connection
            .query_sql(schema::READ_CONVERTED, &params)
            .await?;
        let mut read = 0;
        while let Some(part) = rows.next_part().await? {
            for row in part {
                let (id, row) = converted_row(&row)?;
                after = id;
                read += 1;
                rules.made(&row);
            }
        }
        count += read;
        if read < READ_ROWS {
            return Ok(count);
        }
    }
}

fn converted_row(row: &Row) -> Result<(RowId, NewRow), OpenError> {
    let [
        Value::Integer(id),
        Value::Blob(key),
        Value::Integer(kind),
        Value::Integer(create_revision),
        Value::Integer(version),
        Value::Integer(lease),
    ] = &row[..]
    else {
        return Err(damaged(format!(
            "table change has the row {:?}",
            row.first()
        )));
    };
    let id = RowId::from_number(*id);
    let row = NewRow {
        revision: id.revision(),
        key: key.to_vec().into(),
        kind: match kind {
            0 => ChangeKind::Put,
            _ => ChangeKind::Delete,
        },
        create_revision: Revision::new(*create_revision),
        prev_revision: Revision::NONE,
        version: *version,
        lease: LeaseId::new(*lease),
    };
    Ok((id, row))
}

/// The next rows, each with the bytes that it will have.
async fn read(database: &mut Database, after: Revision) -> Result<Vec<(OldRow, usize)>, OpenError> {
    let params = [Param::Integer(after.number()), Param::Integer(READ_ROWS)];
    let connection = database.connection();
    let mut rows = connection.query_sql(schema::READ_HALF, &params).await?;
    let mut read = Vec::new();
    while let Some(part) = rows.next_part().await? {
        for row in part {
            read.push(old_row(&row)?);
        }
    }
    Ok(read)
}

fn old_row(row: &Row) -> Result<(OldRow, usize), OpenError> {
    let [
        Value::Integer(id),
        Value::Blob(name),
        Value::Integer(created),
        Value::Integer(deleted),
        Value::Integer(create_revision),
        Value::Integer(prev_revision),
        Value::Integer(ttl_s),
        Value::Integer(value_bytes),
    ] = &row[..]
    else {
        let id = row.first();
        return Err(damaged(format!(
            "row {id:?} of table go_kine has a value of a wrong type"
        )));
    };
    let bytes = name.len() + usize::try_from(*value_bytes).unwrap_or(0);
    let row = OldRow {
        revision: Revision::new(*id),
        // A copy: the received message would stay in memory as long as the key lives.
        name: name.to_vec().into(),
        is_created: *created != 0,
        is_deleted: *deleted != 0,
        create_revision: Revision::new(*create_revision),
        prev_revision: Revision::new(*prev_revision),
        ttl_s: *ttl_s,
    };
    Ok((row, bytes))
}

#[derive(Default)]
struct Step {
    rows: Vec<NewRow>,
    /// The number of old rows taken, including those that become no row.
    taken: usize,
    bytes: usize,
    last: Revision,
}

impl Step {
    fn has_room(&mut self, bytes: usize) -> bool {
        let has_room = self.taken < STEP_ROWS && self.bytes + bytes <= STEP_BYTES;
        if has_room || self.taken == 0 {
            self.bytes += bytes;
            return true;
        }
        false
    }

    fn take(&mut self, row: OldRow, rules: &mut Rules) {
        self.last = row.revision;
        self.taken += 1;
        self.rows.extend(rules.convert(row));
    }
}

/// Writes steps.
#[derive(Default)]
struct Mover {
    /// The prepared statement for [`STATEMENT_ROWS`] rows.
    full: Option<Statement>,
}

impl Mover {
    async fn write(&mut self, database: &mut Database, step: &Step) -> Result<(), OpenError> {
        database
            .connection()
            .exec_sql("BEGIN IMMEDIATE", &[])
            .await?;
        for rows in step.rows.chunks(STATEMENT_ROWS) {
            let copied = self.copy(database, rows).await?;
            if copied != rows.len() as u64 {
                let all = rows.len();
                return Err(damaged(format!(
                    "of {all} rows up to {}, {copied} were there to be moved",
                    step.last
                )));
            }
        }
        let connection = database.connection();
        let last = [Param::Integer(step.last.number())];
        connection.exec_sql(schema::DELETE_MOVED, &last).await?;
        connection.exec_sql("COMMIT", &[]).await?;
        Ok(())
    }

    async fn copy(&mut self, database: &mut Database, rows: &[NewRow]) -> Result<u64, Error> {
        let mut params = Vec::with_capacity(rows.len() * schema::MOVE_PARAMS);
        for row in rows {
            let kind = match row.kind {
                ChangeKind::Put => 0,
                ChangeKind::Delete => 1,
            };
            let numbers = [
                row.revision.number(),
                kind,
                row.create_revision.number(),
                row.prev_revision.number(),
                row.version,
                row.lease.number(),
            ];
            params.extend(numbers.map(Param::Integer));
        }
        let connection = database.connection();
        let sql = schema::move_rows(rows.len());
        if rows.len() < STATEMENT_ROWS {
            return Ok(connection.exec_sql(&sql, &params).await?.rows_affected);
        }
        let statement = match &self.full {
            Some(statement) => statement,
            None => self.full.insert(connection.prepare(&sql).await?),
        };
        Ok(connection.exec(statement, &params).await?.rows_affected)
    }
}

/// Ends the conversion once all rows are moved: makes the rest of the new schema, and drops the old
/// one.
async fn finish(database: &mut Database, rules: &Rules) -> Result<(), OpenError> {
    let connection = database.connection();
    connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
    let leases: Vec<_> = rules.leases().into_iter().collect();
    for leases in leases.chunks(STATEMENT_ROWS) {
        let rows = leases
            .iter()
            .flat_map(|(id, ttl_s)| [id.number(), *ttl_s, *ttl_s]);
        let params: Vec<_> = rows.map(Param::Integer).collect();
        let sql = own::insert_leases(leases.len());
        connection.exec_sql(&sql, &params).await?;
    }
    connection.exec_sql(schema::DROP, &[]).await?;
    connection.exec_sql(own::CREATE_VIEW, &[]).await?;
    connection.exec_sql("COMMIT", &[]).await?;
    Ok(())
}

/// The progress of a conversion, which health checks and metrics show as well.
pub(super) struct Conversion<'a> {
    metrics: &'a Metrics,
    of: u64,
    progress: Progress,
}

impl<'a> Conversion<'a> {
    pub fn new(what: &'static str, done: u64, of: u64, metrics: &'a Metrics) -> Self {
        metrics
            .take_over_rows
            .store(of.cast_signed(), Ordering::Relaxed);
        let mut conversion = Self {
            metrics,
            of,
            progress: Progress::rows(what, Some(of)).from(done),
        };
        conversion.moved(0);
        conversion
    }

    pub fn moved(&mut self, rows: usize) {
        self.progress.advance(rows as u64);
        let done = &self.metrics.take_over_done_rows;
        done.store(self.done().cast_signed(), Ordering::Relaxed);
    }

    pub fn done(&self) -> u64 {
        self.progress.done()
    }

    pub fn elapsed(&self) -> Duration {
        self.progress.elapsed()
    }
}
