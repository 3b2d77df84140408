//! SQL, statement by statement, until the end of input.

use std::io;

use k8sd::source::Source;

use crate::{args::Format, failure::Failure, sql::one};

pub async fn run(source: &Source, format: Format) -> Result<(), Failure> {
    let mut pending = String::new();
    loop {
        let prompt = if pending.is_empty() {
            "k8sd> "
        } else {
            " ...> "
        };
        eprint!("{prompt}");
        if io::stdin().read_line(&mut pending)? == 0 {
            eprintln!();
            return Ok(());
        }
        let line = pending.trim();
        if matches!(line, ".quit" | ".exit") {
            return Ok(());
        }
        if line.is_empty() || !(line.starts_with('.') || dqlite::sql::split(line).rest.is_empty()) {
            continue;
        }
        if let Err(failure) = one(source, format, false, line).await {
            eprintln!("Error: {}", failure.text());
        }
        pending.clear();
    }
}
