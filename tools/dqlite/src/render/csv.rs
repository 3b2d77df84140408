//! RFC 4180. NULL is an empty field, an empty text is a quoted one, a blob is hexadecimal.

use std::borrow::Cow;
use std::io::{self, Write};

use dqlite::wire::{Row, Value};
use tables::{csv_field, csv_line};

use super::cell::cell_text;
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
            csv.line(columns.iter().map(|column| csv_field(column)))?;
        }
        Ok(csv)
    }

    fn line<'a>(&mut self, fields: impl Iterator<Item = Cow<'a, str>>) -> io::Result<()> {
        self.text.write_all(csv_line(fields).as_bytes())
    }
}

impl Renderer for Csv {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        let null = self.null.clone();
        self.line(row.iter().map(|value| match value {
            Value::Blob(blob) => Cow::Owned(hex::encode(blob)),
            value => match cell_text(value) {
                Some(Cow::Borrowed(text)) => csv_field(text),
                Some(text) => text,
                None => Cow::Owned(null.clone()),
            },
        }))
    }

    fn finish(self: Box<Self>) -> io::Result<Spool> {
        Ok(self.text)
    }
}
