//! Directories of nodes that do not run.

use std::path::Path;

use dqlite::files::read_members;
use dqlite::node::{DirLock, NodeError, describe_last_entry, recover};

use crate::error::ShellError;
use crate::render::{Format, tab_indented};
use crate::servers::file_error;
use crate::shell::Shell;

/// Prints the last entry of a directory, to find which of several has the newest data: the one with
/// the higher term, then the higher index.
pub fn last_entry(shell: &mut Shell, dir: &str) -> Result<(), ShellError> {
    let last = describe_last_entry(Path::new(dir)).map_err(node_error)?;
    let text = match shell.style.format {
        Format::Json => tab_indented(
            &[
                ("Term", last.term.to_string()),
                ("Index", last.index.to_string()),
            ],
            0,
        ),
        _ => format!("{}|{}", last.term, last.index),
    };
    shell.output.line(&text)
}

pub fn reconfigure(shell: &mut Shell, dir: &str, list: &str) -> Result<(), ShellError> {
    let list = Path::new(list);
    let servers = read_members(list).map_err(|error| file_error(list, error))?;
    // Before the question, so that nobody agrees to what then fails.
    let lock = DirLock::acquire(Path::new(dir)).map_err(node_error)?;
    let count = servers.len();
    shell.confirm(&format!(
        "Make the {count} nodes of {} the members of the cluster in {dir}? All nodes must be stopped, and copies \
         of their directories be made.",
        list.display()
    ))?;
    recover(lock, &servers).map_err(node_error)?;
    shell.output.line("OK")
}

fn node_error(error: NodeError) -> ShellError {
    ShellError::refused(error.to_string())
}
