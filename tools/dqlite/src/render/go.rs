//! Values as Go's `%v` prints them, which is what the original shell does with a row.

use std::borrow::Cow;

use dqlite::wire::Value;
use tables::go_float;

use super::time::{iso_time, unix_time};

pub fn go_text(value: &Value) -> Cow<'_, str> {
    Cow::Owned(match value {
        Value::Text(text) => return Cow::Borrowed(text),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => go_float(*value),
        Value::Blob(blob) => {
            let bytes: Vec<String> = blob.iter().map(u8::to_string).collect();
            format!("[{}]", bytes.join(" "))
        }
        Value::Null => return Cow::Borrowed("<nil>"),
        Value::Iso8601(text) if text.is_empty() => return Cow::Borrowed("<nil>"),
        // The original gives up where it cannot read the time; the text is more useful.
        Value::Iso8601(text) => iso_time(text).unwrap_or_else(|| text.clone()),
        Value::UnixTime(seconds) => unix_time(*seconds),
        Value::Boolean(value) => value.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_in_go() {
        // Printed by the original shell.
        for (value, expected) in [
            (Value::Integer(i64::MIN), "-9223372036854775808"),
            (Value::Float(1.5), "1.5"),
            (Value::Float(1.0), "1"),
            (Value::Float(999_999.0), "999999"),
            (Value::Float(1e6), "1e+06"),
            (Value::Float(1e21), "1e+21"),
            (Value::Float(123_456_789.0), "1.23456789e+08"),
            (Value::Float(0.0001), "0.0001"),
            (Value::Float(0.00001), "1e-05"),
            (Value::Float(f64::INFINITY), "+Inf"),
            (
                Value::Blob(bytes::Bytes::from_static(&[0, 255, 65])),
                "[0 255 65]",
            ),
            (Value::Blob(bytes::Bytes::new()), "[]"),
            (Value::Null, "<nil>"),
            (Value::Iso8601(String::new()), "<nil>"),
            (Value::Boolean(true), "true"),
            (
                Value::UnixTime(1_577_872_800),
                "2020-01-01 10:00:00 +0000 UTC",
            ),
            (
                Value::Iso8601("2020-01-01 10:00:00.50".into()),
                "2020-01-01 10:00:00.5 +0000 UTC",
            ),
            (
                Value::Iso8601("2020-01-01".into()),
                "2020-01-01 00:00:00 +0000 UTC",
            ),
            (
                Value::Iso8601("2020-01-01T10:00:00+02:00".into()),
                "2020-01-01 10:00:00 +0200 +0200",
            ),
            (
                Value::Iso8601("2020-01-01T10:00Z".into()),
                "2020-01-01 10:00:00 +0000 UTC",
            ),
            (Value::Iso8601("yesterday".into()), "yesterday"),
        ] {
            assert_eq!(go_text(&value), expected, "{value:?}");
        }
    }
}
