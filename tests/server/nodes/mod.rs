//! Three nodes, of which any one may be lost.

mod address;
mod auto_sync;
mod behind;
mod certificates;
mod client_urls;
pub mod engine_log;
mod histories;
mod leaving;
mod log_levels;
mod require_leader;
mod stopping;
mod strangers;
pub mod trio;

use std::collections::HashMap;

use etcd_proto::etcdserverpb::{
    HashKvRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, MemberRemoveRequest,
    MoveLeaderRequest, PutRequest, RangeRequest, StatusRequest,
};
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, timeout},
};
use tonic::{Code, Status};

use self::trio::{Trio, persist};
use crate::harness::*;

/// The longest wait for a node that looks at its cluster every 30 s.
const LONG_TIMEOUT: Duration = Duration::from_secs(60);

/// Writes of a test that go on while something happens.
const MANY: usize = 200;

/// Returns how often a node was sent the whole store.
pub fn stores_received(node: &Server) -> usize {
    let line = "received the store from the leader";
    node.output().matches(line).count()
}

fn serializable(key: &'static str) -> RangeRequest {
    RangeRequest {
        serializable: true,
        ..get(key)
    }
}

/// The TTL that a lease has after a keep-alive.
async fn keep_alive(api: &Api, id: i64) -> i64 {
    let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
    let answers = api.lease.clone().lease_keep_alive(requests).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap();
    answer.unwrap().ttl
}

async fn hash(node: &Server, revision: i64) -> (u32, i64) {
    let answer = node.api().await.ask(HashKvRequest { revision }).await;
    (answer.hash, answer.compact_revision)
}

#[tokio::test]
async fn every_node_takes_every_call_and_answers_alike() {
    let trio = Trio::start().await;
    let mut last = 0;
    for (at, node) in trio.nodes.iter().enumerate() {
        let api = node.api().await;
        let revision = api.put(&format!("key{at}"), "value").await;
        assert!(revision > last);
        last = revision;
        for other in &trio.nodes {
            let found = other.api().await.ask(get_prefix("key")).await;
            assert_eq!(
                (found.count, self::at(&found.header)),
                (at as i64 + 1, last)
            );
        }
        let lease = api.ask(grant(60)).await.id;
        let leased = PutRequest {
            lease,
            ..put("leased", "x")
        };
        api.ask(leased).await;
        for other in &trio.nodes {
            let api = other.api().await;
            let leases = api.ask(LeaseLeasesRequest {}).await.leases;
            assert_eq!(leases.len(), 1);
            assert!(api.ask(time_to_live(lease)).await.ttl > 0);
            assert_eq!(keep_alive(&api, lease).await, 60);
        }
        api.ask(revoke(lease)).await;
        assert_eq!(api.ask(get("leased")).await.count, 0);
        last = api.revision().await;
    }
    for node in &trio.nodes {
        let api = node.api().await;
        let refused = api.refused(put("", "x")).await;
        assert_eq!(refused.0, Code::InvalidArgument);
        let refused = api.refused(revoke(12345)).await;
        assert_eq!(refused.1, "etcdserver: requested lease not found");
    }
    let compacted = last;
    trio.nodes[1].api().await.ask(compact(compacted)).await;
    for node in &trio.nodes {
        until("the node has compacted", async || {
            hash(node, last).await.1 == compacted
        })
        .await;
        assert_eq!(hash(node, last).await, hash(&trio.nodes[0], last).await);
        let old = RangeRequest {
            revision: compacted - 1,
            ..get("key0")
        };
        assert_eq!(node.api().await.refused(old).await.0, Code::OutOfRange);
    }
}

#[tokio::test]
async fn nodes_speak_tls_with_each_other() {
    let mut trio = Trio::start_with(&Options::flags(&["--enable-tls=true"])).await;
    let leader = trio.leader().await;
    let [near, far] = trio.others(leader);
    trio.nodes[near].api().await.put("key", "value").await;
    trio.nodes[leader].kill9();
    let api = trio.nodes[far].api().await;
    let found = persist(async || api.try_ask(get("key")).await).await;
    assert_eq!(found.kvs[0].value, "value");
    persist(async || api.try_ask(put("key", "again")).await).await;
}

