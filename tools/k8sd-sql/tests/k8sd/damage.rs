//! A file of a stopped member's database is changed: all rows are there, or the daemon refuses by name.
//!
//! FAULT_SEED repeats the places.

// The changes are those that the server's files are tested with.
#[path = "../../../../tests/server/faults/change.rs"]
mod change;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rand::{SeedableRng, rngs::StdRng};

use crate::daemon::{Daemon, wait_for};
use change::{CHANGES, Change, changed, copy_files, is_of_the_node, names};

/// Rows that fill more than a segment of the log, which has 8 MiB, in two runs.
const ROWS: usize = 24;
const ROW_BYTES: usize = 256 * 1024;

/// One member with a history of two runs; the database, as it was after each, is beside it.
struct Member {
    daemon: Daemon,
    copies: tempfile::TempDir,
    rows: usize,
}

impl Member {
    fn make(ends_cleanly: bool) -> Self {
        let daemon = Daemon::bootstrapped("node1");
        daemon.good(&["sql", "create table t (a integer primary key, b blob)"]);
        let copies = tempfile::tempdir().unwrap();
        let mut member = Self {
            daemon,
            copies,
            rows: 0,
        };
        for copy in ["older", "base"] {
            if copy == "base" {
                member.daemon.start_again();
            }
            member.write();
            member.end(ends_cleanly);
            copy_files(&member.database(), &member.copies.path().join(copy));
        }
        member
    }

    fn write(&mut self) {
        for _ in 0..ROWS {
            let insert = format!("insert into t (b) values (zeroblob({ROW_BYTES}))");
            self.daemon.good(&["sql", &insert]);
            self.rows += 1;
        }
    }

    fn end(&mut self, cleanly: bool) {
        if cleanly {
            self.daemon.good(&["shutdown"]);
            self.daemon.ends();
            return;
        }
        let dir = self.database();
        wait_for("the mark to be exact", || {
            let marked = dqlite::node::mark::read(&dir).unwrap();
            let log = dqlite::log::verify_directory(&dir);
            log.is_ok_and(|log| marked.is_some_and(|mark| mark.last_index == log.last_index))
        });
        self.daemon.kill();
    }

    fn database(&self) -> PathBuf {
        self.daemon.dir().join("database")
    }

    /// Files of both copies.
    fn files(&self) -> Vec<String> {
        let copies = ["older", "base"].map(|copy| names(&self.copies.path().join(copy)));
        let mut files = copies.concat();
        files.retain(|name| is_of_the_node(name));
        files.sort();
        files.dedup();
        files
    }

    /// Returns whether there is a difference.
    fn change(&self, file: &str, change: Change, random: &mut StdRng) -> bool {
        let (base, dir) = (self.copies.path().join("base"), self.database());
        fs::remove_dir_all(&dir).unwrap();
        copy_files(&base, &dir);
        let before = fs::read(dir.join(file)).ok();
        let after = match change {
            Change::Older => fs::read(self.copies.path().join("older").join(file)).ok(),
            // Of one member there is no other.
            Change::Delete | Change::Foreign | Change::OtherNode => None,
            change => before.as_ref().map(|bytes| changed(bytes, change, random)),
        };
        match &after {
            Some(bytes) => fs::write(dir.join(file), bytes).unwrap(),
            None if before.is_some() && change == Change::Delete => {
                fs::remove_file(dir.join(file)).unwrap();
            }
            None => return false,
        }
        before != after
    }

    /// Starts the daemon: it serves all rows, or ends and says why.
    fn outcome(&mut self, what: &str) -> &'static str {
        let log = self.copies.path().join("log");
        let _ = fs::remove_file(&log);
        self.daemon.launch_with_log(&log);
        let mut ended = None;
        wait_for("the daemon to serve or to end", || {
            ended = self.daemon.exited();
            ended.is_some() || self.daemon.run(&["status"]).status.success()
        });
        let Some(status) = ended else {
            self.check(what);
            self.daemon.kill();
            return "served";
        };
        let said = said(&log);
        assert!(
            matches!(status.code(), Some(1 | 3 | 6 | 7))
                && said.contains("The error was: ")
                && !said.contains("--reseed"),
            "{what}: {status}: {said}"
        );
        println!("{what}: {said}");
        "refused"
    }

    fn check(&self, what: &str) {
        let sql = format!("select count(*), sum(length(b) = {ROW_BYTES}) from t");
        let found = self.daemon.good(&["sql", "--format", "csv", &sql]);
        let rows = self.rows;
        assert!(
            found.ends_with(&format!("{rows},{rows}\r\n")),
            "{what}: {found}"
        );
    }
}

fn said(log: &Path) -> String {
    let said = fs::read_to_string(log).unwrap();
    said.trim().replace('\n', " ")
}

fn no_changed_file_passes_in_silence(ends_cleanly: bool) {
    let seed = std::env::var("FAULT_SEED").ok();
    let seed = seed.map_or_else(rand::random, |seed| seed.parse().expect("FAULT_SEED"));
    println!("FAULT_SEED={seed} repeats it");
    let mut random = StdRng::seed_from_u64(seed);
    let mut member = Member::make(ends_cleanly);
    let files = member.files();
    let on_each = |change| files.iter().map(move |file| (file, change));
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for (file, change) in CHANGES.into_iter().flat_map(on_each) {
        if !member.change(file, change, &mut random) {
            continue;
        }
        let outcome = member.outcome(&format!("{file}, {change:?}"));
        println!("{file}, {change:?}: {outcome}");
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{} changes: {outcomes:?}", outcomes.values().sum::<usize>());
    assert!(outcomes.contains_key("refused"));
}

#[test]
fn no_changed_file_of_a_stopped_database_passes_in_silence() {
    no_changed_file_passes_in_silence(true);
}

#[test]
fn no_changed_file_of_a_killed_database_passes_in_silence() {
    no_changed_file_passes_in_silence(false);
}
