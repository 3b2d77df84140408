//! Adding, changing and removing users and roles.

use super::*;

parity! {
    with cheap();
    users_come_and_go,
    roles_come_and_go,
    permissions_are_kept_in_order_and_replaced,
    a_deleted_role_is_taken_from_its_users,
    authentication_needs_a_root_with_the_role_root,
    the_root_is_protected_while_authentication_is_on,
    the_revision_of_auth_counts_changes,
    the_revision_of_the_store_does_not_move,
    what_was_set_survives_a_restart,
    odd_passwords_are_answered_as_etcd_does,
}

async fn users_come_and_go(server: Server) {
    let api = server.api().await;
    let (code, text) = api.refused(user_add("", "x")).await;
    assert_eq!(
        (code, &text[..]),
        (Code::InvalidArgument, "etcdserver: user name is empty")
    );
    for name in ["bob", "alice"] {
        api.ask(user_add(name, "x")).await;
    }
    let (code, text) = api.refused(user_add("bob", "y")).await;
    assert_eq!(
        (code, &text[..]),
        (
            Code::FailedPrecondition,
            "etcdserver: user name already exists"
        )
    );
    assert_eq!(
        api.ask(AuthUserListRequest {}).await.users,
        ["alice", "bob"]
    );
    assert_eq!(api.ask(user_get("bob")).await.roles, [""; 0]);
    api.ask(user_delete("bob")).await;
    for (code, text) in [
        api.refused(user_delete("bob")).await,
        api.refused(user_get("bob")).await,
        api.refused(change_password("bob", "x")).await,
        api.refused(grant_role("bob", "root")).await,
        api.refused(revoke_role("bob", "root")).await,
    ] {
        assert_eq!(
            (code, &text[..]),
            (Code::FailedPrecondition, "etcdserver: user name not found")
        );
    }
}

async fn roles_come_and_go(server: Server) {
    let api = server.api().await;
    let (code, text) = api.refused(role_add("")).await;
    assert_eq!(
        (code, &text[..]),
        (Code::InvalidArgument, "etcdserver: role name is empty")
    );
    for name in ["writer", "reader"] {
        api.ask(role_add(name)).await;
    }
    let (code, text) = api.refused(role_add("reader")).await;
    assert_eq!(
        (code, &text[..]),
        (
            Code::FailedPrecondition,
            "etcdserver: role name already exists"
        )
    );
    assert_eq!(
        api.ask(AuthRoleListRequest {}).await.roles,
        ["reader", "writer"]
    );
    api.ask(user_add("bob", "x")).await;
    for role in ["writer", "reader", "writer", "root"] {
        api.ask(grant_role("bob", role)).await;
    }
    assert_eq!(
        api.ask(user_get("bob")).await.roles,
        ["reader", "root", "writer"]
    );
    api.ask(revoke_role("bob", "writer")).await;
    let (code, text) = api.refused(revoke_role("bob", "writer")).await;
    assert_eq!(
        (code, &text[..]),
        (
            Code::FailedPrecondition,
            "etcdserver: role is not granted to the user"
        )
    );
    api.ask(role_delete("writer")).await;
    for (code, text) in [
        api.refused(role_delete("writer")).await,
        api.refused(role_get("writer")).await,
        api.refused(grant_role("bob", "writer")).await,
        api.refused(grant_permission("writer", permission(Type::Read, "a", "")))
            .await,
    ] {
        assert_eq!(
            (code, &text[..]),
            (Code::FailedPrecondition, "etcdserver: role name not found")
        );
    }
}

async fn permissions_are_kept_in_order_and_replaced(server: Server) {
    let api = server.api().await;
    let read = |key, end| permission(Type::Read, key, end);
    add_role(
        &api,
        "role",
        &[read("b", ""), read("a", "c"), read("c", "\0")],
    )
    .await;
    api.ask(grant_permission("role", permission(Type::Write, "b", "")))
        .await;
    let held = api.ask(role_get("role")).await.perm;
    assert_eq!(
        held,
        [
            read("a", "c"),
            permission(Type::Write, "b", ""),
            read("c", "\0")
        ]
    );
    let revoke = |key: &'static str, end: &'static str| AuthRoleRevokePermissionRequest {
        role: "role".to_owned(),
        key: key.into(),
        range_end: end.into(),
    };
    let (code, text) = api.refused(revoke("a", "b")).await;
    assert_eq!(
        (code, &text[..]),
        (
            Code::FailedPrecondition,
            "etcdserver: permission is not granted to the role"
        )
    );
    api.ask(revoke("a", "c")).await;
    assert_eq!(api.ask(role_get("role")).await.perm.len(), 2);
    for bad in [read("", ""), read("b", "a"), read("b", "b")] {
        let (code, text) = api.refused(grant_permission("role", bad)).await;
        assert_eq!(
            (code, &text[..]),
            (Code::InvalidArgument, "etcdserver: invalid auth management")
        );
    }
    let nothing = AuthRoleGrantPermissionRequest {
        name: "role".to_owned(),
        perm: None,
    };
    let (code, text) = api.refused(nothing).await;
    assert_eq!(
        (code, &text[..]),
        (Code::InvalidArgument, "etcdserver: permission not given")
    );
    api.ask(role_add("root")).await;
    let all = permission(Type::Readwrite, "", "\0");
    assert_eq!(api.ask(role_get("root")).await.perm, [all]);
}

async fn a_deleted_role_is_taken_from_its_users(server: Server) {
    let api = server.api().await;
    add_role(&api, "role", &[]).await;
    add_user(&api, "bob", &["role", "root"]).await;
    api.ask(role_delete("role")).await;
    assert_eq!(api.ask(user_get("bob")).await.roles, ["root"]);
    api.ask(role_add("role")).await;
    assert_eq!(api.ask(user_get("bob")).await.roles, ["root"]);
}

