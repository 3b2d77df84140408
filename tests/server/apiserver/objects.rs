//! Objects: create, update, delete, as its storage layer writes them.

use bytes::Bytes;
use etcd_proto::etcdserverpb::*;
use etcd_proto::mvccpb::KeyValue;

use crate::harness::*;

parity! {
    create_puts_a_new_key,
    create_of_an_existing_key_fails_with_nothing,
    update_replaces_the_version_it_read,
    update_of_another_version_returns_the_present_one,
    update_of_a_missing_key_returns_nothing,
    upsert_creates_and_then_conflicts,
    delete_removes_the_version_it_read,
    delete_of_another_version_returns_the_present_one,
    delete_of_a_missing_key_fails,
    delete_of_a_missing_key_at_revision_zero_deletes_nothing,
    a_get_reads_one_key,
    an_event_is_written_with_a_lease,
    concurrent_updates_of_one_object_all_count,
}

const KEY: &str = "/registry/pods/default/web";

pub fn create(key: impl Into<Bytes> + Clone, value: impl Into<Bytes>) -> TxnRequest {
    txn()
        .when(mod_revision(key.clone(), 0))
        .then(put(key, value))
}

pub fn update(key: &'static str, revision: i64, value: impl Into<Bytes>) -> TxnRequest {
    txn()
        .when(mod_revision(key, revision))
        .then(put(key, value))
        .or_else(get(key))
}

fn delete_at(key: &'static str, revision: i64) -> TxnRequest {
    txn()
        .when(mod_revision(key, revision))
        .then(delete(key))
        .or_else(get(key))
}

fn assert_conflict(answer: &TxnResponse, revision: i64, kvs: &[KeyValue]) {
    assert!(!answer.succeeded);
    assert_eq!((at(&answer.header), answer.responses.len()), (revision, 1));
    let range = range_answer(answer, 0);
    assert_eq!(range.kvs, kvs);
    assert_eq!((range.count, range.more), (kvs.len() as i64, false));
    assert_eq!(at(&range.header), revision);
}

async fn create_puts_a_new_key(server: Server) {
    let api = server.api().await;
    let answer = api.ask(create(KEY, "1")).await;
    assert!(answer.succeeded);
    assert_eq!((at(&answer.header), answer.responses.len()), (2, 1));
    assert_eq!(at(&put_answer(&answer, 0).header), 2);
    assert_eq!(put_answer(&answer, 0).prev_kv, None);
}

async fn create_of_an_existing_key_fails_with_nothing(server: Server) {
    let api = server.api().await;
    api.ask(create(KEY, "1")).await;
    let answer = api.ask(create(KEY, "2")).await;
    assert_eq!((answer.succeeded, answer.responses.len()), (false, 0));
    assert_eq!(at(&answer.header), 2);
    assert_eq!(api.ask(get(KEY)).await.kvs, [kv(KEY, "1", (2, 2, 1))]);
}

async fn update_replaces_the_version_it_read(server: Server) {
    let api = server.api().await;
    api.ask(create(KEY, "1")).await;
    let answer = api.ask(update(KEY, 2, "2")).await;
    assert!(answer.succeeded);
    assert_eq!(at(&answer.header), 3);
    assert_eq!(at(&put_answer(&answer, 0).header), 3);
    assert_eq!(api.ask(get(KEY)).await.kvs, [kv(KEY, "2", (2, 3, 2))]);
}

async fn update_of_another_version_returns_the_present_one(server: Server) {
    let api = server.api().await;
    api.ask(create(KEY, "1")).await;
    api.ask(update(KEY, 2, "2")).await;
    let answer = api.ask(update(KEY, 2, "3")).await;
    assert_conflict(&answer, 3, &[kv(KEY, "2", (2, 3, 2))]);
}

async fn update_of_a_missing_key_returns_nothing(server: Server) {
    let api = server.api().await;
    assert_conflict(&api.ask(update(KEY, 5, "1")).await, 1, &[]);
}

