//! The permissions that each call needs.

use super::*;

parity! {
    with cheap();
    each_call_asks_for_what_etcd_asks,
    a_permission_covers_its_keys_only,
    a_transaction_needs_the_permissions_of_all_its_branches,
    a_previous_value_needs_the_permission_to_read,
    a_lease_belongs_to_those_who_may_write_its_keys,
    a_watch_is_refused_and_the_stream_goes_on,
    a_faulty_request_is_refused_for_its_fault_first,
    a_revoked_role_counts_at_once,
}

/// Returns callers with no token, with a wrong one, with a role that does not matter, and root.
async fn callers(server: &Server) -> [Api; 4] {
    let api = server.api().await;
    add_role(&api, "other", &[permission(Type::Readwrite, "other", "")]).await;
    add_user(&api, "plain", &["other"]).await;
    let root = enable(&api).await;
    let plain = sign_in(&api, "plain").await;
    [api.clone(), api.with_token("no.such"), plain, root]
}

macro_rules! outcomes {
    ($callers:expr, $request:expr) => {{
        let mut outcomes = Vec::new();
        for caller in &$callers {
            outcomes.push(outcome(&caller.try_ask($request).await));
        }
        outcomes.join(", ")
    }};
}

async fn each_call_asks_for_what_etcd_asks(server: Server) {
    let callers = callers(&server).await;
    let table = [
        (
            "range",
            outcomes!(callers, get("a")),
            "nobody, bad token, denied, ok",
        ),
        (
            "put",
            outcomes!(callers, put("a", "1")),
            "nobody, bad token, denied, ok",
        ),
        (
            "delete",
            outcomes!(callers, delete("a")),
            "nobody, bad token, denied, ok",
        ),
        (
            "empty txn",
            outcomes!(callers, TxnRequest::default()),
            "ok, bad token, ok, ok",
        ),
        (
            "compact",
            outcomes!(callers, compact(100)),
            "nobody, bad token, denied, ok",
        ),
        (
            "grant",
            outcomes!(callers, LeaseGrantRequest { ttl: 60, id: 0 }),
            "nobody, bad token, ok, ok",
        ),
        (
            "revoke",
            outcomes!(callers, revoke(12345)),
            "nobody, bad token, ok, ok",
        ),
        (
            "time to live without keys",
            outcomes!(
                callers,
                LeaseTimeToLiveRequest {
                    id: 12345,
                    keys: false
                }
            ),
            "nobody, bad token, ok, ok",
        ),
        (
            "time to live",
            outcomes!(callers, time_to_live(12345)),
            "nobody, bad token, ok, ok",
        ),
        (
            "leases",
            outcomes!(callers, LeaseLeasesRequest {}),
            "nobody, bad token, ok, ok",
        ),
        (
            "members",
            outcomes!(callers, MemberListRequest::default()),
            "nobody, bad token, ok, ok",
        ),
        (
            "linearizable members",
            outcomes!(callers, MemberListRequest { linearizable: true }),
            "nobody, bad token, ok, ok",
        ),
        (
            "member remove",
            outcomes!(callers, MemberRemoveRequest { id: 1 }),
            "nobody, bad token, denied, ok",
        ),
        (
            "member update",
            outcomes!(callers, MemberUpdateRequest::default()),
            "nobody, bad token, denied, ok",
        ),
        (
            "member promote",
            outcomes!(callers, MemberPromoteRequest { id: 1 }),
            "nobody, bad token, denied, ok",
        ),
        (
            "status",
            outcomes!(callers, StatusRequest {}),
            "nobody, bad token, ok, ok",
        ),
        (
            "alarms",
            outcomes!(callers, AlarmRequest::default()),
            "nobody, bad token, ok, ok",
        ),
        (
            "raise an alarm",
            outcomes!(
                callers,
                AlarmRequest {
                    action: alarm_request::AlarmAction::Deactivate.into(),
                    member_id: 7,
                    alarm: AlarmType::Nospace.into(),
                }
            ),
            "nobody, bad token, denied, ok",
        ),
        (
            "hash",
            outcomes!(callers, HashRequest {}),
            "nobody, bad token, denied, ok",
        ),
        (
            "hash kv",
            outcomes!(callers, HashKvRequest { revision: 0 }),
            "nobody, bad token, denied, ok",
        ),
        (
            "defragment",
            outcomes!(callers, DefragmentRequest {}),
            "nobody, bad token, denied, ok",
        ),
        (
            "move leader",
            outcomes!(callers, MoveLeaderRequest { target_id: 1 }),
            "nobody, bad token, denied, ok",
        ),
        (
            "downgrade",
            outcomes!(callers, DowngradeRequest::default()),
            "nobody, bad token, denied, ok",
        ),
        (
            "auth status",
            outcomes!(callers, AuthStatusRequest {}),
            "ok, bad token, ok, ok",
        ),
        (
            "auth enable",
            outcomes!(callers, AuthEnableRequest {}),
            "nobody, bad token, denied, ok",
        ),
        (
            "user add",
            outcomes!(callers, user_add("new", "x")),
            "nobody, bad token, denied, ok",
        ),
        (
            "user list",
            outcomes!(callers, AuthUserListRequest {}),
            "nobody, bad token, denied, ok",
        ),
        (
            "get of their own user",
            outcomes!(callers, user_get("plain")),
            "nobody, bad token, ok, ok",
        ),
        (
            "get of another",
            outcomes!(callers, user_get("root")),
            "nobody, bad token, denied, ok",
        ),
        (
            "own role",
            outcomes!(callers, role_get("other")),
            "nobody, bad token, ok, ok",
        ),
        (
            "another role",
            outcomes!(callers, role_get("root")),
            "nobody, bad token, denied, ok",
        ),
        (
            "role list",
            outcomes!(callers, AuthRoleListRequest {}),
            "nobody, bad token, denied, ok",
        ),
        (
            "role add",
            outcomes!(callers, role_add("new")),
            "nobody, bad token, denied, ok",
        ),
        (
            "role delete",
            outcomes!(callers, role_delete("new")),
            "nobody, bad token, denied, ok",
        ),
        (
            "auth disable",
            outcomes!(callers, AuthDisableRequest {}),
            "nobody, bad token, denied, ok",
        ),
    ];
    let wrong: Vec<_> = table
        .iter()
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "call, found, expected: {wrong:#?}");
}

