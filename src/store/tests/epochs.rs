//! Two changes of the leader within what a writer does: another one has written in between.

use dqlite::client::Error;
use etcd_state::mvcc::{LeaseId, Revision, RowId};

use super::{
    batches::{batch, creations, database, rows},
    harness::{Engine, layout},
};
use crate::store::{
    Layout, OpenError,
    batch::{Batch, Record, Write},
    database::Database,
    purge::{MergeStep, Step, SweepStep},
};

/// A writer on the socket that can keep requests back, and the engine with some batches of ten changes.
async fn writer(engine: &Engine, layout: Layout) -> Database {
    let mut database = Database::open(&engine.faulty_endpoint()).await.unwrap();
    database.prepare_schema(1, layout).await.unwrap();
    database.fence().await.unwrap();
    for revision in 2..22 {
        let write = batch([creations(revision, 10)]);
        database.write_batch(&write).await.unwrap();
    }
    database
}

fn row(revision: i64, position: u32) -> RowId {
    RowId::new(Revision::new(revision), position)
}

fn upto(revision: i64) -> RowId {
    RowId::last_of(Revision::new(revision))
}

fn purge(rows: impl IntoIterator<Item = RowId>) -> Write {
    Write::Purge(Step::Delete(rows.into_iter().collect()))
}

fn merge() -> Write {
    let (after, upto) = (RowId::MIN, upto(21));
    Write::Purge(Step::Merge(MergeStep { after, upto }))
}

fn sweep() -> Write {
    let kept = (2..22).map(|revision| row(revision, 0)).collect();
    let (after, upto) = (RowId::MIN, upto(21));
    Write::Purge(Step::Sweep(SweepStep { after, upto, kept }))
}

fn records() -> Write {
    let records = [
        Record::LeaseGranted {
            id: LeaseId::new(7),
            granted_ttl_s: 10,
        },
        Record::Compacted {
            revision: Revision::new(3),
        },
    ];
    Write::Batch(Batch::of_records(records.into_iter().collect()))
}

/// Six of ten changes of a batch, which is written again.
fn most_of(revision: i64) -> Vec<RowId> {
    (4..10).map(|position| row(revision, position)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_another_writer_began_is_not_written_after_it() {
    // A write, and the request of it that is kept back: the one that writes.
    let late = [
        (purge(most_of(5)), 3),
        (purge([row(5, 0)]), 3),
        (purge((0..10).map(|position| row(5, position))), 3),
        (sweep(), 4),
        (merge(), 3),
        (Write::Batch(batch([creations(22, 1)])), 1),
        (records(), 1),
    ];
    for (write, request) in late {
        let engine = Engine::start();
        let mut one = writer(&engine, Layout::Batches).await;
        engine.hold(request);
        let other = engine.while_held(async {
            let mut other = database(&engine).await;
            // What is dead must stay dead, whatever the first one has read of it.
            other.write(&purge(most_of(5))).await.unwrap();
            rows(&mut other, RowId::MIN).await
        });
        let (refused, expected) = tokio::join!(one.write(&write), other);
        assert!(
            matches!(refused, Err(Error::Constraint { .. })),
            "{write:?}: {refused:?}"
        );
        assert_eq!(expected.len(), 194);
        let found = rows(&mut one, RowId::MIN).await;
        assert_eq!(found, expected, "{write:?}");
        assert_eq!(one.read_leases().await.unwrap(), []);
        let meta = one.read_meta().await.unwrap();
        assert_eq!(meta.compact_revision, Revision::new(-1));
        // It may write again when it has begun again.
        one.fence().await.unwrap();
        one.write(&write).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_for_each_change_has_the_same_fence_for_what_is_no_change() {
    let engine = Engine::start();
    let mut one = writer(&engine, Layout::Rows).await;
    let mut other = Database::open(&engine.endpoint()).await.unwrap();
    other.prepare_schema(1, layout()).await.unwrap();
    other.fence().await.unwrap();
    let refused = one.write(&records()).await;
    assert!(
        matches!(refused, Err(Error::Constraint { .. })),
        "{refused:?}"
    );
    let Write::Batch(mut mixed) = records() else {
        unreachable!("records are a batch");
    };
    mixed.push(std::sync::Arc::new(creations(22, 1)));
    assert!(one.write_batch(&mixed).await.is_err());
    assert_eq!(rows(&mut one, RowId::MIN).await.len(), 200);
    other.write_batch(&mixed).await.unwrap();
    assert_eq!(rows(&mut one, RowId::MIN).await.len(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_has_not_begun_writes_nothing() {
    let engine = Engine::start();
    drop(writer(&engine, Layout::Batches).await);
    let mut database = Database::open(&engine.endpoint()).await.unwrap();
    database.prepare_schema(1, Layout::Batches).await.unwrap();
    for write in [purge(most_of(5)), records()] {
        let refused = database.write(&write).await;
        assert!(
            matches!(refused, Err(Error::Constraint { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_another_leader_merged_while_they_were_read_are_no_damage() {
    let engine = Engine::start();
    let mut one = writer(&engine, Layout::Batches).await;
    let before = rows(&mut one, RowId::MIN).await;
    // The statement, the first eight batches, and the next ones.
    engine.hold(3);
    let other = engine.while_held(async {
        let mut other = database(&engine).await;
        other.write(&merge()).await.unwrap();
    });
    let (read, ()) = tokio::join!(one.read_changes(RowId::MIN, |_| Ok(())), other);
    assert!(matches!(read, Err(OpenError::Damaged(_))), "{read:?}");
    let settled = one.settled(read.map(drop)).await;
    assert!(matches!(settled, Err(OpenError::Overtaken)), "{settled:?}");
    // Neither is what was read without damage all there is.
    let whole = one.settled(Ok(())).await;
    assert!(matches!(whole, Err(OpenError::Overtaken)), "{whole:?}");

    one.fence().await.unwrap();
    let after = rows(&mut one, RowId::MIN).await;
    assert!(one.settled(Ok(after.clone())).await.unwrap() == before);
    let damage = OpenError::Damaged("a bad checksum".to_owned());
    let damaged = one.settled::<()>(Err(damage)).await;
    assert!(matches!(damaged, Err(OpenError::Damaged(_))), "{damaged:?}");
}
