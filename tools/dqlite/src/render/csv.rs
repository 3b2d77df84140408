//! RFC 4180. NULL is an empty field, an empty text is a quoted one, a blob is hexadecimal.

use std::borrow::Cow;
use std::io::{self, Write};

use dqlite::wire::{Row, Value};

use super::cell::{cell_text, hex};
use super::{Renderer, Spool, Style};

pub struct Csv {
    text: Spool,
    null: String,
}

impl Csv {
    pub fn new(style: &Style, columns: &[String]) -> io::Result<Self> {
        let mut csv = Csv {
            text: Spool::new(),
            null: style.null("").to_owned(),
        };
        if style.has_header {
            csv.line(columns.iter().map(|column| field(column)))?;
        }
        Ok(csv)
    }

    fn line<'a>(&mut self, fields: impl Iterator<Item = Cow<'a, str>>) -> io::Result<()> {
        let mut line = fields.collect::<Vec<_>>().join(",");
        line.push_str("\r\n");
        self.text.write_all(line.as_bytes())
    }
}

impl Renderer for Csv {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        let null = self.null.clone();
        self.line(row.iter().map(|value| match value {
            Value::Blob(blob) => Cow::Owned(hex(blob)),
            value => match cell_text(value) {
                Some(Cow::Borrowed(text)) => field(text),
                Some(text) => text,
                None => Cow::Owned(null.clone()),
            },
        }))
    }

    fn finish(self: Box<Self>) -> io::Result<Spool> {
        Ok(self.text)
    }
}

fn field(text: &str) -> Cow<'_, str> {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
}
