//! The errors of the gateway, and the form in which the client gets them.

use serde_json::json;

use super::client::{ok, open, post, request};
use crate::harness::{Kind, Options, Server};

parity! {
    an_error_is_its_code_and_text,
    a_code_becomes_an_http_status,
    an_empty_body_is_an_empty_request,
    the_content_type_does_not_matter,
    what_is_no_json_is_refused,
    what_is_truncated_is_refused,
    what_is_of_the_wrong_type_is_refused,
    two_of_a_choice_are_refused,
    numbers_that_do_not_fit_are_refused,
    deep_nesting_is_survived,
    a_large_request_is_refused_in_the_words_of_grpc,
    a_call_ends_when_its_client_says_so,
}

async fn an_error_is_its_code_and_text(server: Server) {
    assert_eq!(
        post(&server, "/v3/kv/put", json!({})).await,
        (
            400,
            json!({"code": 3, "message": "etcdserver: key is not provided"})
        )
    );
}

async fn a_code_becomes_an_http_status(server: Server) {
    for (path, body, status, code) in [
        ("kv/range", json!({"key": "YQ==", "revision": 9}), 400, 11),
        ("kv/put", json!({"key": "YQ==", "lease": 9}), 404, 5),
        ("lease/revoke", json!({"ID": 9}), 404, 5),
    ] {
        let (got, refusal) = post(&server, &format!("/v3/{path}"), body).await;
        assert_eq!((got, &refusal["code"]), (status, &json!(code)), "{path}");
    }
    ok(&server, "/v3/lease/grant", json!({"TTL": 60, "ID": 9})).await;
    let (status, refusal) = post(&server, "/v3/lease/grant", json!({"TTL": 60, "ID": 9})).await;
    assert_eq!((status, &refusal["code"]), (400, &json!(9)));
}

async fn an_empty_body_is_an_empty_request(server: Server) {
    for body in ["", " \n", "{}"] {
        ok(&server, "/v3/cluster/member/list", body).await;
        let (status, refusal) = post(&server, "/v3/kv/range", body).await;
        assert_eq!(status, 400);
        assert_eq!(refusal["message"], "etcdserver: key is not provided");
    }
}

