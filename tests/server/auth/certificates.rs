//! Users who are named by their certificates.

use super::*;

parity! {
    with mutual();
    a_certificate_names_its_user,
    a_token_counts_more_than_a_certificate,
    a_name_that_is_no_user_may_do_nothing,
}

fn mutual() -> Options {
    let pki = Pki::new();
    let mut flags = pki.mutual_flags();
    flags.push("--bcrypt-cost=4".to_owned());
    Options {
        flags,
        tls: Some(pki.client(Some(pki.pair("root")))),
    }
}

/// A connection with the certificate of somebody else.
async fn api_of(server: &Server, name: &str) -> Api {
    let pki = server.tls().pki();
    let client = pki.client(Some(pki.pair(name)));
    let port = client.tunnel(server.client_port()).await;
    Api::connect(&format!("http://127.0.0.1:{port}")).await
}

async fn a_certificate_names_its_user(server: Server) {
    let root = server.api().await;
    add_role(&root, "role", &[permission(Type::Readwrite, "a", "")]).await;
    root.ask(user_without_password("alice")).await;
    root.ask(grant_role("alice", "role")).await;
    add_user(&root, "root", &["root"]).await;
    root.ask(AuthEnableRequest {}).await;
    root.put("b", "1").await;
    let alice = api_of(&server, "alice").await;
    alice.put("a", "1").await;
    assert_eq!(outcome(&alice.try_ask(get("b")).await), "denied");
    assert_eq!(outcome(&alice.try_ask(role_add("x")).await), "denied");
    let (_watcher, created) = Watcher::open(&alice, watch("a")).await;
    assert!(!created.canceled, "{created:?}");
    let (_watcher, created) = Watcher::open(&alice, watch("b")).await;
    assert!(created.canceled, "{created:?}");
}

async fn a_token_counts_more_than_a_certificate(server: Server) {
    let root = server.api().await;
    add_user(&root, "alice", &[]).await;
    enable(&root).await;
    let as_alice = sign_in(&root, "alice").await;
    assert_eq!(outcome(&as_alice.try_ask(get("a")).await), "denied");
    assert_eq!(outcome(&root.try_ask(get("a")).await), "ok");
    let as_nobody = root.with_token("no.such");
    assert_eq!(outcome(&as_nobody.try_ask(get("a")).await), "bad token");
}

async fn a_name_that_is_no_user_may_do_nothing(server: Server) {
    enable(&server.api().await).await;
    let alice = api_of(&server, "alice").await;
    assert_eq!(outcome(&alice.try_ask(get("a")).await), "denied");
    let (code, text) = alice.refused(AuthUserListRequest {}).await;
    assert_eq!(
        (code, &text[..]),
        (Code::FailedPrecondition, "etcdserver: user name not found")
    );
}
