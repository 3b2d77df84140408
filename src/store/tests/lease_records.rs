//! Lease records of one batch, as the engine has them afterwards.

use std::collections::BTreeMap;

use etcd_state::mvcc::LeaseId;

use super::harness::{Engine, layout};
use crate::store::{
    batch::{Batch, MAX_ROWS, Record},
    database::Database,
};

/// More than one statement holds.
const MANY: i64 = MAX_ROWS as i64 + 10;

type Rows = BTreeMap<i64, (i64, i64)>;

async fn write(database: &mut Database, records: Vec<Record>) -> Rows {
    let batch = Batch::of_records(records);
    database.write_batch(&batch).await.unwrap();
    let leases = database.read_leases().await.unwrap();
    leases
        .iter()
        .map(|lease| (lease.id.number(), (lease.granted_ttl_s, lease.remaining_s)))
        .collect()
}

fn granted(id: i64, granted_ttl_s: i64) -> Record {
    let id = LeaseId::new(id);
    Record::LeaseGranted { id, granted_ttl_s }
}

fn removed(id: i64) -> Record {
    let id = LeaseId::new(id);
    Record::LeaseRemoved { id }
}

fn checkpoint(id: i64, remaining_s: i64) -> Record {
    let id = LeaseId::new(id);
    Record::LeaseCheckpoint { id, remaining_s }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_leases_are_granted_checkpointed_and_removed_in_one_batch_each() {
    let engine = Engine::start();
    let mut database = Database::open(&engine.endpoint()).await.unwrap();
    database.prepare_schema(1, layout()).await.unwrap();
    database.fence().await.unwrap();

    let all: Vec<_> = (0..MANY).map(|id| granted(id, 100 + id)).collect();
    let mut expected: Rows = (0..MANY).map(|id| (id, (100 + id, 100 + id))).collect();
    assert_eq!(write(&mut database, all).await, expected);

    let all: Vec<_> = (0..MANY).map(|id| checkpoint(id, 50 + id)).collect();
    let absent = [checkpoint(MANY, 7)];
    expected = (0..MANY).map(|id| (id, (100 + id, 50 + id))).collect();
    let stored = write(&mut database, all.into_iter().chain(absent).collect()).await;
    assert_eq!(stored, expected);

    let all = (0..MANY).map(removed);
    let again = [granted(3, 30), checkpoint(3, 20), granted(4, 40)];
    let stored = write(&mut database, all.chain(again).collect()).await;
    assert_eq!(stored, Rows::from([(3, (30, 20)), (4, (40, 40))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_a_lease_that_is_stored_already_is_refused_with_its_whole_batch() {
    let engine = Engine::start();
    let mut database = Database::open(&engine.endpoint()).await.unwrap();
    database.prepare_schema(1, layout()).await.unwrap();
    database.fence().await.unwrap();
    let before = write(&mut database, vec![granted(1, 10)]).await;
    let twice = Batch::of_records(vec![granted(2, 10), granted(1, 20)]);
    assert!(database.write_batch(&twice).await.is_err());
    let after = write(&mut database, vec![removed(9)]).await;
    assert_eq!(after, before);
}
