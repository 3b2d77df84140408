//! The table of a Go k8s-dqlite, and what it does to it. Made from the outside of our program, row by row.

use std::collections::BTreeMap;

use dqlite::{
    client::{ConnectOptions, Connection, Endpoint},
    wire::Param,
};

pub const COMPACTION_KEY: &[u8] = b"compact_rev_key";

/// Rows of one statement, and of one transaction.
const INSERT_ROWS: usize = 200;
const TRANSACTION_ROWS: usize = 4000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoRow {
    pub name: Vec<u8>,
    pub created: i64,
    pub deleted: i64,
    pub create_revision: i64,
    pub prev_revision: i64,
    pub lease: i64,
    pub value: Option<Vec<u8>>,
    pub old_value: Option<Vec<u8>>,
}

impl GoRow {
    pub fn is_deleted(&self) -> bool {
        self.deleted != 0
    }

    pub fn create_revision(&self, id: i64) -> i64 {
        if self.created != 0 {
            id
        } else {
            self.create_revision
        }
    }
}

#[derive(Debug, Clone)]
pub struct GoTable {
    pub user_version: i64,
    pub rows: BTreeMap<i64, GoRow>,
    /// The sequence number of AUTOINCREMENT.
    pub sequence: i64,
}

impl GoTable {
    /// Returns the table that a first start leaves.
    pub fn new(user_version: i64) -> Self {
        let mut table = Self {
            user_version,
            rows: BTreeMap::new(),
            sequence: 0,
        };
        table.create(COMPACTION_KEY, None, 0);
        table.create(
            b"/registry/health",
            Some(b"{\"health\":\"true\"}".to_vec()),
            0,
        );
        table
    }

    fn newest(&self, name: &[u8]) -> Option<(i64, &GoRow)> {
        let mut rows = self.rows.iter().rev();
        rows.find(|(_, row)| row.name == name)
            .map(|(id, row)| (*id, row))
    }

    pub fn living(&self, name: &[u8]) -> Option<(i64, &GoRow)> {
        self.newest(name).filter(|(_, row)| !row.is_deleted())
    }

    /// Ids that an insert used which then failed.
    pub fn skip(&mut self, ids: i64) {
        self.sequence += ids;
    }

    pub fn insert(&mut self, row: GoRow) -> i64 {
        self.sequence += 1;
        self.rows.insert(self.sequence, row);
        self.sequence
    }

    pub fn create(&mut self, name: &[u8], value: Option<Vec<u8>>, lease: i64) -> i64 {
        let prev_revision = self.newest(name).map_or(0, |(id, _)| id);
        self.insert(GoRow {
            name: name.to_vec(),
            created: 1,
            deleted: 0,
            create_revision: 0,
            prev_revision,
            lease,
            value,
            old_value: None,
        })
    }

    pub fn put(&mut self, name: &[u8], value: Option<Vec<u8>>, lease: i64) -> i64 {
        let Some((id, old)) = self.living(name) else {
            return self.create(name, value, lease);
        };
        let row = GoRow {
            name: name.to_vec(),
            created: 0,
            deleted: 0,
            create_revision: old.create_revision(id),
            prev_revision: id,
            lease,
            value,
            old_value: old.value.clone(),
        };
        self.insert(row)
    }

    pub fn delete(&mut self, name: &[u8]) {
        let Some((id, old)) = self.living(name) else {
            return;
        };
        let row = GoRow {
            deleted: 1,
            created: 0,
            create_revision: old.create_revision(id),
            prev_revision: id,
            value: None,
            old_value: old.value.clone(),
            ..old.clone()
        };
        self.insert(row);
    }

    /// A creation, without a look at what is there.
    pub fn row_of_creation(&self, name: &[u8], value: Vec<u8>) -> GoRow {
        GoRow {
            name: name.to_vec(),
            created: 1,
            deleted: 0,
            create_revision: 0,
            prev_revision: 0,
            lease: 0,
            value: Some(value),
            old_value: None,
        }
    }

    /// An update of what the newest row has created.
    pub fn row_of_update(&self, name: &[u8], value: Vec<u8>) -> GoRow {
        let (id, old) = self.rows.last_key_value().unwrap();
        GoRow {
            created: 0,
            create_revision: *id,
            prev_revision: *id,
            old_value: old.value.clone(),
            ..self.row_of_creation(name, value)
        }
    }

    /// A key of older versions, in the place of a missing id.
    pub fn fill(&mut self) {
        let name = format!("gap-{}", self.sequence + 1);
        self.create(name.as_bytes(), None, 0);
    }

    /// The bug of older versions: one more row with the compaction revision.
    pub fn second_compaction_row(&mut self) {
        let rows = || self.rows.values().filter(|row| row.name == COMPACTION_KEY);
        let is_free = |at: &i64| rows().all(|row| row.prev_revision != *at);
        // The old unique index lets no two rows have the same.
        let Some(prev_revision) = (0..=self.compact_revision()).rev().find(is_free) else {
            return;
        };
        self.insert(GoRow {
            name: COMPACTION_KEY.to_vec(),
            created: 1,
            deleted: 0,
            create_revision: 0,
            prev_revision,
            lease: 0,
            value: None,
            old_value: None,
        });
    }

