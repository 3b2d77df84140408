//! The prompt.

mod helper;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::time::{sleep_until, timeout};

use self::helper::Helper;
use crate::args::Args;
use crate::command::Next;
use crate::error::ShellError;
use crate::shell::Shell;
use dqlite::sql::{Piece, split};

/// Entries of the history file.
const MAX_HISTORY: usize = 1000;

/// The longest time that a prompt waits for the names that can be completed.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);

type Prompt = Editor<Helper, FileHistory>;

/// Prints an error on standard error.
pub fn complain(error: &ShellError, args: &Args) {
    match uses_colour(args, &io::stderr()) {
        true => eprintln!("\x1b[31mError:\x1b[0m {error}"),
        false => eprintln!("Error: {error}"),
    }
}

fn uses_colour(args: &Args, stream: &impl IsTerminal) -> bool {
    !args.no_color
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && stream.is_terminal()
}

/// Reads and runs statements and commands until the end of the input. Errors are printed and do not end it.
pub fn run(runtime: &Runtime, shell: Shell, args: &Args) -> Result<(), ShellError> {
    let config = Config::builder()
        .max_history_size(MAX_HISTORY)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(|error| ShellError::failed(error.to_string()))?
        .auto_add_history(true)
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut prompt = Prompt::with_config(config).map_err(prompt_error)?;
    if args.no_color {
        prompt.set_color_mode(rustyline::ColorMode::Disabled);
    }
    prompt.set_helper(Some(Helper::new(uses_colour(args, &io::stdout()))));
    let history = history_path();
    if let Some(path) = &history {
        // There is none at first.
        let _ = prompt.load_history(path);
    }
    let shell = Arc::new(Mutex::new(shell));
    // From here on the signal ends a statement, not the shell.
    let read = read_and_run(runtime, &mut prompt, &shell, args);
    if let Some(path) = &history {
        save_history(&mut prompt, path);
    }
    read
}

fn read_and_run(
    runtime: &Runtime,
    prompt: &mut Prompt,
    shell: &Arc<Mutex<Shell>>,
    args: &Args,
) -> Result<(), ShellError> {
    let mut interrupts = {
        let _context = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?
    };
    let mut is_stale = true;
    loop {
        let text = runtime.block_on(async {
            let mut shell = shell.lock().await;
            if is_stale && let Some(helper) = prompt.helper_mut() {
                helper.names = match timeout(NAMES_TIMEOUT, shell.names()).await {
                    Ok(names) => names,
                    Err(_) => {
                        shell.session.cancel();
                        Vec::new()
                    }
                };
            }
            shell.prompt().await
        });
        let line = match prompt.readline(&text) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(prompt_error(error)),
        };
        let size = prompt
            .dimensions()
            .map(|(columns, lines)| (usize::from(lines), usize::from(columns)));
        let next = runtime.block_on(async {
            let mut locked = shell.lock().await;
            if let Some(size) = size {
                locked.output.size = size;
            }
            is_stale = changes_schema(&line);
            // One that came while nothing ran is none of the statement's.
            while let std::task::Poll::Ready(Some(())) = poll_once(interrupts.recv()).await {}
            let ran = tokio::select! {
                ran = locked.text(&line) => Some(ran),
                _ = interrupts.recv() => None,
            };
            let ran = ran.unwrap_or_else(|| Err(ShellError::failed(locked.session.cancel())));
            watch(shell, &locked);
            ran
        });
        match next {
            Ok(Next::GoOn) => {}
            Ok(Next::Quit) => return Ok(()),
            Err(error) => complain(&error, args),
        }
    }
}

async fn poll_once<F: Future>(future: F) -> std::task::Poll<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context))).await
}

/// Ends the transaction when its time is over, while the prompt waits.
fn watch(shell: &Arc<Mutex<Shell>>, locked: &Shell) {
    let Some(deadline) = locked.session.transaction_deadline() else {
        return;
    };
    let shell = shell.clone();
    tokio::spawn(async move {
        sleep_until(deadline.into()).await;
        shell
            .lock()
            .await
            .session
            .end_idle_transaction(Instant::now());
    });
}

fn changes_schema(text: &str) -> bool {
    let words = ["create", "alter", "drop", "rollback", ".read"];
    let text = text.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// Returns whether a text can be run as it is.
fn is_whole(text: &str) -> bool {
    split(text).rest.is_empty()
}

fn prompt_error(error: ReadlineError) -> ShellError {
    ShellError::failed(error.to_string())
}

/// DQLITE_HISTORY, or a file where programs keep their state. An empty variable means none.
fn history_path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("DQLITE_HISTORY") {
        return (!path.is_empty()).then(|| path.into());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")))?;
    Some(state.join("dqlite/history"))
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

impl Shell {
    /// The database and the role of its server, and a star in a transaction.
    async fn prompt(&mut self) -> String {
        let database = self
            .session
            .database
            .clone()
            .unwrap_or_else(|| "dqlite".to_owned());
        let star = if self.session.is_in_transaction() {
            "*"
        } else {
            ""
        };
        format!("{database} {}{star}> ", self.session.role())
    }

    /// Tables and columns for the completion; none where they cannot be had.
    async fn names(&mut self) -> Vec<String> {
        let style = crate::render::Style {
            format: crate::render::Format::Csv,
            has_header: false,
            ..crate::render::Style::default()
        };
        if self.session.is_in_transaction() || self.session.database.is_none() {
            return Vec::new();
        }
        let mut text = String::new();
        if let Ok(Some(mut spool)) = self.session.run(crate::command::NAMES, &style).await {
            let _ = spool.read_text(|part| {
                text.push_str(part);
                Ok(())
            });
        }
        text.lines()
            .map(|line| line.trim_matches('"').to_owned())
            .collect()
    }
}

/// Returns whether a text ends in a command, for the completion.
fn begins_command(text: &str) -> bool {
    let split = split(text);
    match split.pieces.last() {
        Some(Piece::Command(command)) => text.ends_with(command),
        _ => text.trim_start().starts_with('.'),
    }
}
