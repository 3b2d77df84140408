//! One file of the node is changed while it does not run and the others do.
//!
//! The node is stopped or killed for each case, and gets the files back that it had if it refuses: so it is
//! never older than what it has acknowledged, but for the one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dqlite::{log::verify_directory, node::mark};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{AT, Cluster};
use crate::faults::change::{CHANGES, Change, changed, copy_files};
use crate::faults::kinds::{FileKind, KINDS, may_pass, one_of};
use crate::faults::{last_line, load::LARGE_BYTES, seed};
use crate::harness::*;

/// Cases that are tried without FAULT_FILES.
const USUAL: usize = 4;

/// Between two cases: after some there is a new segment, and a new snapshot.
const SMALL_WRITES: usize = 40;
const LARGE_WRITES: usize = 6;

/// After so many cases the older copy is replaced.
const CASES_PER_COPY: usize = 5;

/// A file of damaged, foreign or missing content, the address of another node that runs, or a file of another node.
const REFUSALS: [i32; 3] = [3, 4, 6];

impl Cluster {
    async fn end_node(&mut self, ends_cleanly: bool) {
        if ends_cleanly {
            let status = self.node().terminate().await;
            let last = last_line(self.node());
            assert!(status.success(), "{status}: {last}");
            return;
        }
        let dir = self.node().storage_dir();
        until("the mark is exact", async || {
            let marked = mark::read(&dir).unwrap().map(|mark| mark.last_index);
            verify_directory(&dir).is_ok_and(|log| Some(log.last_index) == marked)
        })
        .await;
        self.node().kill9();
    }

    /// Changes a file of the node, and returns its name if that made a difference.
    fn change(
        &mut self,
        kind: FileKind,
        change: Change,
        older: &Path,
        random: &mut StdRng,
    ) -> Option<String> {
        let other = self.trio.nodes[(AT + 1) % 3].storage_dir();
        let dir = self.node().storage_dir();
        let (from, name) = match change {
            Change::Older => (older, one_of(older, kind, random)?),
            Change::OtherNode => (&*other, one_of(&other, kind, random)?),
            _ => (&*dir, one_of(&dir, kind, random)?),
        };
        let before = std::fs::read(dir.join(&name)).ok();
        let after = match change {
            Change::Older | Change::OtherNode => std::fs::read(from.join(&name)).ok()?,
            Change::Foreign => std::fs::read(other.join(one_of(&other, kind, random)?)).ok()?,
            Change::Delete => {
                std::fs::remove_file(dir.join(&name)).unwrap();
                return Some(name);
            }
            change => changed(before.as_ref()?, change, random),
        };
        std::fs::write(dir.join(&name), &after).unwrap();
        (before.as_ref() != Some(&after)).then_some(name)
    }
}

struct Sweep {
    cluster: Cluster,
    random: StdRng,
    /// The directory of the node as it was some time ago, and as it was before the change.
    older: PathBuf,
    newest: PathBuf,
    outcomes: BTreeMap<String, usize>,
    tried: usize,
}

impl Sweep {
    async fn start(seed: u64) -> Self {
        let mut cluster = Cluster::start().await;
        let path = cluster.node().path().to_owned();
        let mut sweep = Self {
            cluster,
            random: StdRng::seed_from_u64(seed),
            older: path.join("older"),
            newest: path.join("newest"),
            outcomes: BTreeMap::new(),
            tried: 0,
        };
        sweep.write().await;
        sweep.cluster.end_node(true).await;
        copy_files(&sweep.cluster.node().storage_dir(), &sweep.older);
        sweep.cluster.node().restart().await;
        sweep
    }

    async fn write(&mut self) {
        self.cluster.write(LARGE_WRITES, LARGE_BYTES).await;
        self.cluster.write(SMALL_WRITES, 1).await;
    }

    /// Returns whether there was something to change.
    async fn case(&mut self, kind: FileKind, change: Change, ends_cleanly: bool) -> bool {
        self.write().await;
        self.cluster.end_node(ends_cleanly).await;
        let dir = self.cluster.node().storage_dir();
        if self.tried.is_multiple_of(CASES_PER_COPY) && self.newest.exists() {
            std::fs::remove_dir_all(&self.older).unwrap();
            std::fs::rename(&self.newest, &self.older).unwrap();
        }
        put_in_place(&dir, &self.newest);
        let Some(file) = self
            .cluster
            .change(kind, change, &self.older, &mut self.random)
        else {
            self.cluster.node().restart().await;
            return false;
        };
        self.tried += 1;
        let what = format!("{file}, {change:?}");
        self.cluster.node().launch();
        let refused = self.cluster.serves_or_refuses(&REFUSALS, &what).await;
        self.cluster.write(1, 1).await;
        self.cluster.check().await;
        let outcome = match refused {
            None => "served".to_owned(),
            Some(code) => {
                put_in_place(&self.newest, &dir);
                self.cluster.node().restart().await;
                self.cluster.check().await;
                format!("refused with {code}")
            }
        };
        println!("{what}: {outcome}");
        *self.outcomes.entry(outcome).or_default() += 1;
        true
    }
}

/// Makes a directory a copy of another one.
fn put_in_place(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    copy_files(from, to);
}

#[tokio::test]
async fn no_changed_file_of_one_node_of_three_passes_in_silence() {
    let seed = seed();
    let mut sweep = Sweep::start(seed).await;
    let ends = |(kind, change)| [(kind, change, true), (kind, change, false)];
    let with_each = |change| KINDS.map(|kind| (kind, change));
    let is_tried = |(kind, change, _): &(FileKind, Change, bool)| !may_pass(*kind, *change);
    let mut cases: Vec<_> = CHANGES
        .into_iter()
        .flat_map(with_each)
        .flat_map(ends)
        .collect();
    // What passes may end the engine later, at any moment.
    cases.retain(is_tried);
    cases.shuffle(&mut sweep.random);
    let is_whole = std::env::var("FAULT_FILES").is_ok();
    let mut unchanged = 0;
    for (kind, change, ends_cleanly) in cases {
        if !is_whole && sweep.tried == USUAL {
            break;
        }
        if !sweep.case(kind, change, ends_cleanly).await {
            unchanged += 1;
        }
    }
    println!(
        "{} changes, {unchanged} more without a difference: {:?}",
        sweep.tried, sweep.outcomes
    );
}