    /// Takes the newest row away again; its id stays used.
    pub fn delete_newest_row(&mut self) {
        let newest = self.rows.last_key_value();
        if newest.is_some_and(|(_, row)| row.created != 0 && row.name != COMPACTION_KEY) {
            self.rows.pop_last();
        }
    }

    pub fn compact_revision(&self) -> i64 {
        let rows = self.rows.values().filter(|row| row.name == COMPACTION_KEY);
        rows.map(|row| row.prev_revision).max().unwrap_or(0)
    }

    pub fn compact(&mut self, end: i64) {
        let start = self.compact_revision();
        if end <= start {
            return;
        }
        let within = |id: &i64| start < *id && *id <= end;
        let replaced: Vec<_> = self
            .rows
            .iter()
            .filter(|(id, row)| within(id) && row.name != COMPACTION_KEY && row.created == 0)
            .map(|(_, row)| row.prev_revision)
            .collect();
        replaced.iter().for_each(|id| drop(self.rows.remove(id)));
        self.rows
            .retain(|id, row| !(within(id) && row.is_deleted()));
        let mut rows = self.rows.values_mut().rev();
        // With the old unique index, two rows cannot have the same.
        if let Some(row) = rows.find(|row| row.name == COMPACTION_KEY) {
            row.prev_revision = end;
        }
    }

    /// The revision that a store with these rows is at.
    pub fn revision(&self) -> i64 {
        self.sequence.max(self.compact_revision())
    }

    /// Puts the table into the database of a running server, in place of its own.
    pub async fn plant(&self, node_port: u16) {
        let mut planter = Planter::begin(node_port).await;
        let rows: Vec<_> = self.rows.iter().collect();
        for rows in rows.chunks(TRANSACTION_ROWS) {
            planter.insert(rows).await;
        }
        planter.finish(self.user_version, self.sequence).await;
    }
}

/// Writes the table of a Go k8s-dqlite into a running server.
pub struct Planter {
    connection: Connection,
}

impl Planter {
    pub async fn begin(node_port: u16) -> Self {
        let endpoint = Endpoint::Tcp(format!("127.0.0.1:{node_port}"));
        let mut connection = Connection::connect(&endpoint, ConnectOptions::default())
            .await
            .expect("dqlite's port");
        connection.open("k8s").await.unwrap();
        let replace = "BEGIN; DROP VIEW kine; DROP TABLE batch; DROP TABLE dead; DROP TABLE lease; DROP TABLE meta; \
             DROP TABLE setting; CREATE TABLE kine (id INTEGER PRIMARY KEY AUTOINCREMENT, \
             name TEXT NOT NULL, created INTEGER, deleted INTEGER, \
             create_revision INTEGER NOT NULL, prev_revision INTEGER, lease INTEGER, \
             value BLOB, old_value BLOB); COMMIT";
        connection.exec_sql(replace, &[]).await.unwrap();
        Self { connection }
    }

    pub async fn insert(&mut self, rows: &[(&i64, &GoRow)]) {
        self.connection.exec_sql("BEGIN", &[]).await.unwrap();
        for rows in rows.chunks(INSERT_ROWS) {
            insert(&mut self.connection, rows).await;
        }
        self.connection.exec_sql("COMMIT", &[]).await.unwrap();
    }

    pub async fn finish(mut self, user_version: i64, sequence: i64) {
        let indexes = match user_version {
            0 => {
                "CREATE INDEX kine_name_index ON kine (name); \
                 CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)"
            }
            1 => {
                "CREATE INDEX kine_name_index ON kine (name, id); \
                 CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (prev_revision, name)"
            }
            _ => {
                "CREATE UNIQUE INDEX k8s_dqlite_name_del_index ON kine (name ASC, id DESC, deleted)"
            }
        };
        self.connection.exec_sql(indexes, &[]).await.unwrap();
        let finish = format!(
            "UPDATE sqlite_sequence SET seq = {sequence} WHERE name = 'kine'; \
             PRAGMA user_version = {user_version}"
        );
        self.connection.exec_sql(&finish, &[]).await.unwrap();
    }
}

async fn insert(connection: &mut Connection, rows: &[(&i64, &GoRow)]) {
    let values = vec!["(?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?)"; rows.len()].join(", ");
    let sql = format!(
        "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, \
         old_value) VALUES {values}"
    );
    let mut params = Vec::new();
    for (id, row) in rows {
        params.extend([
            Param::Integer(**id),
            Param::Blob(&row.name),
            Param::Integer(row.created),
            Param::Integer(row.deleted),
            Param::Integer(row.create_revision),
            Param::Integer(row.prev_revision),
            Param::Integer(row.lease),
        ]);
        for value in [&row.value, &row.old_value] {
            params.push(match value {
                Some(value) => Param::Blob(value),
                None => Param::Null,
            });
        }
    }
    connection.exec_sql(&sql, &params).await.unwrap();
}
