//! Bugs that etcd once had, as far as one node can show them. `docs/known-etcd-bugs.md` has the
//! rest.

use etcd_proto::etcdserverpb::{
    DefragmentRequest, HashKvRequest, RangeRequest, WatchCreateRequest,
};
use tonic::Code;

use crate::harness::*;

parity! {
    the_deletion_at_the_compacted_revision_outlives_the_purge_and_a_restart,
    the_revision_survives_a_kill_while_compacting_everything,
    the_revision_survives_a_kill_while_defragmenting,
    a_txn_that_reads_what_was_compacted_leaves_no_trace,
}

parity! {
    with Options::flags(&["--watch-progress-notify-interval=1s"]);
    a_watch_from_the_future_hears_nothing_before_it,
}

/// Issues 18089 and 19179.
async fn the_deletion_at_the_compacted_revision_outlives_the_purge_and_a_restart(
    mut server: Server,
) {
    let api = server.api().await;
    api.put("a", "1").await;
    api.put("b", "1").await;
    let deleted_at = api.delete("a").await;
    api.put("b", "2").await;
    let mut request = compact(deleted_at);
    request.physical = true;
    api.ask(request).await;
    let expected = [
        format!("DELETE a @{deleted_at}"),
        format!("PUT b=2 @{}", deleted_at + 1),
    ];
    for is_restarted in [false, true] {
        if is_restarted {
            server.terminate().await;
            server.restart().await;
        }
        let create = WatchCreateRequest {
            start_revision: deleted_at,
            ..get_all_watch()
        };
        let (mut watcher, _) = Watcher::open(&server.api().await, create).await;
        assert_eq!(event_lines(&watcher.events(2).await), expected);
    }
}

fn get_all_watch() -> WatchCreateRequest {
    WatchCreateRequest {
        range_end: "\0".into(),
        ..watch("\0")
    }
}

/// Issue 17780: the last revisions were those of deletions, which the compaction took away.
async fn the_revision_survives_a_kill_while_compacting_everything(mut server: Server) {
    let mut api = server.api().await;
    for round in 0..3 {
        for index in 0..100 {
            api.put(&format!("k{index}"), "v").await;
        }
        let last = api.ask(delete_prefix("k")).await.header.unwrap().revision;
        let mut request = compact(last);
        request.physical = true;
        let compacting = api.clone();
        let answer = tokio::spawn(async move { compacting.try_ask(request).await.is_ok() });
        if round == 2 {
            assert!(answer.await.unwrap());
        }
        server.kill9();
        server.restart().await;
        api = server.api().await;
        assert_eq!(api.revision().await, last);
        assert_eq!(api.put("next", "v").await, last + 1);
    }
}

/// Issue 14685: what was applied before the crash was applied once more after it.
async fn the_revision_survives_a_kill_while_defragmenting(mut server: Server) {
    let mut api = server.api().await;
    for round in 0..5 {
        // Without free pages there is nothing to do.
        for index in 0..50 {
            api.put(&format!("k{index}"), &"v".repeat(20_000)).await;
        }
        let mut last = api.ask(delete_prefix("k")).await.header.unwrap().revision;
        let mut request = compact(last);
        request.physical = true;
        api.ask(request).await;
        let defragmenting = api.clone();
        let answer =
            tokio::spawn(async move { defragmenting.try_ask(DefragmentRequest {}).await.is_ok() });
        if round == 4 {
            assert!(answer.await.unwrap());
        }
        for index in 0..2 * round {
            last = api.put(&format!("beside{round}-{index}"), "v").await;
        }
        server.kill9();
        server.restart().await;
        api = server.api().await;
        assert_eq!(api.revision().await, last);
        let found = api.ask(get_prefix("beside")).await;
        assert_eq!(found.count, (0..=round).map(|round| 2 * round).sum::<i64>());
        assert!(found.kvs.iter().all(|kv| kv.version == 1));
        assert_eq!(api.put("next", "v").await, last + 1);
    }
}

/// Issue 18667: members refused it at different operations, and kept what came before.
async fn a_txn_that_reads_what_was_compacted_leaves_no_trace(mut server: Server) {
    let mut api = server.api().await;
    for value in ["1", "2", "3"] {
        api.put("a", value).await;
    }
    api.ask(compact(3)).await;
    let before = api.ask(HashKvRequest::default()).await.hash;
    let past = RangeRequest {
        revision: 2,
        ..get("a")
    };
    let request = txn().then(put("b", "1")).then(past).then(put("c", "1"));
    let nested = txn().then(put("d", "1")).then(request.clone());
    for request in [request, nested] {
        let (code, text) = api.refused(request).await;
        assert_eq!(code, Code::OutOfRange);
        assert_eq!(
            text,
            "etcdserver: mvcc: required revision has been compacted"
        );
    }
    for is_restarted in [false, true] {
        if is_restarted {
            // etcd 3.6 repeats the log, and then takes what it had refused.
            if server.kind() == Kind::Etcd {
                return;
            }
            server.kill9();
            server.restart().await;
            api = server.api().await;
        }
        assert_eq!(api.revision().await, 4);
        assert_eq!(api.ask(get_range("\0", "\0")).await.count, 1);
        assert_eq!(api.ask(HashKvRequest::default()).await.hash, before);
    }
}

/// Issue 20221: it got reports of progress, and old events after those.
async fn a_watch_from_the_future_hears_nothing_before_it(server: Server) {
    let api = server.api().await;
    let asking = |start_revision| WatchCreateRequest {
        start_revision,
        progress_notify: true,
        ..watch("a")
    };
    let (mut watcher, _) = Watcher::open(&api, asking(0)).await;
    let later = watcher.create(asking(10)).await.watch_id;
    api.put("a", "2").await;
    let mut reports = 0;
    while reports < 2 {
        let response = watcher.next().await;
        if response.events.is_empty() {
            reports += 1;
        }
        assert_ne!(response.watch_id, later, "{response:?}");
    }
    for value in 3..11 {
        api.put("a", &value.to_string()).await;
    }
    let first = loop {
        let response = watcher.next().await;
        if response.watch_id == later && !response.events.is_empty() {
            break response;
        }
    };
    assert_eq!(event_lines(&first.events), ["PUT a=10 @10"]);
}
