//! Schema 3: one row for each commit batch.

use std::sync::Arc;

use change_batch::{Reader, unpack_row_ids};
use dqlite::{
    client::{Connection, Error},
    wire::{Param, Value},
};
use etcd_proto::etcdserverpb::DeleteRangeRequest;
use etcd_state::mvcc::{Change, ChangeKind, Commit, KeyValue, LeaseId, Revision, RowId};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::harness::{Engine, Running, connect, contents, put};
use tokio::task::JoinSet;

use crate::store::{
    Layout, OpenError,
    batch::{Batch, MAX_ROWS, Write},
    database::Database,
    purge::{Rest, Step},
    schema,
};

pub async fn query(connection: &mut Connection, sql: &str) -> Vec<Vec<Value>> {
    let rows = connection.query_sql(sql, &[]).await.unwrap();
    let rows = rows.collect(100_000).await.unwrap();
    rows.iter().map(|row| row.to_vec()).collect()
}

pub async fn number(connection: &mut Connection, sql: &str) -> i64 {
    match query(connection, sql).await[0][0] {
        Value::Integer(number) => number,
        ref other => panic!("{other:?}"),
    }
}

/// A database in this layout with nothing in it.
pub async fn database(engine: &Engine) -> Database {
    let mut database = Database::open(&engine.endpoint()).await.unwrap();
    database.prepare_schema(1, Layout::Batches).await.unwrap();
    database.fence().await.unwrap();
    database
}

/// A commit that creates as many keys.
pub fn creations(revision: i64, keys: u32) -> Commit {
    let change = |position| Change {
        kind: ChangeKind::Put,
        kv: Arc::new(KeyValue {
            key: format!("key-{revision}-{position:06}").into(),
            value: vec![b'v'; 100].into(),
            create_revision: Revision::new(revision),
            mod_revision: Revision::new(revision),
            version: 1,
            lease: LeaseId::NONE,
            position,
        }),
        prev: None,
    };
    Commit {
        revision: Revision::new(revision),
        changes: (0..keys).map(change).collect(),
    }
}

pub fn batch(commits: impl IntoIterator<Item = Commit>) -> Batch {
    let mut batch = Batch::default();
    for commit in commits {
        batch.push(Arc::new(commit));
    }
    batch
}

