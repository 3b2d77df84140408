//! The same changes to the files of an etcd, as a reference: what it refuses, serves and loses is printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::timeout;

use super::change::{CHANGES, Change, changed};
use super::load::Written;
use super::seed;
use crate::harness::*;

/// The number of entries after which etcd makes a snapshot, so that there are some.
const SNAPSHOT_COUNT: [&str; 2] = ["--snapshot-count", "200"];

/// The time after which a server that neither serves nor ends is given up.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// The files below a directory, by their paths in it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => left.push(path),
                false => found.push(path.strip_prefix(dir).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    for file in files(from) {
        let to = to.join(&file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.join(&file), to).unwrap();
    }
}

/// Returns whether there is a difference.
fn change(dir: &Path, older: &Path, file: &Path, change: Change, random: &mut StdRng) -> bool {
    let path = dir.join(file);
    let before = std::fs::read(&path).ok();
    let after = match change {
        Change::Older => std::fs::read(older.join(file)).ok(),
        Change::Delete | Change::Foreign | Change::OtherNode => None,
        change => before.as_ref().map(|bytes| changed(bytes, change, random)),
    };
    match &after {
        Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        None if before.is_some() && change == Change::Delete => {
            std::fs::remove_file(&path).unwrap()
        }
        None => return false,
    }
    before != after
}

async fn outcome(server: &mut Server, written: &Written) -> String {
    server.launch();
    let outcome = match timeout(START_TIMEOUT, server.is_ready()).await {
        Err(_) => "neither serves nor ends".to_owned(),
        Ok(true) => match written.lost(server).await {
            None => "serves all".to_owned(),
            Some(_) => "serves an older state".to_owned(),
        },
        Ok(false) => format!("ends with {}", server.process().exited().unwrap()),
    };
    server.kill9();
    outcome
}

#[tokio::test]
async fn what_a_changed_file_does_to_an_etcd() {
    if ["FAULT_FILES", "ETCD_BIN"]
        .iter()
        .any(|name| std::env::var_os(name).is_none())
    {
        println!("skipped: FAULT_FILES or ETCD_BIN is not set");
        return;
    }
    let mut random = StdRng::seed_from_u64(seed());
    for ends_cleanly in [true, false] {
        let mut server = Server::prepare(Kind::Etcd, Options::flags(&SNAPSHOT_COUNT));
        let (dir, mut written) = (server.storage_dir(), Written::default());
        let [older, base] = ["older", "base"].map(|copy| server.path().join(copy));
        for to in [&older, &base] {
            server.launch();
            server.ready().await;
            written.write(&mut server).await;
            match ends_cleanly {
                true => drop(server.terminate().await),
                false => server.kill9(),
            }
            copy(&dir, to);
        }
        let mut outcomes: BTreeMap<(String, String), usize> = BTreeMap::new();
        let files = files(&base);
        for (kind, file) in CHANGES
            .iter()
            .flat_map(|kind| files.iter().map(move |file| (kind, file)))
        {
            copy(&base, &dir);
            if !change(&dir, &older, file, *kind, &mut random) {
                continue;
            }
            let outcome = outcome(&mut server, &written).await;
            println!("{}, {kind:?}: {outcome}", file.display());
            let of = file.extension().unwrap_or(file.as_os_str());
            *outcomes
                .entry((of.to_string_lossy().into_owned(), outcome))
                .or_default() += 1;
        }
        let tried: usize = outcomes.values().sum();
        println!("etcd, stopped: {ends_cleanly}: {tried} changes: {outcomes:?}");
    }
}
