//! README.md and docs/: every block of code is typed, or looked up; see the crate's head.

mod stage;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use pages::{
    commands,
    lookup::Lookup,
    note::{Note, Typed},
    page::{Block, Page},
};

use stage::{Outcome, Stage};

/// Blocks that are typed at a time: most of their time is waiting.
const AT_ONCE: usize = 3;

/// Other tests read these: tests/tidy.
const READ_BY_TIDY: [&str; 2] = ["arrows", "crates"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Returns the directory of the programs that are built for debugging.
fn bin() -> PathBuf {
    match std::env::var_os("PAGES_BIN") {
        Some(dir) => dir.into(),
        None => std::env::current_exe()
            .unwrap()
            .ancestors()
            .nth(2)
            .unwrap()
            .to_owned(),
    }
}

/// Returns the pages by their paths, decisions not among them: they say how things were.
fn pages(root: &Path) -> BTreeMap<String, Page> {
    let docs = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let files = files.chain(["README.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    files
        .map(|path| {
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            (name, Page::parse(&fs::read_to_string(path).unwrap()))
        })
        .collect()
}

/// A block that is typed, with its place.
struct Task<'a> {
    place: String,
    block: &'a Block,
    typed: Typed,
}

#[derive(Default)]
struct Found<'a> {
    tasks: Vec<Task<'a>>,
    /// Command lines that are not typed, by reason.
    looked_up: BTreeMap<String, usize>,
    shown: usize,
    faults: Vec<String>,
}

impl<'a> Found<'a> {
    fn add(&mut self, place: String, block: &'a Block, lookup: &Lookup) {
        match (&block.note, block.language.as_str()) {
            (Some(Err(error)), _) => self.faults.push(format!("{place}: {}", error.0)),
            (Some(Ok(Note::Typed(typed))), _) => self.tasks.push(Task { place, block, typed: Typed::clone(typed) }),
            (Some(Ok(Note::NotTyped(reason))), _) => {
                let commands = commands::of(&block.text);
                *self.looked_up.entry(reason.clone()).or_default() += commands.len();
                for command in commands {
                    let found = lookup.check(&commands::joined(&command.text));
                    self.faults.extend(found.err().map(|error| format!("{place}: {error}")));
                }
            }
            (Some(Ok(Note::Shown(_))), _) => self.shown += 1,
            (None, "yaml") => {
                self.shown += 1;
                let parsed = serde_yaml::Deserializer::from_str(&block.text);
                for document in parsed {
                    let read = <serde_yaml::Value as serde::Deserialize>::deserialize(document);
                    self.faults.extend(read.err().map(|error| format!("{place}: {error}")));
                }
            }
            (None, language) if READ_BY_TIDY.contains(&language) => self.shown += 1,
            (None, _) => self.faults.push(format!(
                "{place}: this block has no note, a comment before it that says how it is tried: see \
                 tests/pages/src/lib.rs"
            )),
        }
    }
}

/// Types the blocks, some at a time; returns the number of command lines, what could not be typed here, and the faults.
fn type_all(tasks: &[Task<'_>], stage: &Stage) -> (usize, Vec<String>, Vec<String>) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((0, Vec::new(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = stage.try_block(task.block, &task.typed);
                    let mut results = results.lock().unwrap();
                    match outcome {
                        Outcome::Typed(lines) => results.0 += lines,
                        Outcome::Lacking(what) => results
                            .1
                            .push(format!("{}: no {what} on this machine", task.place)),
                        Outcome::Failed(why) => results.2.push(format!(
                            "{} (setting {}): {why}",
                            task.place, task.typed.setting
                        )),
                    }
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// With PAGES_RUN only blocks whose `PAGE:LINE` has that text are looked at.
#[test]
fn every_command_line_is_typed_or_looked_up() {
    let root = root();
    let lookup = Lookup::new(&root, &bin());
    let wanted = std::env::var("PAGES_RUN").unwrap_or_default();
    let pages = pages(&root);
    let mut found = Found::default();
    let mut inline = BTreeSet::new();
    for (name, page) in &pages {
        for block in &page.blocks {
            let place = format!("{name}:{}", block.line);
            if place.contains(&wanted) {
                found.add(place, block, &lookup);
            }
        }
        for one in &page.inline {
            if inline.insert(one.text.as_str()) {
                let checked = lookup.inline(&one.text);
                found.faults.extend(
                    checked
                        .err()
                        .map(|error| format!("{name}:{}: {error}", one.line)),
                );
            }
        }
    }
    let stage = Stage::new(root, bin());
    let (lines, lacking, failed) = type_all(&found.tasks, &stage);
    eprintln!(
        "{lines} command lines of {} blocks were typed",
        found.tasks.len() - lacking.len()
    );
    for (reason, lines) in &found.looked_up {
        eprintln!("{lines} looked up and not typed: {reason}");
    }
    for what in &lacking {
        eprintln!("not typed: {what}");
    }
    eprintln!(
        "{} blocks have no commands; {} pieces of code in sentences were looked up",
        found.shown,
        inline.len()
    );
    found.faults.extend(failed);
    assert!(found.faults.is_empty(), "\n{}\n", found.faults.join("\n"));
}

#[test]
fn what_is_not_there_is_found() {
    let lookup = Lookup::new(&root(), &bin());
    for right in [
        "k8s-dqlite recover --reseed --storage-dir DIR",
        "sudo k8s-dqlite.k8sd token add node2",
        "snap set k8s-dqlite listen=unix:///a && k8sd sql --format=csv",
        "scripts/test port --seconds 1 | make static",
    ] {
        assert_eq!(lookup.check(right), Ok(()), "{right}");
    }
    for wrong in [
        "k8s-dqlite nowhere",
        "k8s-dqlite recover --reseeds",
        "k8sd token make",
        "dqlite --yess",
        "k8s-dqlite.nowhere",
        "snap set k8s-dqlite nothing=1",
        "snap stop k8s-dqlite.nothing",
        "scripts/nothing",
        "scripts/test port --hours 1",
        "scripts/test nothing",
        "make nothing",
        "etcdctl get a | nobody-knows",
    ] {
        assert!(lookup.check(wrong).is_err(), "{wrong}");
    }
    assert!(lookup.inline("recover --nothing DIR").is_err());
}

#[test]
fn a_wrong_exit_code_or_output_is_found() {
    let stage = Stage::new(root(), bin());
    let outcome = |text: &str, note: &str| {
        let page = Page::parse(&format!("{note}\n```sh\n{text}\n```\n"));
        match &page.blocks[0].note {
            Some(Ok(Note::Typed(typed))) => stage.try_block(&page.blocks[0], typed),
            other => panic!("{other:?}"),
        }
    };
    for (text, note) in [
        ("true\nfalse", "<!-- typed: empty -->"),
        ("$ echo 1 a\n2 b", "<!-- typed: empty -->"),
        ("a", "<!-- printed: empty\nby: echo b -->"),
        ("echo a", "<!-- typed: empty\nprints: b -->"),
        ("echo a", "<!-- typed: nowhere -->"),
        ("# on node2\necho a", "<!-- typed: empty -->"),
    ] {
        let outcome = outcome(text, note);
        let is_found = matches!(outcome, Outcome::Failed(_) | Outcome::Lacking(_));
        assert!(is_found, "{note} {text}");
    }
    let right = outcome("$ echo 1 a\n2 a", "<!-- typed: empty -->");
    assert!(!matches!(right, Outcome::Failed(_)));
}
