//! The old table in the engine, before and at the moment when a conversion begins, and made again
//! for a way back.

use bytes::Bytes;
use dqlite::{
    client::{Connection, Endpoint, Error},
    wire::{Param, Row, Value},
};
use etcd_state::mvcc::{NEVER_COMPACTED, Revision, RowId};

use super::{ConversionError, schema};
use crate::store::{OpenError, database::Database, schema as own};

/// The highest revision that a row id can carry.
const MAX_REVISION: Revision = RowId::MAX.revision();

/// Indexes that a table may have; the Go k8s-dqlite makes two at most.
const MAX_INDEXES: usize = 64;

/// The stage of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// There is nothing to convert.
    None,
    /// The tables of a Go k8s-dqlite, with their schema version.
    Old(i64),
    /// Some of the rows are converted.
    Half,
    /// Rows of this program, schema 2.
    Rows,
    /// Some of those are packed into batches.
    Packing,
}

pub async fn stage(database: &mut Database) -> Result<Stage, OpenError> {
    let version = database.read_number(own::READ_VERSION).await?;
    match version {
        own::CONVERTING_VERSION => return Ok(Stage::Half),
        own::PACKING_VERSION => return Ok(Stage::Packing),
        own::OLDEST_VERSION..=own::ROWS_VERSION => return Ok(Stage::Rows),
        _ if version > own::ROWS_VERSION => return Ok(Stage::None),
        _ => {}
    }
    let has_old = database.read_number(schema::COUNT_OLD).await? == 1;
    match has_old && schema::VERSIONS.contains(&version) {
        true => Ok(Stage::Old(version)),
        // An empty database, or one that is refused later.
        false => Ok(Stage::None),
    }
}

/// The figures of an old table, which show whether somebody has changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    pub rows: i64,
    pub first: Revision,
    pub last: Revision,
    /// The highest id ever used.
    pub sequence: Revision,
    /// The highest revision of the compaction rows; 0 without one.
    pub compacted: Revision,
}

impl Survey {
    pub fn compact_revision(&self) -> Revision {
        match self.compacted {
            compacted if compacted <= Revision::NONE => NEVER_COMPACTED,
            compacted => compacted,
        }
    }

    /// Returns the revision below which no later revision may be.
    pub fn least_revision(&self) -> Revision {
        self.last
            .max(self.sequence)
            .max(self.compacted)
            .max(Revision::FIRST)
    }

    pub fn check(&self) -> Result<(), ConversionError> {
        if self.first < Revision::FIRST || self.least_revision() > MAX_REVISION {
            return Err(ConversionError::Rows(format!(
                "their ids are from {} to {}, above 0 and up to {MAX_REVISION} can be converted",
                self.first,
                self.least_revision()
            )));
        }
        Ok(())
    }
}

pub async fn survey(database: &mut Database) -> Result<Survey, OpenError> {
    let sequence = match database.read_number(schema::COUNT_SEQUENCES).await? {
        0 => 0,
        _ => database.read_number(schema::READ_SEQUENCE).await?,
    };
    let rows = database.connection().query_sql(schema::SURVEY, &[]).await?;
    let found = rows.collect(1).await?;
    match found.first().map(|row| &row[..]) {
        Some(
            [
                Value::Integer(rows),
                Value::Integer(first),
                Value::Integer(last),
                Value::Integer(compacted),
            ],
        ) => Ok(Survey {
            rows: *rows,
            first: Revision::new(*first),
            last: Revision::new(*last),
            sequence: Revision::new(sequence),
            compacted: Revision::new(*compacted),
        }),
        other => Err(damaged(format!("what table kine holds is {other:?}"))),
    }
}

/// Makes the new tables beside the old one, and renames that, if it is still as it was surveyed.
pub async fn begin(
    database: &mut Database,
    version: i64,
    surveyed: &Survey,
    cluster_id: u64,
) -> Result<bool, OpenError> {
    database
        .connection()
        .exec_sql("BEGIN IMMEDIATE", &[])
        .await?;
    let begun = begin_within(database, version, surveyed, cluster_id).await;
    let end = if matches!(begun, Ok(true)) {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = database.connection().exec_sql(end, &[]).await;
    let begun = begun?;
    ended?;
    Ok(begun)
}

async fn begin_within(
    database: &mut Database,
    version: i64,
    surveyed: &Survey,
    cluster_id: u64,
) -> Result<bool, OpenError> {
    if stage(database).await? != Stage::Old(version) || survey(database).await? != *surveyed {
        return Ok(false);
    }
    let indexes = indexes(database).await?;
    let connection = database.connection();
    // Their pages hold the first rows of the new tables, and rows are then deleted without them.
    for index in indexes {
        connection
            .exec_sql(&schema::drop_index(&index), &[])
            .await?;
    }
    connection.exec_sql(schema::RENAME, &[]).await?;
    let numbers = [
        Param::Integer(surveyed.compact_revision().number()),
        Param::Integer(cluster_id.cast_signed()),
    ];
    connection.exec_sql(own::CREATE_TABLES, &numbers).await?;
    let least = [
        Param::Text(own::LEAST_REVISION),
        Param::Integer(surveyed.least_revision().number()),
    ];
    connection.exec_sql(own::SET_META, &least).await?;
    let version = schema::set_version(own::CONVERTING_VERSION);
    connection.exec_sql(&version, &[]).await?;
    Ok(true)
}

async fn indexes(database: &mut Database) -> Result<Vec<String>, OpenError> {
    let rows = database
        .connection()
        .query_sql(schema::READ_INDEXES, &[])
        .await?;
    let rows = rows.collect(MAX_INDEXES).await?;
    let names = rows.iter().map(|row| match &row[..] {
        [Value::Blob(name)] => Ok(String::from_utf8_lossy(name).into_owned()),
        other => Err(damaged(format!("the name of an index is {other:?}"))),
    });
    names.collect()
}

/// A row as it is. What the table allows to be NULL may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    pub id: Revision,
    pub name: Bytes,
    pub created: Option<i64>,
    pub deleted: Option<i64>,
    pub create_revision: i64,
    pub prev_revision: Option<i64>,
    pub lease: Option<i64>,
    pub value: Option<Bytes>,
    pub old_value: Option<Bytes>,
}

