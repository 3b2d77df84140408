//! Maintenance.HashKV: after the same writes the hash is etcd's, bit for bit.

use etcd_proto::etcdserverpb::{HashKvRequest, HashKvResponse, HashRequest, LeaseGrantRequest};
use tonic::Code;

use crate::harness::*;

parity! {
    a_revision_that_cannot_be_read_has_no_hash,
    the_answer_names_what_was_hashed,
    the_same_store_has_the_same_hash_again,
}

async fn hash_at(api: &Api, revision: i64) -> HashKvResponse {
    api.ask(HashKvRequest { revision }).await
}

async fn a_revision_that_cannot_be_read_has_no_hash(server: Server) {
    let api = server.api().await;
    for value in ["1", "2", "3"] {
        api.put("a", value).await;
    }
    api.ask(compact(3)).await;
    let refused = api.refused(HashKvRequest { revision: 2 }).await;
    let text = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(refused, (Code::OutOfRange, text.to_owned()));
    let refused = api.refused(HashKvRequest { revision: 5 }).await;
    let text = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!(refused, (Code::OutOfRange, text.to_owned()));
}

async fn the_answer_names_what_was_hashed(server: Server) {
    let api = server.api().await;
    let empty = hash_at(&api, 0).await;
    assert_eq!((empty.hash_revision, empty.compact_revision), (1, -1));
    for value in ["1", "2", "3"] {
        api.put("a", value).await;
    }
    api.ask(compact(2)).await;
    let now = hash_at(&api, 0).await;
    assert_eq!((now.hash_revision, now.compact_revision), (4, 2));
    assert_eq!(at(&now.header), 4);
    let before = hash_at(&api, 3).await;
    assert_eq!((before.hash_revision, at(&before.header)), (3, 4));
    assert_ne!(now.hash, before.hash);
    // No version comes before that.
    let negative = hash_at(&api, -7).await;
    assert_eq!((negative.hash_revision, negative.hash), (-7, empty.hash));
}

async fn the_same_store_has_the_same_hash_again(mut server: Server) {
    let api = server.api().await;
    api.put("a", "1").await;
    let before = hash_at(&api, 0).await.hash;
    let whole = api.ask(HashRequest {}).await;
    assert_eq!(at(&whole.header), 2);
    api.put("a", "2").await;
    assert_ne!(hash_at(&api, 0).await.hash, before);
    assert_eq!(hash_at(&api, 2).await.hash, before);
    assert!(server.terminate().await.code().is_none_or(|code| code == 0));
    server.restart().await;
    assert_eq!(hash_at(&server.api().await, 2).await.hash, before);
}

/// Puts, deletes, leases, transactions of several operations: 26 revisions.
async fn write(api: &Api) {
    for (id, ttl) in [(71, 1000), (72, 2000)] {
        api.ask(LeaseGrantRequest { id, ttl }).await;
    }
    for round in 0..5i64 {
        api.put("plain", &format!("value {round}")).await;
        let mut leased = put(format!("leased/{}", round % 3), vec![0, 255, round as u8]);
        leased.lease = 71 + round % 2;
        api.ask(leased).await;
        let several = txn()
            .then(put("several/b", "1"))
            .then(put("several/a", ""))
            .then(delete_prefix("plain"))
            .then(txn().then(put("several/c", "nested")));
        api.ask(several).await;
        api.delete("several/b").await;
        api.put("plain", "").await;
    }
    api.ask(revoke(72)).await;
}

/// Both servers, written to in the same way; none without an etcd.
async fn pair() -> Option<[(Server, Api); 2]> {
    let etcd = etcd_or_skip(Options::default()).await?;
    let ours = Server::start(Kind::K8sDqlite).await;
    let (ours_api, etcd_api) = (ours.api().await, etcd.api().await);
    write(&ours_api).await;
    write(&etcd_api).await;
    Some([(ours, ours_api), (etcd, etcd_api)])
}

async fn assert_same_hash(servers: &[(Server, Api); 2], revision: i64) {
    let [(_, ours), (_, etcd)] = servers;
    let (ours, etcd) = (hash_at(ours, revision).await, hash_at(etcd, revision).await);
    let facts = |found: &HashKvResponse| {
        let HashKvResponse {
            hash,
            compact_revision,
            hash_revision,
            ..
        } = *found;
        (hash, compact_revision, hash_revision, at(&found.header))
    };
    assert_eq!(facts(&ours), facts(&etcd), "at revision {revision}");
}

#[tokio::test]
async fn every_revision_has_the_hash_of_etcd() {
    let Some(servers) = pair().await else { return };
    let last = servers[0].1.revision().await;
    assert_eq!(last, 27);
    for revision in 0..=last {
        assert_same_hash(&servers, revision).await;
    }
}

#[tokio::test]
async fn after_compactions_every_later_revision_has_the_hash_of_etcd() {
    let Some(servers) = pair().await else { return };
    let last = servers[0].1.revision().await;
    // Among them tombstones at the compaction revision, and the end of a lease.
    for revision in [2, 5, 9, 10, 14, last] {
        for (_, api) in &servers {
            let mut request = compact(revision);
            request.physical = true;
            api.ask(request).await;
        }
        // At the compaction revision itself etcd answers with what it computed while it compacted.
        for later in revision + 1..=last {
            assert_same_hash(&servers, later).await;
        }
        assert_same_hash(&servers, 0).await;
    }
}

#[tokio::test]
async fn a_store_without_keys_has_the_hash_of_etcd() {
    let Some(servers) = pair().await else { return };
    for (_, api) in &servers {
        api.ask(compact(12)).await;
        let mut everything = delete("\0");
        everything.range_end = "\0".into();
        api.ask(everything).await;
    }
    assert_same_hash(&servers, 0).await;
    for (_, api) in &servers {
        let mut request = compact(api.revision().await);
        request.physical = true;
        api.ask(request).await;
    }
    assert_same_hash(&servers, 0).await;
    for (_, api) in &servers {
        api.put("again", "1").await;
    }
    assert_same_hash(&servers, 0).await;
}
