//! Settings of the shell, and scripts.

use std::path::Path;

use clap::ValueEnum;

use super::Next;
use crate::error::ShellError;
use crate::render::{Blobs, Format};
use crate::shell::Shell;

/// The largest script, in bytes: it is read whole.
const MAX_SCRIPT_BYTES: u64 = 256 << 20;

/// Scripts that run scripts.
const MAX_DEPTH: usize = 16;

pub fn set(shell: &mut Shell, name: &str, value: &str) -> Result<(), ShellError> {
    match name {
        ".mode" => {
            shell.style.format = Format::from_str(value, true).map_err(|_| {
                ShellError::usage(format!(
                    "unknown format {value}: tabular, json, jsonl, csv, box or line"
                ))
            })?;
        }
        ".blobs" => {
            let unknown =
                |_| ShellError::usage(format!("blobs are shown as bytes or text, not {value}"));
            shell.style.blobs = Blobs::from_str(value, true).map_err(unknown)?;
        }
        ".nullvalue" => shell.style.null = Some(value.to_owned()),
        ".headers" => shell.style.has_header = switch(value)?,
        ".timer" => shell.has_timer = switch(value)?,
        ".pager" => shell.output.set_paging(switch(value)?),
        ".output" => {
            let path = (!value.is_empty() && value != "stdout").then(|| Path::new(value));
            shell.output.redirect(path)?;
        }
        other => return Err(ShellError::usage(format!("unknown command {other}"))),
    }
    Ok(())
}

fn switch(value: &str) -> Result<bool, ShellError> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(ShellError::usage(format!("{other} is neither on nor off"))),
    }
}

/// Runs a file; the first error ends it.
pub async fn read(shell: &mut Shell, path: &str) -> Result<Next, ShellError> {
    let path = Path::new(path);
    let unreadable = |error: std::io::Error| {
        ShellError::Usage(format!("cannot read {}: {error}", path.display()))
    };
    let len = std::fs::metadata(path).map_err(unreadable)?.len();
    if len > MAX_SCRIPT_BYTES {
        return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if shell.depth == MAX_DEPTH {
        return Err(ShellError::usage(format!(
            "more than {MAX_DEPTH} scripts that run scripts"
        )));
    }
    shell.depth += 1;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let ran = Box::pin(shell.text(text)).await;
    shell.depth -= 1;
    ran
}
