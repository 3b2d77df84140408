//! The sub-commands of users.

use super::*;
use crate::backup::{printed, refusal};

parity! {
    with cheap();
    a_prefix_is_compared_by_whoever_may_read_it,
    a_user_who_is_refused_is_told_how_to_name_another,
}

async fn a_prefix_is_compared_by_whoever_may_read_it(server: Server) {
    let (api, url) = (server.api().await, server.client_url());
    let from = api.put("/a/1", "1").await.to_string();
    api.put("/a/2", "1").await;
    add_role(&api, "role", &[permission(Type::Read, "/a/", "/a0")]).await;
    add_user(&api, "user", &["role"]).await;
    enable(&api).await;
    let flags = ["--user", "user:user", "--endpoint", &url];
    let said = printed(&[&["diff", &from, "0", "/a/"], &flags[..]].concat());
    assert!(said.starts_with("+ /a/2\n"), "{said}");
}

async fn a_user_who_is_refused_is_told_how_to_name_another(server: Server) {
    let (api, url) = (server.api().await, server.client_url());
    enable(&api).await;
    for user in [&[][..], &["--user", "root:wrong"]] {
        let (code, said) = refusal(&[&["get", "key", "--endpoint", &url], user].concat());
        assert!(
            code == 3 && said.contains("name another one with --user"),
            "{code} {said}"
        );
    }
}
