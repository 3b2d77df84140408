//! Checks that the things which the documentation names exist.

use std::collections::BTreeSet;

use regex::Regex;

use super::{page::expanded, rust::line_of, tree::Tree};

/// Beginnings of paths in the repository.
const FOLDERS: [&str; 15] = [
    "src/",
    "crates/",
    "tools/",
    "tests/",
    "benches/",
    "fuzz/",
    "docs/",
    "scripts/",
    "snap/",
    "config/",
    "dashboards/",
    "packaging/",
    "examples/",
    ".ci/",
    "spread.yaml",
];

/// Paths in the sources of etcd and dqlite.
const FOREIGN_PATHS: [&str; 4] = [
    "tests/common",
    "tests/integration",
    "tests/robustness/README.md",
    "src/fsm.c",
];

/// Pages that speak of the tree as it is; a changelog speaks of what was.
fn pages(tree: &Tree) -> impl Iterator<Item = (&str, &str)> {
    tree.files(&["docs/", "README.md", "CONTRIBUTING.md"], ".md")
}

/// Words in backticks, with their places.
fn quoted(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_block = false;
    let mut from = 0;
    text.split_inclusive('\n')
        .filter_map(move |line| {
            let at = from;
            from += line.len();
            if line.trim_start().starts_with("```") {
                is_block = !is_block;
            }
            (!is_block).then_some((at, line))
        })
        .flat_map(|(at, line)| {
            let mut place = at;
            line.split('`').enumerate().filter_map(move |(n, part)| {
                let start = place;
                place += part.len() + 1;
                (n % 2 == 1).then_some((start, part))
            })
        })
}

pub fn paths(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (page, text) in pages(tree) {
        for (at, word) in quoted(text) {
            let is_ours = FOLDERS.iter().any(|folder| word.starts_with(folder));
            let is_code = word.contains('/') && word.ends_with(".rs");
            let is_path = (is_ours || is_code) && !word.contains([' ', '…', '<']);
            if !is_path || FOREIGN_PATHS.contains(&word) {
                continue;
            }
            for path in expanded(word) {
                let path = path.split([':', '#']).next().unwrap_or_default();
                let is_there = match path.split_once('*') {
                    Some((before, after)) => tree
                        .0
                        .keys()
                        .any(|known| known.starts_with(before) && known.contains(after)),
                    None if is_ours => tree.has(path),
                    None => {
                        let ending = format!("/{path}");
                        tree.0.keys().any(|known| known.ends_with(&ending))
                    }
                };
                if !is_there {
                    let line = line_of(text, at);
                    faults.push(format!("{page}:{line}: {path} does not exist"));
                }
            }
        }
    }
    faults
}

/// Links between pages, and to files.
pub fn links(tree: &Tree) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)#\s]+)(#[^)\s]*)?\)").unwrap();
    let mut faults = Vec::new();
    for (page, text) in tree.files(
        &["docs/", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"],
        ".md",
    ) {
        for found in link.captures_iter(text) {
            let target = &found[1];
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let dir = page.rsplit_once('/').map_or("", |(dir, _)| dir);
            if !tree.has(&joined(dir, target)) {
                let line = line_of(text, found.get(0).unwrap().start());
                faults.push(format!("{page}:{line}: {target} does not exist"));
            }
        }
    }
    faults
}

