//! One value as text, in the formats that are our own.

use std::borrow::Cow;

use dqlite::wire::Value;

/// Integers exact, floats with the fewest digits that tell them apart, blobs as SQL writes them, times as
/// they are stored. `None` for NULL.
pub fn cell_text(value: &Value) -> Option<Cow<'_, str>> {
    Some(Cow::Owned(match value {
        Value::Null => return None,
        Value::Iso8601(text) if text.is_empty() => return None,
        Value::Text(text) | Value::Iso8601(text) => return Some(Cow::Borrowed(text)),
        Value::Integer(value) | Value::UnixTime(value) => value.to_string(),
        Value::Float(value) => float_text(*value),
        Value::Blob(blob) => format!("x'{}'", hex::encode(blob)),
        Value::Boolean(value) => value.to_string(),
    }))
}

/// Returns a number with a full stop or an exponent, so that it is not taken for an integer.
pub fn float_text(value: f64) -> String {
    format!("{value:?}")
}
