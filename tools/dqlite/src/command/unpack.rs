//! Makes a copy of a k8s-dqlite's database one that SQLite reads by itself.
//!
//! Its changes are packed in the rows of table `batch`, which only the server unpacks for SQL. In the copy they are rows
//! of table `change`, as in schema 2.

use change_batch::{Reader, unpack_row_ids};
use etcd_state::mvcc::ChangeKind;
use rusqlite::{Connection, params};

/// The schema of the copy: 2.1.
const USER_VERSION: i64 = (2 << 16) | 1;

/// The schemas whose changes are packed, all or some of them: 3.0, and the way to it.
const PACKED_VERSIONS: [i64; 2] = [3 << 16, (2 << 16) | 0xf001];

const COUNT_TABLES: &str =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('batch', 'dead')";

const CREATE: &str = "
CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    kind INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    prev_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB
)";

const READ: &str =
    "SELECT batch.id, content, ids FROM batch LEFT JOIN dead USING (id) ORDER BY batch.id";

const INSERT: &str = "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

/// The view needs the number of a revision by another name than the server has it.
const FINISH: &str = "
DROP VIEW IF EXISTS kine;
CREATE VIEW kine AS SELECT
    id >> 20 AS id,
    CAST(key AS TEXT) AS name,
    kind = 0 AND version = 1 AS created,
    kind = 1 AS deleted,
    create_revision,
    prev_revision,
    lease,
    value,
    NULL AS old_value
FROM change;
DROP TABLE batch;
DROP TABLE dead;";

/// Unpacks the changes, if there are packed ones. Other databases stay as they are.
pub fn unpack(database: &mut Connection) -> Result<(), String> {
    let text = |error: rusqlite::Error| error.to_string();
    let number = |sql| database.query_row(sql, [], |row| row.get::<_, i64>(0));
    let version = number("PRAGMA user_version").map_err(text)?;
    if !PACKED_VERSIONS.contains(&version) || number(COUNT_TABLES).map_err(text)? < 2 {
        return Ok(());
    }
    let transaction = database.transaction().map_err(text)?;
    // A packing that is under way has made it already.
    let create = CREATE.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
    transaction.execute_batch(&create).map_err(text)?;
    {
        let mut batches = transaction.prepare(READ).map_err(text)?;
        let mut insert = transaction.prepare(INSERT).map_err(text)?;
        let mut rows = batches.query([]).map_err(text)?;
        while let Some(row) = rows.next().map_err(text)? {
            let id: i64 = row.get(0).map_err(text)?;
            let content: Vec<u8> = row.get(1).map_err(text)?;
            let dead: Option<Vec<u8>> = row.get(2).map_err(text)?;
            insert_batch(&mut insert, &content, dead.as_deref())
                .map_err(|reason| format!("batch {id}: {reason}"))?;
        }
    }
    transaction.execute_batch(FINISH).map_err(text)?;
    transaction
        .pragma_update(None, "user_version", USER_VERSION)
        .map_err(text)?;
    transaction.commit().map_err(text)?;
    // Without the pages of the batches.
    database.execute_batch("VACUUM").map_err(text)
}

fn insert_batch(
    insert: &mut rusqlite::Statement<'_>,
    content: &[u8],
    dead: Option<&[u8]>,
) -> Result<(), String> {
    let text = |error: change_batch::ReadError| error.to_string();
    let dead = unpack_row_ids(dead.unwrap_or_default()).map_err(text)?;
    let mut reader = Reader::open(content).map_err(text)?;
    while let Some(change) = reader.next_change().map_err(text)? {
        if dead.binary_search(&change.row_id()).is_ok() {
            continue;
        }
        let is_put = change.kind == ChangeKind::Put;
        insert
            .execute(params![
                change.row_id().number(),
                change.key,
                i64::from(!is_put),
                change.create_revision.number(),
                change.prev_revision.number(),
                change.version,
                change.lease.number(),
                is_put.then_some(change.value),
            ])
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use change_batch::{Writer, pack_row_ids};
    use etcd_state::mvcc::{KeyValue, LeaseId, Revision, RowId};

    use super::*;

    #[test]
    fn packed_changes_become_rows_and_the_dead_ones_go() {
        let mut database = Connection::open_in_memory().unwrap();
        database
            .execute_batch(
                "CREATE TABLE batch (id INTEGER PRIMARY KEY, first INTEGER NOT NULL, changes INTEGER NOT NULL, \
                 content BLOB NOT NULL); CREATE TABLE dead (id INTEGER PRIMARY KEY, ids BLOB NOT NULL); \
                 CREATE VIEW kine AS SELECT revision AS id FROM change; PRAGMA user_version = 196608",
            )
            .unwrap();
        let mut writer = Writer::default();
        let kinds = [ChangeKind::Put, ChangeKind::Put, ChangeKind::Delete];
        for (revision, kind) in (2..).zip(kinds) {
            let is_put = kind == ChangeKind::Put;
            let kv = KeyValue {
                key: "key".into(),
                value: if is_put { "value".into() } else { "".into() },
                create_revision: if is_put {
                    Revision::new(2)
                } else {
                    Revision::NONE
                },
                mod_revision: Revision::new(revision),
                version: if is_put { revision - 1 } else { 0 },
                lease: LeaseId::new(if is_put { 7 } else { 0 }),
                position: 0,
            };
            writer.push(
                kind,
                &kv,
                if revision == 2 {
                    Revision::NONE
                } else {
                    Revision::new(revision - 1)
                },
            );
        }
        let packed = writer.finish().unwrap();
        let dead = pack_row_ids(&[RowId::new(Revision::new(2), 0)]);
        let id = packed.last.number();
        database
            .execute(
                "INSERT INTO batch VALUES (?, ?, 3, ?)",
                params![id, packed.first.number(), packed.blob],
            )
            .unwrap();
        database
            .execute("INSERT INTO dead VALUES (?, ?)", params![id, dead])
            .unwrap();
        unpack(&mut database).unwrap();
        let sql = "SELECT id, name, created, deleted, create_revision, prev_revision, lease, value FROM kine ORDER BY id";
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement
            .query_map([], |row| {
                let numbers: [i64; 5] = [
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                ];
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    numbers,
                    row.get::<_, Option<Vec<u8>>>(7)?,
                ))
            })
            .unwrap();
        let rows: Vec<_> = rows.map(Result::unwrap).collect();
        let expected = [
            (
                3,
                "key".to_owned(),
                [0, 0, 2, 2, 7],
                Some(b"value".to_vec()),
            ),
            (4, "key".to_owned(), [0, 1, 0, 3, 0], None),
        ];
        assert_eq!(rows, expected);
        drop(statement);
        let version: i64 = database
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(version, USER_VERSION);
        let again = unpack(&mut database);
        assert_eq!(again, Ok(()));
    }
}
