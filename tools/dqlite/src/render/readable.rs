//! Blobs that hold text, shown as that.

use std::io;

use dqlite::wire::{Row, Value};

use super::{Renderer, Spool};

/// Hands rows on with such blobs as texts.
pub struct Readable(pub Box<dyn Renderer + Send>);

impl Renderer for Readable {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        let is_readable =
            |value: &Value| matches!(value, Value::Blob(blob) if text(blob).is_some());
        if !row.iter().any(is_readable) {
            return self.0.row(row);
        }
        let values = row.iter().map(|value| match value {
            Value::Blob(blob) => match text(blob) {
                Some(text) => Value::Text(text.to_owned()),
                None => value.clone(),
            },
            value => value.clone(),
        });
        self.0.row(&Row(values.collect()))
    }

    fn finish(self: Box<Self>) -> io::Result<Spool> {
        self.0.finish()
    }
}

/// Returns the text of a blob that holds one: UTF-8 without control characters but those of lines.
fn text(blob: &[u8]) -> Option<&str> {
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let text = std::str::from_utf8(blob).ok()?;
    text.chars().all(is_shown).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_no_control_characters() {
        assert_eq!(
            text("{\"a\": \"ä\"}\n".as_bytes()),
            Some("{\"a\": \"ä\"}\n")
        );
        for bytes in [&b"k8s\0\n"[..], b"\xff", b"\x1b[1m"] {
            assert_eq!(text(bytes), None, "{bytes:?}");
        }
    }
}
