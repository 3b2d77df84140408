//! One value per line, an empty line between rows.

use std::io::{self, Write};

use dqlite::wire::Row;
use unicode_width::UnicodeWidthStr;

use super::{Renderer, Spool, Style, cell_text};

pub struct Line {
    text: Spool,
    null: String,
    /// The names of the columns, padded to the width of the widest.
    names: Vec<String>,
}

impl Line {
    pub fn new(style: &Style, columns: &[String]) -> Self {
        let width = columns.iter().map(|column| column.width()).max();
        let pad = |column: &String| " ".repeat(width.unwrap_or(0) - column.width()) + column;
        Line {
            text: Spool::new(),
            null: style.null("NULL").to_owned(),
            names: columns.iter().map(pad).collect(),
        }
    }
}

impl Renderer for Line {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        if !self.text.is_empty() {
            self.text.write_all(b"\n")?;
        }
        for (name, value) in self.names.iter().zip(row.iter()) {
            let value = cell_text(value).unwrap_or(self.null.as_str().into());
            writeln!(self.text, "{name} = {value}")?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Spool> {
        Ok(self.text)
    }
}
