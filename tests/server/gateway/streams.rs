//! Calls that answer with many messages, a line each.

use serde_json::json;

use super::client::{Exchange, ok, post, send, stream};
use crate::harness::{Kind, Options, Server};

parity! {
    a_watch_delivers_as_it_happens,
    a_watch_replays_history,
    a_watch_on_compacted_history_is_cancelled,
    a_watch_is_cancelled_on_request,
    keep_alives_are_answered_one_by_one,
    a_stream_that_asks_for_nothing_ends,
    what_follows_a_good_request_is_ignored,
}

async fn put(server: &Server, value: &str) {
    ok(server, "/v3/kv/put", json!({"key": "YQ==", "value": value})).await;
}

async fn a_watch_delivers_as_it_happens(server: Server) {
    put(&server, "MQ==").await;
    let create = json!({"create_request": {"key": "YQ==", "prev_kv": true, "filters": []}});
    let mut watch = stream(&server, "/v3/watch", create).await;
    assert_eq!(watch.headers["content-type"], "application/json");
    assert_eq!(
        watch.result().await,
        json!({"header": {"revision": "2"}, "created": true})
    );
    assert!(watch.is_silent().await);
    put(&server, "Mg==").await;
    let old = json!({
        "key": "YQ==", "value": "MQ==",
        "create_revision": "2", "mod_revision": "2", "version": "1",
    });
    let new = json!({
        "key": "YQ==", "value": "Mg==",
        "create_revision": "2", "mod_revision": "3", "version": "2",
    });
    assert_eq!(
        watch.result().await,
        json!({"header": {"revision": "3"}, "events": [{"kv": new, "prev_kv": old}]})
    );
    ok(&server, "/v3/kv/deleterange", json!({"key": "YQ=="})).await;
    let tombstone = json!({"key": "YQ==", "mod_revision": "4"});
    assert_eq!(
        watch.result().await["events"],
        json!([{"type": "DELETE", "kv": tombstone, "prev_kv": new}])
    );
}

async fn a_watch_replays_history(server: Server) {
    for value in ["MQ==", "Mg==", "Mw=="] {
        put(&server, value).await;
    }
    let create = json!({"createRequest": {"key": "YQ==", "startRevision": 2, "watchId": "7"}});
    let mut watch = stream(&server, "/v3/watch", create).await;
    assert_eq!(watch.result().await["watch_id"], "7");
    let mut values = Vec::new();
    while values.len() < 3 {
        let events = watch.result().await["events"].take();
        let events = events.as_array().unwrap().iter();
        values.extend(events.map(|event| event["kv"]["value"].clone()));
    }
    assert_eq!(values, ["MQ==", "Mg==", "Mw=="]);
}

async fn a_watch_on_compacted_history_is_cancelled(server: Server) {
    put(&server, "MQ==").await;
    put(&server, "Mg==").await;
    ok(&server, "/v3/kv/compaction", json!({"revision": "3"})).await;
    let create = json!({"create_request": {"key": "YQ==", "start_revision": "1"}});
    let mut watch = stream(&server, "/v3/watch", create).await;
    assert_eq!(watch.result().await["created"], true);
    let cancelled = watch.result().await;
    assert_eq!(cancelled["canceled"], true);
    assert_eq!(cancelled["compact_revision"], "3");
}

async fn a_watch_is_cancelled_on_request(server: Server) {
    let create = json!({"create_request": {"key": "YQ==", "watch_id": "5"}});
    let cancel = json!({"cancel_request": {"watch_id": "5"}});
    let mut watch = stream(&server, "/v3/watch", format!("{create}\n{cancel}\n")).await;
    let created = watch.result().await;
    assert_eq!(
        created,
        json!({"header": {"revision": "1"}, "watch_id": "5", "created": true})
    );
    assert_eq!(
        watch.result().await,
        json!({"header": {"revision": "1"}, "watch_id": "5", "canceled": true})
    );
}

async fn keep_alives_are_answered_one_by_one(server: Server) {
    ok(&server, "/v3/lease/grant", json!({"ID": 7, "TTL": 600})).await;
    let mut alive = stream(&server, "/v3/lease/keepalive", r#"{"ID":7}{"ID":"8"}"#).await;
    let header = json!({"revision": "1"});
    assert_eq!(
        alive.result().await,
        json!({"header": header, "ID": "7", "TTL": "600"})
    );
    assert_eq!(alive.result().await, json!({"header": header, "ID": "8"}));
    assert_eq!(alive.next().await, None);
}

async fn a_stream_that_asks_for_nothing_ends(server: Server) {
    let mut alive = stream(&server, "/v3/lease/keepalive", "").await;
    assert_eq!(alive.next().await, None);
}

async fn what_follows_a_good_request_is_ignored(server: Server) {
    let create = json!({"create_request": {"key": "YQ=="}});
    let mut watch = stream(&server, "/v3/watch", format!("{create} oops {create}")).await;
    assert_eq!(watch.result().await["created"], true);
    put(&server, "MQ==").await;
    assert_eq!(watch.result().await["events"][0]["kv"]["value"], "MQ==");
}

/// In etcd such a call has no answer at all.
#[tokio::test]
async fn a_stream_whose_first_request_is_malformed_is_refused() {
    let server = Server::start(Kind::K8sDqlite).await;
    for body in ["garbage", "[]", r#"{"create_request":5}"#] {
        let (status, refusal) = post(&server, "/v3/watch", body).await;
        assert_eq!((status, &refusal["code"]), (400, &json!(3)), "{body}");
    }
}

/// etcd answers only after the end of the body.
#[tokio::test]
async fn a_watch_takes_more_requests_while_it_delivers() {
    let server = Server::start(Kind::K8sDqlite).await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    let first = json!({"create_request": {"key": "YQ=="}}).to_string();
    let first = format!("{:x}\r\n{first}\r\n", first.len());
    let stream = send(&server, "POST", "/v3/watch", chunked, first.as_bytes()).await;
    let mut watch = Exchange::read_head(stream).await;
    assert_eq!(watch.result().await["created"], true);
    put(&server, "MQ==").await;
    assert_eq!(watch.result().await["events"][0]["kv"]["value"], "MQ==");
    // A value may come in pieces.
    let second = json!({"create_request": {"key": "Yg=="}}).to_string();
    let (start, end) = second.split_at(9);
    watch.send_chunk(start.as_bytes()).await;
    assert!(watch.is_silent().await);
    watch.send_chunk(end.as_bytes()).await;
    let created = watch.result().await;
    assert_eq!(
        (&created["watch_id"], &created["created"]),
        (&json!("1"), &json!(true))
    );
}

#[tokio::test]
async fn a_watch_is_told_when_the_server_stops() {
    let mut server = Server::start(Kind::K8sDqlite).await;
    let create = json!({"create_request": {"key": "YQ=="}});
    let mut watch = stream(&server, "/v3/watch", create).await;
    assert_eq!(watch.result().await["created"], true);
    let (status, last) = tokio::join!(server.terminate(), async {
        (watch.next().await, watch.next().await)
    });
    assert!(status.success());
    let error = json!({"error": {"code": 14, "message": "etcdserver: server stopped"}});
    assert_eq!(last, (Some(error), None));
}