#[tokio::test]
async fn a_watch_on_a_follower_outlives_the_leader() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [near, far] = trio.others(leader);
    let writer = trio.nodes[near].api().await;
    let (mut watcher, _) = Watcher::open(&trio.nodes[far].api().await, watch_prefix("w")).await;
    for n in 0..MANY {
        if n == MANY / 2 {
            trio.nodes[leader].kill9();
        }
        let mut attempt = 0;
        persist(async || {
            attempt += 1;
            // Each attempt may have been written: it must be known from the others.
            writer.try_ask(put(format!("w{n:03}-{attempt}"), "x")).await
        })
        .await;
    }
    let found = trio.nodes[near].api().await.ask(get_prefix("w")).await;
    let expected: Vec<_> = {
        let mut kvs = found.kvs.clone();
        kvs.sort_by_key(|kv| kv.mod_revision);
        kvs.into_iter()
            .map(|kv| (kv.mod_revision, kv.key))
            .collect()
    };
    assert!(expected.len() >= MANY);
    let events = watcher.events(expected.len()).await;
    let seen: Vec<_> = events
        .into_iter()
        .map(|event| event.kv.unwrap())
        .map(|kv| (kv.mod_revision, kv.key))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_leader_that_was_asleep_never_answers_from_its_past() {
    let mut trio = Trio::start().await;
    let first = trio.nodes[0].api().await;
    first.put("key", "before").await;
    let lease = first.ask(grant(3600)).await.id;
    for round in 0..3 {
        let asleep = trio.leader().await;
        let awake = trio.others(asleep);
        let api = trio.nodes[asleep].api().await;
        trio.pause(asleep);
        let next = trio.leader_of(&awake).await;
        let written = format!("after{round}");
        persist(async || {
            trio.nodes[next]
                .api()
                .await
                .try_ask(put("key", written.clone()))
                .await
        })
        .await;
        trio.wake(asleep);
        // At once, before it can know.
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut answers = 0;
        while Instant::now() < deadline {
            if let Ok(found) = api.try_ask(get("key")).await {
                assert_eq!(found.kvs[0].value, written, "a read from the past");
                answers += 1;
            }
            let txn = txn().when(value("key", "before")).then(get("key"));
            if let Ok(done) = api.try_ask(txn).await {
                assert!(!done.succeeded, "a comparison with the past");
            }
        }
        assert!(answers > 0, "it answers again");
        assert!(keep_alive(&api, lease).await > 0);
    }
}

/// Begins to write at nodes, with four clients each. Returns the errors in the end.
async fn write_at(trio: &Trio, nodes: &[usize]) -> JoinSet<Vec<Status>> {
    let mut writing = JoinSet::new();
    for at in nodes {
        for client in 0..4 {
            let api = trio.nodes[*at].api().await;
            let key = format!("key-{at}-{client}");
            writing.spawn(async move {
                let mut errors = Vec::new();
                for n in 0..MANY {
                    errors.extend(api.try_ask(put(format!("{key}-{n}"), "x")).await.err());
                }
                errors
            });
        }
    }
    writing
}

#[tokio::test]
async fn a_clean_stop_of_any_node_fails_no_write() {
    let mut trio = Trio::start().await;
    for _ in 0..3 {
        let leader = trio.leader().await;
        let writing = write_at(&trio, &trio.others(leader)).await;
        assert!(trio.nodes[leader].terminate().await.success());
        let errors = writing.join_all().await.concat();
        assert!(
            errors.is_empty(),
            "{errors:?}; {}",
            trio.nodes[leader].output()
        );
        trio.nodes[leader].restart().await;
        trio.wait_for_voters(3).await;
    }
}

