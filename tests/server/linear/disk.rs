//! Faults of the disk of one node, and of people who copy its files, while the other nodes keep their data.

use std::path::Path;
use std::time::Duration;

use dqlite::{log::verify_directory, node::mark};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use super::faults::AWAY_MS;
use super::nodes::Nodes;
use crate::faults::ERRORS;
use crate::faults::change::{Change, changed, copy_files, is_of_the_engine, names};
use crate::faults::shim::{Armed, failed};
use crate::harness::{POLL_INTERVAL, until};

const DAMAGED: i32 = 6;

/// dqlite failed, or the disk is full.
const FAILED: [i32; 2] = [7, 8];

/// A call that is to fail is one of so many that follow: as many as a new segment and a snapshot take.
const CALLS: std::ops::RangeInclusive<usize> = 1..=12;

/// After this, a call that was not made is not waited for.
const CALL_WAIT: Duration = Duration::from_secs(6);

/// Ends a node, and waits until the others have elected one of them: until then it may lead.
async fn end(nodes: &mut Nodes, node: usize, random: &mut StdRng) {
    if random.random_bool(0.5) {
        nodes.terminate(node).await;
    } else {
        nodes.kill(node);
    }
    nodes.wait_for_a_leader_but(node).await;
}

/// Replaces the files of a node that does not run by those of a directory.
fn replace(data: &Path, from: &Path) {
    for name in names(data) {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    copy_files(from, data);
}

/// Starts a node whose files were changed: it serves, or refuses and gets its data back.
async fn start(nodes: &mut Nodes, node: usize, newest: &Path, what: &str) -> &'static str {
    nodes.launch(node);
    let Some(code) = nodes.serves_or_ends(node).await else {
        nodes.wait_until_well().await;
        return "served";
    };
    let last = nodes.last_line(node);
    assert!(
        code == DAMAGED && last.contains("ERROR"),
        "node {node}, {what}: {code}: {last}"
    );
    println!("node {node}, {what}: {last}");
    if nodes.len() == 1 {
        replace(&nodes.data(node), newest);
    } else {
        nodes.wipe(node);
    }
    nodes.launch(node);
    nodes.wait_until_well().await;
    "refused"
}

/// A bit of a file of the engine flips while the node does not run.
pub async fn flip_a_bit(nodes: &mut Nodes, node: usize, random: &mut StdRng) -> &'static str {
    nodes.wait_until_all_vote().await;
    end(nodes, node, random).await;
    let data = nodes.data(node);
    let newest = tempfile::tempdir().unwrap();
    copy_files(&data, newest.path());
    let mut files = names(&data);
    files.retain(|name| is_of_the_engine(name));
    files.sort();
    let file = data.join(files.choose(random).unwrap());
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, changed(&bytes, Change::FlipBit, random)).unwrap();
    let what = format!("a bit of {}", file.display());
    start(nodes, node, newest.path(), &what).await
}

/// An older copy of the directory takes the place of the newest one.
pub async fn bring_back(nodes: &mut Nodes, node: usize, random: &mut StdRng) -> &'static str {
    nodes.wait_until_all_vote().await;
    nodes.terminate(node).await;
    let data = nodes.data(node);
    let (old, newest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy_files(&data, old.path());
    nodes.launch(node);
    nodes.wait_until_well().await;
    super::faults::sleep_ms(random, AWAY_MS).await;
    let found = verify_directory(old.path()).unwrap().last_index;
    // After a kill, nobody knows of what was stored within the last second.
    until("the mark is beyond the old copy", async || {
        let mark = mark::read(&data).unwrap();
        mark.is_some_and(|mark| mark.last_index > found)
    })
    .await;
    end(nodes, node, random).await;
    copy_files(&data, newest.path());
    replace(&data, old.path());
    // Where the old copy brings its own mark, only the others know that it is old. One node alone cannot tell.
    if nodes.len() == 1 || random.random_bool(0.5) {
        let mark = mark::FILE_NAME;
        std::fs::copy(newest.path().join(mark), data.join(mark)).unwrap();
    }
    let outcome = start(nodes, node, newest.path(), "an old copy").await;
    assert_eq!(outcome, "refused", "node {node} served up to {found}");
    outcome
}

/// A call of the engine on a file fails while the node runs.
pub async fn fail_a_call(nodes: &mut Nodes, node: usize, random: &mut StdRng) -> &'static str {
    let armed = Armed {
        nth: random.random_range(CALLS),
        ..Armed::of("any", "any", *ERRORS.choose(random).unwrap())
    };
    let log = nodes.data(node).with_file_name("calls");
    let _ = std::fs::remove_file(&log);
    nodes.terminate(node).await;
    nodes.launch_to_fail(node, &log, &armed);
    assert_eq!(nodes.serves_or_ends(node).await, None);
    armed.arm(&log);
    let deadline = Instant::now() + CALL_WAIT;
    let mut code = None;
    while code.is_none() && Instant::now() < deadline {
        tokio::time::sleep(POLL_INTERVAL).await;
        code = nodes.ended(node);
    }
    let code = match code {
        Some(code) => code,
        None => nodes.terminate(node).await,
    };
    let (call, last) = (failed(&log), nodes.last_line(node));
    let outcome = match &call {
        Some(_) if FAILED.contains(&code) && last.contains("ERROR") => "ended",
        // Where the engine refuses a write cleanly.
        Some(_) if code == 0 && armed.errno == libc::ENOSPC => "went on",
        None if code == 0 => "not reached",
        _ => panic!("node {node}, {armed:?}, {call:?}: {code}: {last}"),
    };
    println!("node {node}, {call:?}: {last}");
    nodes.launch(node);
    nodes.wait_until_well().await;
    outcome
}