/// A user with one role of these permissions.
async fn user_with(server: &Server, permissions: &[Permission]) -> Api {
    let api = server.api().await;
    add_role(&api, "role", permissions).await;
    add_user(&api, "user", &["role"]).await;
    enable(&api).await;
    sign_in(&api, "user").await
}

async fn a_permission_covers_its_keys_only(server: Server) {
    let user = user_with(
        &server,
        &[
            permission(Type::Read, "a", "c"),
            permission(Type::Write, "b", ""),
            permission(Type::Readwrite, "x", "\0"),
            permission(Type::Read, "c", "e"),
        ],
    )
    .await;
    let reads = [
        ("a", "", "ok"),
        ("b", "", "ok"),
        ("d", "", "ok"),
        ("e", "", "denied"),
        ("a", "e", "ok"),
        ("a", "f", "denied"),
        ("z", "\0", "ok"),
        ("w", "\0", "denied"),
        ("\0", "\0", "denied"),
    ];
    for (key, end, expected) in reads {
        let found = outcome(&user.try_ask(get_range(key, end)).await);
        assert_eq!(found, expected, "read {key:?} {end:?}");
    }
    for (key, expected) in [
        ("a", "denied"),
        ("b", "ok"),
        ("x", "ok"),
        ("zz", "ok"),
        ("w", "denied"),
    ] {
        let found = outcome(&user.try_ask(put(key, "1")).await);
        assert_eq!(found, expected, "write {key:?}");
    }
    let deletes = [("x", "\0", "ok"), ("b", "", "ok"), ("b", "c", "denied")];
    for (key, end, expected) in deletes {
        let delete = DeleteRangeRequest {
            range_end: end.into(),
            ..delete(key)
        };
        assert_eq!(
            outcome(&user.try_ask(delete).await),
            expected,
            "delete {key:?} {end:?}"
        );
    }
}

async fn a_transaction_needs_the_permissions_of_all_its_branches(server: Server) {
    let user = user_with(
        &server,
        &[
            permission(Type::Read, "r", ""),
            permission(Type::Write, "w", ""),
        ],
    )
    .await;
    let nested = |op: RequestOp| txn().then(txn().or_else(op));
    let cases = [
        (
            "all",
            txn()
                .when(version("r", 0))
                .then(get("r"))
                .or_else(put("w", "1")),
            "ok",
        ),
        ("compare", txn().when(version("w", 0)), "denied"),
        ("success", txn().then(put("r", "1")), "denied"),
        ("failure", txn().or_else(get("w")), "denied"),
        ("nested", nested(get("w").op()), "denied"),
        ("nested and good", nested(get("r").op()), "ok"),
    ];
    for (name, txn, expected) in cases {
        assert_eq!(outcome(&user.try_ask(txn).await), expected, "{name}");
    }
}

async fn a_previous_value_needs_the_permission_to_read(server: Server) {
    let user = user_with(
        &server,
        &[
            permission(Type::Write, "w", ""),
            permission(Type::Readwrite, "b", ""),
        ],
    )
    .await;
    for (key, expected) in [("w", "denied"), ("b", "ok")] {
        let put = PutRequest {
            prev_kv: true,
            ..put(key, "1")
        };
        assert_eq!(outcome(&user.try_ask(put).await), expected, "put {key}");
        let delete = DeleteRangeRequest {
            prev_kv: true,
            ..delete(key)
        };
        assert_eq!(
            outcome(&user.try_ask(delete).await),
            expected,
            "delete {key}"
        );
    }
}