fn joined(dir: &str, target: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Decisions by their numbers and files, in pages and in comments.
pub fn decisions(tree: &Tree) -> Vec<String> {
    let file = Regex::new(r"decisions/(\d{4}-[a-z0-9-]+\.md)").unwrap();
    let number = Regex::new(r"(?:decisions/|\bdecision )(\d{4})\b").unwrap();
    let known: BTreeSet<&str> = tree
        .files(&["docs/decisions/"], ".md")
        .filter_map(|(path, _)| path.trim_start_matches("docs/decisions/").get(..4))
        .collect();
    let mut faults = Vec::new();
    let elsewhere = tree
        .0
        .iter()
        .filter(|(path, _)| !path.starts_with("tests/tidy/"));
    for (path, text) in elsewhere {
        for found in number.captures_iter(text) {
            if !known.contains(&found[1]) {
                let line = line_of(text, found.get(0).unwrap().start());
                faults.push(format!("{path}:{line}: there is no decision {}", &found[1]));
            }
        }
        for found in file.captures_iter(text) {
            if !tree.has(&format!("docs/decisions/{}", &found[1])) {
                let line = line_of(text, found.get(0).unwrap().start());
                faults.push(format!("{path}:{line}: {} does not exist", &found[1]));
            }
        }
    }
    faults
}

/// Flags of our programs: every `--flag` that a page names is one of a program in the tree, or of one that the page
/// may speak of.
pub fn flags(tree: &Tree) -> Vec<String> {
    let flag = Regex::new(r"--[a-z][a-z0-9-]+").unwrap();
    let word = Regex::new(r"[A-Za-z_][A-Za-z0-9_]+").unwrap();
    let alias = Regex::new(r#"alias = "([a-z0-9-]+)""#).unwrap();
    let mut known: BTreeSet<String> = FOREIGN_FLAGS
        .iter()
        .map(|flag| (*flag).to_owned())
        .collect();
    for (path, text) in &tree.0 {
        if path.ends_with(".md") || path.starts_with("tests/tidy/") {
            continue;
        }
        known.extend(flag.find_iter(text).map(|found| found.as_str().to_owned()));
        if path.ends_with(".rs") {
            let names = word.find_iter(text);
            known.extend(names.map(|name| format!("--{}", name.as_str().replace('_', "-"))));
            let aliases = alias.captures_iter(text);
            known.extend(aliases.map(|alias| format!("--{}", &alias[1])));
        }
    }
    let mut faults = Vec::new();
    for (page, text) in pages(tree) {
        for (at, quoted) in quoted(text) {
            for found in flag.find_iter(quoted) {
                let name = found.as_str().trim_end_matches('-');
                let is_part =
                    known.iter().any(|known| known.starts_with(name)) && quoted.contains('…');
                if !known.contains(name) && !is_part {
                    let line = line_of(text, at);
                    faults.push(format!("{page}:{line}: there is no flag {name}"));
                }
            }
        }
    }
    faults
}

/// Flags of etcd and kube-apiserver.
const FOREIGN_FLAGS: [&str; 9] = [
    "--encryption-provider-config",
    "--host-whitelist",
    "--auto-tls",
    "--client-cert-allowed-hostname",
    "--client-cert-file",
    "--listen-client-http-urls",
    "--etcd-prefix",
    "--etcd-compaction-interval",
    "--tracing-config-file",
];

/// Constants of libraries and the kernel.
const FOREIGN_CONSTANTS: [&str; 3] = ["O_DSYNC", "RUST_LOG", "OTEL_"];

/// Constants and variables in capitals.
pub fn constants(tree: &Tree) -> Vec<String> {
    let name = Regex::new(r"^[A-Z][A-Z0-9]*_[A-Z0-9_]+$").unwrap();
    let word = Regex::new(r"[A-Z][A-Z0-9_]+").unwrap();
    let mut known = BTreeSet::new();
    for (path, text) in &tree.0 {
        if !path.ends_with(".md") && !path.starts_with("tests/tidy/") {
            known.extend(word.find_iter(text).map(|found| found.as_str()));
        }
    }
    let mut faults = Vec::new();
    for (page, text) in pages(tree) {
        for (at, quoted) in quoted(text) {
            let is_foreign = FOREIGN_CONSTANTS.iter().any(|one| quoted.starts_with(one));
            if name.is_match(quoted) && !is_foreign && !known.contains(quoted) {
                let line = line_of(text, at);
                faults.push(format!("{page}:{line}: there is no {quoted}"));
            }
        }
    }
    faults
}
