//! Users with passwords.

use etcd_client::*;

use crate::expect_refusal;

const DENIED: &str = "etcdserver: permission denied";

async fn sign_in(endpoint: &str, name: &str, password: &str) -> Result<Client, Error> {
    let options = ConnectOptions::new().with_user(name, password);
    Client::connect([endpoint], Some(options)).await
}

pub async fn users(endpoint: String, mut anyone: Client) {
    for name in ["root", "reader"] {
        anyone.user_add(name, name, None).await.unwrap();
        anyone.role_add(name).await.unwrap();
        anyone.user_grant_role(name, name).await.unwrap();
    }
    let readable = Permission::read("readable/").with_prefix();
    anyone
        .role_grant_permission("reader", readable)
        .await
        .unwrap();
    anyone.put("readable/a", "1", None).await.unwrap();
    anyone.auth_enable().await.unwrap();
    expect_refusal(
        anyone.get("readable/a", None).await,
        "etcdserver: user name is empty",
    );
    let failed = "etcdserver: authentication failed, invalid user ID or password";
    let wrong = sign_in(&endpoint, "reader", "wrong").await;
    expect_refusal(wrong.map(|_| ()), failed);

    let mut reader = sign_in(&endpoint, "reader", "reader").await.unwrap();
    assert_eq!(reader.get("readable/a", None).await.unwrap().count(), 1);
    expect_refusal(reader.put("readable/a", "2", None).await, DENIED);
    expect_refusal(reader.get("other", None).await, DENIED);
    expect_refusal(reader.user_list().await, DENIED);

    let mut root = sign_in(&endpoint, "root", "root").await.unwrap();
    let granted = root.role_get("reader").await.unwrap();
    assert_eq!(
        granted.permissions(),
        [Permission::read("readable/").with_prefix()]
    );
    root.put("readable/a", "2", None).await.unwrap();
    root.user_change_password("reader", "new").await.unwrap();
    sign_in(&endpoint, "reader", "new").await.unwrap();
    root.auth_disable().await.unwrap();
    anyone.get("readable/a", None).await.unwrap();
}
