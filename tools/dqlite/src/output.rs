//! The target of output: standard output, a file, or a pager.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use unicode_width::UnicodeWidthChar;

use crate::error::ShellError;
use crate::render::Spool;

/// Used where neither DQLITE_PAGER nor PAGER is set; long lines are not broken.
const DEFAULT_PAGER: &str = "less -SRFX";

pub struct Output {
    file: Option<File>,
    is_terminal: bool,
    /// The command for results that are larger than the terminal.
    pager: String,
    is_paging: bool,
    /// Lines and columns of the terminal.
    pub size: (usize, usize),
}

/// The lines and columns of a terminal that does not tell its size.
const DEFAULT_SIZE: (usize, usize) = (24, 80);

impl Output {
    /// Standard output.
    pub fn new(may_page: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let pager = variable("DQLITE_PAGER").or_else(|| variable("PAGER"));
        Output {
            file: None,
            is_terminal,
            pager: pager.unwrap_or_else(|| DEFAULT_PAGER.to_owned()),
            is_paging: may_page && is_terminal,
            size: DEFAULT_SIZE,
        }
    }

    /// Goes on in a file, or without one on standard output again.
    pub fn redirect(&mut self, path: Option<&Path>) -> Result<(), ShellError> {
        self.file = match path {
            Some(path) => {
                Some(File::create(path).map_err(|error| ShellError::file("write", path, &error))?)
            }
            None => None,
        };
        Ok(())
    }

    pub fn line(&mut self, text: &str) -> Result<(), ShellError> {
        let mut spool = Spool::new();
        writeln!(spool, "{text}")?;
        self.spool(spool)
    }

    pub fn spool(&mut self, mut spool: Spool) -> Result<(), ShellError> {
        if let Some(file) = &mut self.file {
            return Ok(spool.read(|bytes| file.write_all(bytes))?);
        }
        if !self.is_terminal {
            let mut stdout = io::stdout().lock();
            spool.read(|bytes| stdout.write_all(bytes))?;
            return Ok(stdout.flush()?);
        }
        let mut shown = Shown::default();
        let mut spool = shown.measure(spool)?;
        if self.is_paging && shown.is_larger_than(self.size) {
            if page(&self.pager, &mut spool)? {
                return Ok(());
            }
            eprintln!(
                "{}: not found; DQLITE_PAGER or PAGER names another, .pager off turns it off",
                self.pager
            );
        }
        let mut stdout = io::stdout().lock();
        spool.read(|bytes| stdout.write_all(bytes))?;
        Ok(stdout.flush()?)
    }

    pub fn set_paging(&mut self, is_paging: bool) {
        self.is_paging = is_paging && self.is_terminal;
    }
}

/// The part of a terminal that a text takes.
#[derive(Default)]
struct Shown {
    lines: usize,
    width: usize,
}

impl Shown {
    /// Counts lines and columns, and replaces characters that would control the terminal: data is
    /// not trusted with that.
    fn measure(&mut self, mut spool: Spool) -> io::Result<Spool> {
        let mut harmless = Spool::new();
        let mut column = 0;
        spool.read_text(|text| {
            let mut safe = String::with_capacity(text.len());
            for c in text.chars() {
                match c {
                    '\n' => {
                        self.lines += 1;
                        self.width = self.width.max(column);
                        column = 0;
                        safe.push(c);
                    }
                    '\t' => {
                        column = (column + 1).next_multiple_of(8);
                        safe.push(c);
                    }
                    '\r' => safe.push(c),
                    c if c.is_control() => {
                        column += 4;
                        safe.push_str(&format!("\\x{:02x}", u32::from(c)));
                    }
                    c => {
                        column += c.width().unwrap_or(0);
                        safe.push(c);
                    }
                }
            }
            harmless.write_all(safe.as_bytes())
        })?;
        Ok(harmless)
    }

    fn is_larger_than(&self, (lines, columns): (usize, usize)) -> bool {
        // One line is the prompt's.
        self.lines + 1 > lines || self.width > columns
    }
}

/// Shows a text through the pager, or returns false if there is none.
fn page(pager: &str, spool: &mut Spool) -> Result<bool, ShellError> {
    /// The exit code of `sh` if it finds no such command.
    const NOT_FOUND: i32 = 127;
    let mut child = Command::new("sh")
        .args(["-c", pager])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| ShellError::failed(format!("cannot start the pager {pager}: {error}")))?;
    let mut stdin = child.stdin.take().expect("piped");
    let written = spool.read(|bytes| stdin.write_all(bytes));
    drop(stdin);
    if child.wait()?.code() == Some(NOT_FOUND) {
        return Ok(false);
    }
    match written {
        // Whoever leaves the pager has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_control_characters_are_seen_to() {
        let mut spool = Spool::new();
        spool.write_all("a\tb\n日本\u{1b}[2J\n".as_bytes()).unwrap();
        let mut shown = Shown::default();
        let mut text = String::new();
        let mut harmless = shown.measure(spool).unwrap();
        harmless
            .read_text(|part| {
                text.push_str(part);
                Ok(())
            })
            .unwrap();
        assert_eq!(text, "a\tb\n日本\\x1b[2J\n");
        assert_eq!((shown.lines, shown.width), (2, 11));
        assert!(!shown.is_larger_than((24, 80)));
        assert!(shown.is_larger_than((2, 80)) && shown.is_larger_than((24, 10)));
    }
}