pub async fn rows(database: &mut Database, after: RowId) -> Vec<RowId> {
    let mut found = Vec::new();
    database
        .read_changes(after, |change| {
            found.push(change.kv.row_id());
            Ok(())
        })
        .await
        .unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_with_other_boundaries_only_one_succeeds() {
    let engine = Engine::start();
    let mut other = database(&engine).await;
    let mut one = database(&engine).await;
    one.write_batch(&batch([creations(2, 1)])).await.unwrap();
    let late = [
        batch([creations(2, 1), creations(3, 1)]),
        batch([creations(3, 1)]),
        // In several rows, of which the first is refused.
        batch([creations(3, 3 * MAX_ROWS as u32)]),
    ];
    for late in late {
        let refused = other.write_batch(&late).await;
        assert!(
            matches!(refused, Err(Error::Constraint { .. })),
            "{refused:?}"
        );
    }
    one.write_batch(&batch([creations(3, 2)])).await.unwrap();
    let expected =
        [(2, 0), (3, 0), (3, 1)].map(|(revision, at)| RowId::new(Revision::new(revision), at));
    assert_eq!(rows(&mut one, RowId::MIN).await, expected);
    // It knows the last batch after it has looked again, and nobody else writes any more.
    other.fence().await.unwrap();
    other.write_batch(&batch([creations(4, 1)])).await.unwrap();
    assert!(one.write_batch(&batch([creations(4, 1)])).await.is_err());
}

/// Also if both are of one epoch, as a program of an earlier version may believe of itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_appended_behind_the_last_one_only() {
    let engine = Engine::start();
    let mut database = database(&engine).await;
    let first = batch([creations(2, 1)]);
    database.write_batch(&first).await.unwrap();
    let mut connection = connect(&engine).await;
    let epoch = number(&mut connection, schema::READ_EPOCH).await;
    let last = number(&mut connection, schema::READ_LAST_BATCH).await;
    for (behind, epoch, is_appended) in [
        (Param::Null, epoch, false),
        (Param::Integer(last - 1), epoch, false),
        (Param::Integer(last), epoch ^ 1, false),
        (Param::Integer(last), epoch, true),
    ] {
        let next = Param::Integer(last + 1);
        let content = Param::Blob(&[]);
        let params = [
            next,
            next,
            Param::Integer(1),
            content,
            behind,
            Param::Integer(epoch),
        ];
        let appended = connection.exec_sql(schema::APPEND_BATCH, &params).await;
        assert_eq!(appended.is_ok(), is_appended, "{params:?}: {appended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_many_changes_lies_in_several_rows_and_is_read_from_any() {
    let engine = Engine::start();
    let mut database = database(&engine).await;
    let many = 3 * MAX_ROWS as u32 + 7;
    let commits = [creations(2, 1), creations(3, many), creations(4, 1)];
    let expected: Vec<_> = commits
        .iter()
        .flat_map(|commit| &commit.changes)
        .map(|change| change.kv.row_id())
        .collect();
    database.write_batch(&batch(commits)).await.unwrap();
    let mut connection = connect(&engine).await;
    assert_eq!(
        number(&mut connection, "SELECT count(*) FROM batch").await,
        4
    );
    let in_sql = query(&mut connection, "SELECT id FROM change ORDER BY id").await;
    let in_sql: Vec<_> = in_sql.into_iter().map(|row| row[0].clone()).collect();
    let numbers: Vec<_> = expected
        .iter()
        .map(|row| Value::Integer(row.number()))
        .collect();
    assert_eq!(in_sql, numbers);
    for after in [0, 1, 255, 256, 257, 600, expected.len() - 1] {
        let found = rows(&mut database, expected[after]).await;
        assert_eq!(found, expected[after + 1..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_makes_no_temporary_table() {
    let engine = Engine::start();
    let _database = database(&engine).await;
    let mut connection = connect(&engine).await;
    let explained = format!("EXPLAIN {}", schema::APPEND_BATCH);
    let steps = connection
        .query_sql(&explained, &[Param::Integer(1); 6])
        .await
        .unwrap();
    let steps = steps.collect(100).await.unwrap();
    let codes = steps.iter().map(|step| step[1].clone());
    let is_ephemeral = |code: &Value| *code == Value::Text("OpenEphemeral".into());
    // A content of some MiB would go through a file in the directory for temporary files.
    assert!(!codes.clone().any(|code| is_ephemeral(&code)), "{codes:?}");
    assert!(steps.len() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_damaged_is_refused_with_a_reason() {
    let engine = Engine::start();
    let mut database = database(&engine).await;
    let batches = [batch([creations(2, 3)]), batch([creations(3, 1)])];
    for batch in &batches {
        database.write_batch(batch).await.unwrap();
    }
    let mut connection = connect(&engine).await;
    let good = query(&mut connection, "SELECT id, content FROM batch ORDER BY id").await;
    let [Value::Integer(id), Value::Blob(content)] = &good[0][..] else {
        panic!("{good:?}");
    };
    let set_content = |content: &[u8]| {
        let content = hex::encode(content);
        format!("UPDATE batch SET content = x'{content}' WHERE id = {id}")
    };
    let mut flipped = content.to_vec();
    *flipped.last_mut().unwrap() ^= 4;
    let set_id = |from, to| format!("UPDATE batch SET id = {to} WHERE id = {from}");
    let next = "(SELECT max(id) FROM batch)";
    let swapped = format!(
        "UPDATE batch SET content = (SELECT content FROM batch WHERE id = {id}) WHERE id = {next}"
    );
    let damages = [
        (set_content(&flipped), set_content(content), "checksum"),
        (set_id(*id, id - 1), set_id(id - 1, *id), "has the row"),
        (
            format!("INSERT INTO dead VALUES ({id}, x'00')"),
            "DELETE FROM dead".to_owned(),
            "dead rows",
        ),
        (
            swapped,
            format!("DELETE FROM batch WHERE id = {next}"),
            "has the row",
        ),
    ];
    for (damage, repair, reason) in damages {
        connection.exec_sql(&damage, &[]).await.unwrap();
        match database.read_changes(RowId::MIN, |_| Ok(())).await {
            Err(OpenError::Damaged(message)) => assert!(message.contains(reason), "{message}"),
            other => panic!("{damage}: {other:?}"),
        }
        connection.exec_sql(&repair, &[]).await.unwrap();
        database.read_changes(RowId::MIN, |_| Ok(())).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_is_done_again_takes_nothing_else() {
    let engine = Engine::start();
    let mut database = database(&engine).await;
    let batches = [
        batch([creations(2, 10)]),
        batch([creations(3, 10)]),
        batch([creations(4, 10)]),
    ];
    for batch in &batches {
        database.write_batch(batch).await.unwrap();
    }
    let all = rows(&mut database, RowId::MIN).await;
    // Some of a batch, half of it, which writes it again, all of it; and the last one.
    let steps = [0..2, 2..6, 6..10, 10..15, 15..20, 20..30];
    let mut expected = all.clone();
    for step in steps {
        let purged = &all[step];
        expected.retain(|row| !purged.contains(row));
        for _ in 0..2 {
            let write = Write::Purge(Step::Delete(purged.to_vec()));
            let done = database.write(&write).await.unwrap();
            assert_eq!(done.rest, Rest::Nothing);
            assert_eq!(rows(&mut database, RowId::MIN).await, expected);
        }
    }
    let mut connection = connect(&engine).await;
    let left = query(&mut connection, "SELECT id, changes FROM batch").await;
    assert_eq!(
        left,
        [[Value::Integer(all[29].number()), Value::Integer(10)]]
    );
    database
        .write_batch(&batch([creations(5, 1)]))
        .await
        .unwrap();
}

/// A store that clients of the same seed change in the same way, in either layout.
pub struct Workload {
    random: StdRng,
    revision: i64,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            revision: 1,
        }
    }

    pub async fn round(&mut self, running: &Running) {
        let store = &running.store;
        for _ in 0..20 {
            let random = &mut self.random;
            // They are sent at once, so that they share batches; on one thread, in this order.
            let mut puts = JoinSet::new();
            for _ in 0..random.random_range(1..24) {
                let key = format!("key-{:02}", random.random_range(0..40));
                let length = match random.random_range(0..50) {
                    0 => random.random_range(0..200_000),
                    _ => random.random_range(0..2000),
                };
                let letter = random.random_range(b'a'..=b'z') as char;
                let request = put(&key, &letter.to_string().repeat(length));
                let store = store.clone();
                puts.spawn(async move { store.put(request).await });
            }
            for response in puts.join_all().await {
                let revision = response.unwrap().header.unwrap().revision;
                self.revision = self.revision.max(revision);
            }
            let first = random.random_range(0..40);
            let delete = DeleteRangeRequest {
                key: format!("key-{first:02}").into(),
                range_end: format!("key-{:02}", first + random.random_range(0..6)).into(),
                ..Default::default()
            };
            let response = store.delete_range(delete).await.unwrap();
            self.revision = response.header.unwrap().revision;
        }
        let back = self.random.random_range(0..100);
        // Too far back is compacted already.
        let _ = store
            .compact(Revision::new(self.revision - back), true)
            .await;
    }
}

/// All that the view shows of every change.
pub const ALL: &str = "SELECT id, name, created, deleted, create_revision, prev_revision, lease, value FROM kine \
                   ORDER BY id, name";

#[tokio::test]
async fn changes_purge_and_restart_lead_to_what_one_row_for_each_change_has() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut engines = [Engine::start(), Engine::start()];
    let layouts = [Layout::Rows, Layout::Batches];
    let mut workloads = [Workload::new(seed), Workload::new(seed)];
    for round in 0..6 {
        let mut seen = Vec::new();
        for ((engine, workload), layout) in engines.iter_mut().zip(&mut workloads).zip(layouts) {
            let running = Running::open_with(engine.endpoint(), layout).await;
            let loaded = contents(&running.store);
            workload.round(&running).await;
            let mut connection = connect(engine).await;
            let rows = query(&mut connection, ALL).await;
            seen.push((loaded, contents(&running.store), rows));
            if layout == Layout::Batches {
                check_garbage(&mut connection).await;
            }
            drop(connection);
            running.stop().await;
            engine.restart();
        }
        assert!(seen[0] == seen[1], "round {round} differs");
    }
}

/// Checks that at least half of every batch lives, but for the last one. Table `dead` has no rows of batches that are gone.
async fn check_garbage(connection: &mut Connection) {
    let strays = "SELECT count(*) FROM dead WHERE id NOT IN (SELECT id FROM batch)";
    assert_eq!(number(connection, strays).await, 0);
    let batches = "SELECT id, content, ids FROM batch LEFT JOIN dead USING (id) ORDER BY id DESC LIMIT -1 OFFSET 1";
    for row in query(connection, batches).await {
        let [Value::Integer(id), Value::Blob(content), dead] = &row[..] else {
            panic!("{row:?}");
        };
        let dead = match dead {
            Value::Blob(dead) => unpack_row_ids(dead).unwrap(),
            _ => Vec::new(),
        };
        let (mut living, mut gone) = (0, 0);
        let mut reader = Reader::open(content).unwrap();
        while let Some(change) = reader.next_change().unwrap() {
            let bytes = change.key.len() + change.value.len();
            *if dead.contains(&change.row_id()) {
                &mut gone
            } else {
                &mut living
            } += bytes;
        }
        assert!(
            living > gone,
            "of batch {id} {living} bytes live, {gone} do not"
        );
    }
}
