//! One behaviour per test.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use etcd_proto::etcdserverpb::WatchResponse;
use etcd_state::mvcc::Revision;

use super::client::{event_revisions, hub, pop, receive, request, settle};

use crate::watch::{
    CatchUp, CloseReason, CreateRequest, Inbox, Options, WatchHub, WatchId, WatchStream,
    testing::{TestStore, delete, put},
};

/// Long enough never to happen in a test.
const NO_PROGRESS: Duration = Duration::from_secs(3600);

struct Fixture {
    store: TestStore,
    inbox: Arc<Inbox>,
    hub: Arc<WatchHub>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_progress(NO_PROGRESS)
    }

    fn with_progress(interval: Duration) -> Self {
        let store = TestStore::new();
        let inbox = Arc::new(Inbox::default());
        let hub = hub(&store.history, &inbox, interval);
        let task = Arc::clone(&hub);
        tokio::spawn(async move { task.run().await });
        Self { store, inbox, hub }
    }

    fn open(&self) -> WatchStream {
        self.hub.open(false).expect("the hub is running")
    }

    /// Commits and lets the hub distribute it.
    async fn put(&mut self, key: &str, value: &str) -> Revision {
        self.write(&[put(key, value)]).await
    }

    async fn write(&mut self, ops: &[crate::watch::testing::Op]) -> Revision {
        let commit = self.store.commit(ops).expect("it changes something");
        self.inbox.publish(&[commit]);
        settle().await;
        self.store.revision()
    }
}

fn one(mut responses: Vec<WatchResponse>) -> WatchResponse {
    assert_eq!(responses.len(), 1, "{responses:?}");
    responses.remove(0)
}

#[tokio::test]
async fn a_watch_from_now_says_which_revision_now_is_and_sends_what_follows() {
    let mut fixture = Fixture::new();
    fixture.put("a", "1").await;
    let stream = fixture.open();
    stream.create(request("a", "", 0));
    let created = one(receive(&stream));
    assert!(created.created && !created.canceled);
    assert_eq!((created.watch_id, created.header.unwrap().revision), (0, 2));

    fixture.put("b", "1").await;
    fixture.put("a", "2").await;
    let response = one(receive(&stream));
    assert_eq!(response.header.unwrap().revision, 4);
    let kv = response.events[0].kv.as_ref().unwrap();
    assert_eq!((&kv.key[..], &kv.value[..]), (&b"a"[..], &b"2"[..]));
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 4, 2));
    assert!(response.events[0].prev_kv.is_none());
}

#[tokio::test]
async fn a_commit_that_is_not_distributed_yet_is_not_after_now() {
    let mut fixture = Fixture::new();
    let commit = fixture.store.commit(&[put("a", "1")]).unwrap();
    let stream = fixture.open();
    stream.create(request("a", "", 0));
    assert_eq!(one(receive(&stream)).header.unwrap().revision, 2);
    fixture.inbox.publish(&[commit]);
    settle().await;
    assert!(receive(&stream).is_empty());
    fixture.put("a", "2").await;
    assert_eq!(event_revisions(&receive(&stream)), [3]);
}

#[tokio::test]
async fn a_watch_from_the_past_reads_history_and_then_follows() {
    let mut fixture = Fixture::new();
    for _ in 0..5 {
        fixture.put("a", "v").await;
    }
    let stream = fixture.open();
    stream.create(request("a", "", 3));
    let responses = receive(&stream);
    assert!(responses[0].created);
    assert_eq!(event_revisions(&responses), [3, 4, 5, 6]);
    fixture.put("a", "v").await;
    assert_eq!(event_revisions(&receive(&stream)), [7]);
    assert_eq!(
        fixture.hub.metrics().slow_watchers.load(Ordering::Relaxed),
        0
    );
}

#[tokio::test]
async fn a_watch_from_the_first_revision_of_an_empty_store_follows() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "", 1));
    assert_eq!(stream.catch_up(), CatchUp::Behind);
    assert_eq!(stream.catch_up(), CatchUp::Synced);
    fixture.put("a", "1").await;
    assert_eq!(event_revisions(&receive(&stream)), [2]);
}

