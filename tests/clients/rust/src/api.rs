//! The calls, one service after the other.

use etcd_client::*;

use crate::expect_refusal;

fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.unwrap().revision()
}

fn values(kvs: &[KeyValue]) -> Vec<&str> {
    kvs.iter().map(|kv| kv.value_str().unwrap()).collect()
}

fn prefix() -> GetOptions {
    GetOptions::new().with_prefix()
}

pub async fn keys(mut client: Client) {
    for value in ["0", "1", "2", "3", "4"] {
        client
            .put(format!("keys/{value}"), value, None)
            .await
            .unwrap();
    }
    let sorted = prefix().with_sort(SortTarget::Key, SortOrder::Descend);
    let found = client
        .get("keys/", Some(sorted.with_limit(2)))
        .await
        .unwrap();
    assert_eq!(values(found.kvs()), ["4", "3"]);
    assert!(found.more() && found.count() == 5);
    let range = GetOptions::new().with_range("keys/3");
    let found = client.get("keys/1", Some(range)).await.unwrap();
    assert_eq!(values(found.kvs()), ["1", "2"]);
    let counted = client.get("keys/", Some(prefix().with_count_only())).await;
    assert_eq!(counted.unwrap().count(), 5);
    let keys = client.get("keys/", Some(prefix().with_keys_only())).await;
    assert!(keys.unwrap().kvs().iter().all(|kv| kv.value().is_empty()));

    let replaced = PutOptions::new().with_prev_key();
    let put = client
        .put("keys/0", b"\0\xff", Some(replaced))
        .await
        .unwrap();
    assert_eq!(put.prev_key().unwrap().value(), b"0");
    let found = client.get("keys/0", None).await.unwrap();
    assert_eq!(
        (found.kvs()[0].value(), found.kvs()[0].version()),
        (&b"\0\xff"[..], 2)
    );

    let all = DeleteOptions::new().with_prefix().with_prev_key();
    let deleted = client.delete("keys/", Some(all)).await.unwrap();
    assert_eq!((deleted.deleted(), deleted.prev_kvs().len()), (5, 5));
    assert!(
        client
            .get("keys/", Some(prefix()))
            .await
            .unwrap()
            .kvs()
            .is_empty()
    );
}

pub async fn past(mut client: Client) {
    let first = client.put("past", "1", None).await.unwrap();
    let first = revision(first.header());
    let second = client.put("past", "2", None).await.unwrap();
    let second = revision(second.header());
    let at = |revision| Some(GetOptions::new().with_revision(revision));
    let found = client.get("past", at(first)).await.unwrap();
    assert_eq!(values(found.kvs()), ["1"]);
    client.compact(second, None).await.unwrap();
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    expect_refusal(client.get("past", at(first)).await, compacted);
    assert_eq!(
        values(client.get("past", at(second)).await.unwrap().kvs()),
        ["2"]
    );
}

