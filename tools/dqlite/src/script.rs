//! Without a person: the command of the command line, or standard input.

use std::io::{self, BufRead};

use crate::command::Next;
use crate::error::ShellError;
use crate::shell::Shell;
use crate::sql::split;

/// The longest statement from standard input, in bytes; the server takes less than 256 MiB.
const MAX_STATEMENT_BYTES: usize = 256 << 20;

/// Runs standard input piece by piece, so that it may be of any length. The first error ends it.
pub async fn standard_input(shell: &mut Shell) -> Result<(), ShellError> {
    let mut pending = String::new();
    loop {
        let at = pending.len();
        // On this thread: nothing else is to be done meanwhile.
        let read = io::stdin().lock().read_line(&mut pending)?;
        if read == 0 {
            return shell.text(&pending).await.map(drop);
        }
        if pending.len() > MAX_STATEMENT_BYTES {
            return Err(ShellError::usage("a statement is longer than 256 MiB"));
        }
        // A statement cannot end in a line without a semicolon.
        if !pending[at..].contains(';') && !pending.trim_start().starts_with('.') {
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
}
