//! `k8sd sql`.

use std::{
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
};

use k8sd::{
    api::SqlQuery,
    offline::Offline,
    source::{Source, reach},
    state::StateDir,
};

use tokio::signal::ctrl_c;

use crate::{
    args::{Format, Sql},
    failure::{Failure, failed},
    print, prompt,
};

pub const FAILED: &str = "Failed to execute the SQL query.";

/// Bytes of a script on standard input: what a daemon takes.
const MAX_SCRIPT_BYTES: u64 = 16 << 20;

pub async fn run(state: &StateDir, args: &Sql) -> Result<ExitCode, Failure> {
    let text = match args.query.as_deref() {
        Some("-") => Some(read_stdin()?),
        Some(query) => Some(query.to_owned()),
        None if io::stdin().is_terminal() => None,
        None => Some(read_stdin()?),
    };
    let source = match args.offline {
        true => offline(state).await?,
        false => {
            let (source, notes) = reach(state).await;
            for note in notes {
                eprintln!("Note: {note}");
            }
            source
        }
    };
    let Some(text) = text else {
        prompt::run(&source, args.format).await?;
        return Ok(ExitCode::SUCCESS);
    };
    tokio::select! {
        answered = one(&source, args.format, args.transaction, &text) => answered?,
        // Returning deletes the copy.
        _ = ctrl_c(), if args.offline => return Ok(ExitCode::FAILURE),
    }
    Ok(ExitCode::SUCCESS)
}

async fn offline(state: &StateDir) -> Result<Source, Failure> {
    let copy = Offline::open(state)
        .await
        .map_err(failed("Failed to read the stopped database."))?;
    eprintln!(
        "Warning: this is a copy of {} (term {}, index {}). Its last entries may never have been committed, and \
         other members may have newer ones.",
        state.database().display(),
        copy.last_entry.term,
        copy.last_entry.index
    );
    Ok(Source::Copy(Box::new(copy)))
}

fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    let bytes = io::stdin()
        .take(MAX_SCRIPT_BYTES + 1)
        .read_to_string(&mut text)?;
    if bytes as u64 > MAX_SCRIPT_BYTES {
        let reason = format!("the script has more than {} MiB", MAX_SCRIPT_BYTES >> 20);
        return Err(io::Error::other(reason));
    }
    Ok(text)
}

/// One text, printed as a whole.
pub async fn one(
    source: &Source,
    format: Format,
    transaction: bool,
    text: &str,
) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let batch = match text.trim().trim_end_matches(';').trim_end() {
        verb @ (".dump" | ".schema") => {
            let dump = source.dump(verb == ".schema").await;
            writeln!(out, "{}", dump.map_err(failed(FAILED))?)?;
            return Ok(());
        }
        ".tables" => source.tables().await,
        _ => {
            let query = text.to_owned();
            source.run(&SqlQuery { query, transaction }).await
        }
    };
    let batch = batch.map_err(failed(FAILED))?;
    print::batch(&mut out, format, &batch.results.unwrap_or_default())?;
    Ok(())
}