#[tokio::test]
async fn a_watch_from_the_future_is_silent_until_then() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "", 4));
    assert!(one(receive(&stream)).created);
    fixture.put("a", "2").await;
    stream.request_progress();
    fixture.put("x", "3").await;
    // At 3, a client that resumes after the answer resumes where it wanted to start.
    let progress = one(receive(&stream));
    assert_eq!(
        (progress.watch_id, progress.header.unwrap().revision),
        (WatchId::NONE.number(), 3)
    );
    fixture.put("a", "4").await;
    assert_eq!(event_revisions(&receive(&stream)), [4]);
}

#[tokio::test]
async fn a_tombstone_carries_its_key_and_the_previous_version() {
    let mut fixture = Fixture::new();
    fixture.put("a", "1").await;
    let stream = fixture.open();
    let options = Options {
        prev_kv: true,
        ..Options::default()
    };
    stream.create(CreateRequest {
        options,
        ..request("a", "", 0)
    });
    fixture.write(&[delete("a")]).await;
    let event = receive(&stream).pop().unwrap().events.remove(0);
    assert_eq!(event.r#type, 1);
    let kv = event.kv.unwrap();
    assert_eq!((kv.mod_revision, kv.create_revision, kv.version), (3, 0, 0));
    assert!(kv.value.is_empty());
    assert_eq!(event.prev_kv.unwrap().value, "1");
}

#[tokio::test]
async fn the_event_at_the_compaction_revision_is_replayed_without_its_previous_version() {
    let mut fixture = Fixture::new();
    for value in ["1", "2", "3", "4"] {
        fixture.put("a", value).await;
    }
    fixture.store.history.compact(Revision::new(4)).unwrap();
    let stream = fixture.open();
    let options = Options {
        prev_kv: true,
        ..Options::default()
    };
    stream.create(CreateRequest {
        options,
        ..request("a", "", 4)
    });
    let responses = receive(&stream);
    let prevs: Vec<_> = responses[1]
        .events
        .iter()
        .map(|event| event.prev_kv.is_some())
        .collect();
    assert_eq!(event_revisions(&responses), [4, 5]);
    assert_eq!(prevs, [false, true]);
}

#[tokio::test]
async fn a_compacted_start_ends_the_watch_with_the_compaction_revision() {
    let mut fixture = Fixture::new();
    for value in ["1", "2", "3"] {
        fixture.put("a", value).await;
    }
    fixture.store.history.compact(Revision::new(3)).unwrap();
    let stream = fixture.open();
    stream.create(request("a", "", 2));
    let responses = receive(&stream);
    assert!(responses[0].created && !responses[0].canceled);
    assert_eq!(responses[0].watch_id, 0);
    let end = &responses[1];
    assert!(end.canceled && !end.created);
    assert_eq!((end.watch_id, end.compact_revision), (0, 3));
    assert_eq!(
        (end.header.unwrap().revision, end.cancel_reason.as_str()),
        (0, "")
    );
    // The id is the client's until it cancels.
    stream.create(request("a", "", 0));
    assert_eq!(one(receive(&stream)).watch_id, 1);
    stream.cancel(WatchId::new(0));
    assert!(one(receive(&stream)).canceled);
}

#[tokio::test]
async fn refused_watches_are_created_and_canceled_with_etcds_reasons() {
    let fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(CreateRequest {
        watch_id: Some(WatchId::new(5)),
        ..request("a", "", 0)
    });
    assert_eq!(one(receive(&stream)).watch_id, 5);
    let refused = [
        (
            CreateRequest {
                watch_id: Some(WatchId::new(5)),
                ..request("a", "", 0)
            },
            "mvcc: duplicate watch ID provided on the WatchStream",
        ),
        (request("b", "a", 0), "mvcc: watcher range is empty"),
        (request("b", "b", 0), "mvcc: watcher range is empty"),
        (
            request("a", "", -1),
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ];
    for (request, reason) in refused {
        stream.create(request);
        let response = one(receive(&stream));
        assert!(response.created && response.canceled);
        assert_eq!(
            (response.watch_id, response.cancel_reason.as_str()),
            (WatchId::NONE.number(), reason)
        );
        assert_eq!(response.header.unwrap().revision, 1);
    }
}

#[tokio::test]
async fn ids_count_from_zero_and_skip_those_that_are_taken() {
    let fixture = Fixture::new();
    let stream = fixture.open();
    for (asked, given) in [(None, 0), (Some(2), 2), (None, 1), (None, 3)] {
        stream.create(CreateRequest {
            watch_id: asked.map(WatchId::new),
            ..request("a", "", 0)
        });
        assert_eq!(one(receive(&stream)).watch_id, given);
    }
}

#[tokio::test]
async fn a_canceled_watch_says_so_and_is_silent_and_an_unknown_one_is_ignored() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "b", 0));
    receive(&stream);
    stream.cancel(WatchId::new(9));
    assert!(receive(&stream).is_empty());
    stream.cancel(WatchId::new(0));
    let canceled = one(receive(&stream));
    assert!(canceled.canceled && !canceled.created && canceled.compact_revision == 0);
    fixture.put("a", "1").await;
    assert!(receive(&stream).is_empty());
    assert_eq!(fixture.hub.metrics().watchers.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn filters_apply_live_and_in_history() {
    let mut fixture = Fixture::new();
    fixture.put("a", "1").await;
    fixture.write(&[delete("a")]).await;
    let stream = fixture.open();
    let no_put = Options {
        no_put: true,
        ..Options::default()
    };
    let no_delete = Options {
        no_delete: true,
        ..Options::default()
    };
    stream.create(CreateRequest {
        options: no_put,
        ..request("a", "", 2)
    });
    stream.create(CreateRequest {
        options: no_delete,
        ..request("a", "", 2)
    });
    fixture.put("a", "2").await;
    fixture.write(&[delete("a")]).await;
    let responses = receive(&stream);
    let of = |id| {
        let own: Vec<_> = responses
            .iter()
            .filter(|r| r.watch_id == id)
            .cloned()
            .collect();
        event_revisions(&own)
    };
    assert_eq!((of(0), of(1)), (vec![3, 5], vec![2, 4]));
}

#[tokio::test]
async fn progress_waits_for_the_events_before_it() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "", 0));
    receive(&stream);
    let commit = fixture.store.commit(&[put("a", "1")]).unwrap();
    stream.request_progress();
    assert!(
        receive(&stream).is_empty(),
        "the hub has not distributed revision 2"
    );
    fixture.inbox.publish(&[commit]);
    settle().await;
    let responses = receive(&stream);
    assert_eq!(event_revisions(&responses[..1]), [2]);
    assert_eq!(
        (responses[1].watch_id, responses[1].header.unwrap().revision),
        (WatchId::NONE.number(), 2)
    );
    assert!(responses[1].events.is_empty() && responses.len() == 2);
}