impl StoredRow {
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        self.name.len() + length(&self.value) + length(&self.old_value)
    }

    pub fn from_engine(row: &Row) -> Result<Self, OpenError> {
        let odd = || {
            damaged(format!(
                "row {:?} of table kine has a value of a wrong type",
                row.first()
            ))
        };
        let integer = |value: &Value| match value {
            Value::Integer(number) => Ok(Some(*number)),
            Value::Null => Ok(None),
            _ => Err(odd()),
        };
        let blob = |value: &Value| match value {
            Value::Blob(bytes) => Ok(Some(bytes.clone())),
            Value::Null => Ok(None),
            _ => Err(odd()),
        };
        let [
            id,
            name,
            created,
            deleted,
            create_revision,
            prev_revision,
            lease,
            value,
            old_value,
        ] = &row[..]
        else {
            return Err(odd());
        };
        Ok(Self {
            id: Revision::new(integer(id)?.ok_or_else(odd)?),
            name: blob(name)?.ok_or_else(odd)?,
            created: integer(created)?,
            deleted: integer(deleted)?,
            create_revision: integer(create_revision)?.unwrap_or(0),
            prev_revision: integer(prev_revision)?,
            lease: integer(lease)?,
            value: blob(value)?,
            old_value: blob(old_value)?,
        })
    }

    fn params(&self) -> [Param<'_>; schema::OLD_PARAMS] {
        let integer = |value: Option<i64>| value.map_or(Param::Null, Param::Integer);
        [
            Param::Integer(self.id.number()),
            Param::Blob(&self.name),
            integer(self.created),
            integer(self.deleted),
            Param::Integer(self.create_revision),
            integer(self.prev_revision),
            integer(self.lease),
            self.value.as_deref().map_or(Param::Null, Param::Blob),
            self.old_value.as_deref().map_or(Param::Null, Param::Blob),
        ]
    }
}

/// Rows of one statement that makes the old table again.
const INSERT_ROWS: usize = 256;

/// Rows and bytes of one transaction that does: the engine holds its pages until it is committed.
const FILL_ROWS: usize = 4096;
const FILL_BYTES: usize = 4 * 1024 * 1024;

/// An empty database that becomes that of a Go k8s-dqlite again.
#[derive(Debug)]
pub struct OldTable {
    connection: Connection,
    rows: Vec<StoredRow>,
    bytes: usize,
}

impl OldTable {
    pub async fn create(endpoint: &Endpoint) -> Result<Self, OpenError> {
        let mut database = Database::open(endpoint).await?;
        if database.read_number(own::COUNT_TABLES).await? > 0 {
            return Err(damaged("it should be empty".to_owned()));
        }
        let connection = database.into_connection();
        let mut table = Self {
            connection,
            rows: Vec::new(),
            bytes: 0,
        };
        table.connection.exec_sql(schema::CREATE_OLD, &[]).await?;
        Ok(table)
    }

    /// Adds a row; rows come in the order of their ids.
    pub async fn push(&mut self, row: StoredRow) -> Result<(), OpenError> {
        self.bytes += row.bytes();
        self.rows.push(row);
        if self.rows.len() >= FILL_ROWS || self.bytes >= FILL_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    pub async fn finish(mut self, version: i64, sequence: i64) -> Result<(), OpenError> {
        self.write().await?;
        let connection = &mut self.connection;
        let sql = format!(
            "BEGIN IMMEDIATE; {}; {}; {}; COMMIT",
            schema::SET_SEQUENCE,
            schema::create_indexes(version),
            schema::set_version(version)
        );
        connection
            .exec_sql(&sql, &[Param::Integer(sequence)])
            .await?;
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        self.connection.exec_sql("BEGIN IMMEDIATE", &[]).await?;
        for rows in rows.chunks(INSERT_ROWS) {
            let params: Vec<_> = rows.iter().flat_map(StoredRow::params).collect();
            let sql = schema::insert_old(rows.len());
            self.connection.exec_sql(&sql, &params).await?;
        }
        self.connection.exec_sql("COMMIT", &[]).await?;
        Ok(())
    }
}

pub fn damaged(reason: String) -> OpenError {
    OpenError::Damaged(reason)
}
