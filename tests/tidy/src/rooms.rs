//! Checks of the things that may be in some rooms only.

use regex::Regex;

use super::{
    page::{PAGE, listed},
    rust::{code, is_test, line_of},
    tree::Tree,
};

const OURS: [&str; 3] = ["src/", "crates/", "tools/"];

/// Fails on the pattern in code outside the files and folders that a paragraph of the page lists, and on places of
/// that list that do not have it.
fn confined(tree: &Tree, paragraph: &str, pattern: &str, what: &str) -> Vec<String> {
    let (places, pattern) = (listed(tree, paragraph), Regex::new(pattern).unwrap());
    let mut used = vec![false; places.len()];
    let mut faults = Vec::new();
    for (path, text) in tree.files(&OURS, ".rs") {
        if is_test(path) || path.contains("/gen/") {
            continue;
        }
        let text = code(text);
        for found in pattern.find_iter(&text) {
            let is_in = |place: &String| {
                path == place || path.starts_with(&format!("{}/", place.trim_end_matches('/')))
            };
            match places.iter().position(is_in) {
                Some(at) => used[at] = true,
                None => {
                    let line = line_of(&text, found.start());
                    faults.push(format!("{path}:{line}: {what} is not there by {PAGE}"));
                }
            }
        }
    }
    for (place, _) in places.iter().zip(used).filter(|(_, used)| !used) {
        if place.contains('/') {
            faults.push(format!("{PAGE}: {place} has no {what}"));
        }
    }
    faults
}

pub fn sql(tree: &Tree) -> Vec<String> {
    let pattern = r#""[^"\n]*\b(SELECT|INSERT INTO|DELETE FROM|CREATE TABLE|UPDATE [a-z_]+ SET)\b"#;
    confined(tree, "SQL is in", pattern, "SQL")
}

pub fn unsafe_code(tree: &Tree) -> Vec<String> {
    let pattern = r"\bunsafe\s*(\{|fn|impl|extern)";
    confined(tree, "`unsafe` is in", pattern, "unsafe code")
}

pub fn grpc_status(tree: &Tree) -> Vec<String> {
    let pattern = r"\btonic::(\{[^}]*\b)?Status\b";
    confined(tree, "gRPC's status is in", pattern, "gRPC's status")
}

pub fn etcd_texts(tree: &Tree) -> Vec<String> {
    confined(
        tree,
        "etcd's texts are in",
        r#""etcdserver: "#,
        "a text of etcd",
    )
}

/// A package without unsafe code says so to the compiler.
pub fn forbidden(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    let roots = ["/src/lib.rs", "/src/main.rs"];
    for root in roots {
        for (path, text) in tree.files(&["crates/", "tools/", "benches/"], root) {
            let Some(dir) = path.strip_suffix(root) else {
                continue;
            };
            if dir.contains("/generate") || text.contains("forbid(unsafe_code)") {
                continue;
            }
            let inside = [format!("{dir}/src/")];
            let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
            let has_unsafe = tree
                .files(&inside, ".rs")
                .any(|(_, text)| text.contains("unsafe "));
            if !has_unsafe {
                faults.push(format!(
                    "{path}: it has no unsafe code, so say #![forbid(unsafe_code)]"
                ));
            }
        }
    }
    faults
}
