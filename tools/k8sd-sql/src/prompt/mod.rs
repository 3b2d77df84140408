//! SQL at a terminal, statement by statement, until the end of input.

mod helper;

use std::{path::PathBuf, time::Duration};

use k8sd::source::Source;
use rustyline::{Config, Editor, config::Configurer, error::ReadlineError, history::FileHistory};
use tokio::{signal::ctrl_c, task::block_in_place, time::timeout};

use self::helper::Helper;
use crate::{args::Format, failure::Failure, sql::one};

/// Entries of the history file.
const MAX_HISTORY: usize = 1000;

/// The longest time that a prompt waits for the names that can be completed.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);

type Prompt = Editor<Helper, FileHistory>;

/// Runs the prompt. Errors are printed and do not end it.
pub async fn run(source: &Source, format: Format) -> Result<(), Failure> {
    let mut prompt = open().map_err(prompt_error)?;
    let history = history_path();
    if let Some(path) = &history {
        // There is none at first.
        let _ = prompt.load_history(path);
    }
    eprintln!("SQL ends with a semicolon. .tables, .schema, .dump; .quit or Ctrl-D ends.");
    let read = read_and_run(&mut prompt, source, format).await;
    if let Some(path) = &history {
        save_history(&mut prompt, path);
    }
    read
}

fn open() -> rustyline::Result<Prompt> {
    let mut config = Config::builder()
        .auto_add_history(true)
        .completion_type(rustyline::CompletionType::List)
        .build();
    config.set_max_history_size(MAX_HISTORY)?;
    config.set_history_ignore_dups(true)?;
    let mut prompt = Prompt::with_config(config)?;
    prompt.set_helper(Some(Helper::default()));
    Ok(prompt)
}

async fn read_and_run(prompt: &mut Prompt, source: &Source, format: Format) -> Result<(), Failure> {
    let mut is_stale = true;
    loop {
        if is_stale && let Some(helper) = prompt.helper_mut() {
            let names = timeout(NAMES_TIMEOUT, source.names()).await;
            helper.names = names.ok().and_then(Result::ok).unwrap_or_default();
        }
        let line = match block_in_place(|| prompt.readline("k8sd> ")) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(prompt_error(error)),
        };
        match line.trim().trim_end_matches(';') {
            "" => continue,
            ".quit" | ".exit" => return Ok(()),
            _ => {}
        }
        is_stale = changes_schema(&line);
        let ran = tokio::select! {
            ran = one(source, format, false, &line) => ran,
            _ = ctrl_c() => {
                eprintln!("Error: interrupted; what was sent may still take effect");
                continue;
            }
        };
        match ran {
            Err(failure) if failure.is_pipe => return Err(failure),
            Err(failure) => eprintln!("Error: {}", failure.text()),
            Ok(()) => {}
        }
    }
}

fn changes_schema(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["create", "alter", "drop"]
        .iter()
        .any(|word| text.contains(word))
}

fn prompt_error(error: ReadlineError) -> Failure {
    std::io::Error::other(error.to_string()).into()
}

/// K8SD_HISTORY, or a file where programs keep their state. An empty variable means none.
fn history_path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("K8SD_HISTORY") {
        return (!path.is_empty()).then(|| path.into());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")))?;
    Some(state.join("k8sd/history"))
}

/// A history that cannot be kept is no reason to fail.
fn save_history(prompt: &mut Prompt, path: &PathBuf) {
    if let Some(dir) = path.parent() {
        let _ = std::fs::create_dir_all(dir);
    }
    if let Err(error) = prompt.save_history(path) {
        eprintln!("cannot write {}: {error}", path.display());
    }
}
