//! cluster.crt and cluster.key.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::refuses_to_start;
use crate::harness::*;

/// The exit code for a wrong file of the storage directory.
const CONFIG: i32 = 3;

fn prepare() -> Server {
    Server::prepare(Kind::K8sDqlite, Options::flags(&["--enable-tls=true"]))
}

/// Makes the pair as the snap and scripts/run do.
pub fn make_pair(dir: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/certs");
    let made = Command::new(script).arg(dir).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[tokio::test]
async fn the_pair_of_the_script_is_good() {
    let mut server = prepare();
    make_pair(&server.storage_dir());
    server.restart().await;
    assert_eq!(server.api().await.put("a", "1").await, 2);
}

#[tokio::test]
async fn a_missing_pair_is_named_with_a_way_to_make_one() {
    let mut server = prepare();
    let output = refuses_to_start(&mut server, CONFIG).await;
    assert!(output.contains("cluster.crt is missing"), "{output}");
    assert!(output.contains("openssl req"), "{output}");
    assert!(output.contains("--enable-tls=false"), "{output}");
}

#[tokio::test]
async fn a_missing_key_is_named() {
    let mut server = prepare();
    make_pair(&server.storage_dir());
    fs::remove_file(server.storage_dir().join("cluster.key")).unwrap();
    let output = refuses_to_start(&mut server, CONFIG).await;
    assert!(output.contains("cluster.key"), "{output}");
}

#[tokio::test]
async fn a_key_of_another_certificate_is_named() {
    let mut server = prepare();
    make_pair(&server.storage_dir());
    let other = server.path().join("other");
    make_pair(&other);
    let key = server.storage_dir().join("cluster.key");
    fs::copy(other.join("cluster.key"), key).unwrap();
    let output = refuses_to_start(&mut server, CONFIG).await;
    assert!(output.contains("cluster.key"), "{output}");
    assert!(output.contains("cluster.crt"), "{output}");
}

#[tokio::test]
async fn files_that_hold_something_else_are_named() {
    for name in ["cluster.crt", "cluster.key"] {
        let mut server = prepare();
        make_pair(&server.storage_dir());
        fs::write(server.storage_dir().join(name), "no PEM at all").unwrap();
        let output = refuses_to_start(&mut server, CONFIG).await;
        assert!(output.contains(name), "{output}");
        assert!(output.contains("PEM"), "{output}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_are_named() {
    for name in ["cluster.crt", "cluster.key"] {
        let mut server = prepare();
        make_pair(&server.storage_dir());
        let path = server.storage_dir().join(name);
        fs::remove_file(&path).unwrap();
        // Whoever may read everything cannot read a directory as a file either.
        fs::create_dir(&path).unwrap();
        let output = refuses_to_start(&mut server, CONFIG).await;
        assert!(output.contains(name), "{output}");
    }
}

#[tokio::test]
async fn a_repaired_pair_starts() {
    let mut server = prepare();
    refuses_to_start(&mut server, CONFIG).await;
    make_pair(&server.storage_dir());
    server.restart().await;
    assert_eq!(server.api().await.put("a", "1").await, 2);
    // And the data is kept when the pair is lost and replaced later.
    server.kill9();
    fs::remove_file(server.storage_dir().join("cluster.crt")).unwrap();
    refuses_to_start(&mut server, CONFIG).await;
    fs::remove_file(server.storage_dir().join("cluster.key")).unwrap();
    make_pair(&server.storage_dir());
    server.restart().await;
    assert_eq!(server.api().await.ask(get("a")).await.count, 1);
}