async fn a_lease_belongs_to_those_who_may_write_its_keys(server: Server) {
    let user = user_with(&server, &[permission(Type::Readwrite, "mine", "")]).await;
    let root = sign_in(&server.api().await, "root").await;
    for id in [1, 2] {
        root.ask(LeaseGrantRequest { ttl: 60, id }).await;
    }
    let leased = |key: &'static str, lease| PutRequest {
        lease,
        ..put(key, "1")
    };
    root.ask(leased("theirs", 1)).await;
    assert_eq!(outcome(&user.try_ask(leased("mine", 1)).await), "denied");
    assert_eq!(outcome(&user.try_ask(leased("mine", 2)).await), "ok");
    assert_eq!(outcome(&user.try_ask(time_to_live(1)).await), "denied");
    assert_eq!(outcome(&user.try_ask(time_to_live(2)).await), "ok");
    let renewed = async |id| {
        let ids = tokio_stream::iter([LeaseKeepAliveRequest { id }]);
        match user.lease.clone().lease_keep_alive(user.request(ids)).await {
            Ok(answers) => outcome(&answers.into_inner().message().await),
            refused => outcome(&refused),
        }
    };
    assert_eq!((renewed(1).await, renewed(2).await), ("denied", "ok"));
    let without_keys = LeaseTimeToLiveRequest { id: 1, keys: false };
    assert_eq!(outcome(&user.try_ask(without_keys).await), "ok");
    assert_eq!(
        outcome(&user.try_ask(LeaseLeasesRequest {}).await),
        "denied"
    );
    assert_eq!(outcome(&user.try_ask(revoke(1)).await), "denied");
    assert_eq!(outcome(&user.try_ask(revoke(2)).await), "ok");
    assert_eq!(root.ask(get("mine")).await.kvs, []);
}

async fn a_watch_is_refused_and_the_stream_goes_on(server: Server) {
    let user = user_with(&server, &[permission(Type::Read, "a", "b")]).await;
    let (mut watcher, refused) = Watcher::open(&user, watch("b")).await;
    assert!(refused.created && refused.canceled, "{refused:?}");
    assert_eq!(refused.watch_id, -1);
    assert_eq!(
        refused.cancel_reason,
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
    );
    let endless = WatchCreateRequest {
        range_end: "\0".into(),
        ..watch("a")
    };
    let refused = watcher.create(endless).await;
    assert!(refused.created && refused.canceled, "{refused:?}");
    let allowed = WatchCreateRequest {
        range_end: "b".into(),
        ..watch("a")
    };
    let created = watcher.create(allowed).await;
    assert!(created.created && !created.canceled, "{created:?}");
    let root = sign_in(&server.api().await, "root").await;
    root.put("a1", "1").await;
    let events = watcher.next().await.events;
    assert_eq!(events[0].kv.as_ref().unwrap().key, "a1");

    let nobody = server.api().await;
    let (_watcher, refused) = Watcher::open(&nobody, watch("a")).await;
    assert!(refused.canceled);
    assert_eq!(
        refused.cancel_reason,
        "rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
    );
    let (_watcher, refused) = Watcher::open(&nobody.with_token("x.1"), watch("a")).await;
    assert_eq!(
        refused.cancel_reason,
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
    );
}

async fn a_faulty_request_is_refused_for_its_fault_first(server: Server) {
    let user = user_with(&server, &[]).await;
    let (_, text) = user.refused(get("")).await;
    assert_eq!(text, "etcdserver: key is not provided");
    let (_, text) = user.refused(put("", "1")).await;
    assert_eq!(text, "etcdserver: key is not provided");
    let future = RangeRequest {
        revision: 1000,
        ..get("a")
    };
    assert_eq!(outcome(&user.try_ask(future).await), "denied");
}

async fn a_revoked_role_counts_at_once(server: Server) {
    let user = user_with(&server, &[permission(Type::Read, "a", "")]).await;
    assert_eq!(outcome(&user.try_ask(get("a")).await), "ok");
    let root = sign_in(&server.api().await, "root").await;
    root.ask(revoke_role("user", "role")).await;
    assert_eq!(outcome(&user.try_ask(get("a")).await), "denied");
    root.ask(grant_role("user", "role")).await;
    assert_eq!(outcome(&user.try_ask(get("a")).await), "ok");
    root.ask(role_delete("role")).await;
    assert_eq!(outcome(&user.try_ask(get("a")).await), "denied");
}
