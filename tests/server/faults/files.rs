//! A file of a node that does not run is changed, as disks and people do.
//!
//! A node is written to, stopped or killed, and copied; then each case changes one file of a copy and starts
//! it. Tried are some, chosen by a seed; FAULT_FILES=all tries each kind of change on each file. FAULT_SEED
//! repeats the places and the choice.

use std::collections::BTreeMap;
use std::path::Path;

use dqlite::{log::verify_directory, node::mark};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::change::{CHANGES, Change, changed, copy_files, is_of_the_node, names};
use super::kinds::{kind_of, may_pass, one_of};
use super::load::Written;
use super::{last_line, prepare, seed};
use crate::harness::*;

/// Cases that are tried without FAULT_FILES, after a stop and after a kill.
const USUAL: usize = 14;

/// A server with a history of two runs; its directory, as it was after each, is beside it.
struct Base {
    server: Server,
    written: Written,
}

impl Base {
    /// Values of two with different tags are different.
    async fn make(ends_cleanly: bool, tag: &'static str) -> Self {
        let mut server = prepare();
        let mut written = Written::tagged(tag);
        for copy in ["older", "base"] {
            server.launch();
            server.ready().await;
            written.write(&mut server).await;
            if ends_cleanly {
                assert!(server.terminate().await.success());
            } else {
                let dir = server.storage_dir();
                until("the mark is exact", async || {
                    let marked = mark::read(&dir).unwrap().map(|mark| mark.last_index);
                    verify_directory(&dir).is_ok_and(|log| Some(log.last_index) == marked)
                })
                .await;
                server.kill9();
            }
            copy_files(&server.storage_dir(), &server.path().join(copy));
        }
        Self { server, written }
    }

    /// The files of the node, of all its copies, and of another one.
    fn files(&self, foreign: &Path) -> Vec<String> {
        let copies = ["older", "base"].map(|copy| names(&self.server.path().join(copy)));
        let mut names = [copies.concat(), names(foreign)].concat();
        names.retain(|name| is_of_the_node(name));
        names.sort();
        names.dedup();
        names
    }

    /// Returns whether there is a difference.
    fn change(&self, foreign: &Path, file: &str, change: Change, random: &mut StdRng) -> bool {
        let (base, dir) = (self.server.path().join("base"), self.server.storage_dir());
        std::fs::remove_dir_all(&dir).unwrap();
        copy_files(&base, &dir);
        let path = dir.join(file);
        let before = std::fs::read(&path).ok();
        let after = match change {
            Change::Older => std::fs::read(self.server.path().join("older").join(file)).ok(),
            Change::Foreign => std::fs::read(foreign.join(file)).ok(),
            Change::OtherNode => {
                let other = one_of(foreign, kind_of(file), random);
                other.map(|other| std::fs::read(foreign.join(other)).unwrap())
            }
            Change::Delete => None,
            change => before.as_ref().map(|bytes| changed(bytes, change, random)),
        };
        match &after {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None if change == Change::Delete && before.is_some() => {
                std::fs::remove_file(&path).unwrap();
            }
            None => return false,
        }
        before != after
    }
}

async fn no_changed_file_passes_in_silence(ends_cleanly: bool) {
    let mut random = StdRng::seed_from_u64(seed());
    let mut base = Base::make(ends_cleanly, "a").await;
    let other = Base::make(ends_cleanly, "b").await;
    let foreign = other.server.path().join("base");
    let files = base.files(&foreign);
    let with_each = |file: &String| CHANGES.map(|change| (file.clone(), change));
    let mut cases: Vec<_> = files.iter().flat_map(with_each).collect();
    let is_whole = std::env::var("FAULT_FILES").is_ok();
    if !is_whole {
        cases.shuffle(&mut random);
    }
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    let mut tried = 0;
    for (file, change) in cases {
        if !is_whole && tried == USUAL {
            break;
        }
        if !base.change(&foreign, &file, change, &mut random) {
            continue;
        }
        tried += 1;
        base.server.launch();
        let outcome = if base.server.is_ready().await {
            let lost = base.written.lost(&base.server).await;
            let is_known = may_pass(kind_of(&file), change);
            assert!(lost.is_none() || is_known, "{file}, {change:?}: {lost:?}");
            base.server.kill9();
            match lost {
                None => "served".to_owned(),
                Some(_) => "served another log, as is known".to_owned(),
            }
        } else {
            let code = base.server.process().exited().unwrap().code();
            let last = last_line(&base.server);
            assert!(
                matches!(code, Some(3 | 6)),
                "{file}, {change:?}: {code:?}: {last}"
            );
            assert!(last.contains("ERROR"), "{file}, {change:?}: {last}");
            base.server.forget();
            println!("{file}, {change:?}: {last}");
            format!("refused with {}", code.unwrap())
        };
        println!("{file}, {change:?}: {outcome}");
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{tried} changes: {outcomes:?}");
    assert!(outcomes.contains_key("refused with 6"));
}

#[tokio::test]
async fn no_changed_file_of_a_stopped_node_passes_in_silence() {
    no_changed_file_passes_in_silence(true).await;
}

#[tokio::test]
async fn no_changed_file_of_a_killed_node_passes_in_silence() {
    no_changed_file_passes_in_silence(false).await;
}
