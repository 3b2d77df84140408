//! Values as people read them. Pure.
//!
//! Invariant: a value that cannot be decoded is shown as its bytes, in base64, and nothing is left out in silence.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{cbor, kubernetes};

/// The beginning of values that the API server has encrypted.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// The form that a value is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// An object of Kubernetes in protobuf.
    Protobuf,
    Json,
    Cbor,
    /// Encrypted by the API server.
    Encrypted,
    Text,
    /// Anything else: the bytes in base64.
    Binary,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
            Self::Cbor => "cbor",
            Self::Encrypted => "encrypted",
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub encoding: Encoding,
    pub value: Value,
    /// A remark for the reader.
    pub remark: Option<String>,
}

impl Decoded {
    pub fn of(bytes: &[u8]) -> Self {
        let new = |encoding, value, remark| Self {
            encoding,
            value,
            remark,
        };
        if let Some(rest) = bytes.strip_prefix(ENCRYPTED) {
            let remark = format!("encrypted by the API server with {}", provider(rest));
            return new(Encoding::Encrypted, base64(bytes), Some(remark));
        }
        if let Some((object, raw_bytes)) = kubernetes::decode(bytes) {
            let remark = format!(
                "type and metadata of an object of {raw_bytes} bytes; -o raw prints all of it"
            );
            return new(Encoding::Protobuf, object, Some(remark));
        }
        if let Some(value) = cbor::decode(bytes) {
            return new(Encoding::Cbor, value, None);
        }
        if bytes.starts_with(b"{")
            && let Ok(value) = serde_json::from_slice(bytes)
        {
            return new(Encoding::Json, value, None);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if is_printable(text) => new(Encoding::Text, text.into(), None),
            _ => new(
                Encoding::Binary,
                base64(bytes),
                Some("bytes in base64".to_owned()),
            ),
        }
    }

    /// Returns the value alone: text as it is, an object as YAML. It ends with a line break.
    pub fn to_text(&self) -> String {
        let mut text = match &self.value {
            Value::String(text) => text.clone(),
            value => serde_yaml::to_string(value).expect("JSON is YAML"),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }
}

/// Returns the name of the provider, its version and its key, as in `aescbc:v1:key1:`.
fn provider(rest: &[u8]) -> String {
    // Of KMS, `kms:v2:NAME:`; all have three parts, and then bytes.
    let parts: Vec<_> = rest.splitn(4, |byte| *byte == b':').take(3).collect();
    match parts[..] {
        [name, version, key] => {
            let text = |bytes| String::from_utf8_lossy(bytes).escape_debug().to_string();
            format!("{} {}, key {}", text(name), text(version), text(key))
        }
        _ => "an unknown provider".to_owned(),
    }
}

fn is_printable(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::kubernetes::tests::stored, *};

    #[test]
    fn each_form_is_told_apart() {
        let pod = stored("web", "front");
        let cbor = b"\xd9\xd9\xf7\xa1\x44kind\x43Pod";
        for (bytes, encoding, value) in [
            (&b"hello\n"[..], Encoding::Text, json!("hello\n")),
            (b"", Encoding::Text, json!("")),
            (b"{\"a\": 1}", Encoding::Json, json!({"a": 1})),
            (b"{not json", Encoding::Text, json!("{not json")),
            (b"\x00\xff", Encoding::Binary, json!("AP8=")),
            (b"a\x1b[31m", Encoding::Binary, json!("YRtbMzFt")),
            (cbor, Encoding::Cbor, json!({"kind": "Pod"})),
            (b"k8s\0broken", Encoding::Binary, json!("azhzAGJyb2tlbg==")),
        ] {
            let decoded = Decoded::of(bytes);
            assert_eq!(
                (decoded.encoding, decoded.value),
                (encoding, value),
                "{bytes:?}"
            );
        }
        let decoded = Decoded::of(&pod);
        assert_eq!(decoded.encoding, Encoding::Protobuf);
        let text = decoded.to_text();
        assert!(
            text.contains("kind: Pod\n") && text.contains("    app: front\n"),
            "{text}"
        );
    }

    #[test]
    fn encrypted_values_are_named_with_their_provider() {
        let decoded = Decoded::of(b"k8s:enc:aescbc:v1:key1:\x00\x01");
        assert_eq!(decoded.encoding, Encoding::Encrypted);
        let remark = decoded.remark.unwrap();
        assert!(remark.ends_with("aescbc v1, key key1"), "{remark}");
        let remark = Decoded::of(b"k8s:enc:odd").remark.unwrap();
        assert!(remark.ends_with("an unknown provider"), "{remark}");
    }
}
