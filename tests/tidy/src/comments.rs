//! The English of documentation comments.

use regex::Regex;

use super::{rust::line_of, tree::Tree};

/// A comment is a sentence, or names a thing; one that begins like this has to be read twice.
pub fn heads(tree: &Tree) -> Vec<String> {
    let head = Regex::new(r"(?m)^\s*//[/!] (What|Who|How|Where|Whether|Hears)\b").unwrap();
    let places = ["src/", "crates/", "tools/", "benches/", "fuzz/", "tests/"];
    let mut faults = Vec::new();
    for (path, text) in tree.files(&places, ".rs") {
        if path.contains("/gen/") || path.starts_with("tests/tidy/") {
            continue;
        }
        // Only the first line of a comment is a head.
        let mut is_inside = false;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let is_doc =
                line.trim_start().starts_with("///") || line.trim_start().starts_with("//!");
            if is_doc && !is_inside && head.is_match(line) {
                let number = line_of(text, at);
                faults.push(format!(
                    "{path}:{number}: a comment begins with a headless clause"
                ));
            }
            is_inside = is_doc;
            at += line.len();
        }
    }
    faults
}