async fn upsert_creates_and_then_conflicts(server: Server) {
    let api = server.api().await;
    assert!(api.ask(update(KEY, 0, "1")).await.succeeded);
    let answer = api.ask(update(KEY, 0, "2")).await;
    assert_conflict(&answer, 2, &[kv(KEY, "1", (2, 2, 1))]);
}

async fn delete_removes_the_version_it_read(server: Server) {
    let api = server.api().await;
    api.ask(create(KEY, "1")).await;
    let answer = api.ask(delete_at(KEY, 2)).await;
    assert!(answer.succeeded);
    let deleted = delete_answer(&answer, 0);
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (1, 0));
    assert_eq!((at(&deleted.header), at(&answer.header)), (3, 3));
    assert_eq!(api.ask(get(KEY)).await.count, 0);
}

async fn delete_of_another_version_returns_the_present_one(server: Server) {
    let api = server.api().await;
    api.ask(create(KEY, "1")).await;
    api.ask(update(KEY, 2, "2")).await;
    let answer = api.ask(delete_at(KEY, 2)).await;
    assert_conflict(&answer, 3, &[kv(KEY, "2", (2, 3, 2))]);
}

async fn delete_of_a_missing_key_fails(server: Server) {
    let api = server.api().await;
    assert_conflict(&api.ask(delete_at(KEY, 5)).await, 1, &[]);
}

async fn delete_of_a_missing_key_at_revision_zero_deletes_nothing(server: Server) {
    let api = server.api().await;
    let answer = api.ask(delete_at(KEY, 0)).await;
    assert!(answer.succeeded);
    assert_eq!(
        (at(&answer.header), delete_answer(&answer, 0).deleted),
        (1, 0)
    );
    assert_eq!(api.revision().await, 1);
}

async fn a_get_reads_one_key(server: Server) {
    let api = server.api().await;
    api.ask(create(KEY, "1")).await;
    let mut request = get(KEY);
    request.limit = 1;
    let answer = api.ask(request).await;
    assert_eq!(answer.kvs, [kv(KEY, "1", (2, 2, 1))]);
    assert_eq!((answer.count, answer.more), (1, false));
    let answer = api.ask(get("/registry/health")).await;
    assert_eq!(
        (at(&answer.header), answer.kvs.len()),
        (2, 0),
        "the health check"
    );
}

async fn an_event_is_written_with_a_lease(server: Server) {
    let api = server.api().await;
    let granted = api.ask(grant(3660)).await;
    assert_eq!(granted.ttl, 3660);
    let event = PutRequest {
        lease: granted.id,
        ..put("/registry/events/e", "e")
    };
    let answer = api
        .ask(
            txn()
                .when(mod_revision("/registry/events/e", 0))
                .then(event),
        )
        .await;
    assert!(answer.succeeded);
    assert_eq!(
        api.ask(get("/registry/events/e")).await.kvs[0].lease,
        granted.id
    );
}

async fn concurrent_updates_of_one_object_all_count(server: Server) {
    let api = server.api().await;
    api.ask(create(KEY, "0")).await;
    let increment = |api: Api| async move {
        let mut current = api.ask(get(KEY)).await.kvs.remove(0);
        for _ in 0..50 {
            loop {
                let number: u64 = str::from_utf8(&current.value).unwrap().parse().unwrap();
                let next = (number + 1).to_string();
                let answer = api
                    .ask(update(KEY, current.mod_revision, next.clone()))
                    .await;
                if answer.succeeded {
                    current.mod_revision = at(&answer.header);
                    current.value = next.into();
                    break;
                }
                current = range_answer(&answer, 0).kvs[0].clone();
            }
        }
    };
    let tasks: Vec<_> = (0..8)
        .map(|_| tokio::spawn(increment(api.clone())))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(api.ask(get(KEY)).await.kvs, [kv(KEY, "400", (2, 402, 401))]);
}
