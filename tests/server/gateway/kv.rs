//! Reads and writes, as clients of the gateway send them.

use serde_json::json;

use super::client::{Exchange, mask, ok, post, request, send, stream};
use crate::harness::{Options, Server};

parity! {
    binary_data_comes_back_as_it_went_in,
    base64_may_be_url_safe_and_without_padding,
    numbers_may_be_strings_and_enums_may_be_numbers,
    both_spellings_of_a_field_are_taken,
    unknown_fields_and_enum_names_are_ignored,
    null_is_the_same_as_nothing,
    every_kind_of_compare_works,
    a_transaction_may_be_nested,
    deleting_tells_what_was_there,
    a_client_of_patronis_shape_is_served,
    the_answer_is_json_and_open_to_all_origins,
    paths_of_old_clients_work,
    one_connection_takes_many_requests,
    what_follows_the_first_value_is_not_read,
}

async fn binary_data_comes_back_as_it_went_in(server: Server) {
    // 0x00 0xff 0x0a, and all values of a byte.
    let value = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==";
    let put = ok(
        &server,
        "/v3/kv/put",
        json!({"key": "AP8K", "value": value}),
    )
    .await;
    assert_eq!(put, json!({"header": {"revision": "2"}}));
    assert_eq!(
        ok(&server, "/v3/kv/range", json!({"key": "AP8K"})).await,
        json!({
            "header": {"revision": "2"},
            "kvs": [{
                "key": "AP8K", "value": value,
                "create_revision": "2", "mod_revision": "2", "version": "1",
            }],
            "count": "1",
        })
    );
}

async fn base64_may_be_url_safe_and_without_padding(server: Server) {
    ok(
        &server,
        "/v3/kv/put",
        json!({"key": "+/8=", "value": "eA=="}),
    )
    .await;
    for key in ["+/8=", "+/8", "-_8=", "-_8"] {
        let found = ok(&server, "/v3/kv/range", json!({"key": key})).await;
        assert_eq!(found["count"], "1", "{key}");
    }
}

async fn numbers_may_be_strings_and_enums_may_be_numbers(server: Server) {
    for key in ["YQ==", "Yg==", "Yw=="] {
        ok(&server, "/v3/kv/put", json!({"key": key})).await;
    }
    for (limit, order, target) in [
        (json!(1), json!(2), json!(2)),
        (json!("1"), json!("DESCEND"), json!("CREATE")),
        (json!(1e0), json!(2), json!("CREATE")),
    ] {
        let request = json!({
            "key": "AA==", "range_end": "AA==",
            "limit": limit, "sort_order": order, "sort_target": target,
        });
        let found = ok(&server, "/v3/kv/range", request).await;
        assert_eq!(found["kvs"][0]["key"], "Yw==");
        assert_eq!(
            (&found["more"], &found["count"]),
            (&json!(true), &json!("3"))
        );
    }
}

/// lua-resty-etcd writes `requestPut` and `createRevision`.
async fn both_spellings_of_a_field_are_taken(server: Server) {
    let txn = json!({
        "compare": [{"key": "YQ==", "target": "CREATE", "createRevision": 0}],
        "success": [{"requestPut": {"key": "YQ==", "value": "MQ=="}}],
        "failure": [{"requestRange": {"key": "YQ==", "keysOnly": true}}],
    });
    let first = ok(&server, "/v3/kv/txn", &txn).await;
    assert_eq!(
        first,
        json!({
            "header": {"revision": "2"},
            "succeeded": true,
            "responses": [{"response_put": {"header": {"revision": "2"}}}],
        })
    );
    let second = ok(&server, "/v3/kv/txn", &txn).await;
    assert_eq!(second.get("succeeded"), None);
    assert_eq!(
        second["responses"][0]["response_range"]["kvs"],
        json!([{"key": "YQ==", "create_revision": "2", "mod_revision": "2", "version": "1"}])
    );
}

