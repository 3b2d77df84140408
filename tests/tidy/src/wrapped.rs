//! Checks that a static program is linked with every function that stands before one of a C library. One that is not in the
//! linker's list does nothing there, and nobody sees it.

use std::collections::BTreeSet;

use regex::Regex;

use super::{page::expanded, tree::Tree};

/// The script with the list, and the folder with the functions.
const SCRIPT: &str = "scripts/build";
const FUNCTIONS: [&str; 1] = ["crates/dqlite/src/"];

/// Finds the names that are only in the list, or only in the code.
pub fn functions(tree: &Tree) -> Vec<String> {
    let name = Regex::new("\"__wrap_([a-z0-9_]+)\"|fn __wrap_([a-z0-9_]+)").unwrap();
    let mut written = BTreeSet::new();
    for (_, text) in tree.files(&FUNCTIONS, ".rs") {
        for found in name.captures_iter(text) {
            written.extend(
                found
                    .get(1)
                    .or(found.get(2))
                    .map(|it| it.as_str().to_owned()),
            );
        }
    }
    let list = Regex::new(r"(?s)readonly wrapped=\(([^)]*)\)").unwrap();
    let Some(list) = list.captures(tree.text(SCRIPT)) else {
        return vec![format!("{SCRIPT} has no list `wrapped`")];
    };
    let listed: BTreeSet<String> = list[1].split_whitespace().flat_map(expanded).collect();
    let differing = written.symmetric_difference(&listed);
    differing
        .map(|name| match listed.contains(name) {
            true => format!("{SCRIPT}: nothing stands before {name}, which `wrapped` lists"),
            false => format!("{SCRIPT}: `wrapped` lacks {name}"),
        })
        .collect()
}
