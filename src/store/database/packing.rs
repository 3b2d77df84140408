//! The way from one row for each change to one row for each batch, in steps. See `conversion::pack`.

use change_batch::Packed;
use dqlite::{
    client::{Connection, Error},
    wire::{Param, Value},
};
use etcd_state::mvcc::RowId;

use super::{
    Changes, Database, OpenError,
    batches::{Appender, roll_back},
    rows,
};
use crate::store::schema;

/// Rows whose sizes are read at a time.
const READ_ROWS: usize = 4096;

/// A row to be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSize {
    pub id: RowId,
    /// Key and value, in bytes.
    pub bytes: u64,
}

/// The figures of the table of rows, which show whether somebody has changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowFigures {
    pub rows: i64,
    pub last: i64,
}

impl Database {
    /// Makes the tables of the newest version of one row for each change.
    pub async fn complete_rows(&mut self) -> Result<(), OpenError> {
        if self.read_number(schema::READ_VERSION).await? < schema::ROWS_VERSION {
            self.connection.exec_sql(schema::UPGRADE, &[]).await?;
        }
        Ok(())
    }

    pub async fn row_figures(&mut self) -> Result<RowFigures, OpenError> {
        let rows = self
            .connection
            .query_sql(schema::READ_ROW_FIGURES, &[])
            .await?;
        match rows.collect(1).await?.first().map(|row| &row[..]) {
            Some([Value::Integer(rows), Value::Integer(last)]) => Ok(RowFigures {
                rows: *rows,
                last: *last,
            }),
            other => Err(OpenError::Damaged(format!("table change has {other:?}"))),
        }
    }

    /// Makes the tables of batches beside that of rows, if that is still as it was. Returns whether the packing can go on, which
    /// somebody else may have begun.
    pub async fn begin_packing(&mut self, figures: &RowFigures) -> Result<bool, OpenError> {
        self.connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
        let begun = self.begin_packing_within(figures).await;
        match begun {
            Ok(true) => drop(self.connection.exec_sql("COMMIT", &[]).await?),
            _ => roll_back(&mut self.connection).await,
        }
        begun
    }

    async fn begin_packing_within(&mut self, figures: &RowFigures) -> Result<bool, OpenError> {
        if self.read_number(schema::READ_VERSION).await? != schema::ROWS_VERSION {
            return Ok(true);
        }
        if self.row_figures().await? != *figures {
            return Ok(false);
        }
        self.connection.exec_sql(schema::BEGIN_PACKING, &[]).await?;
        Ok(true)
    }

    /// Goes on with a packing that has begun. Returns how many rows are packed, and how many are left.
    pub async fn resume_packing(&mut self) -> Result<(u64, u64), OpenError> {
        let mut appender = Box::<Appender>::default();
        appender.begin(&mut self.connection, self.epoch).await?;
        self.changes = Changes::Batches(appender);
        let done = self.count_changes().await?;
        let rest = self.read_number(schema::COUNT_CHANGES).await?;
        Ok((done, rest.max(0).cast_unsigned()))
    }

    /// Reads the sizes of the next rows; none if all are packed.
    pub async fn read_row_sizes(&mut self) -> Result<Vec<RowSize>, OpenError> {
        let limit = [Param::Integer(READ_ROWS as i64)];
        let rows = self
            .connection
            .query_sql(schema::READ_ROW_SIZES, &limit)
            .await?;
        let rows = rows.collect(READ_ROWS).await?;
        let sizes = rows.iter().map(|row| match row[..] {
            [Value::Integer(id), Value::Integer(bytes)] => Ok(RowSize {
                id: RowId::from_number(id),
                bytes: bytes.cast_unsigned(),
            }),
            _ => Err(OpenError::Damaged(format!(
                "table change has the row {row:?}"
            ))),
        });
        sizes.collect()
    }

    /// Moves the first rows, which are these, into batches, in one transaction.
    pub async fn pack(&mut self, rows: &[RowSize]) -> Result<(), OpenError> {
        let Changes::Batches(appender) = &mut self.changes else {
            return Err(
                Error::Invalid("rows are packed after the tables of batches are made").into(),
            );
        };
        let Some(last) = rows.last() else {
            return Ok(());
        };
        let connection = &mut self.connection;
        let last = [Param::Integer(last.id.number())];
        let changes = rows::read_up_to(connection, &last, rows.len()).await?;
        let packed = appender.pack(
            changes
                .iter()
                .map(|change| (change.kind, &change.kv, change.prev_revision)),
        );
        connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
        if let Err(error) = replace(connection, appender, &packed, &last, rows.len()).await {
            roll_back(connection).await;
            return Err(error);
        }
        connection.exec_sql("COMMIT", &[]).await?;
        appender.appended(&packed);
        Ok(())
    }

    /// Makes the rest of the schema, once all rows are packed.
    pub async fn finish_packing(&mut self) -> Result<(), OpenError> {
        self.connection
            .exec_sql(schema::FINISH_PACKING, &[])
            .await?;
        Ok(())
    }
}

/// Appends what rows were packed into, and deletes those up to `last`, which are `count`.
async fn replace(
    connection: &mut Connection,
    appender: &mut Appender,
    packed: &[Packed],
    last: &[Param<'_>],
    count: usize,
) -> Result<(), OpenError> {
    appender.append(connection, packed).await?;
    let deleted = connection.exec_sql(schema::DELETE_ROWS_UP_TO, last).await?;
    if deleted.rows_affected == count as u64 {
        return Ok(());
    }
    Err(OpenError::Damaged(format!(
        "{} rows of table change were deleted for {count} that were packed",
        deleted.rows_affected
    )))
}
