//! Watch: progress, with which kube-apiserver makes lists from its cache consistent.

use etcd_proto::etcdserverpb::WatchCreateRequest;
use etcd_proto::etcdserverpb::watch_request::RequestUnion;

use crate::harness::*;

parity! {
    requested_progress_has_the_current_revision,
    progress_never_overtakes_events,
    a_future_start_holds_progress_back,
    progress_waits_for_history,
}

parity! {
    with Options::flags(&["--watch-progress-notify-interval=1s"]);
    periodic_progress_goes_to_those_who_asked,
    periodic_progress_goes_on_after_events
}

async fn requested_progress_has_the_current_revision(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    watcher.create(watch("b")).await;
    let current = api.put("c", "1").await;
    // The write is done: every later report has at least its revision, once etcd got round to it.
    let mut reported = 0;
    while reported < current {
        let (events, response) = watcher.progress().await;
        assert_eq!(events, []);
        assert!(!response.created && !response.canceled && response.events.is_empty());
        assert!(at(&response.header) >= reported);
        reported = at(&response.header);
    }
    assert_eq!(reported, current);
}

async fn progress_never_overtakes_events(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    let writer = api.clone();
    let writes = tokio::spawn(async move {
        let mut last = 0;
        for index in 0..500 {
            last = writer.put("a", &index.to_string()).await;
        }
        last
    });
    let (mut delivered, mut reports) = (1, 0);
    while delivered < 501 {
        let (events, response) = watcher.progress().await;
        for event in events {
            let revision = event.kv.unwrap().mod_revision;
            assert_eq!(revision, delivered + 1, "no event is missed or repeated");
            delivered = revision;
        }
        let reported = at(&response.header);
        assert_eq!(
            reported, delivered,
            "a report at {reported} promises all events up to it"
        );
        reports += 1;
    }
    assert!(reports > 1);
    assert_eq!(writes.await.unwrap(), 501);
}

async fn a_future_start_holds_progress_back(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    let future = WatchCreateRequest {
        start_revision: 4,
        ..watch("a")
    };
    watcher.create(future).await;
    watcher.request_progress().await;
    // Created is answered after the request before it was looked at.
    watcher.send(RequestUnion::CreateRequest(watch("z"))).await;
    assert!(watcher.next().await.created);
    api.put("a", "2").await;
    let response = watcher.next().await;
    assert_eq!(
        event_lines(&response.events),
        ["PUT a=2 @2"],
        "no report came before it"
    );
    api.put("b", "3").await;
    api.put("b", "4").await;
    let mut reported = 0;
    while reported < 4 {
        reported = at(&watcher.progress().await.1.header);
        assert!(
            reported >= 3,
            "the watch from revision 4 has nothing to miss up to 3"
        );
    }
}

async fn progress_waits_for_history(server: Server) {
    let api = server.api().await;
    for index in 0..2000 {
        api.put("a", &index.to_string()).await;
    }
    let create = WatchCreateRequest {
        start_revision: 2,
        ..watch("a")
    };
    let (mut watcher, _) = Watcher::open(&api, create).await;
    let (events, response) = watcher.progress().await;
    assert_eq!(at(&response.header), 2001);
    assert_eq!(events.len(), 2000);
}

async fn periodic_progress_goes_to_those_who_asked(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    let asking = WatchCreateRequest {
        progress_notify: true,
        ..watch("b")
    };
    let asked = watcher.create(asking).await.watch_id;
    let current = api.put("c", "1").await;
    let (mut reports, mut reported) = (0, 0);
    while reports < 3 || reported < current {
        let response = watcher.next().await;
        assert_eq!((response.watch_id, response.events.len()), (asked, 0));
        assert!(!response.created && !response.canceled);
        assert!(at(&response.header) >= reported);
        reported = at(&response.header);
        reports += 1;
    }
    assert_eq!(reported, current);
}

async fn periodic_progress_goes_on_after_events(server: Server) {
    let api = server.api().await;
    let asking = WatchCreateRequest {
        progress_notify: true,
        ..watch("a")
    };
    let (mut watcher, _) = Watcher::open(&api, asking).await;
    for _ in 0..2 {
        let revision = api.put("a", "1").await;
        loop {
            let response = watcher.next().await;
            if response.events.is_empty() && at(&response.header) >= revision {
                break;
            }
        }
    }
}