async fn the_content_type_does_not_matter(server: Server) {
    for kind in ["application/json", "text/xml", "application/grpc", "*/*"] {
        let more = format!("Content-Type: {kind}\r\n");
        let answer = request(&server, "POST", "/v3/kv/range", &more, br#"{"key":"YQ=="}"#).await;
        assert_eq!(answer.status, 200, "{kind}");
        assert_eq!(answer.headers["content-type"], "application/json");
    }
}

async fn refused_as_malformed(server: &Server, path: &str, bodies: &[&str]) {
    for body in bodies {
        let (status, refusal) = post(server, path, body).await;
        assert_eq!(
            (status, &refusal["code"]),
            (400, &json!(3)),
            "{body}: {refusal}"
        );
        let message = refusal["message"].as_str().unwrap();
        assert!(!message.starts_with("etcdserver"), "{body}: {message}");
    }
}

async fn what_is_no_json_is_refused(server: Server) {
    let bodies = [
        "garbage",
        "{'key':'YQ=='}",
        r#"{"key":"YQ==",}"#,
        r#"{"key" "YQ=="}"#,
        r#"{"key":NaN}"#,
        "{\"key\":\"YQ==\u{1}\"}",
        "[}",
        "\u{feff}{}",
        "<key>a</key>",
    ];
    refused_as_malformed(&server, "/v3/kv/range", &bodies).await;
}

async fn what_is_truncated_is_refused(server: Server) {
    let body = r#"{"compare":[{"key":"YQ==","version":"0"}],"success":[{}]}"#;
    for length in 1..body.len() {
        let (status, refusal) = post(&server, "/v3/kv/txn", &body[..length]).await;
        assert_eq!(status, 400);
        assert_eq!(refusal, json!({"code": 3, "message": "unexpected EOF"}));
    }
}

async fn what_is_of_the_wrong_type_is_refused(server: Server) {
    let bodies = [
        "[]",
        "null",
        "1",
        r#""key""#,
        r#"{"key":5}"#,
        r#"{"key":{"a":1}}"#,
        r#"{"key":["YQ=="]}"#,
        r#"{"key":"not base 64"}"#,
        r#"{"key":"YQ==","limit":true}"#,
        r#"{"key":"YQ==","limit":"many"}"#,
        r#"{"key":"YQ==","limit":" 1"}"#,
        r#"{"key":"YQ==","limit":"0x1"}"#,
        r#"{"key":"YQ==","limit":1.5}"#,
        r#"{"key":"YQ==","keys_only":"true"}"#,
        r#"{"key":"YQ==","keys_only":1}"#,
        r#"{"key":"YQ==","sort_order":[]}"#,
    ];
    refused_as_malformed(&server, "/v3/kv/range", &bodies).await;
    let bodies = [
        r#"{"success":[null]}"#,
        r#"{"success":{}}"#,
        r#"{"compare":"a"}"#,
    ];
    refused_as_malformed(&server, "/v3/kv/txn", &bodies).await;
}

async fn two_of_a_choice_are_refused(server: Server) {
    let bodies = [
        r#"{"compare":[{"key":"YQ==","version":1,"mod_revision":2}]}"#,
        r#"{"success":[{"request_range":{"key":"YQ=="},"request_put":{"key":"YQ=="}}]}"#,
    ];
    refused_as_malformed(&server, "/v3/kv/txn", &bodies).await;
}

async fn numbers_that_do_not_fit_are_refused(server: Server) {
    let bodies = [
        r#"{"key":"YQ==","limit":9223372036854775808}"#,
        r#"{"key":"YQ==","limit":"9223372036854775808"}"#,
        r#"{"key":"YQ==","limit":"-9223372036854775809"}"#,
        r#"{"key":"YQ==","limit":1e30}"#,
        r#"{"key":"YQ==","limit":1e999}"#,
        r#"{"key":"YQ==","sort_order":3000000000}"#,
    ];
    refused_as_malformed(&server, "/v3/kv/range", &bodies).await;
    let largest = json!({"key": "YQ==", "limit": i64::MAX, "min_mod_revision": i64::MIN});
    ok(&server, "/v3/kv/range", largest).await;
}

/// etcd stops at 10,000 levels; what counts is that the server lives.
async fn deep_nesting_is_survived(server: Server) {
    let levels = 100_000;
    for (open, close) in [("[", "]"), (r#"{"x":"#, "}")] {
        let inner = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        post(
            &server,
            "/v3/kv/range",
            format!(r#"{{"key":"YQ==","x":{inner}}}"#),
        )
        .await;
    }
    let nested = format!(
        "{}{}",
        r#"{"success":[{"request_txn":"#.repeat(10_000),
        "}]}".repeat(10_000)
    );
    let (status, _) = post(&server, "/v3/kv/txn", nested).await;
    assert_eq!(status, 400);
    ok(&server, "/v3/kv/range", json!({"key": "YQ=="})).await;
}

async fn a_large_request_is_refused_in_the_words_of_grpc(server: Server) {
    // 2,000,000 and 3,000,000 bytes, as base64.
    let value = |length: usize| "A".repeat(length / 3 * 4);
    let put = json!({"key": "YQ==", "value": value(1_800_000)});
    let (status, refusal) = post(&server, "/v3/kv/put", put).await;
    assert_eq!(status, 400);
    assert_eq!(refusal["message"], "etcdserver: request is too large");
    let put = json!({"key": "YQ==", "value": value(3_000_000)});
    let (status, refusal) = post(&server, "/v3/kv/put", put).await;
    assert_eq!(status, 429);
    assert_eq!(
        refusal,
        json!({
            "code": 8,
            "message": "grpc: received message larger than max (3000008 vs. 2097152)",
        })
    );
}

async fn a_call_ends_when_its_client_says_so(server: Server) {
    let expired = json!({"code": 4, "message": "context deadline exceeded"});
    let range = br#"{"key":"YQ=="}"#;
    let timeout = "Grpc-Timeout: 1n\r\n";
    let answer = request(&server, "POST", "/v3/kv/range", timeout, range).await;
    assert_eq!((answer.status, answer.json()), (504, expired.clone()));
    let answer = request(
        &server,
        "POST",
        "/v3/kv/range",
        "Grpc-Timeout: soon\r\n",
        range,
    )
    .await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(3)));
    let watch = br#"{"create_request":{"key":"YQ=="}}"#;
    let timeout = "Grpc-Timeout: 200m\r\n";
    let mut watch = open(&server, "POST", "/v3/watch", timeout, watch).await;
    assert_eq!(watch.result().await["created"], true);
    let end = watch.next().await.unwrap();
    if server.kind() == Kind::K8sDqlite {
        assert_eq!(end, json!({"error": expired}));
    } else {
        // etcd's own client may notice that the stream is gone before it notices why.
        assert!(end["error"]["code"].is_u64(), "{end}");
    }
    assert_eq!(watch.next().await, None);
}

/// etcd takes any length of it into memory.
#[tokio::test]
async fn a_body_without_an_end_is_refused() {
    let server = Server::start(Kind::K8sDqlite).await;
    let body = format!(r#"{{"key":"{}"#, "A".repeat(7 * 1024 * 1024));
    let exchange = open(&server, "POST", "/v3/kv/put", "", body.as_bytes()).await;
    assert_eq!(exchange.status, 429);
}
