//! The format of the original shell.

use std::io;

use dqlite::wire::{Row, Value};

use super::go::go_text;
use super::tabwriter::Tabwriter;
use super::{Renderer, Spool, Style};

pub struct Tabular {
    writer: Tabwriter,
    null: Option<String>,
}

impl Tabular {
    pub fn new(style: &Style, columns: &[String]) -> io::Result<Self> {
        let mut writer = Tabwriter::new(Spool::new());
        if style.has_header {
            for column in columns {
                writer.text(column)?;
                writer.text("\t")?;
            }
            writer.text("\n")?;
        }
        Ok(Tabular {
            writer,
            null: style.null.clone(),
        })
    }
}

impl Renderer for Tabular {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        for value in row.iter() {
            match (value, &self.null) {
                (Value::Null, Some(null)) => self.writer.text(null)?,
                _ => self.writer.text(&go_text(value))?,
            }
            self.writer.text("\t")?;
        }
        self.writer.text("\n")
    }

    fn finish(self: Box<Self>) -> io::Result<Spool> {
        let mut text = Spool::new();
        self.writer.finish(&mut text)?;
        Ok(text)
    }
}