#[tokio::test]
async fn a_leadership_that_is_moved_holds_up_writes_but_briefly() {
    let trio = Trio::start().await;
    for _ in 0..3 {
        let leader = trio.leader().await;
        let [_, next] = trio.others(leader);
        let writing = write_at(&trio, &[0, 1, 2]).await;
        let status = trio.nodes[next].api().await.ask(StatusRequest {}).await;
        let target_id = status.header.unwrap().member_id;
        let api = trio.nodes[leader].api().await;
        api.ask(MoveLeaderRequest { target_id }).await;
        until("the other one leads", async || {
            let asked = api.try_ask(StatusRequest {}).await;
            asked.is_ok_and(|status| status.leader == target_id)
        })
        .await;
        let errors = writing.join_all().await.concat();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[tokio::test]
async fn acknowledged_writes_outlive_every_leader() {
    let mut trio = Trio::start().await;
    let mut acknowledged = HashMap::new();
    for round in 0..4 {
        let leader = trio.leader().await;
        let [first, second] = trio.others(leader);
        let apis = [
            trio.nodes[first].api().await,
            trio.nodes[second].api().await,
        ];
        for n in 0..MANY / 4 {
            if n == MANY / 8 {
                trio.nodes[leader].kill9();
            }
            let key = format!("key{}", n % 20);
            let value = format!("{round}-{n}");
            let api = &apis[n % 2];
            persist(async || api.try_ask(put(key.clone(), value.clone())).await).await;
            acknowledged.insert(key, value);
        }
        trio.nodes[leader].restart().await;
        trio.wait_for_voters(3).await;
    }
    for node in &trio.nodes {
        let found = node.api().await.ask(get_prefix("key")).await;
        let found: HashMap<_, _> = found
            .kvs
            .into_iter()
            .map(|kv| {
                let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                (text(kv.key), text(kv.value))
            })
            .collect();
        assert_eq!(found, acknowledged);
    }
    let revision = trio.nodes[0].api().await.revision().await;
    let expected = hash(&trio.nodes[0], revision).await;
    for node in &trio.nodes[1..] {
        assert_eq!(hash(node, revision).await, expected);
    }
}

#[tokio::test]
async fn a_node_that_missed_a_compaction_catches_up() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [away, near] = trio.others(leader);
    let api = trio.nodes[near].api().await;
    api.put("kept", "1").await;
    let (mut watcher, _) = Watcher::open(&trio.nodes[away].api().await, watch_prefix("gone")).await;
    trio.pause(away);
    for n in 0..MANY {
        api.put(&format!("gone{}", n % 5), "x").await;
    }
    let revision = api.revision().await;
    api.ask(compact(revision)).await;
    api.put("kept", "2").await;
    trio.wake(away);
    let woken = trio.nodes[away].api().await;
    let found = persist(async || woken.try_ask(get("kept")).await).await;
    assert_eq!(found.kvs[0].value, "2");
    let current = woken.revision().await;
    assert_eq!(
        hash(&trio.nodes[away], current).await,
        hash(&trio.nodes[leader], current).await
    );
    // Its events may be gone. Then it must not stay silent: the client has to read anew.
    let mut seen = 0;
    loop {
        match watcher.try_next().await {
            Ok(Some(response)) if response.canceled => break,
            Ok(Some(response)) => {
                seen += response.events.len();
                if seen == MANY {
                    break;
                }
            }
            Ok(None) | Err(_) => break,
        }
    }
    // Stopped for good, and all others with it: the next start is from what is on disk.
    for node in &mut trio.nodes {
        node.kill9();
    }
    for node in &mut trio.nodes {
        node.launch();
    }
    for node in &mut trio.nodes {
        node.ready().await;
    }
    for node in &trio.nodes {
        let found = persist(async || node.api().await.try_ask(get("kept")).await).await;
        assert_eq!(found.kvs[0].value, "2");
    }
}

#[tokio::test]
async fn a_removed_node_ends_and_may_join_anew() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let [gone, near] = trio.others(leader);
    let api = trio.nodes[near].api().await;
    api.put("key", "1").await;
    let id = trio.nodes[gone].api().await.ask(StatusRequest {}).await;
    let request = MemberRemoveRequest {
        id: id.header.unwrap().member_id,
    };
    assert_eq!(api.ask(request).await.members.len(), 2);
    let status = timeout(LONG_TIMEOUT, trio.nodes[gone].process().wait()).await;
    assert_eq!(status.expect("it ends").code(), Some(3));
    assert!(
        trio.nodes[gone]
            .output()
            .contains("removed from the cluster")
    );
    persist(async || api.try_ask(put("key", "2")).await).await;
    trio.wipe(gone, near);
    trio.nodes[gone].restart().await;
    trio.wait_for_voters_at(near, 3).await;
    let found = trio.nodes[gone].api().await.ask(get("key")).await;
    assert_eq!(found.kvs[0].value, "2");
}

#[tokio::test]
async fn without_a_majority_nothing_is_written_and_old_reads_only_on_request() {
    let mut trio = Trio::start().await;
    let leader = trio.leader().await;
    let others = trio.others(leader);
    let api = trio.nodes[leader].api().await;
    api.put("key", "value").await;
    for other in others {
        trio.pause(other);
    }
    until("the leader knows that it is alone", async || {
        let refused = api.try_ask(get("key")).await;
        refused.is_err_and(|error| error.code() == Code::Unavailable)
    })
    .await;
    let refused = api.refused(put("key", "lost")).await;
    assert_eq!(refused.0, Code::Unavailable);
    let found = api.ask(serializable("key")).await;
    assert_eq!(found.kvs[0].value, "value");
    for (path, status) in [("/readyz", 503), ("/health", 503), ("/livez", 200)] {
        let answer = trio.nodes[leader].http("GET", path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    for other in others {
        trio.wake(other);
    }
    let found = persist(async || api.try_ask(get("key")).await).await;
    assert!(found.kvs[0].version <= 2);
    persist(async || api.try_ask(put("key", "again")).await).await;
}
