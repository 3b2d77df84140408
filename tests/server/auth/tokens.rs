//! The rights that a token gives, and their end.

use super::*;

parity! {
    with cheap();
    a_token_ends_with_its_user,
    a_token_ends_with_its_password,
    a_token_ends_when_authentication_does,
    without_authentication_a_token_does_not_matter,
    a_token_may_come_as_authorization,
}

async fn a_token_ends_with_its_user(server: Server) {
    let api = server.api().await;
    add_user(&api, "bob", &["root"]).await;
    let root = enable(&api).await;
    let bob = sign_in(&api, "bob").await;
    bob.put("a", "1").await;
    root.ask(user_delete("bob")).await;
    assert_eq!(outcome(&bob.try_ask(get("a")).await), "bad token");
    add_user(&root, "bob", &["root"]).await;
    assert_eq!(outcome(&bob.try_ask(get("a")).await), "bad token");
    sign_in(&api, "bob").await.put("a", "2").await;
}

async fn a_token_ends_with_its_password(server: Server) {
    let api = server.api().await;
    add_user(&api, "bob", &["root"]).await;
    let root = enable(&api).await;
    let bob = sign_in(&api, "bob").await;
    root.ask(change_password("bob", "bob")).await;
    assert_eq!(outcome(&bob.try_ask(get("a")).await), "bad token");
    root.put("a", "1").await;
}

async fn a_token_ends_when_authentication_does(server: Server) {
    let api = server.api().await;
    let root = enable(&api).await;
    root.ask(AuthDisableRequest {}).await;
    api.ask(AuthEnableRequest {}).await;
    assert_eq!(outcome(&root.try_ask(get("a")).await), "bad token");
    sign_in(&api, "root").await.put("a", "1").await;
}

async fn without_authentication_a_token_does_not_matter(server: Server) {
    let api = server.api().await;
    api.with_token("no.such").put("a", "1").await;
}

async fn a_token_may_come_as_authorization(server: Server) {
    let api = server.api().await;
    enable(&api).await;
    let token = api.ask(authenticate("root", "root")).await.token;
    for value in [token.clone(), format!("Bearer {token}")] {
        let mut request = tonic::Request::new(get("a"));
        let value = value.parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        api.kv.clone().range(request).await.unwrap();
    }
}
