//! Every path that etcd's gateway has.

use serde_json::json;

use super::client::request;
use crate::harness::{Options, Server};

/// The paths whose call answers at once, whatever the state of the server.
const PATHS: [&str; 45] = [
    "kv/range",
    "kv/put",
    "kv/deleterange",
    "kv/txn",
    "kv/compaction",
    "lease/grant",
    "lease/revoke",
    "kv/lease/revoke",
    "lease/keepalive",
    "lease/timetolive",
    "kv/lease/timetolive",
    "lease/leases",
    "kv/lease/leases",
    "cluster/member/remove",
    "cluster/member/update",
    "cluster/member/list",
    "cluster/member/promote",
    "maintenance/alarm",
    "maintenance/status",
    "maintenance/defragment",
    "maintenance/hash",
    "maintenance/hashkv",
    "maintenance/snapshot",
    "maintenance/transfer-leadership",
    "maintenance/downgrade",
    "auth/enable",
    "auth/disable",
    "auth/status",
    "auth/authenticate",
    "auth/user/add",
    "auth/user/get",
    "auth/user/list",
    "auth/user/delete",
    "auth/user/changepw",
    "auth/user/grant",
    "auth/user/revoke",
    "auth/role/add",
    "auth/role/get",
    "auth/role/list",
    "auth/role/delete",
    "auth/role/grant",
    "auth/role/revoke",
    "lock/unlock",
    "election/leader",
    "election/resign",
];

/// The paths whose call waits for something.
const WAITING: [&str; 6] = [
    "watch",
    "lock/lock",
    "election/campaign",
    "election/proclaim",
    "election/observe",
    "cluster/member/add",
];

parity! {
    every_path_is_a_call,
    only_post_calls,
    other_paths_are_not_found,
}

async fn every_path_is_a_call(server: Server) {
    for path in PATHS {
        let answer = request(&server, "POST", &format!("/v3/{path}"), "", b"{}").await;
        // A stream without any message has no content at all.
        let is_empty_stream = answer.status == 200 && answer.body.is_empty();
        assert_ne!(answer.body, b"404 page not found\n", "{path}");
        if !is_empty_stream && path != "maintenance/snapshot" {
            assert_ne!(
                answer.json(),
                json!({"code": 5, "message": "Not Found"}),
                "{path}"
            );
        }
    }
}

async fn only_post_calls(server: Server) {
    for path in PATHS.into_iter().chain(WAITING) {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = request(&server, method, &format!("/v3/{path}"), "", b"").await;
            assert_eq!(answer.status, 501, "{method} {path}");
            let expected = json!({"code": 12, "message": "Method Not Allowed"});
            assert_eq!(answer.json(), expected, "{method} {path}");
        }
    }
}

async fn other_paths_are_not_found(server: Server) {
    for path in [
        "/v3/",
        "/v3/kv",
        "/v3/kv/",
        "/v3/kv/rangestream",
        "/v3/kv/range/",
        "/v3/KV/Range",
        "/v3/kv/range/x",
        "/v3/%00",
    ] {
        let answer = request(&server, "POST", path, "", b"{}").await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(
            answer.json(),
            json!({"code": 5, "message": "Not Found"}),
            "{path}"
        );
    }
}