#[tokio::test]
async fn progress_waits_for_watchers_that_catch_up() {
    let mut fixture = Fixture::new();
    fixture.put("a", "1").await;
    let stream = fixture.open();
    stream.create(request("b", "", 0));
    stream.create(request("a", "", 2));
    stream.request_progress();
    let created = pop(&stream).unwrap();
    assert_eq!(created.len(), 2, "no answer yet: {created:?}");
    let responses = receive(&stream);
    assert_eq!(event_revisions(&responses[..1]), [2]);
    assert_eq!(
        (responses[1].watch_id, responses[1].header.unwrap().revision),
        (WatchId::NONE.number(), 2)
    );
}

#[tokio::test]
async fn canceling_the_watcher_that_held_progress_back_releases_it() {
    let fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "", 0));
    stream.create(request("a", "", 99));
    receive(&stream);
    stream.request_progress();
    assert!(receive(&stream).is_empty());
    stream.cancel(WatchId::new(1));
    let responses = receive(&stream);
    assert!(responses[0].canceled);
    assert_eq!(
        (responses[1].watch_id, responses[1].header.unwrap().revision),
        (WatchId::NONE.number(), 1)
    );
}

#[tokio::test]
async fn idle_watchers_that_asked_hear_of_progress_again_and_again() {
    let mut fixture = Fixture::with_progress(Duration::from_millis(100));
    fixture.put("x", "1").await;
    let stream = fixture.open();
    stream.create(CreateRequest {
        progress_notify: true,
        ..request("a", "", 0)
    });
    stream.create(request("a", "", 0));
    stream.create(CreateRequest {
        progress_notify: true,
        ..request("a", "", 99)
    });
    receive(&stream);
    let waits = async {
        let mut heard = Vec::new();
        while heard.len() < 3 {
            stream.outbound().work().await;
            heard.extend(receive(&stream));
        }
        heard
    };
    // Nothing tells this test when a response comes; a stream's connection has a waker.
    let polls = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            stream.outbound().notify_task();
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            heard = waits => heard,
            () = polls => Vec::new(),
        }
    });
    for progress in heard.await.expect("three intervals pass") {
        assert_eq!(
            (progress.watch_id, progress.header.unwrap().revision),
            (0, 2)
        );
        assert!(progress.events.is_empty() && !progress.created && !progress.canceled);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_everything_later_and_holds_up_nobody() {
    let mut fixture = Fixture::new();
    let (slow, quick) = (fixture.open(), fixture.open());
    slow.create(request("a", "b", 0));
    quick.create(request("a", "b", 0));
    receive(&quick);
    let value = "v".repeat(300 * 1024);
    let mut seen = Vec::new();
    for _ in 0..40 {
        fixture.put("a", &value).await;
        seen.extend(event_revisions(&receive(&quick)));
    }
    let expected: Vec<i64> = (2..42).collect();
    assert_eq!(seen, expected);
    let metrics = fixture.hub.metrics();
    assert_eq!(metrics.slow_watchers.load(Ordering::Relaxed), 1);
    assert_eq!(event_revisions(&receive(&slow)), expected);
    assert_eq!(metrics.slow_watchers.load(Ordering::Relaxed), 0);
    fixture.put("a", "now").await;
    assert_eq!(event_revisions(&receive(&slow)), [42]);
}

#[tokio::test]
async fn compaction_under_a_client_that_does_not_read_is_told() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "b", 0));
    let value = "v".repeat(300 * 1024);
    for _ in 0..40 {
        fixture.put("a", &value).await;
    }
    fixture.store.history.compact(Revision::new(41)).unwrap();
    let responses = receive(&stream);
    let (end, before) = responses.split_last().unwrap();
    assert_eq!((end.canceled, end.compact_revision), (true, 41));
    let seen = event_revisions(before);
    assert!(seen.len() < 40);
    assert_eq!(
        seen,
        (2..2 + seen.len() as i64).collect::<Vec<_>>(),
        "no gap before the end"
    );
}

