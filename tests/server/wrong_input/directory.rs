//! Storage directories that cannot be used.

use std::fs;

use super::{prepare, refuses_to_start};
use crate::harness::*;

/// The exit codes for a wrong file of the storage directory, and for one in use.
const CONFIG: i32 = 3;
const HELD: i32 = 5;

#[tokio::test]
async fn a_directory_without_anything_is_answered_with_what_to_do() {
    let mut server = prepare();
    fs::remove_file(server.storage_dir().join("init.yaml")).unwrap();
    let output = refuses_to_start(&mut server, CONFIG).await;
    assert!(output.contains("init.yaml"), "{output}");
    assert!(output.contains("k8s-dqlite init "), "{output}");
    assert!(
        fs::read_dir(server.storage_dir()).unwrap().next().is_none(),
        "nothing was made"
    );
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_answered_with_what_to_do() {
    let mut server = prepare();
    fs::remove_dir_all(server.storage_dir()).unwrap();
    let output = refuses_to_start(&mut server, CONFIG).await;
    assert!(output.contains("k8s-dqlite init "), "{output}");
}

#[tokio::test]
async fn a_foreign_file_beside_init_yaml_is_named_and_kept() {
    let mut server = prepare();
    let foreign = server.storage_dir().join("thesis.txt");
    fs::write(&foreign, "all of it").unwrap();
    let output = refuses_to_start(&mut server, CONFIG).await;
    assert!(output.contains("thesis.txt"), "{output}");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "all of it");
    assert!(server.storage_dir().join("init.yaml").exists());
    fs::remove_file(foreign).unwrap();
    server.restart().await;
    assert!(
        !server.storage_dir().join("init.yaml").exists(),
        "it was taken over"
    );
}

#[tokio::test]
async fn init_yaml_beside_data_does_not_begin_anew() {
    let mut server = prepare();
    server.restart().await;
    server.api().await.put("a", "1").await;
    server.kill9();
    let init = server.storage_dir().join("init.yaml");
    for port in [server.node_port(), free_port()] {
        fs::write(&init, format!("Address: 127.0.0.1:{port}\n")).unwrap();
        let output = refuses_to_start(&mut server, CONFIG).await;
        assert!(output.contains("init.yaml"), "{output}");
    }
    fs::remove_file(&init).unwrap();
    server.restart().await;
    assert_eq!(server.api().await.ask(get("a")).await.count, 1);
}

#[tokio::test]
async fn a_malformed_init_yaml_is_named() {
    for (content, hint) in [
        ("Address: [", "init.yaml"),
        ("Adress: 1\n", "Address"),
        ("", "Address"),
    ] {
        let mut server = prepare();
        fs::write(server.storage_dir().join("init.yaml"), content).unwrap();
        let output = refuses_to_start(&mut server, CONFIG).await;
        assert!(
            output.contains("init.yaml") && output.contains(hint),
            "{output}"
        );
    }
}

#[tokio::test]
async fn a_malformed_tuning_yaml_is_named() {
    let mut server = prepare();
    fs::write(
        server.storage_dir().join("tuning.yaml"),
        "snapshot: {threshold: many}",
    )
    .unwrap();
    let output = refuses_to_start(&mut server, CONFIG).await;
    assert!(output.contains("tuning.yaml"), "{output}");
}

#[tokio::test]
async fn a_directory_in_use_is_left_alone() {
    let mut server = prepare();
    server.restart().await;
    let api = server.api().await;
    api.put("a", "1").await;
    // The ports of the first are no better reason.
    let free = format!("--listen=tcp://127.0.0.1:{}", free_port());
    for flags in [&[free][..], &[]] {
        let mut command = server.command();
        command.args(flags);
        let log = server.path().join(format!("second-{}", flags.len()));
        let mut second = Process::spawn(command, &log);
        let status = second.wait().await;
        let output = second.output();
        assert_eq!(status.code(), Some(HELD), "{output}");
        assert!(output.contains("in use"), "{output}");
        assert!(
            output.contains(&server.process().id().to_string()),
            "names the process: {output}"
        );
    }
    assert_eq!(api.put("a", "2").await, 3, "the first goes on");
    server.kill9();
    server.restart().await;
    assert_eq!(
        server.api().await.ask(get("a")).await.kvs,
        [kv("a", "2", (2, 3, 2))]
    );
}