pub async fn transaction(mut client: Client) {
    for is_first in [true, false] {
        let inner = Txn::new().and_then([TxnOp::put("txn/inner", "2", None)]);
        let txn = Txn::new()
            .when([
                Compare::version("txn", CompareOp::Equal, 0),
                Compare::mod_revision("txn", CompareOp::Less, 1 << 40),
            ])
            .and_then([TxnOp::put("txn", "1", None), TxnOp::txn(inner)])
            .or_else([
                TxnOp::get("txn", Some(prefix())),
                TxnOp::delete("txn/inner", None),
            ]);
        let answer = client.txn(txn).await.unwrap();
        assert_eq!(answer.succeeded(), is_first);
        match answer.op_responses().as_slice() {
            [TxnOpResponse::Put(_), TxnOpResponse::Txn(inner)] if is_first => {
                assert!(inner.succeeded());
            }
            [TxnOpResponse::Get(found), TxnOpResponse::Delete(deleted)] if !is_first => {
                assert_eq!(
                    (values(found.kvs()), deleted.deleted()),
                    (vec!["1", "2"], 1)
                );
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

pub async fn namespace(mut client: Client) {
    let mut inner = KvClientPrefix::new(client.kv_client(), "namespace/".into());
    inner.put("k", "v", None).await.unwrap();
    let found = inner.get("k", None).await.unwrap();
    assert_eq!(found.kvs()[0].key(), b"k");
    let outer = client.get("namespace/k", None).await.unwrap();
    assert_eq!(values(outer.kvs()), ["v"]);
}

async fn next_events(stream: &mut WatchStream, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let response = stream.message().await.unwrap().unwrap();
        assert!(!response.canceled(), "{response:?}");
        events.extend_from_slice(response.events());
    }
    events
}

/// Type, value before and value after.
fn outline(event: &Event) -> (EventType, &str, &str) {
    let before = event.prev_kv().map_or("", |kv| kv.value_str().unwrap());
    (
        event.event_type(),
        before,
        event.kv().unwrap().value_str().unwrap(),
    )
}

pub async fn watch(mut client: Client) {
    let options = WatchOptions::new()
        .with_prefix()
        .with_prev_key()
        .with_watch_id(7);
    let mut stream = client.watch("watch/", Some(options)).await.unwrap();
    let created = stream.message().await.unwrap().unwrap();
    assert!(created.created() && created.watch_id() == 7, "{created:?}");
    client.put("watch/a", "1", None).await.unwrap();
    client.put("elsewhere", "1", None).await.unwrap();
    client.put("watch/a", "2", None).await.unwrap();
    client.delete("watch/a", None).await.unwrap();
    let events = next_events(&mut stream, 3).await;
    let seen: Vec<_> = events.iter().map(outline).collect();
    let put = EventType::Put;
    assert_eq!(
        seen,
        [
            (put, "", "1"),
            (put, "1", "2"),
            (EventType::Delete, "2", "")
        ]
    );

    stream.request_progress().await.unwrap();
    let progress = stream.message().await.unwrap().unwrap();
    assert!(progress.events().is_empty() && revision(progress.header()) > 0);
    stream.cancel(7).await.unwrap();
    let cancelled = stream.message().await.unwrap().unwrap();
    assert!(
        cancelled.canceled() && cancelled.watch_id() == 7,
        "{cancelled:?}"
    );

    let only_deletions = WatchOptions::new().with_filters([WatchFilterType::NoPut]);
    stream.watch("watch/a", Some(only_deletions)).await.unwrap();
    assert!(stream.message().await.unwrap().unwrap().created());
    client.put("watch/a", "3", None).await.unwrap();
    client.delete("watch/a", None).await.unwrap();
    let events = next_events(&mut stream, 1).await;
    assert_eq!(outline(&events[0]), (EventType::Delete, "", ""));
}

pub async fn resumed_watch(mut client: Client) {
    let first = client.put("resumed", "1", None).await.unwrap();
    let from = |revision| {
        Some(
            WatchOptions::new()
                .with_start_revision(revision)
                .with_prev_key(),
        )
    };
    let start = revision(first.header());
    let mut stream = client.watch("resumed", from(start)).await.unwrap();
    let seen = next_events(&mut stream, 1).await;
    let last = seen[0].kv().unwrap().mod_revision();
    assert_eq!(last, start);
    drop(stream);
    for value in ["2", "3"] {
        client.put("resumed", value, None).await.unwrap();
    }
    let mut stream = client.watch("resumed", from(last + 1)).await.unwrap();
    client.put("resumed", "4", None).await.unwrap();
    let events = next_events(&mut stream, 3).await;
    let values: Vec<_> = events.iter().map(outline).collect();
    let put = EventType::Put;
    assert_eq!(values, [(put, "1", "2"), (put, "2", "3"), (put, "3", "4")]);
}

pub async fn compacted_watch(mut client: Client) {
    let first = client.put("compacted", "1", None).await.unwrap();
    let second = client.put("compacted", "2", None).await.unwrap();
    let compacted = revision(second.header());
    client.compact(compacted, None).await.unwrap();
    let options = WatchOptions::new().with_start_revision(revision(first.header()));
    let mut stream = client.watch("compacted", Some(options)).await.unwrap();
    let mut response = stream.message().await.unwrap().unwrap();
    if !response.canceled() {
        assert!(response.created());
        response = stream.message().await.unwrap().unwrap();
    }
    assert!(
        response.canceled() && response.compact_revision() == compacted,
        "{response:?}"
    );
}

pub async fn lease(mut client: Client) {
    let named = LeaseGrantOptions::new().with_id(4242);
    let granted = client.lease_grant(600, Some(named)).await.unwrap();
    assert_eq!((granted.id(), granted.ttl()), (4242, 600));
    let attached = PutOptions::new().with_lease(4242);
    client.put("leased", "v", Some(attached)).await.unwrap();
    let (mut keeper, mut renewals) = client.lease_keep_alive(4242).await.unwrap();
    for _ in 0..2 {
        keeper.keep_alive().await.unwrap();
        assert_eq!(renewals.message().await.unwrap().unwrap().ttl(), 600);
    }
    let with_keys = LeaseTimeToLiveOptions::new().with_keys();
    let left = client
        .lease_time_to_live(4242, Some(with_keys))
        .await
        .unwrap();
    assert_eq!(
        (left.granted_ttl(), left.keys()),
        (600, &[b"leased".to_vec()][..])
    );
    let leases = client.leases().await.unwrap();
    assert!(leases.leases().iter().any(|lease| lease.id() == 4242));
    client.lease_revoke(4242).await.unwrap();
    assert_eq!(client.get("leased", None).await.unwrap().count(), 0);
    let gone = client.lease_keep_alive(4242).await;
    assert!(
        matches!(gone, Err(Error::LeaseKeepAliveError(_))),
        "{gone:?}"
    );
}

pub async fn errors(mut client: Client) {
    expect_refusal(
        client.put("", "v", None).await,
        "etcdserver: key is not provided",
    );
    let attached = PutOptions::new().with_lease(1);
    let no_lease = "etcdserver: requested lease not found";
    expect_refusal(client.put("k", "v", Some(attached)).await, no_lease);
    let future = GetOptions::new().with_revision(1 << 40);
    let too_new = "etcdserver: mvcc: required revision is a future revision";
    expect_refusal(client.get("k", Some(future)).await, too_new);
    expect_refusal(
        client.user_get("nobody").await,
        "etcdserver: user name not found",
    );
}

pub async fn maintenance(mut client: Client) {
    let status = client.status().await.unwrap();
    assert!(status.version().starts_with("3.") && status.db_size() > 0);
    let members = client.member_list().await.unwrap();
    assert_eq!(members.members().len(), 1);
    assert_eq!(members.members()[0].id(), status.leader());
    let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await;
    assert!(alarms.unwrap().alarms().is_empty());
    let before = client.hash_kv(0).await.unwrap();
    client.defragment().await.unwrap();
    assert_eq!(client.hash_kv(0).await.unwrap().hash(), before.hash());
    client.hash().await.unwrap();

    let mut snapshot = client.snapshot().await.unwrap();
    let mut received_bytes = 0;
    while let Some(part) = snapshot.message().await.unwrap() {
        received_bytes += part.blob().len();
    }
    // Whole pages, and a SHA-256 of them.
    assert!(
        received_bytes > 4096 && received_bytes % 512 == 32,
        "{received_bytes}"
    );
}