async fn authentication_needs_a_root_with_the_role_root(server: Server) {
    let api = server.api().await;
    let (code, text) = api.refused(AuthEnableRequest {}).await;
    assert_eq!(
        (code, &text[..]),
        (
            Code::FailedPrecondition,
            "etcdserver: root user does not exist"
        )
    );
    api.ask(user_add("root", "root")).await;
    let (code, text) = api.refused(AuthEnableRequest {}).await;
    assert_eq!(
        (code, &text[..]),
        (
            Code::FailedPrecondition,
            "etcdserver: root user does not have root role"
        )
    );
    let (code, text) = api.refused(authenticate("root", "root")).await;
    assert_eq!(
        (code, &text[..]),
        (
            Code::FailedPrecondition,
            "etcdserver: authentication is not enabled"
        )
    );
    api.ask(grant_role("root", "root")).await;
    api.ask(AuthEnableRequest {}).await;
    let root = sign_in(&api, "root").await;
    root.ask(AuthEnableRequest {}).await;
    assert!(root.ask(AuthStatusRequest {}).await.enabled);
    root.ask(AuthDisableRequest {}).await;
    assert!(!api.ask(AuthStatusRequest {}).await.enabled);
    api.ask(AuthDisableRequest {}).await;
    api.put("a", "1").await;
}

async fn the_root_is_protected_while_authentication_is_on(server: Server) {
    let api = server.api().await;
    api.ask(role_add("root")).await;
    let root = enable(&api).await;
    for (code, text) in [
        root.refused(user_delete("root")).await,
        root.refused(revoke_role("root", "root")).await,
        root.refused(role_delete("root")).await,
    ] {
        assert_eq!(
            (code, &text[..]),
            (Code::InvalidArgument, "etcdserver: invalid auth management")
        );
    }
    root.ask(AuthDisableRequest {}).await;
    api.ask(revoke_role("root", "root")).await;
    api.ask(user_delete("root")).await;
}

async fn the_revision_of_auth_counts_changes(server: Server) {
    let api = server.api().await;
    let revision = async |api: &Api| api.ask(AuthStatusRequest {}).await.auth_revision;
    assert_eq!(revision(&api).await, 1);
    api.ask(user_add("bob", "x")).await;
    api.ask(role_add("role")).await;
    assert_eq!(revision(&api).await, 3);
    api.ask(grant_role("bob", "role")).await;
    api.ask(grant_role("bob", "role")).await;
    assert_eq!(revision(&api).await, 4);
    api.refused(user_add("bob", "x")).await;
    api.ask(change_password("bob", "x")).await;
    assert_eq!(revision(&api).await, 5);
    let root = enable(&api).await;
    assert_eq!(revision(&root).await, 7);
    root.ask(AuthDisableRequest {}).await;
    assert_eq!(revision(&api).await, 8);
}

async fn the_revision_of_the_store_does_not_move(server: Server) {
    let api = server.api().await;
    let before = api.revision().await;
    let added = api.ask(user_add("bob", "x")).await;
    assert_eq!(at(&added.header), before);
    let root = enable(&api).await;
    assert_eq!(root.revision().await, before);
}

async fn what_was_set_survives_a_restart(mut server: Server) {
    let api = server.api().await;
    add_role(&api, "role", &[permission(Type::Readwrite, "a", "c")]).await;
    add_user(&api, "bob", &["role"]).await;
    enable(&api).await;
    server.kill9();
    server.launch();
    let api = until_signed_in(&server).await;
    let bob = sign_in(&api, "bob").await;
    bob.put("b", "1").await;
    assert_eq!(outcome(&bob.try_ask(put("c", "1")).await), "denied");
    assert_eq!(outcome(&api.try_ask(get("b")).await), "nobody");
}

pub async fn until_signed_in(server: &Server) -> Api {
    let url = server.client_url();
    let mut connected = None;
    until("the server signs users in", async || {
        let Some(api) = Api::try_connect(&url).await else {
            return false;
        };
        let is_ready = api.try_ask(authenticate("root", "root")).await.is_ok();
        connected = Some(api);
        is_ready
    })
    .await;
    connected.unwrap()
}

async fn odd_passwords_are_answered_as_etcd_does(server: Server) {
    let api = server.api().await;
    api.ask(user_add("empty", "")).await;
    api.ask(user_without_password("certificate")).await;
    let ignored = AuthUserAddRequest {
        hashed_password: "not base64!".to_owned(),
        ..user_add("hashed", "x")
    };
    api.ask(ignored).await;
    let (code, _) = api.refused(user_add("long", &"x".repeat(73))).await;
    assert_eq!(code, Code::Unknown);
    let bad_hash = AuthUserChangePasswordRequest {
        hashed_password: "not base64!".to_owned(),
        ..change_password("hashed", "")
    };
    let (code, _) = api.refused(bad_hash).await;
    assert_eq!(code, Code::Unknown);
    enable(&api).await;
    api.ask(authenticate("empty", "")).await;
    api.ask(authenticate("hashed", "x")).await;
    for (name, password) in [("empty", "x"), ("hashed", ""), ("nobody", "x"), ("", "")] {
        let (code, text) = api.refused(authenticate(name, password)).await;
        assert_eq!(
            (code, &text[..]),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password"
            ),
            "{name:?}"
        );
    }
    let (code, text) = api.refused(authenticate("certificate", "x")).await;
    assert_eq!(
        (code, &text[..]),
        (
            Code::Unknown,
            "auth: authentication failed, password was given for no password user"
        )
    );
}
