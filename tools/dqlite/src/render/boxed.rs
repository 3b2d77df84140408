//! A table with lines. Widths are known at the end, so cells wait in a spool.

use std::io::{self, Write};

use dqlite::wire::{Row, Value};
use unicode_width::UnicodeWidthStr;

use super::{Renderer, Spool, Style, cell_text};

/// Separates cells in the spool, as `LINE_END` separates lines; control characters do not occur in
/// cells.
const CELL_END: char = '\u{1f}';
const LINE_END: char = '\u{1e}';
/// Precedes a cell that is aligned to the right.
const RIGHT: char = '\u{1d}';

pub struct Boxed {
    cells: Spool,
    widths: Vec<usize>,
    header: Option<Vec<String>>,
    null: String,
}

impl Boxed {
    pub fn new(style: &Style, columns: &[String]) -> io::Result<Self> {
        let names: Vec<String> = columns.iter().map(|column| escaped(column)).collect();
        let width = |name: &String| if style.has_header { name.width() } else { 0 };
        Ok(Boxed {
            cells: Spool::new(),
            widths: names.iter().map(width).collect(),
            header: style.has_header.then_some(names),
            null: style.null("NULL").to_owned(),
        })
    }

    fn rule(&self, [left, middle, right]: [char; 3]) -> String {
        let bars: Vec<String> = self
            .widths
            .iter()
            .map(|width| "─".repeat(width + 2))
            .collect();
        format!("{left}{}{right}\n", bars.join(&middle.to_string()))
    }
}

impl Renderer for Boxed {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        let mut line = String::new();
        for (width, value) in self.widths.iter_mut().zip(row.iter()) {
            let text = match cell_text(value) {
                Some(text) => escaped(&text),
                None => self.null.clone(),
            };
            *width = (*width).max(text.width());
            if matches!(value, Value::Integer(_) | Value::Float(_)) {
                line.push(RIGHT);
            }
            line.push_str(&text);
            line.push(CELL_END);
        }
        line.push(LINE_END);
        self.cells.write_all(line.as_bytes())
    }

    fn finish(mut self: Box<Self>) -> io::Result<Spool> {
        let mut out = Spool::new();
        out.write_all(self.rule(['┌', '┬', '┐']).as_bytes())?;
        if let Some(header) = &self.header {
            for (name, width) in header.iter().zip(&self.widths) {
                write!(out, "│ {name}{} ", " ".repeat(width - name.width()))?;
            }
            out.write_all("│\n".as_bytes())?;
            out.write_all(self.rule(['├', '┼', '┤']).as_bytes())?;
        }
        let mut cell = String::new();
        let mut at = 0;
        std::mem::take(&mut self.cells).read_text(|text| {
            for c in text.chars() {
                match c {
                    CELL_END => {
                        let text = cell.trim_start_matches(RIGHT);
                        let space = " ".repeat(self.widths[at] - text.width());
                        match cell.starts_with(RIGHT) {
                            true => write!(out, "│ {space}{text} ")?,
                            false => write!(out, "│ {text}{space} ")?,
                        }
                        at += 1;
                        cell.clear();
                    }
                    LINE_END => {
                        at = 0;
                        out.write_all("│\n".as_bytes())?;
                    }
                    c => cell.push(c),
                }
            }
            Ok(())
        })?;
        out.write_all(self.rule(['└', '┴', '┘']).as_bytes())?;
        Ok(out)
    }
}

/// One line of characters that have a width.
fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            '\r' => line.push_str("\\r"),
            c if c.is_control() => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}
