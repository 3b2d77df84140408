//! Runs standard input without a person, piece by piece.

use std::io::{self, BufRead};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::command::Next;
use crate::error::ShellError;
use crate::shell::Shell;
use dqlite::sql::split;

/// The longest statement, in bytes; the server takes less than 256 MiB.
const MAX_STATEMENT_BYTES: usize = 256 << 20;

/// Lines that are read ahead of what runs.
const LINES_AHEAD: usize = 64;

/// Runs standard input, which may be of any length. The first error ends it.
pub async fn standard_input(shell: &mut Shell) -> Result<(), ShellError> {
    let mut lines = read_lines();
    let mut pending = String::new();
    while let Some(line) = next(shell, &mut lines).await {
        let line = line?;
        pending.push_str(&line);
        if pending.len() > MAX_STATEMENT_BYTES {
            return Err(ShellError::usage("a statement is longer than 256 MiB"));
        }
        // A statement cannot end in a line without a semicolon.
        if !line.contains(';') && !pending.trim_start().starts_with('.') {
            continue;
        }
        let split = split(&pending);
        for piece in &split.pieces {
            if shell.piece(piece).await? == Next::Quit {
                return Ok(());
            }
        }
        pending = split.rest.to_owned();
    }
    shell.text(&pending).await.map(drop)
}

/// The next line. A transaction does not wait for ever for the other end of the pipe.
async fn next(
    shell: &mut Shell,
    lines: &mut mpsc::Receiver<io::Result<String>>,
) -> Option<io::Result<String>> {
    if let Some(deadline) = shell.session.transaction_deadline() {
        tokio::select! {
            line = lines.recv() => return line,
            () = sleep_until(deadline.into()) => shell.session.end_idle_transaction(Instant::now()),
        }
    }
    lines.recv().await
}

fn read_lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    // Of its own, because nothing can interrupt it.
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = String::new();
            let read = stdin.read_line(&mut line);
            let is_over = !matches!(read, Ok(1..));
            let sent = match read {
                Ok(0) => return,
                Ok(_) => sender.blocking_send(Ok(line)),
                Err(error) => sender.blocking_send(Err(error)),
            };
            if is_over || sent.is_err() {
                return;
            }
        }
    });
    lines
}
