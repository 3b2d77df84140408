//! The messages that docs/ tell people to look for are messages of the programs, or alerts.

use std::{fs, path::Path};

use regex::Regex;

/// Pages with tables of messages; in the second one only under these headings.
const PAGES: [(&str, &[&str]); 2] = [
    ("docs/troubleshooting.md", &[]),
    (
        "docs/operations.md",
        &["## When it does not start", "## Logs"],
    ),
];

/// The shortest part of a message that is looked for, in letters.
const MIN_LETTERS: usize = 6;

/// The columns that are not looked into: their cells begin with what is typed.
const MESSAGES_END_AT: usize = 2;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read_all(dir: &Path, ending: &str, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, ending, text);
        } else if path.to_string_lossy().ends_with(ending) {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Returns the sources of the programs, with texts that go on in the next line joined.
fn sources() -> String {
    let mut text = String::new();
    for dir in ["src", "crates", "tools"] {
        read_all(&root().join(dir), ".rs", &mut text);
    }
    read_all(&root().join("dashboards"), ".yaml", &mut text);
    let joint = Regex::new(r"\\\n\s*").unwrap();
    joint.replace_all(&text, "").replace("\\\"", "\"")
}

/// Returns the parts of a message that are always the same.
fn parts(message: &str) -> Vec<String> {
    // Numbers, names in capitals, names of files and what stands in quotes stand for others.
    let changing =
        Regex::new(r#"…|^[\w.-]+: |\b[\w-]+\.yaml\b|\b[A-Z]\b|\b[A-Z]{4,}\b|"[^"]*"|\d+ ?s\b|[a-z]+://\S*|\w+=\S*"#).unwrap();
    let parts = changing
        .split(message)
        .map(|part| part.trim_matches([' ', ';', ':', ',', '.']));
    let is_long = |part: &&str| part.chars().filter(|c| c.is_alphabetic()).count() >= MIN_LETTERS;
    parts.filter(is_long).map(str::to_owned).collect()
}

/// Returns the messages in the tables of a page, with their lines.
fn messages(page: &str, headings: &[&str]) -> Vec<(usize, String)> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut found = Vec::new();
    let mut heading = "";
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('#') {
            heading = line;
        }
        if !line.starts_with('|') || !(headings.is_empty() || headings.contains(&heading)) {
            continue;
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        // A row that begins with a code has the message behind it.
        let at = usize::from(cells[0].trim_start_matches("| ").parse::<u8>().is_ok());
        let cell = cells
            .get(at)
            .filter(|_| at < MESSAGES_END_AT)
            .copied()
            .unwrap_or_default();
        found.extend(
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(|text| (number, text.to_owned())),
        );
    }
    found
}

#[test]
fn every_message_in_the_pages_is_one_of_the_programs() {
    let sources = sources();
    let mut faults = Vec::new();
    let mut count = 0;
    for (page, headings) in PAGES {
        for (line, message) in messages(page, headings) {
            count += 1;
            for part in parts(&message) {
                if !sources.contains(&part) {
                    faults.push(format!(
                        "{page}:{line}: nothing says {part:?} of `{message}`"
                    ));
                }
            }
        }
    }
    assert!(count > 100, "only {count} messages were found");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_alert_is_explained() {
    let rules = fs::read_to_string(root().join("dashboards/alerts.yaml")).unwrap();
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let missing: Vec<&str> = alerts
        .filter(|alert| !page.contains(&format!("`{alert}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md lacks {missing:?}"
    );
}
