//! Imports against the arrows of the page.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    page::{PAGE, block},
    rust::{code, crate_names, is_test},
    tree::Tree,
};

/// Checks the imports between the rooms of `src/`. A room may import those that its line names,
/// which stand below it.
pub fn rooms(tree: &Tree) -> Vec<String> {
    let stated = block(tree, "arrows");
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut faults = Vec::new();
    for (path, text) in tree.files(&["src/"], ".rs") {
        if is_test(path) || path == "src/lib.rs" {
            continue;
        }
        let room = room_of(path);
        let text = code(text).replace("k8s_dqlite::", "crate::");
        for name in crate_names(&text) {
            let is_room = stated.iter().any(|(room, _)| *room == name);
            if is_room && name != room {
                let allowed = stated.iter().find(|(own, _)| own == room);
                if !allowed.is_some_and(|(_, others)| others.contains(&name)) {
                    faults.push(format!(
                        "{path} imports {name}, which {PAGE} does not allow"
                    ));
                }
                found.entry(room).or_default().insert(name);
            }
        }
    }
    faults.extend(order("arrows", &stated));
    for (room, others) in &stated {
        let used = found.get(room.as_str());
        for other in others {
            if !used.is_some_and(|used| used.contains(other)) {
                faults.push(format!("{PAGE}: {room} does not import {other}"));
            }
        }
    }
    for (path, _) in tree.files(&["src/"], ".rs") {
        let room = room_of(path);
        if path != "src/lib.rs" && !stated.iter().any(|(known, _)| known == room) {
            faults.push(format!("{path} is in no room of {PAGE}"));
        }
    }
    faults
}

fn room_of(path: &str) -> &str {
    let path = path.trim_start_matches("src/");
    let room = path.split('/').next().unwrap_or(path);
    room.trim_end_matches(".rs")
}

/// Checks the dependencies between the packages of the workspace.
pub fn packages(tree: &Tree) -> Vec<String> {
    let stated = block(tree, "crates");
    let names: BTreeSet<&str> = stated.iter().map(|(name, _)| name.as_str()).collect();
    let mut faults = order("crates", &stated);
    for (path, text) in tree.files(
        &["crates/", "tools/", "benches/load/", "Cargo.toml"],
        "Cargo.toml",
    ) {
        if path.contains("/generate/") || path.contains("/fuzz/") {
            continue;
        }
        let Some(name) = package_name(text) else {
            continue;
        };
        let needed: BTreeSet<&str> = dependencies(text)
            .filter(|one| names.contains(one))
            .collect();
        let Some((_, listed)) = stated.iter().find(|(known, _)| *known == name) else {
            faults.push(format!("{path}: {name} is not in {PAGE}"));
            continue;
        };
        let listed: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        for other in needed.symmetric_difference(&listed) {
            faults.push(format!("{name} and {other}: {path} and {PAGE} disagree"));
        }
    }
    faults
}

/// Checks that each name stands above the names that it may import.
fn order(word: &str, stated: &[(String, Vec<String>)]) -> Vec<String> {
    let place = |name: &str| stated.iter().position(|(known, _)| known == name);
    let mut faults = Vec::new();
    for (at, (name, others)) in stated.iter().enumerate() {
        for other in others {
            match place(other) {
                None => faults.push(format!("{PAGE}: {word} has no line for {other}")),
                Some(below) if below <= at => {
                    faults.push(format!(
                        "{PAGE}: the arrow from {name} to {other} runs upward"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    faults
}

fn package_name(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[package]")?;
    let line = package.lines().find(|line| line.starts_with("name = "))?;
    line.split('"').nth(1)
}

/// Returns the names in the section of dependencies alone: tests may need more.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let section = manifest
        .split("\n[dependencies]\n")
        .nth(1)
        .unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    section.lines().filter_map(|line| {
        let end = line.find(['.', ' ', '='])?;
        Some(&line[..end])
    })
}
