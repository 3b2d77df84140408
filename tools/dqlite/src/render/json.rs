//! JSON: rows as objects, and the documents of the original's commands.

use std::collections::HashSet;
use std::io::{self, Write};

use dqlite::wire::{Row, Value};

use super::cell::float_text;
use super::{Renderer, Spool};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Array,
    Lines,
}

pub struct Json {
    text: Spool,
    form: Form,
    /// Quoted, and each once.
    names: Vec<String>,
}

impl Json {
    pub fn new(columns: &[String], form: Form) -> io::Result<Self> {
        let mut taken = HashSet::new();
        let names = columns.iter().map(|column| {
            let mut name = column.clone();
            let mut count = 0;
            while !taken.insert(name.clone()) {
                count += 1;
                name = format!("{column}:{count}");
            }
            quoted(&name)
        });
        Ok(Json {
            text: Spool::new(),
            form,
            names: names.collect(),
        })
    }
}

impl Renderer for Json {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        let mut object = String::new();
        if self.form == Form::Array {
            object.push_str(if self.text.is_empty() { "[\n" } else { ",\n" });
        }
        let mut separator = '{';
        for (name, value) in self.names.iter().zip(row.iter()) {
            object.push(separator);
            object.push_str(name);
            object.push(':');
            object.push_str(&json_text(value));
            separator = ',';
        }
        object.push('}');
        if self.form == Form::Lines {
            object.push('\n');
        }
        self.text.write_all(object.as_bytes())
    }

    fn finish(self: Box<Self>) -> io::Result<Spool> {
        let mut text = self.text;
        if self.form == Form::Array {
            let end = if text.is_empty() { "[]\n" } else { "\n]\n" };
            text.write_all(end.as_bytes())?;
        }
        Ok(text)
    }
}

/// JSON has no infinity and no bytes: the one becomes null, the other what SQL writes.
fn json_text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Iso8601(text) if text.is_empty() => "null".to_owned(),
        Value::Text(text) | Value::Iso8601(text) => quoted(text),
        Value::Integer(value) | Value::UnixTime(value) => value.to_string(),
        Value::Float(value) if value.is_finite() => float_text(*value),
        Value::Float(_) => "null".to_owned(),
        Value::Blob(blob) => format!("\"x'{}'\"", hex::encode(blob)),
        Value::Boolean(value) => value.to_string(),
    }
}

pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An object with its members on lines of their own, as Go indents it with tabs. Values are JSON.
pub fn tab_indented(members: &[(&str, String)], depth: usize) -> String {
    let tabs = "\t".repeat(depth);
    let lines = members
        .iter()
        .map(|(name, value)| format!("{tabs}\t\"{name}\": {value}"));
    format!("{{\n{}\n{tabs}}}", lines.collect::<Vec<_>>().join(",\n"))
}
