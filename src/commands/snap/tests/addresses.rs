//! Addresses that this machine cannot have, and one that YAML would take for a list.

use super::*;

/// Of the documentation range, which no machine has.
const ELSEWHERE: &str = "192.0.2.1";

#[tokio::test]
async fn an_address_that_cannot_be_had_changes_nothing() {
    let tree = Tree::installed();
    let init = tree.storage_file("init.yaml");
    let args = tree.args();
    let long = format!("unix:///tmp/{}", "a".repeat(120));
    for (settings, told) in [
        (json!({"address": ELSEWHERE}), "address: cannot listen on"),
        (
            json!({"listen": format!("tcp://{ELSEWHERE}:1")}),
            "listen: this machine",
        ),
        (
            json!({"metrics": format!("{ELSEWHERE}:1")}),
            "metrics: this machine",
        ),
        (
            json!({"listen": long}),
            "listen: the path of a socket has at most 107",
        ),
        (
            json!({"listen": "unix:///no/such/k.sock"}),
            "no directory /no/such",
        ),
    ] {
        let error = tree.configure(settings).await.unwrap_err();
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(tree.storage_file("init.yaml"), init);
    assert_eq!(tree.args(), args);
    assert!(tree.asked().is_empty());
}

#[tokio::test]
async fn an_ipv6_address_is_written_as_text() {
    let tree = Tree::installed();
    tree.configure(json!({"address": "::1"})).await.unwrap();
    let init = tree.storage_file("init.yaml").unwrap();
    assert_eq!(init, "Address: '[::1]:29001'\n");
    let read = crate::config::init_address(&tree.paths.storage()).unwrap();
    assert_eq!(read.unwrap().as_str(), "[::1]:29001");
}