#[tokio::test]
async fn a_large_revision_comes_in_fragments_only_if_asked_for() {
    let mut fixture = Fixture::new();
    let (whole, parts) = (fixture.open(), fixture.open());
    let fragment = Options {
        fragment: true,
        ..Options::default()
    };
    for start in [0, 2] {
        whole.create(request("a", "b", start));
        parts.create(CreateRequest {
            options: fragment,
            ..request("a", "b", start)
        });
    }
    receive(&whole);
    receive(&parts);
    let value = "v".repeat(700 * 1024);
    fixture
        .write(&[put("a1", &value), put("a2", &value), put("a3", &value)])
        .await;
    for response in receive(&whole) {
        assert_eq!((response.events.len(), response.fragment), (3, false));
    }
    let responses = receive(&parts);
    for watch_id in [0, 1] {
        let own: Vec<_> = responses
            .iter()
            .filter(|r| r.watch_id == watch_id)
            .collect();
        let flags: Vec<_> = own.iter().map(|r| (r.events.len(), r.fragment)).collect();
        assert_eq!(flags, [(1, true), (1, true), (1, false)]);
    }
}

#[tokio::test]
async fn commits_of_one_batch_share_a_response() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "b", 0));
    receive(&stream);
    let commits: Vec<_> = (0..5)
        .filter_map(|_| fixture.store.commit(&[put("a", "v"), put("b", "w")]))
        .collect();
    fixture.inbox.publish(&commits);
    settle().await;
    let response = one(receive(&stream));
    assert_eq!(response.header.unwrap().revision, 6);
    assert_eq!(event_revisions(&[response]), [2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn streams_with_equal_watches_share_one_encoding() {
    let mut fixture = Fixture::new();
    let streams = [fixture.open(), fixture.open()];
    for stream in &streams {
        stream.create(request("a", "b", 0));
        receive(stream);
    }
    fixture.put("a", &"v".repeat(64 * 1024)).await;
    let pieces: Vec<Bytes> = streams
        .iter()
        .map(|stream| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match stream.outbound().poll_pop(&mut context) {
                std::task::Poll::Ready(crate::watch::Popped::Responses(piece)) => piece,
                _ => panic!("nothing to send"),
            }
        })
        .collect();
    assert_eq!(pieces[0].as_ptr(), pieces[1].as_ptr());
}

#[tokio::test]
async fn a_gap_is_filled_from_history() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "b", 0));
    receive(&stream);
    for _ in 0..3 {
        fixture.store.commit(&[put("a", "not published")]);
    }
    fixture.put("a", "published").await;
    assert_eq!(event_revisions(&receive(&stream)), [2, 3, 4, 5]);
}