async fn unknown_fields_and_enum_names_are_ignored(server: Server) {
    let request = json!({"key": "YQ==", "sort_order": "SIDEWAYS", "colour": {"of": ["it", {}]}});
    assert_eq!(
        ok(&server, "/v3/kv/range", request).await,
        json!({"header": {"revision": "1"}})
    );
}

async fn null_is_the_same_as_nothing(server: Server) {
    let request = json!({"key": "YQ==", "limit": null, "sort_order": null, "keys_only": null});
    ok(&server, "/v3/kv/range", request).await;
    let (status, refusal) = post(&server, "/v3/kv/range", json!({"key": null})).await;
    assert_eq!(status, 400);
    assert_eq!(refusal["message"], "etcdserver: key is not provided");
}

async fn every_kind_of_compare_works(server: Server) {
    let lease = ok(&server, "/v3/lease/grant", json!({"TTL": 600, "ID": 7})).await;
    assert_eq!(
        lease,
        json!({"header": {"revision": "1"}, "ID": "7", "TTL": "600"})
    );
    let put = json!({"key": "YQ==", "value": "dg==", "lease": 7});
    ok(&server, "/v3/kv/put", put).await;
    for (target, value) in [
        ("VERSION", json!({"version": "1"})),
        ("CREATE", json!({"create_revision": "2"})),
        ("MOD", json!({"mod_revision": 2})),
        ("VALUE", json!({"value": "dg=="})),
        ("LEASE", json!({"lease": "7"})),
    ] {
        for (result, succeeds) in [("EQUAL", true), ("NOT_EQUAL", false), ("GREATER", false)] {
            let mut compare = value.clone();
            compare["key"] = "YQ==".into();
            compare["target"] = target.into();
            compare["result"] = result.into();
            let answer = ok(&server, "/v3/kv/txn", json!({"compare": [compare]})).await;
            let succeeded = answer.get("succeeded").cloned().unwrap_or(false.into());
            assert_eq!(succeeded, succeeds, "{target} {result}");
        }
    }
}

async fn a_transaction_may_be_nested(server: Server) {
    let inner = json!({
        "compare": [{"key": "YQ==", "target": "VERSION", "version": "0", "result": "EQUAL"}],
        "success": [{"request_put": {"key": "YQ==", "value": "MQ=="}}],
    });
    let outer = json!({
        "compare": [{"key": "YQ==", "target": "VERSION", "version": "5", "result": "GREATER"}],
        "failure": [{"request_txn": inner}, {"request_range": {"key": "Yg=="}}],
    });
    assert_eq!(
        ok(&server, "/v3/kv/txn", outer).await,
        json!({
            "header": {"revision": "2"},
            "responses": [
                {"response_txn": {
                    "header": {},
                    "succeeded": true,
                    "responses": [{"response_put": {"header": {"revision": "2"}}}],
                }},
                {"response_range": {"header": {"revision": "2"}}},
            ],
        })
    );
}

async fn deleting_tells_what_was_there(server: Server) {
    ok(
        &server,
        "/v3/kv/put",
        json!({"key": "YQ==", "value": "MQ=="}),
    )
    .await;
    let put = json!({"key": "YQ==", "value": "Mg==", "prev_kv": true});
    let put = ok(&server, "/v3/kv/put", put).await;
    assert_eq!(put["prev_kv"]["value"], "MQ==");
    let delete = json!({"key": "YQ==", "prev_kv": true});
    assert_eq!(
        ok(&server, "/v3/kv/deleterange", &delete).await,
        json!({
            "header": {"revision": "4"},
            "deleted": "1",
            "prev_kvs": [{
                "key": "YQ==", "value": "Mg==",
                "create_revision": "2", "mod_revision": "3", "version": "2",
            }],
        })
    );
    assert_eq!(
        ok(&server, "/v3/kv/deleterange", &delete).await,
        json!({"header": {"revision": "4"}})
    );
}

