//! Kubernetes' form of objects in protobuf, as far as all kinds have it in common: the type and the metadata. Pure.
//!
//! An object is stored behind the four bytes `k8s\0` as a message `runtime.Unknown`, whose field `raw` is the message of
//! the kind. Field 1 of nearly every kind is its `ObjectMeta`. The schemas of the kinds themselves are more than a
//! megabyte of code, and change with every release, so that the rest of an object is counted and not shown. Numbers of
//! fields: `generated.proto` of k8s.io/apimachinery, packages runtime and meta/v1.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prost::Message;
use serde_json::{Map, Value, json};

/// The bytes before every object in protobuf.
pub const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct Object {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(int64, tag = "7")]
    generation: i64,
    #[prost(message, optional, tag = "8")]
    creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "13")]
    owner_references: Vec<OwnerReference>,
    #[prost(string, repeated, tag = "14")]
    finalizers: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct OwnerReference {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    uid: String,
    #[prost(string, tag = "5")]
    api_version: String,
}

/// Returns the object's type and metadata, and the bytes of the whole object; none if it is no object in protobuf.
pub fn decode(value: &[u8]) -> Option<(Value, usize)> {
    let unknown = Unknown::decode(value.strip_prefix(MAGIC)?).ok()?;
    let kind = unknown.type_meta?;
    let mut object = Map::new();
    put(&mut object, "apiVersion", kind.api_version.into());
    put(&mut object, "kind", kind.kind.into());
    let metadata = Object::decode(unknown.raw.as_slice()).ok();
    if let Some(metadata) = metadata.and_then(|object| object.metadata) {
        put(&mut object, "metadata", metadata.to_json());
    }
    Some((object.into(), unknown.raw.len()))
}

impl ObjectMeta {
    fn to_json(&self) -> Value {
        let mut fields = Map::new();
        put(&mut fields, "name", self.name.as_str().into());
        put(
            &mut fields,
            "generateName",
            self.generate_name.as_str().into(),
        );
        put(&mut fields, "namespace", self.namespace.as_str().into());
        put(&mut fields, "uid", self.uid.as_str().into());
        if self.generation != 0 {
            put(&mut fields, "generation", self.generation.into());
        }
        for (name, time) in [
            ("creationTimestamp", self.creation_timestamp),
            ("deletionTimestamp", self.deletion_timestamp),
        ] {
            let text = time.and_then(|time| Timestamp::from_second(time.seconds).ok());
            put(&mut fields, name, text.map(|text| text.to_string()).into());
        }
        put(&mut fields, "labels", json!(self.labels));
        put(&mut fields, "annotations", json!(self.annotations));
        let owners = self.owner_references.iter().map(|owner| {
            json!({
                "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
            })
        });
        put(&mut fields, "ownerReferences", owners.collect());
        put(&mut fields, "finalizers", json!(self.finalizers));
        fields.into()
    }
}

/// Adds a field, unless it is empty, as Kubernetes leaves it out.
fn put(fields: &mut Map<String, Value>, name: &str, value: Value) {
    let is_empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if !is_empty {
        fields.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns an object as an API server stores it, with a field that is not decoded.
    pub fn stored(name: &str, label: &str) -> Vec<u8> {
        let metadata = ObjectMeta {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: "6f1d2c83".to_owned(),
            creation_timestamp: Some(Time {
                seconds: 1_700_000_000,
            }),
            labels: [("app".to_owned(), label.to_owned())].into(),
            ..ObjectMeta::default()
        };
        let mut raw = Object {
            metadata: Some(metadata),
        }
        .encode_to_vec();
        // Field 2, four bytes.
        raw.extend(b"\x12\x04spec");
        let unknown = Unknown {
            type_meta: Some(TypeMeta {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
            }),
            raw,
        };
        [MAGIC, &unknown.encode_to_vec()].concat()
    }

    #[test]
    fn an_object_has_its_type_and_metadata() {
        let value = stored("web", "front");
        let (object, bytes) = decode(&value).unwrap();
        let expected = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "web",
                "namespace": "default",
                "uid": "6f1d2c83",
                "creationTimestamp": "2023-11-14T22:13:20Z",
                "labels": {"app": "front"},
            },
        });
        assert_eq!(object, expected);
        assert!(bytes > 40 && bytes < value.len());
    }

    #[test]
    fn what_is_no_object_is_none() {
        for value in [&b""[..], b"k8s", b"k8s\0", b"k8s\0\xff\xff", b"text"] {
            assert_eq!(decode(value), None, "{value:?}");
        }
    }
}
