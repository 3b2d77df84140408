//! The answers of a node that is behind, while it catches up.

use super::*;
use etcd_proto::etcdserverpb::WatchCreateRequest;

/// Longer than an election takes.
const LEASE_TTL_S: i64 = 3;

/// Stores that a node gets one soon after the other.
const STORES: usize = 3;

fn ascending(seen: &mut i64, events: &[etcd_proto::mvccpb::Event]) {
    for event in events {
        let revision = event.kv.as_ref().unwrap().mod_revision;
        assert!(revision > *seen, "{revision} after {seen}");
        *seen = revision;
    }
}

/// Puts the leader to sleep, and has the others write and compact. Having missed the compaction it is sent the
/// whole store when it wakes. Returns the leader that was, another node, and the newest revision.
async fn leave_the_leader_behind(trio: &mut Trio) -> (usize, usize, i64) {
    let away = trio.leader().await;
    let awake = trio.others(away);
    trio.pause(away);
    let near = trio.leader_of(&awake).await;
    let api = trio.nodes[near].api().await;
    for n in 0..MANY / 4 {
        persist(async || api.try_ask(put(format!("key{n}"), "x")).await).await;
    }
    let last = persist(async || api.try_ask(put("last", "x")).await).await;
    let last = at(&last.header);
    persist(async || api.try_ask(compact(last)).await).await;
    (away, near, last)
}

/// Issues 18055 and 15271: two snapshots in a short time ended etcd's members, and a watch on a member that
/// had got one went back in time.
#[tokio::test]
async fn a_node_gets_the_store_anew_again_and_again_and_its_watches_never_go_back() {
    let mut trio = Trio::start().await;
    let create = || WatchCreateRequest {
        range_end: "\0".into(),
        ..watch("\0")
    };
    for _ in 0..STORES {
        let watched = trio.leader().await;
        let before = stores_received(&trio.nodes[watched]);
        let (mut watcher, _) = Watcher::open(&trio.nodes[watched].api().await, create()).await;
        let (away, near, last) = leave_the_leader_behind(&mut trio).await;
        assert_eq!(away, watched);
        trio.wake(away);
        until("the node has the store", async || {
            stores_received(&trio.nodes[away]) > before
        })
        .await;
        let api = trio.nodes[near].api().await;
        let next = persist(async || api.try_ask(put("next", "x")).await).await;
        // What it missed is gone: it may end the watch, or go on behind it.
        let mut seen = 0;
        while let Ok(Some(response)) = watcher.try_next().await
            && !response.canceled
        {
            ascending(&mut seen, &response.events);
            if seen >= at(&next.header) {
                break;
            }
        }
        let from = WatchCreateRequest {
            start_revision: last,
            ..create()
        };
        let (mut watcher, _) = Watcher::open(&trio.nodes[away].api().await, from).await;
        let mut seen = last - 1;
        while seen < at(&next.header) {
            ascending(&mut seen, &watcher.next().await.events);
        }
        let expected = hash(&trio.nodes[near], last).await;
        assert_eq!(hash(&trio.nodes[away], last).await, expected);
        trio.wait_for_voters(3).await;
    }
}

/// Issue 18055, of the engine.
#[tokio::test]
async fn a_node_takes_snapshots_of_the_engine_one_after_the_other() {
    let options = Options::default();
    let mut trio = Trio::start_prepared(&options, engine_log::keep_little).await;
    let leader = trio.leader().await;
    let [away, near] = trio.others(leader);
    let api = trio.nodes[near].api().await;
    for _ in 0..2 {
        trio.nodes[away].kill9();
        let former = engine_log::newest_snapshot(&trio.nodes[away]);
        engine_log::write_entries(&api).await;
        trio.nodes[away].launch();
        engine_log::wait_for_snapshot(&trio.nodes[away], former).await;
    }
    trio.nodes[away].ready().await;
    let revision = api.revision().await;
    let expected = hash(&trio.nodes[leader], revision).await;
    assert_eq!(hash(&trio.nodes[away], revision).await, expected);
}

/// Issue 15247: a leader that did not know yet that it is none revoked a lease that its client kept alive.
#[tokio::test]
async fn a_leader_that_slept_ends_no_lease_that_was_kept_alive() {
    let mut trio = Trio::start().await;
    let asleep = trio.leader().await;
    let awake = trio.others(asleep);
    let api = trio.nodes[awake[0]].api().await;
    let granted = api.ask(grant(LEASE_TTL_S)).await;
    let leased = PutRequest {
        lease: granted.id,
        ..put("leased", "x")
    };
    api.ask(leased).await;
    trio.pause(asleep);
    let paused_at = Instant::now();
    trio.leader_of(&awake).await;
    // By its clock the lease is over when it wakes.
    while paused_at.elapsed() < Duration::from_secs(3 * LEASE_TTL_S as u64) {
        let requests = tokio_stream::once(LeaseKeepAliveRequest { id: granted.id });
        let answers = api.lease.clone().lease_keep_alive(requests).await;
        if let Ok(answers) = answers {
            let answer = answers.into_inner().message().await;
            assert!(answer.map_or(true, |answer| answer.is_none_or(|kept| kept.ttl > 0)));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    trio.wake(asleep);
    let woken = trio.nodes[asleep].api().await;
    let found = persist(async || woken.try_ask(get("leased")).await).await;
    assert_eq!(found.count, 1);
    assert!(api.ask(time_to_live(granted.id)).await.ttl > 0);
}
