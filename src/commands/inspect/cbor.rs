//! Kubernetes' form of objects in CBOR. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use ciborium::Value as Cbor;
use serde_json::{Map, Number, Value};

/// The tag that says "this is CBOR", which Kubernetes writes before each object.
const MAGIC: &[u8] = b"\xd9\xd9\xf7";

/// Levels of arrays and maps in one another; objects of Kubernetes have some ten.
const MAX_DEPTH: usize = 64;

/// Returns the object; none if it is not whole.
pub fn decode(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let value: Cbor = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).ok()?;
    rest.is_empty().then(|| to_json(value))
}

fn to_json(value: Cbor) -> Value {
    match value {
        Cbor::Bool(value) => value.into(),
        Cbor::Integer(number) => match i64::try_from(number) {
            Ok(number) => number.into(),
            Err(_) => i128::from(number).to_string().into(),
        },
        Cbor::Float(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        Cbor::Text(text) => text.into(),
        // Kubernetes writes text as bytes.
        Cbor::Bytes(bytes) => text_of(bytes).into(),
        Cbor::Tag(_, inner) => to_json(*inner),
        Cbor::Array(items) => items.into_iter().map(to_json).collect(),
        Cbor::Map(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let name = match to_json(name) {
                    Value::String(name) => name,
                    name => name.to_string(),
                };
                (name, to_json(value))
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| STANDARD.encode(error.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_may_be_bytes_and_what_is_not_whole_is_none() {
        // {"kind": 'Pod', 'n': [1, -2, null, 1.5]}
        let bytes = b"\xd9\xd9\xf7\xa2\x64kind\x43Pod\x41n\x84\x01\x21\xf6\xfb\x3f\xf8\0\0\0\0\0\0";
        let expected = json!({"kind": "Pod", "n": [1, -2, null, 1.5]});
        assert_eq!(decode(bytes), Some(expected));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[&bytes[..], b"\0"].concat()), None);
        assert_eq!(decode(b"{}"), None);
        assert_eq!(decode(&[MAGIC, &[0x81; 1000]].concat()), None);
    }
}