#[tokio::test]
async fn more_than_the_inbox_holds_is_read_from_history() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "b", 0));
    receive(&stream);
    for _ in 0..20_000 {
        let commit = fixture.store.commit(&[put("a", "v")]).unwrap();
        fixture.inbox.publish(&[commit]);
    }
    let mut seen = Vec::new();
    while fixture.hub.position() < Revision::new(20_001) {
        settle().await;
        seen.extend(event_revisions(&receive(&stream)));
    }
    assert_eq!(seen, (2..=20_001).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_gap_that_cannot_be_filled_closes_the_streams() {
    let mut fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "b", 0));
    receive(&stream);
    fixture.store.commit(&[put("a", "lost")]);
    fixture.store.commit(&[put("a", "lost")]);
    fixture.store.history.compact(Revision::new(3)).unwrap();
    fixture.put("a", "4").await;
    assert_eq!(pop(&stream), Err(CloseReason::LostEvents));
    assert_eq!(fixture.hub.metrics().lost_events.load(Ordering::Relaxed), 1);
    let resumed = fixture.open();
    resumed.create(request("a", "b", 4));
    assert_eq!(event_revisions(&receive(&resumed)), [4]);
}

#[tokio::test]
async fn stopping_closes_streams_and_refuses_new_ones() {
    let fixture = Fixture::new();
    let stream = fixture.open();
    stream.create(request("a", "b", 0));
    fixture.hub.stop();
    assert_eq!(pop(&stream), Err(CloseReason::ServerStopped));
    assert!(fixture.hub.open(false).is_none());
}

#[tokio::test]
async fn losing_the_leader_closes_the_streams_that_require_one() {
    let fixture = Fixture::new();
    let (with, without) = (fixture.hub.open(true).unwrap(), fixture.open());
    fixture.hub.lose_leader();
    assert_eq!(pop(&with), Err(CloseReason::NoLeader));
    assert_eq!(pop(&without), Ok(Vec::new()));
}

#[tokio::test]
async fn a_dropped_stream_leaves_nothing_behind() {
    let mut fixture = Fixture::new();
    fixture.put("a", "1").await;
    let stream = fixture.open();
    stream.create(request("a", "b", 0));
    stream.create(request("a", "b", 2));
    stream.create(request("a", "b", 99));
    stream.request_progress();
    drop(stream);
    let hub = Arc::clone(&fixture.hub);
    let metrics = hub.metrics();
    let gauges = [&metrics.streams, &metrics.watchers, &metrics.slow_watchers];
    assert_eq!(gauges.map(|gauge| gauge.load(Ordering::Relaxed)), [0, 0, 0]);
    fixture.put("a", "2").await;
    assert_eq!(metrics.events.load(Ordering::Relaxed), 0);
}