/// The requests are those of `patroni/dcs/etcd3.py` while it takes and keeps the leader's lock.
async fn a_client_of_patronis_shape_is_served(server: Server) {
    let members = ok(&server, "/v3/cluster/member/list", json!({})).await;
    assert_eq!(members["members"][0]["clientURLs"][0], server.client_url());
    let lease = ok(&server, "/v3/lease/grant", json!({"TTL": 30})).await;
    let lease = lease["ID"].as_str().unwrap().to_owned();
    let mut alive = stream(&server, "/v3/lease/keepalive", json!({"ID": lease})).await;
    assert_eq!(alive.result().await["TTL"], "30");
    let leader = "L3NlcnZpY2UvZGIvbGVhZGVy";
    let take = json!({
        "compare": [{"key": leader, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
        "success": [{"request_put": {"key": leader, "value": "YQ==", "lease": lease}}],
        "failure": [],
    });
    let taken = ok(&server, "/v3/kv/txn", &take).await;
    assert_eq!(taken["succeeded"], true);
    let revision = taken["header"]["revision"].as_str().unwrap();
    // update_leader: if the lock is ours under this lease there is nothing to do, else put it anew.
    let put = json!({"request_put": {"key": leader, "value": "YQ==", "lease": lease}});
    let update = json!({
        "compare": [
            {"key": leader, "target": "CREATE", "result": "EQUAL", "create_revision": "99"},
        ],
        "success": [put],
        "failure": [{"request_txn": {
            "compare": [
                {"key": leader, "target": "VALUE", "result": "EQUAL", "value": "YQ=="},
            ],
            "success": [put],
            "failure": [],
        }}],
    });
    let updated = ok(&server, "/v3/kv/txn", update).await;
    assert_eq!(updated.get("succeeded"), None);
    assert_eq!(updated["responses"][0]["response_txn"]["succeeded"], true);
    let list = json!({
        "key": "L3NlcnZpY2UvZGIv", "range_end": "L3NlcnZpY2UvZGIw", "serializable": true,
    });
    let found = ok(&server, "/v3/kv/range", list).await;
    assert_eq!(found["kvs"][0]["create_revision"], revision);
    assert_eq!(found["kvs"][0]["lease"], lease);
    assert_eq!(found["kvs"][0]["version"], "2");
}

async fn the_answer_is_json_and_open_to_all_origins(server: Server) {
    let answer = request(&server, "POST", "/v3/kv/range", "", br#"{"key":"YQ=="}"#).await;
    let header = |name: &str| answer.headers.get(name).map(String::as_str);
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(
        header("grpc-metadata-content-type"),
        Some("application/grpc")
    );
    assert_eq!(header("access-control-allow-origin"), Some("*"));
    let asked = request(&server, "OPTIONS", "/v3/kv/range", "", b"").await;
    assert_eq!(asked.status, 200);
}

async fn paths_of_old_clients_work(server: Server) {
    ok(&server, "/v3beta/kv/put", json!({"key": "YQ=="})).await;
    assert_eq!(
        ok(&server, "/v3/kv/range", json!({"key": "YQ=="})).await["count"],
        "1"
    );
    let answer = request(&server, "POST", "/v3", "", b"{}").await;
    assert_eq!(
        (answer.status, answer.headers["location"].as_str()),
        (307, "/v3/")
    );
}

async fn one_connection_takes_many_requests(server: Server) {
    let put = "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"key\":\"YQ==\"}";
    let length = "Content-Length: 14\r\n";
    let body = format!("{{\"key\":\"YQ==\"}}{put}{put}");
    let stream = send(&server, "POST", "/v3/kv/put", length, body.as_bytes()).await;
    let mut exchange = Exchange::read_head(stream).await;
    for revision in ["2", "3", "4"] {
        let mut json = serde_json::from_slice(&exchange.body().await).unwrap();
        mask(&mut json);
        assert_eq!(json, json!({"header": {"revision": revision}}));
        if revision != "4" {
            exchange.read_next_head().await;
        }
    }
}

async fn what_follows_the_first_value_is_not_read(server: Server) {
    for body in [
        r#"{"key":"YQ=="}{"key":""}"#,
        r#"{"key":"YQ=="} oops"#,
        r#" {"key":"YQ=="}{"#,
    ] {
        ok(&server, "/v3/kv/range", body).await;
    }
}
