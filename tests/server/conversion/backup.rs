//! The backup before a conversion, and the way back.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rand::{SeedableRng, rngs::StdRng};

use super::{OPERATIONS, hash, model, random, seed, table::GoTable, with_data_of};
use crate::harness::*;

fn only_file(dir: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(dir).unwrap();
    let file = files.next().expect("there is one").unwrap().path();
    assert!(files.next().is_none(), "and no other");
    file
}

fn roll_back(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
    command.arg("roll-back").arg(file).args(arguments);
    command.output().unwrap()
}

#[tokio::test]
async fn the_way_back_leads_to_the_same_rows() {
    let mut random = StdRng::seed_from_u64(seed());
    let table = random::table(&mut random, 1 << 16, OPERATIONS);
    let mut server = with_data_of(&table, Options::default()).await;
    server.restart().await;
    let before = hash(&server.api().await).await;
    let file = only_file(&server.path().join("data.take-over"));

    let said = roll_back(&file, &["--dry-run"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        text.contains(&format!("schema 1.0, {} rows", table.rows.len())),
        "{text}"
    );

    let mut back = Server::prepare(Kind::K8sDqlite, Options::default());
    let dir = back.storage_dir();
    let said = roll_back(&file, &["--storage-dir", dir.to_str().unwrap()]);
    assert!(said.status.success(), "{said:?}");
    // A different table would not be converted to the same store.
    back.restart().await;
    let api = back.api().await;
    assert_eq!(hash(&api).await, before);
    model::compare(&api, &table).await;
}

#[tokio::test]
async fn a_damaged_backup_makes_nothing() {
    let table = GoTable::new(1 << 16);
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let to = file.path().with_extension("gz");
    let flag = format!("--take-over-backup={}", to.display());
    let mut server = with_data_of(&table, Options::flags(&[&flag])).await;
    server.restart().await;
    let mut bytes = std::fs::read(&to).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&to, &bytes).unwrap();
    let back = Server::prepare(Kind::K8sDqlite, Options::default());
    let dir = back.storage_dir();
    let said = roll_back(&to, &["--storage-dir", dir.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(6), "{said:?}");
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only init.yaml: {left:?}");
    std::fs::remove_file(&to).unwrap();
}

#[tokio::test]
async fn a_file_that_exists_is_kept_and_nothing_is_converted() {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(file.path(), "mine").unwrap();
    let flag = format!("--take-over-backup={}", file.path().display());
    let mut server = with_data_of(&GoTable::new(0), Options::flags(&[&flag])).await;
    for _ in 0..2 {
        server.launch();
        let status = server.process().wait().await;
        assert_eq!(status.code(), Some(3), "{}", server.output());
        server.forget_process();
    }
    assert_eq!(std::fs::read(file.path()).unwrap(), b"mine");
    // Out of the way, all is as it was.
    std::fs::remove_file(file.path()).unwrap();
    server.restart().await;
    assert_eq!(
        server.api().await.ask(get("/registry/health")).await.count,
        1
    );
    assert!(file.path().exists());
}

#[tokio::test]
async fn without_a_backup_on_demand() {
    let options = Options::flags(&["--take-over-backup=none"]);
    let mut server = with_data_of(&GoTable::new(1), options).await;
    server.restart().await;
    assert!(!server.path().join("data.take-over").exists());
    assert_eq!(
        server.api().await.ask(get("/registry/health")).await.count,
        1
    );
}
