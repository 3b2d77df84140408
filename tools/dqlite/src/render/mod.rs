//! Rows as text, in one of several formats.
//!
//! A renderer gets the columns, then rows; what it makes waits in a spool until the result is whole.

mod boxed;
mod cell;
mod csv;
mod go;
mod json;
mod line;
mod readable;
mod spool;
mod tabular;
mod tabwriter;
mod time;

use std::io;

use dqlite::wire::Row;

pub use cell::cell_text;
pub use json::{quoted, tab_indented};
pub use spool::Spool;
pub use time::unix_time;

/// The format in which rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// As the original shell: columns aligned with tabs.
    #[default]
    Tabular,
    /// One array of objects.
    Json,
    /// One object per line.
    Jsonl,
    /// RFC 4180.
    Csv,
    /// A table with lines.
    Box,
    /// One line per value.
    Line,
}

/// The form in which blobs are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Blobs {
    /// As the format has them, such as [0 255] or x'00ff'.
    #[default]
    Bytes,
    /// As text where they hold text.
    Text,
}

/// The settings that the formats have in common.
#[derive(Debug, Clone)]
pub struct Style {
    pub format: Format,
    /// The text for NULL in tabular, csv, box and line; by default each has its own.
    pub null: Option<String>,
    pub has_header: bool,
    pub blobs: Blobs,
}

impl Default for Style {
    fn default() -> Self {
        Style {
            format: Format::Tabular,
            null: None,
            has_header: true,
            blobs: Blobs::Bytes,
        }
    }
}

impl Style {
    fn null<'a>(&'a self, default: &'a str) -> &'a str {
        self.null.as_deref().unwrap_or(default)
    }
}

pub trait Renderer {
    fn row(&mut self, row: &Row) -> io::Result<()>;

    /// The whole text.
    fn finish(self: Box<Self>) -> io::Result<Spool>;
}

pub fn renderer(style: &Style, columns: &[String]) -> io::Result<Box<dyn Renderer + Send>> {
    let renderer: Box<dyn Renderer + Send> = match style.format {
        Format::Tabular => Box::new(tabular::Tabular::new(style, columns)?),
        Format::Json => Box::new(json::Json::new(columns, json::Form::Array)?),
        Format::Jsonl => Box::new(json::Json::new(columns, json::Form::Lines)?),
        Format::Csv => Box::new(csv::Csv::new(style, columns)?),
        Format::Box => Box::new(boxed::Boxed::new(style, columns)?),
        Format::Line => Box::new(line::Line::new(style, columns)),
    };
    Ok(match style.blobs {
        Blobs::Bytes => renderer,
        Blobs::Text => Box::new(readable::Readable(renderer)),
    })
}

#[cfg(test)]
mod tests;
